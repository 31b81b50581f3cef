//! One odd item of a file costs itself only and is counted, and faults say what and where they are.

mod support;

use std::{fs, io::Write, path::Path};

use serde_json::{Value, json};
use support::{links, load, load_text, ontology, shown, words};
use tabpo_corpus::{Format, read, stream, write};

/// A task about "A robin in an oak." with further data.
fn task(data: &Value, results: &Value) -> String {
    json!([{"id": 1, "data": data, "annotations": [{"result": results}]}]).to_string()
}

fn region(id: &str, to_name: &str, start: u64, end: u64, labels: &Value) -> Value {
    json!({"id": id, "to_name": to_name, "type": "labels", "value": {"start": start, "end": end, "labels": labels}})
}

#[cfg(unix)]
#[test]
fn pipes_are_read_like_files() {
    let line = json!({"doc_key": "a", "text": "A robin.", "entities": [{"start": 2, "end": 7, "type": "Bird"}]});
    let studio = task(&json!({"text": "A robin."}), &json!([region("a", "text", 2, 7, &json!(["Bird"]))]));
    let dygie = r#"{"doc_key": "a", "sentences": [["A", "robin", "."]], "ner": [[[1, 1, "Bird"]]]}"#;
    let contents =
        [line.to_string(), format!("\u{feff}\n{line}\n"), json!([line]).to_string(), studio, dygie.to_owned()];
    for content in contents {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(content.as_bytes()).unwrap();
        drop(writer);
        let path = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
        // Nothing is lost by asking for a stream first.
        assert!(stream(Path::new(&path), None, &ontology()).unwrap().is_none());
        let loaded = read(Path::new(&path), None, &ontology()).unwrap_or_else(|error| panic!("{content}: {error}"));
        assert_eq!(words(&loaded.documents[0]), ["robin"], "{content}");
    }
}

#[test]
fn a_file_without_documents_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.jsonl");
    let cases = [("[]", None), ("[ ]\n", None), ("", Some(Format::Jsonl)), ("\n \n", Some(Format::Dygie))];
    for (content, format) in cases.into_iter().chain([("[]", Some(Format::Doccano)), ("", Some(Format::LabelStudio))]) {
        fs::write(&path, content).unwrap();
        let error = read(&path, format, &ontology()).unwrap_err().to_string();
        assert!(error.contains("a.jsonl holds no document: "), "{content:?}: {error}");
    }
}

#[test]
fn doccano_costs_the_span_that_says_nothing() {
    let lines = [
        json!({"id": 1, "text": "A robin.", "label": [[2, 7, "Bird"], [4, 4, "Bird"], [1, 2, "Bird"], [0, 1, null]]}),
        json!({"id": 1, "text": "A robin.", "label": {"entities": [
            {"id": 1, "label": "Bird", "start_offset": 2, "end_offset": 7},
            {"id": 2, "label": null, "start_offset": 0, "end_offset": 1},
            {"id": 3, "label": "Bird", "start_offset": 1, "end_offset": 2},
        ], "relations": [{"from_id": 1, "to_id": 3, "type": "near"}], "spans": [[0, 1, "Tree"]], "cats": []}}),
    ];
    let expected: [&[&str]; 2] = [
        &["2 spans of nothing but whitespace not read", "1 spans without a label not read"],
        &[
            "1 fields `label.cats` not read",
            "1 fields `label.spans` not read",
            "1 relations with missing spans not read",
            "1 spans of nothing but whitespace not read",
            "1 spans without a label not read",
        ],
    ];
    for (line, expected) in lines.iter().zip(expected) {
        let (documents, notes) = load_text("d.jsonl", &line.to_string()).unwrap();
        assert_eq!(
            (words(&documents[0]), shown(&notes)),
            (vec!["robin"], expected.iter().map(|&note| note.to_owned()).collect())
        );
    }
}

