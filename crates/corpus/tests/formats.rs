//! Every format: offsets are exact there and back, and what a format cannot say is counted.

use std::{fs, path::Path};

use proptest::prelude::*;
use tabpo_corpus::{Document, Format, Note, Notes, Span, read, write};
use tabpo_ontology::Ontology;

/// A hierarchy, names with blanks, aliases and a symmetric relation.
fn ontology() -> Ontology {
    let text = r#"
        [[entity]]
        name = "FilePlace"
        aliases = ["LOC"]
        subtypes = ["city", "river bank"]
        [[entity]]
        name = "Person or group"
        subtypes = ["city", "group"]
        [[entity]]
        name = "Thing"
        [[relation]]
        name = "lives in"
        aliases = ["LIVES-IN"]
        [[relation]]
        name = "next to"
        symmetric = true
    "#;
    Ontology::parse(text, "test").unwrap()
}

fn read_text(format: Format, name: &str, text: &str) -> Result<(Vec<Document>, Notes), String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    fs::write(&path, text).unwrap();
    let loaded = read(&path, Some(format), &ontology())
        .map_err(|error| error.to_string().replace(&format!("{}/", directory.path().display()), ""))?;
    Ok((loaded.documents, loaded.notes))
}

/// Documents that say everything a document can say, over texts with all kinds of characters.
fn documents() -> impl Strategy<Value = Vec<Document>> {
    let word = prop_oneof![
        4 => "[a-z]{1,6}",
        1 => "[A-Z][a-z]{0,3}",
        1 => "(é|ß|µ|日本|🙂|Ö|e\u{301}|\u{200d}|’|\"|\\\\)",
        1 => "[.,;:!?()\\[\\]{}]",
    ];
    let blank = prop_oneof![6 => Just(" "), 1 => Just("  "), 1 => Just("\n"), 1 => Just("\u{a0}"), 1 => Just("")];
    let text = proptest::collection::vec((word, blank), 1..30)
        .prop_map(|pieces| pieces.iter().flat_map(|(word, blank)| [word.as_str(), blank]).collect::<String>());
    let marks = proptest::collection::vec((any::<prop::sample::Index>(), 1usize..12, 0usize..5), 0..6);
    let links = proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0u16..2), 0..4);
    let document = (text, marks, links, any::<bool>());
    proptest::collection::vec(document, 1..4).prop_map(|list| {
        let lines = (0..)
            .zip(list)
            .map(|(number, (text, marks, links, clustered))| json_line(number, &text, &marks, &links, clustered));
        let text = lines.map(|line| line.to_string()).collect::<Vec<_>>().join("\n");
        read_text(Format::Jsonl, "generated.jsonl", &text).expect("generated lines are valid").0
    })
}

/// A line of the plain format with mentions and relations where the random numbers allow them.
fn json_line(
    number: usize,
    text: &str,
    marks: &[(prop::sample::Index, usize, usize)],
    links: &[(prop::sample::Index, prop::sample::Index, u16)],
    clustered: bool,
) -> serde_json::Value {
    let characters: Vec<char> = text.chars().collect();
    let labels = [
        ("LOC", Some("city")),
        ("LOC", Some("river bank")),
        ("Person or group", Some("city")),
        ("Person or group", Some("group")),
        ("Thing", None),
    ];
    let mut seen = std::collections::HashSet::new();
    let mut entities = Vec::new();
    for (at, length, label) in marks {
        let start = at.index(characters.len());
        let end = (start + length).min(characters.len());
        let blank_edge = characters[start].is_whitespace() || characters[end - 1].is_whitespace();
        if !blank_edge && seen.insert((start, end, *label)) {
            let (name, subtype) = labels[*label];
            let mut entity = serde_json::json!({"start": start, "end": end, "type": name});
            if let Some(subtype) = subtype {
                entity["subtype"] = subtype.into();
            }
            entities.push(entity);
        }
    }
    let mut relations = Vec::new();
    for (head, tail, label) in links.iter().filter(|_| entities.len() > 1) {
        let (head, tail) = (head.index(entities.len()), tail.index(entities.len()));
        if head != tail {
            let name = ["lives in", "next to"][usize::from(*label)];
            relations.push(serde_json::json!({"head": head, "type": name, "tail": tail}));
        }
    }
    let cluster: Vec<_> = entities.iter().map(|entity| serde_json::json!([entity["start"], entity["end"]])).collect();
    let clusters = if clustered && !cluster.is_empty() { vec![cluster] } else { Vec::new() };
    serde_json::json!({
        "doc_key": format!("doc {number}"), "text": text, "entities": entities, "relations": relations,
        "clusters": clusters,
    })
}

