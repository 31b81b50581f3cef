//! Documents by token offsets: SpERT's JSON, CrossRE's, and what DyGIE's files hold beside the usual.

mod support;

use support::{links, load_text, shown, words};
use tabpo_corpus::{Format, Span, read_str, write};

/// `SpERT`'s ends are exclusive and its relations name entities by position; the shorter form of the same sentence is
/// equal, and so is `CrossRE`'s with inclusive ends.
#[test]
fn lists_of_tokens_are_read_in_three_forms() {
    let objects = r#"[
        {"tokens": ["Ann", "Wren", "-LRB-", "oak", ")"], "entities": [{"type": "Bird", "start": 0, "end": 2}, {"type": "Tree", "start": 3, "end": 4}], "relations": [{"type": "nests-in", "head": 0, "tail": 1}], "orig_id": 7},
        {"tokens": ["Nobody"], "entities": [], "relations": []}]"#;
    let lists = r#"[{"tokens": ["Ann", "Wren", "-LRB-", "oak", ")"], "entities": [[0, 2, "Bird"], [3, 4, "Tree"]], "relations": [[0, 2, 3, 4, "nests-in"]]}, {"tokens": ["Nobody"], "entities": [], "relations": []}]"#;
    let crossre = "{\"doc_key\": \"a\", \"sentence\": [\"Ann\", \"Wren\", \"-LRB-\", \"oak\", \")\"], \"ner\": [[0, 1, \"Bird\"], [3, 3, \"Tree\"]], \"relations\": [[0, 1, 3, 3, \"nests-in\", \"in it\", true, false]]}\n{\"doc_key\": \"b\", \"sentence\": [\"Nobody\"], \"ner\": [], \"relations\": []}\n";
    let bracket = "1 bracket tokens that will be written in the Penn Treebank form";
    for (text, keys, unread) in [
        (objects, ["a-1", "a-2"], Some("1 fields `orig_id` not read")),
        (lists, ["a-1", "a-2"], None),
        (crossre, ["a", "b"], Some("1 explanations and flags of relations not read")),
    ] {
        let (documents, notes) = load_text("a.json", text).unwrap();
        assert_eq!(documents.iter().map(|document| document.key.as_str()).collect::<Vec<_>>(), keys);
        let document = &documents[0];
        assert_eq!((document.text.as_str(), words(document)), ("Ann Wren ( oak )", vec!["Ann Wren", "oak"]));
        let labels: Vec<u16> = document.mentions.iter().map(|mention| mention.label.0).collect();
        assert_eq!((labels, links(document)), (vec![0, 1], vec![(0, 1, 0)]));
        assert_eq!(document.sentences, [Span::new(0, 5)]);
        let mut shown = shown(&notes);
        shown.retain(|note| note != bracket);
        assert_eq!(shown, Vec::from_iter(unread));
    }
}

#[test]
fn wrong_offsets_are_named_as_the_file_writes_them() {
    let spert = |rest: &str| format!("[{{\"tokens\": [\"a\", \"b\"], {rest}}}]");
    let cases = [
        ("\"entities\": [[1, 3, \"Bird\"]]", ":1 (document `f-1`): ner span [1, 3] is outside"),
        ("\"entities\": [[1, 1, \"Bird\"]]", "ner span [1, 1] is empty"),
        ("\"entities\": [[0, -9223372036854775808, \"Bird\"]]", "is empty"),
        (
            "\"entities\": [[0, 1, \"Bird\"]], \"relations\": [{\"type\": \"near\", \"head\": 0, \"tail\": 1}]",
            "entity 1, counted from 0",
        ),
        ("\"entities\": [[0, 1, \"Bid\"]]", "did you mean"),
        ("\"entities\": [[0, 1]]", "`entities"),
    ];
    for (rest, expected) in cases {
        let error = load_text("f.json", &spert(rest)).unwrap_err();
        assert!(error.contains(expected), "{rest}: {error}");
    }
}

#[test]
fn a_format_that_is_only_read_is_not_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out.json");
    for format in [Format::Spert, Format::CrossRe] {
        let error = write(&path, format, &[], &support::ontology()).unwrap_err().to_string();
        assert!(error.contains("only read") && error.contains("dygie"), "{error}");
        assert!(!path.exists());
    }
}

#[test]
fn a_document_of_dygie_may_be_called_by_its_id() {
    let key = |rest: &str| {
        let line = format!("{{\"sentences\": [[\"a\"]], {rest}}}");
        let loaded = read_str(&line, Format::Dygie, &support::ontology());
        loaded.map(|loaded| loaded.documents[0].key.clone()).map_err(|error| error.to_string())
    };
    assert_eq!(key("\"doc_id\": \"x\"").as_deref(), Ok("x"));
    assert_eq!(key("\"doc_id\": 7, \"doc_key\": \"y\"").as_deref(), Ok("y"));
    assert!(key("\"ner\": [[]]").unwrap_err().contains("doc_key"));
}

/// `SciER` has tokens that are a non-breaking space.
#[test]
fn blank_tokens_are_left_out_and_offsets_still_fit() {
    let line = r#"{"doc_key": "d", "sentences": [["a", "\u00a0", "b"], ["", "c"]], "ner": [[[0, 0, "Bird"], [1, 2, "Bird"]], [[3, 4, "Tree"]]], "relations": [[[1, 2, 3, 4, "nests-in"]], []], "clusters": [[[2, 2]]]}"#;
    let (documents, notes) = load_text("f.jsonl", line).unwrap();
    let document = &documents[0];
    assert_eq!((document.text.as_str(), words(document)), ("a b c", vec!["a", "b", "c"]));
    assert_eq!(document.sentences, [Span::new(0, 2), Span::new(2, 3)]);
    assert_eq!(links(document), [(1, 2, 0)]);
    assert_eq!(document.clusters, [[Span::new(1, 2)]]);
    assert_eq!(shown(&notes), ["2 blank tokens not read"]);
    let blank = line.replace("[1, 2, \"Bird\"]", "[1, 1, \"Bird\"]");
    assert!(load_text("f.jsonl", &blank).unwrap_err().contains("[1, 1] is empty"));
}
