//! `SciER`'s sentences with mentions and relations as strings, and what is made of texts that occur more than once.

mod support;

use support::{links, load_text, ontology, shown, words};
use tabpo_corpus::{Format, Span, read_str, write};

/// The start and end of each mention, in tokens of the document.
fn spans(document: &tabpo_corpus::Document) -> Vec<(u32, u32)> {
    document.mentions.iter().map(|mention| (mention.span.start, mention.span.end)).collect()
}

#[test]
fn the_lines_of_a_paper_are_one_document() {
    let text = concat!(
        r#"{"doc_id": "7", "sentence": "An owl , a barn owl , likes oak .", "ner": [["owl", "Bird"], ["barn owl", "Bird"], ["oak", "Tree"]], "rel": [["owl", "near", "barn owl"], ["barn owl", "nests-in", "oak"]], "rel_plus": [["owl:Bird", "near", "barn owl:Bird"], ["barn owl:Bird", "nests-in", "oak:Tree"]]}"#,
        "\n",
        r#"{"doc_id": "7", "sentence": "Nobody", "ner": [], "rel": [], "rel_plus": []}"#,
        "\n\n",
        r#"{"doc_id": 8, "sentence": "A wren -LRB- Bird -RRB-", "ner": [["wren", "Bird"]], "rel": [], "year": 1}"#,
        "\n",
    );
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    // The same as a list.
    for text in [text.to_owned(), format!("[{}]", lines.join(",\n"))] {
        let (documents, notes) = load_text("a.jsonl", &text).unwrap();
        assert_eq!(documents.iter().map(|document| document.key.as_str()).collect::<Vec<_>>(), ["7", "8"]);
        // The mention `owl` is not the one inside `barn owl`.
        assert_eq!(words(&documents[0]), ["owl", "barn owl", "oak"]);
        assert_eq!(spans(&documents[0]), [(1, 2), (4, 6), (8, 9)]);
        assert_eq!(links(&documents[0]), [(0, 1, 1), (1, 2, 0)]);
        assert_eq!(documents[0].sentences, [Span::new(0, 10), Span::new(10, 11)]);
        assert_eq!(documents[1].text, "A wren ( Bird )");
        assert_eq!(shown(&notes), ["1 fields `year` not read"]);
    }
}

#[test]
fn relations_connect_the_nearest_mentions_of_their_texts() {
    let line = |rest: &str| format!(r#"{{"doc_id": "a", "sentence": "owl and wren and oak and owl and oak", {rest}}}"#);
    let ner = r#""ner": [["owl", "Bird"], ["wren", "Bird"], ["oak", "Tree"], ["owl", "Bird"], ["oak", "Tree"]]"#;
    let links = |relations: &str| {
        let (documents, notes) = load_text("a.jsonl", &line(&format!("{ner}, \"rel\": [{relations}]"))).unwrap();
        (links(&documents[0]), shown(&notes))
    };
    let one = r#"["owl", "nests-in", "oak"]"#;
    assert_eq!(links(one), (vec![(3, 2, 0)], vec![]));
    // Named twice, the two nearest pairs.
    assert_eq!(links(&format!("{one}, {one}")), (vec![(3, 2, 0), (3, 4, 0)], vec![]));
    // Named more often than there are such pairs: repetitions, which are counted.
    let (found, notes) = links(&[one; 5].join(", "));
    assert_eq!(found.len(), 3);
    assert_eq!(notes, ["2 duplicate relations read as one"]);
    // One of a mention with itself.
    assert_eq!(
        links(r#"["wren", "near", "wren"]"#),
        (vec![], vec!["1 relations of a mention with itself left out".to_owned()])
    );
    // Labels tell mentions of one text apart.
    let two = r#""ner": [["owl", "Tree"], ["owl", "Bird"], ["wren", "Bird"]], "rel": [["owl", "near", "wren"]]"#;
    let plus = |label: &str| {
        let text = line(&format!(r#"{two}, "rel_plus": [["owl:{label}", "near", "wren:Bird"]]"#));
        load_text("a.jsonl", &text).map(|(documents, _)| support::links(&documents[0]))
    };
    assert_eq!(plus("Tree"), Ok(vec![(0, 1, 1)]));
    // The second owl stands behind the wren.
    assert_eq!(plus("Bird"), Ok(vec![(2, 1, 1)]));
    assert!(plus("Brid").unwrap_err().contains("`owl` with the label `Brid`, which `ner` does not list"));
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    let good = r#"{"doc_id": "a", "sentence": "An owl", "ner": [["owl", "Bird"]], "rel": []}"#;
    let with = |from: &str, to: &str| good.replace(from, to);
    for (line, expected) in [
        (with("\"owl\", ", "\"wren\", "), "`ner` lists `wren`, which is not in the sentence"),
        (with("\"owl\", ", "\"ow\", "), "`ner` lists `ow`, which is not"),
        (with("Bird", "Brid"), "unknown entity label `Brid`; did you mean `Bird`?"),
        (with("[]", "[[\"owl\", \"nest-in\", \"owl\"]]"), "did you mean `nests-in`?"),
        (with("[]", "[[\"owl\", \"near\", \"oak\"]]"), "a relation names `oak`, which `ner` does not list"),
        (with("[]", "[[\"owl\", \"near\"]]"), "`rel[0]"),
        (with("[[\"owl\", \"Bird\"]]", "[[\"owl\"]]"), "`ner[0]"),
        (with("[]}", "[], \"rel_plus\": [[\"a:X\", \"near\", \"b:X\"]]}"), "`rel_plus` has 1 entries, `rel` has 0"),
        (
            with("[]}", "[[\"owl\", \"near\", \"owl\"]], \"rel_plus\": [[\"oak:Tree\", \"near\", \"owl:Bird\"]]}"),
            "`rel_plus` has `oak:Tree` where `rel` has `owl`",
        ),
        (good.replace("\"sentence\": \"An owl\", ", ""), "missing field `sentence`"),
    ] {
        let error = read_str(&format!("{good}\n{line}"), Format::SciEr, &ontology()).unwrap_err().to_string();
        assert!(error.contains(expected) && error.starts_with("text:2"), "{line}: {error}");
    }
    // A paper that comes back after another one.
    let other = with("\"a\"", "\"b\"");
    let error = load_text("a.jsonl", &[good, &other, good].join("\n")).unwrap_err();
    assert!(error.contains("a.jsonl:3 (document `a`): the document name is already used in line 1"), "{error}");
    assert!(write("x".as_ref(), Format::SciEr, &[], &ontology()).unwrap_err().to_string().contains("only read"));
}

#[test]
fn blank_tokens_and_half_characters_are_counted() {
    let line = "{\"doc_id\": \"a\", \"sentence\": \"the barn \u{a0} owl \\ud83d\", \"ner\": [[\"barn \u{a0} owl\", \"Bird\"]], \"rel\": []}";
    let (documents, notes) = load_text("a.jsonl", line).unwrap();
    assert_eq!(words(&documents[0]), ["barn owl"]);
    assert_eq!(documents[0].text, "the barn owl \u{fffd}");
    let expected =
        ["1 blank tokens not read", "1 characters of which only half is there (a lone surrogate), read as U+FFFD"];
    assert_eq!(shown(&notes), expected);
}