fn there_and_back(documents: &[Document], format: Format) -> (Vec<Document>, Notes, Notes) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("corpus");
    let written = write(&path, format, documents, &ontology()).unwrap();
    let detected = Format::detect(&path).unwrap();
    assert_eq!(detected, format);
    let loaded = read(&path, None, &ontology()).unwrap();
    (loaded.documents, written, loaded.notes)
}

/// What every format holds: name, text, and labelled stretches with their relations.
type Essence<'a> = (&'a str, &'a str, Vec<(std::ops::Range<usize>, String)>, Vec<(u32, u32, u16)>);

fn essence(document: &Document) -> Essence<'_> {
    let ontology = ontology();
    let mentions = document
        .mentions
        .iter()
        .map(|mention| (document.byte_range(mention.span), ontology.mention_data_name(mention.label, mention.subtype)));
    let relations = document.relations.iter().map(|relation| (relation.head, relation.tail, relation.label.0));
    (&document.key, &document.text, mentions.collect(), relations.collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_plain_format_holds_everything(documents in documents()) {
        let (back, written, read) = there_and_back(&documents, Format::Jsonl);
        prop_assert_eq!(&back, &documents);
        prop_assert!(written.is_empty());
        // What was listed twice is listed twice again, and said again.
        let repeated = documents.iter().map(|document| document.repeated_relations.len()).sum::<usize>();
        prop_assert_eq!(read.count(&Note::DuplicateRelation), repeated as u64);
        prop_assert_eq!(read.iter().count(), usize::from(repeated > 0));
    }

    #[test]
    fn character_formats_keep_text_mentions_and_relations(documents in documents()) {
        for format in [Format::Brat, Format::Doccano, Format::LabelStudio] {
            let (back, written, _) = there_and_back(&documents, format);
            for (back, document) in back.iter().zip(&documents) {
                prop_assert_eq!(essence(back), essence(document), "{}", format);
            }
            prop_assert_eq!(back.len(), documents.len());
            // Whatever else changed was announced.
            let differs = |test: fn(&Document, &Document) -> bool| {
                back.iter().zip(&documents).filter(|(a, b)| test(a, b)).count() as u64
            };
            prop_assert_eq!(differs(|a, b| a.tokens != b.tokens), written.count(&Note::TokenBoundaries));
            prop_assert_eq!(differs(|a, b| a.clusters.len() != b.clusters.len()), written.count(&Note::Clusters));
            if written.is_empty() {
                prop_assert_eq!(&back, &documents);
            }
        }
    }

    #[test]
    fn dygie_keeps_all_but_blanks(documents in documents()) {
        let (back, written, _) = there_and_back(&documents, Format::Dygie);
        for (back, document) in back.iter().zip(&documents) {
            prop_assert_eq!(&back.mentions, &document.mentions);
            prop_assert_eq!(&back.sentences, &document.sentences);
            prop_assert_eq!(&back.clusters, &document.clusters);
            for index in 0..document.tokens.len() {
                prop_assert_eq!(back.token(index), document.token(index));
            }
        }
        let losses = [Note::Blanks, Note::SharedSpan, Note::SameSpanRelation];
        if losses.iter().all(|note| written.count(note) == 0) {
            prop_assert_eq!(&back, &documents);
        }
    }

    #[test]
    fn readers_never_panic(text in "(\\{|\\}|\\[|\\]|\"text\":|\"doc_key\":|\"a b\"|,|-?[0-9]|\"entities\":|\"label\":|\n|T1\t|R1\t|Thing |0 1){0,25}") {
        for format in Format::ALL {
            let _ = read_text(format, "fuzz.json", &text);
        }
    }
}