#[test]
fn doccano_faults_name_their_field() {
    let cases = [
        (r#"[[2, 7, "Bird", 1]]"#, "`label[0]"),
        (r#"[[2, 7, "Bird"], [2, 7]]"#, "`label[1]"),
        (r#"[[2, "7", "Bird"]]"#, "`label[0][1]`"),
        (
            r#"{"entities": [{"label": "Bird", "start_offset": "2", "end_offset": 7}]}"#,
            "`label.entities[0].start_offset`",
        ),
        (r#"{"entities": [{"label": true, "start_offset": 2, "end_offset": 7}]}"#, "a label is a string"),
    ];
    for (label, expected) in cases {
        let error =
            load_text("d.jsonl", &format!("{{\"id\": 1, \"text\": \"A robin.\", \"label\": {label}}}")).unwrap_err();
        assert!(error.contains(expected) && !error.contains("array") && !error.contains("tuple"), "{error}");
    }
}

#[test]
fn label_studio_reads_one_of_several_texts() {
    let data = json!({"text": "A robin in an oak.", "title": "Elm and wren"});
    let arrow = json!({"type": "relation", "from_id": "a", "to_id": "c", "labels": "near"});
    let results = json!([
        region("c", "title", 0, 3, &json!(["Tree"])),
        region("a", "text", 2, 7, &json!(["Bird", 3, null])),
        arrow,
    ]);
    let (documents, notes) = load_text("a.json", &task(&data, &results)).unwrap();
    assert_eq!((documents[0].text.as_str(), words(&documents[0])), ("A robin in an oak.", vec!["robin"]));
    let expected = [
        "1 fields `data.title` not read",
        "2 labels that are not strings not read",
        "1 regions of another field not read",
        "1 relations with an unread region not read",
    ];
    assert_eq!(shown(&notes), expected);
    // The text with most regions is the one, in every task of the file.
    let tasks = json!([
        {"id": 1, "data": data, "annotations": [{"result": [region("a", "text", 2, 7, &json!(["Bird"]))]}]},
        {"id": 2, "data": data, "annotations": [{"result": [
            region("a", "title", 0, 3, &json!(["Tree"])), region("b", "title", 8, 12, &json!(["Bird"])),
        ]}]},
    ]);
    let (documents, _) = load_text("a.json", &tasks.to_string()).unwrap();
    assert_eq!(documents.iter().map(words).collect::<Vec<_>>(), [vec![], vec!["Elm", "wren"]]);
    // A control need not be called like its field.
    let results = json!([region("a", "passage", 2, 7, &json!("Bird"))]);
    assert_eq!(words(&load_text("a.json", &task(&json!({"text": "A robin."}), &results)).unwrap().0[0]), ["robin"]);
}

#[test]
fn label_studio_counts_what_it_cannot_read() {
    let value = |value: Value| json!({"id": "x", "type": "labels", "value": value});
    let arrow = |direction: &str, labels: Value| json!({"type": "relation", "from_id": "a", "to_id": "b", "direction": direction, "labels": labels});
    let results = json!([
        value(json!({"start": 2.0, "end": 7.0, "labels": ["Bird"]})),
        value(json!({"start": "2", "end": "7", "labels": ["Bird"]})),
        value(json!({"start": 2.5, "end": 7, "labels": ["Bird"]})),
        value(json!({"start": 2, "end": 1e20, "labels": ["Bird"]})),
        value(json!({"globalOffsets": {"start": 2, "end": 7}, "labels": ["Bird"]})),
        region("a", "text", 2, 7, &json!(["Bird"])),
        region("b", "text", 14, 17, &json!(["Tree"])),
        {"id": "y"},
        {"id": "z", "type": null},
        arrow("both", json!(["near"])),
        arrow("right", json!("nests-in")),
    ]);
    let (documents, notes) = load_text("a.json", &task(&json!({"text": "A robin in an oak."}), &results)).unwrap();
    assert_eq!((words(&documents[0]), links(&documents[0])), (vec!["robin", "oak"], vec![(0, 1, 0)]));
    let expected = [
        "1 duplicate mentions dropped",
        "3 regions whose `start` or `end` is not a whole number not read",
        "1 regions with `globalOffsets` instead of `start` and `end` not read",
        "1 relations with the direction `both` not read",
        "2 results without a type not read",
    ];
    assert_eq!(shown(&notes), expected);
    let error = load_text("a.json", &task(&json!({"text": ["A robin."]}), &json!([]))).unwrap_err();
    assert!(error.contains("none of which is a string"), "{error}");
}

#[test]
fn label_studio_line_breaks_are_escaped() {
    let results = json!([
        {"id": "a", "type": "labels", "value": {"start": 0, "end": 9, "text": "Old\\nrobin", "labels": ["Bird"]}},
    ]);
    let (documents, notes) = load_text("a.json", &task(&json!({"text": "Old\nrobin"}), &results)).unwrap();
    assert_eq!(
        (words(&documents[0]), shown(&notes)),
        (vec!["Old\nrobin"], vec!["1 sentence boundaries inside a mention removed".to_owned()])
    );
}

#[test]
fn dygie_faults_are_told() {
    let line = |more: &str| format!("{{\"doc_key\": \"a\", \"sentences\": [[\"A\", \"robin\"]], {more}}}");
    let cases = [
        (line(r#""ner": [[[1, 1, "Bird"]]], "ner": [[]]"#), "duplicate field `ner`"),
        (line(r#""relations": null, "relations": [[]]"#), "duplicate field `relations`"),
        (line(r#""clusters": [[[1, 1, "x"]]]"#), "`clusters[0][0][2]`: invalid type"),
        (line(r#""clusters": [[[1, 1], [1]]]"#), "expected a list of 2 offsets"),
        (format!("{0} {0}", line(r#""ner": [[]]"#)), "another value follows on the same line"),
        (format!("{},", line(r#""ner": [[]]"#)), "`,` follows the value"),
    ];
    for (line, expected) in cases {
        let error = load_text("a.jsonl", &line).unwrap_err();
        assert!(error.contains("a.jsonl:1:") && error.contains(expected), "{error}");
    }
}

#[test]
fn dygie_writes_relations_across_sentences_with_their_heads() {
    let line = r#"{"doc_key": "a", "sentences": [["A", "robin", "."], ["An", "oak", "."]], "ner": [[[1, 1, "Bird"]], [[4, 4, "Tree"]]], "relations": [[], [[1, 1, 4, 4, "nests-in"]]]}"#;
    let (documents, _) = load_text("a.jsonl", line).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("b.jsonl");
    assert!(write(&path, Format::Dygie, &documents, &ontology()).unwrap().is_empty());
    let written: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(written["relations"], json!([[[1, 1, 4, 4, "nests-in"]], []]));
    assert_eq!(read(&path, None, &ontology()).unwrap().documents, documents);
}

#[test]
fn labels_are_known_in_any_composition() {
    let text = "[[entity]]\nname = \"Ger\u{e4}t neu\"\n[[entity]]\nname = \"Ort\"\n[[relation]]\nname = \"ge\u{fc}bt\"";
    let ontology = tabpo_ontology::Ontology::parse(text, "test").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let line = json!({"doc_key": "a", "text": "a b", "entities": [
        {"start": 0, "end": 1, "type": "Gera\u{308}t neu"}, {"start": 2, "end": 3, "type": "Ort"},
    ], "relations": [{"head": 0, "tail": 1, "type": "geu\u{308}bt"}]});
    let path = directory.path().join("a.jsonl");
    fs::write(&path, line.to_string()).unwrap();
    let documents = read(&path, None, &ontology).unwrap().documents;
    assert_eq!((documents[0].mentions.len(), documents[0].relations.len()), (2, 1));
    let folder = directory.path().join("brat");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("a.txt"), "a b").unwrap();
    let annotation = "T1\tGera\u{308}t_neu 0 1\ta\nT2\tOrt 2 3\tb\nR1\tgeu\u{308}bt Arg1:T1 Arg2:T2\n";
    fs::write(folder.join("a.ann"), annotation).unwrap();
    let brat = read(&folder, None, &ontology).unwrap().documents;
    assert_eq!((&brat[0].mentions, &brat[0].relations), (&documents[0].mentions, &documents[0].relations));
    // What is written has the ontology's names.
    write(&path, Format::Jsonl, &brat, &ontology).unwrap();
    assert!(fs::read_to_string(&path).unwrap().contains("Ger\u{e4}t neu"));
}

#[test]
fn brat_relations_with_what_is_not_there_are_counted() {
    let annotation = b"T1\tBird 2 7\trobin\nR1\tnear Arg1:T1 Arg2:T9\nR2\tnear Arg1:E9 Arg2:T1\n";
    let (documents, notes) = load(&[("a.txt", b"A robin."), ("a.ann", annotation)]).unwrap();
    assert_eq!((words(&documents[0]), links(&documents[0])), (vec!["robin"], vec![]));
    assert_eq!(shown(&notes), ["2 relations of annotations that are not there not read"]);
}

#[test]
fn brat_names_are_checked_before_anything_is_written() {
    let keys = ["fine".to_owned(), "x".repeat(252)];
    let lines: Vec<String> = keys.iter().map(|key| json!({"doc_key": key, "text": "A robin."}).to_string()).collect();
    let (documents, _) = load_text("a.jsonl", &lines.join("\n")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("out");
    let error = write(&folder, Format::Brat, &documents, &ontology()).unwrap_err().to_string();
    assert!(error.contains("up to 251 bytes") && !folder.exists(), "{error}");
    let longest = json!({"doc_key": "x".repeat(251), "text": "A robin."}).to_string();
    let (documents, _) = load_text("a.jsonl", &longest).unwrap();
    write(&folder, Format::Brat, &documents, &ontology()).unwrap();
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 3);
}