#[test]
fn the_synthetic_corpus_survives_every_format() {
    let config = tabpo_synthetic::SyntheticConfig { sft: 0, gold: 0, validation: 0, test: 60, ..Default::default() };
    let documents = tabpo_synthetic::generate(&config).test;
    for format in Format::ALL.into_iter().filter(|format| format.is_written()) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("corpus");
        write(&path, format, &documents, tabpo_synthetic::ontology()).unwrap();
        let back = read(&path, None, tabpo_synthetic::ontology()).unwrap();
        assert_eq!(back.documents.len(), documents.len());
        for (back, document) in back.documents.iter().zip(&documents) {
            let texts = |document: &Document| -> Vec<String> {
                document.mentions.iter().map(|mention| document.span_text(mention.span).to_owned()).collect()
            };
            assert_eq!(texts(back), texts(document), "{format}");
            assert_eq!(back.relations, document.relations, "{format}");
            assert_eq!(back.text, document.text, "{format}");
        }
    }
}

#[test]
fn offsets_are_characters_and_a_boundary_inside_a_token_splits_it() {
    let line = r#"{"doc_key": "a", "text": "Zoë's naïve 🙂 plan. It works", "entities": [{"start": 6, "end": 11, "type": "Thing"}, {"start": 14, "end": 16, "type": "Thing"}]}"#;
    let (documents, notes) = read_text(Format::Jsonl, "a.jsonl", line).unwrap();
    assert!(notes.is_empty());
    let document = &documents[0];
    let tokens: Vec<&str> = (0..document.tokens.len()).map(|index| document.token(index)).collect();
    assert_eq!(tokens, ["Zoë's", "naïve", "🙂", "pl", "an", ".", "It", "works"]);
    assert_eq!(document.sentences, [Span::new(0, 6), Span::new(6, 8)]);
    let mentions: Vec<&str> = document.mentions.iter().map(|mention| document.span_text(mention.span)).collect();
    assert_eq!(mentions, ["naïve", "pl"]);
}

#[test]
fn a_mention_across_sentences_joins_them() {
    let line = r#"{"doc_key": "a", "text": "One. Two. Three.", "entities": [{"start": 0, "end": 8, "type": "Thing"}]}"#;
    let (documents, notes) = read_text(Format::Jsonl, "a.jsonl", line).unwrap();
    assert_eq!(documents[0].sentences, [Span::new(0, 4), Span::new(4, 6)]);
    assert_eq!(notes.count(&Note::JoinedSentences), 1);
}

#[test]
fn dygie_leaves_out_a_relation_within_one_span_and_says_so() {
    let line = r#"{"doc_key": "a", "text": "a b", "entities": [{"start": 0, "end": 1, "type": "LOC", "subtype": "city"}, {"start": 0, "end": 1, "type": "Thing"}], "relations": [{"head": 0, "type": "next to", "tail": 1}]}"#;
    let documents = read_text(Format::Jsonl, "a.jsonl", line).unwrap().0;
    let (back, written, _) = there_and_back(&documents, Format::Dygie);
    assert_eq!(back[0].mentions, documents[0].mentions);
    assert!(back[0].relations.is_empty());
    assert_eq!(written.count(&Note::SameSpanRelation), 1);
}

#[test]
fn a_relation_that_is_listed_twice_is_one_and_is_written_twice() {
    let line = r#"{"doc_key": "a", "text": "a b", "entities": [{"start": 0, "end": 1, "type": "Thing"}, {"start": 2, "end": 3, "type": "Thing"}], "relations": [{"head": 0, "type": "next to", "tail": 1}, {"head": 1, "type": "lives in", "tail": 0}, {"head": 0, "type": "next to", "tail": 1}]}"#;
    let (documents, notes) = read_text(Format::Jsonl, "a.jsonl", line).unwrap();
    assert_eq!((documents[0].relations.len(), documents[0].repeated_relations.as_slice()), (2, &[0][..]));
    assert_eq!(notes.count(&Note::DuplicateRelation), 1);
    for format in Format::ALL.into_iter().filter(|format| format.is_written()) {
        let (back, written, _) = there_and_back(&documents, format);
        assert_eq!(back[0].repeated_relations, [0], "{format}");
        assert!(written.is_empty(), "{format}: {written:?}");
    }
}

#[test]
fn foreign_shapes_are_read() {
    let doccano = "{\"id\": 7, \"text\": \"a b\", \"label\": [[0, 1, \"Thing\"]]}\n{\"id\": 8, \"text\": \"a b\", \"labels\": [[2, 3, \"group\"]], \"extra\": 1}\n";
    let (documents, notes) = read_text(Format::Doccano, "d.jsonl", doccano).unwrap();
    assert_eq!((documents[0].key.as_str(), documents[1].mentions.len()), ("7", 1));
    assert_eq!(notes.count(&Note::IgnoredField("extra".into())), 1);

    let studio = r#"[{"id": 3, "data": {"text": "a b"}, "annotations": [{"was_cancelled": true}, {"result": [
        {"id": "x", "type": "labels", "value": {"start": 0, "end": 1, "labels": ["Thing"]}},
        {"id": "y", "type": "labels", "value": {"start": 2, "end": 3, "labels": ["Thing"]}},
        {"type": "choices"},
        {"type": "relation", "from_id": "x", "to_id": "y", "direction": "left", "labels": ["lives in"]},
        {"type": "relation", "from_id": "x", "to_id": "y", "direction": "bi", "labels": ["next to"]}]}]}]"#;
    let (documents, notes) = read_text(Format::LabelStudio, "s.json", studio).unwrap();
    let relations: Vec<_> = documents[0].relations.iter().map(|it| (it.head, it.tail, it.label.0)).collect();
    assert_eq!(relations, [(0, 1, 1), (1, 0, 0)]);
    assert_eq!(notes.iter().count(), 2);
}

#[test]
fn brat_pieces_and_other_annotations_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    put("a.txt", "old river and new bank\n");
    put(
        "a.ann",
        "T1\tThing 0 3;18 22\told bank\nT2\triver_bank 4 9\triver\nR1\tLIVES-IN Arg1:T2 Arg2:T1\nA1\tNegated T1\n#1\tAnnotatorNotes T1\thm\n",
    );
    let loaded = read(directory.path(), None, &ontology()).unwrap();
    let document = &loaded.documents[0];
    let texts: Vec<&str> = document.mentions.iter().map(|mention| document.span_text(mention.span)).collect();
    assert_eq!(texts, ["old river and new bank", "river"]);
    assert_eq!(loaded.notes.count(&Note::DiscontinuousMention), 1);
    assert_eq!(loaded.notes.iter().count(), 3);
    assert_eq!((document.relations[0].head, document.relations[0].tail), (1, 0));
}

#[test]
fn errors_name_file_line_document_and_remedy() {
    let dygie = |body: &str| format!("\n{{\"doc_key\": \"d\", \"sentences\": [[\"a\", \"b\"], [\"c\"]], {body}}}\n");
    let cases = [
        (Format::Dygie, "{\"doc_key\": \"d\", \"sentences\": [[\"a\"]]}\n{\"doc_key\": ".to_owned(), "f:2:"),
        (
            Format::Dygie,
            dygie("\"ner\": [[[0, 0, \"Thign\"]], []]"),
            "f:2 (document `d`): unknown entity label `Thign`; did you mean `Thing`?",
        ),
        (
            Format::Dygie,
            dygie("\"ner\": [[[0, 2, \"Thing\"]], []]"),
            "f:2 (document `d`): ner span [0, 2] is outside its sentence (tokens 0 to 1)",
        ),
        (Format::Dygie, dygie("\"ner\": [[[1, 0, \"Thing\"]], []]"), "f:2 (document `d`): ner span [1, 0] is empty"),
        (Format::Dygie, dygie("\"ner\": [[]]"), "f:2 (document `d`): `ner` has 1 entries for 2 sentences"),
        (
            Format::Dygie,
            dygie("\"ner\": [[[0, 0, \"Thing\"]], []], \"relations\": [[[0, 0, 1, 1, \"lives in\"]], []]"),
            "f:2 (document `d`): the relation [0, 0, 1, 1, \"lives in\"] names [1, 1] `b`, but the document has no such entity",
        ),
        (
            Format::Dygie,
            dygie("\"ner\": [[[0, 0, \"FilePlace\"]], []]"),
            "f:2 (document `d`): the mention `a` has the label `FilePlace` without a subtype; valid: city, river bank",
        ),
        (
            Format::Dygie,
            "{\"sentences\": []}".to_owned(),
            "f:1: `doc_key` is missing: every document needs a unique name",
        ),
        (
            Format::Jsonl,
            "{\"text\": \"a\"}".to_owned(),
            "f:1: `doc_key` is missing: every document needs a unique name",
        ),
        (Format::Jsonl, "{\"doc_key\": [1], \"text\": \"a\"}".to_owned(), "f:1:13: `doc_key`: invalid type"),
        (
            Format::Jsonl,
            "{\"doc_key\": \"d\", \"text\": \"a\"}\n{\"doc_key\": \"d\", \"text\": \"b\"}".to_owned(),
            "f:2 (document `d`): the document name is already used in line 1",
        ),
        (
            Format::Jsonl,
            "{\"doc_key\": \"d\", \"text\": \"a\", \"entities\": [{\"start\": 0, \"end\": 2, \"type\": \"Thing\"}]}"
                .to_owned(),
            "f:1 (document `d`): the mention [0, 2] is outside the text (0 to 1)",
        ),
        (
            Format::Jsonl,
            "{\"doc_key\": \"d\", \"text\": \"a\", \"relations\": [{\"head\": 0, \"tail\": 1, \"type\": \"next to\"}]}"
                .to_owned(),
            "f:1 (document `d`): the relation 0 -> 1 `next to` names entity 0, but the document has no such entity",
        ),
        (
            Format::LabelStudio,
            "[\n{\"id\": 1,\n\"data\": {}}]".to_owned(),
            "f:2 (document `1`): `data.text` is missing",
        ),
    ];
    for (format, text, expected) in cases {
        let found = read_text(format, "f", &text).expect_err("the file is wrong");
        assert!(found.starts_with(expected), "found:  {found}\nwanted: {expected}");
    }
}

#[test]
fn brat_errors_name_the_annotation_line() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a.txt"), "one two").unwrap();
    let error = |annotation: &str| {
        fs::write(directory.path().join("a.ann"), annotation).unwrap();
        let error = read(directory.path(), None, &ontology()).unwrap_err().to_string();
        error.replace(&format!("{}/", directory.path().display()), "")
    };
    assert_eq!(
        error("\nT1\tThing 0 3\ttwo"),
        "a.ann:2 (document `a`): the text at 0 to 3 is `one`, not `two`; it is 4 characters further on, at 4 to 7"
    );
    assert_eq!(error("T1\tThing 0 9\tone"), "a.ann:1 (document `a`): the mention [0, 9] is outside the text (0 to 7)");
    assert!(error("T1 Thing").contains("is not `T1<tab>Label START END<tab>text`"));
}

#[test]
fn missing_and_unrecognised_files_are_named() {
    let error = read(Path::new("no/such.jsonl"), None, &ontology()).unwrap_err();
    assert_eq!(error.to_string(), "cannot read no/such.jsonl");
    assert!(std::error::Error::source(&error).is_some_and(|cause| cause.to_string().contains("No such file")));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x");
    for content in ["", "hello", "{\"a\": 1}"] {
        fs::write(&path, content).unwrap();
        let error = read(&path, None, &ontology()).unwrap_err().to_string();
        assert!(error.contains("cannot tell the format of"), "{error}");
    }
    assert_eq!("dygy".parse::<Format>().unwrap_err(), "unknown format `dygy`; did you mean `dygie`?");
}

#[test]
fn a_hard_constraint_is_enforced_in_data() {
    let text = "[[entity]]\nname = \"A\"\n[[entity]]\nname = \"B\"\n[[relation]]\nname = \"R\"\ndomain = [\"A\"]\nrange = [\"B\"]\nconstraint = \"hard\"";
    let strict = Ontology::parse(text, "test").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.jsonl");
    let line = r#"{"doc_key": "d", "text": "a b", "entities": [{"start": 0, "end": 1, "type": "B"}, {"start": 2, "end": 3, "type": "A"}], "relations": [{"head": 0, "type": "R", "tail": 1}]}"#;
    fs::write(&path, line).unwrap();
    let error = read(&path, None, &strict).unwrap_err().to_string();
    assert!(error.ends_with("`R` may not connect B with A: the head must be A, the tail B"), "{error}");
}
