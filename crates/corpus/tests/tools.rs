//! Files as annotation tools and people leave them: read, or refused with what to do, and nothing that is
//! left out goes uncounted.

mod support;

use std::{fs, path::Path};

use support::{File, links, load, load_text, ontology, shown, words};
use tabpo_corpus::{Format, Note, read, write};
use tabpo_ontology::Ontology;

#[test]
fn brat_events_cost_what_hangs_on_them() {
    let text = "A robin sings in the old oak.";
    let annotation = "R1\tnear Arg1:T1 Arg2:E1\nT1\tBird 2 7\trobin\nT2\tSinging 8 13\tsings\nE1\tSinging:T2 Who:T1\n\
                      T3\tTree 25 28\toak\nR2\tnests-in Arg1:T1 Arg2:T3\nE2\tStaying:T4\nT4\tStaying 14 16\tin\n\
                      R3\tCauses Arg1:E1 Arg2:E2\nA1\tNegated E1\n*\tEquiv T1 T2\n";
    let (documents, notes) = load(&[("a.txt", text.as_bytes()), ("a.ann", annotation.as_bytes())]).unwrap();
    assert_eq!((words(&documents[0]), links(&documents[0])), (vec!["robin", "oak"], vec![(0, 1, 0)]));
    let expected = [
        "1 attributes not read",
        "1 equivalences not read",
        "2 events not read",
        "2 relations with an event not read",
        "2 triggers of events not read",
    ];
    assert_eq!(shown(&notes), expected);
    let place = notes.first_place(&Note::IgnoredAnnotation("events".into())).unwrap();
    assert!(place.to_string().ends_with("a.ann:1 (document `a`)"), "{place}");

    // A trigger without its event is known by the project's configuration, a trigger that is an entity too by
    // the ontology.
    let configuration = "[entities]\nBird\nTree\n[relations]\n[events]\nSinging\tWho:Bird\n";
    let annotation = "T1\tSinging 8 13\tsings\nT2\tBird 2 7\trobin\nE1\tBird:T2\n";
    let files: [(&str, &[u8]); 3] = [
        ("annotation.conf", configuration.as_bytes()),
        ("notes/a.txt", text.as_bytes()),
        ("notes/a.ann", annotation.as_bytes()),
    ];
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("notes")).unwrap();
    for (name, content) in files {
        fs::write(directory.path().join(name), content).unwrap();
    }
    let loaded = read(&directory.path().join("notes"), None, &ontology()).unwrap();
    assert_eq!(words(&loaded.documents[0]), ["robin"]);
    assert_eq!(shown(&loaded.notes), ["1 events not read", "1 triggers of events not read"]);
}

#[test]
fn brat_roles_are_what_the_project_calls_them() {
    let annotation = "T1\tBird 2 7\trobin\nT2\tTree 18 21\toak\nR1\tnests-in Where:T2 Who:T1\n";
    let text = "A robin is in the oak.";
    let pair: [(&str, &[u8]); 2] = [("a.txt", text.as_bytes()), ("a.ann", annotation.as_bytes())];
    let configuration = "[entities]\nBird\nTree\n[relations]\nnests-in Who:Bird, Where:Tree\n".as_bytes();
    let (documents, _) = load(&[pair[0], pair[1], ("annotation.conf", configuration)]).unwrap();
    assert_eq!(links(&documents[0]), [(0, 1, 0)]);
    let error = load(&pair).unwrap_err();
    assert!(error.contains("a.ann:3") && error.contains("the roles `Where` and `Who`"), "{error}");
}

#[test]
fn brat_folders_are_read_as_annotators_leave_them() {
    // Two files of a shared task, a text without annotation, annotation without a text, files of the system.
    let files: [(&str, &[u8]); 8] = [
        ("a.txt", b"A robin in an oak."),
        ("a.a1", b"T1\tBird 2 7\trobin\n"),
        ("a.a2", b"T2\tTree 14 17\toak\nR1\tnests-in Arg1:T1 Arg2:T2\n"),
        ("b.txt", b"Nothing yet."),
        ("c.ann", b"T1\tBird 0 1\tA\n"),
        ("._a.txt", b"\xff\xfe"),
        (".stats_cache", b""),
        ("old/d.txt", b"An owl."),
    ];
    let (documents, notes) = load(&files).unwrap();
    assert_eq!(documents.iter().map(|document| document.key.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!((words(&documents[0]), links(&documents[0])), (vec!["robin", "oak"], vec![(0, 1, 0)]));
    let expected = [
        "1 annotation files without their `.txt` not read",
        "1 texts of the folder `old` in it not read",
        "1 documents without an annotation file, read as documents without annotation",
    ];
    assert_eq!(shown(&notes), expected);

    let nothing: [(&[File], &str); 4] = [
        (&[("train/a.txt", b"a"), ("test/b.txt", b"b")], "there are some in test, train"),
        (&[("a.ann", b""), ("b.ann", b"")], "2 annotation files, but no `.txt`"),
        (&[("a.jsonl", b""), ("readme", b"")], "name a file, a.jsonl"),
        (&[("a.pdf", b""), ("b.pdf", b"")], "none of its 2 entries is a `.txt`"),
    ];
    for (files, expected) in nothing {
        let error = load(files).unwrap_err();
        assert!(error.contains("holds no document") && error.contains(expected), "{error}");
    }
    let empty = tempfile::tempdir().unwrap();
    assert!(read(empty.path(), None, &ontology()).unwrap_err().to_string().ends_with("it is empty"));
}

#[test]
fn brat_words_are_checked_and_shifts_named() {
    let windows = "A robin.\r\nAn oak.\r\n";
    let files = |text: &'static str, annotation: &'static str| -> [(&str, &[u8]); 2] {
        [("a.txt", text.as_bytes()), ("a.ann", annotation.as_bytes())]
    };
    let (documents, _) = load(&files(windows, "T1\tTree 13 16\toak\n")).unwrap();
    assert_eq!(words(&documents[0]), ["oak"]);
    let error = load(&files(windows, "T1\tBird 2 7\trobin\nT2\tTree 12 15\toak\n")).unwrap_err();
    assert!(
        error.contains("a.ann:2") && error.contains("shifted by one for each line: Windows line breaks?"),
        "{error}"
    );
    let (documents, notes) = load(&files("🌳 oak, 🌳 elm", "T1\tTree 3 6\toak\nT2\tTree 11 14\telm\n")).unwrap();
    assert_eq!(words(&documents[0]), ["oak", "elm"]);
    assert_eq!(notes.count(&Note::Utf16Offsets), 1);
    let error = load(&[("a.txt", b"Ein S\xe4ger.\n"), ("a.ann", b"")]).unwrap_err();
    assert!(
        error.contains("a.txt: line 1: the byte 0xe4 at offset 5 is not UTF-8; convert Latin-1 with `iconv -f latin1"),
        "{error}"
    );
}

#[test]
fn brat_mentions_over_line_breaks_are_written_in_pieces() {
    let text = "The great\ngrey \r\n owl sits.";
    let line = format!(
        "{}\n",
        serde_json::json!({
            "doc_key": "a", "text": text, "entities": [{"start": 4, "end": 21, "type": "Bird"}],
        })
    );
    let (documents, _) = load_text("a.jsonl", &line).unwrap();
    let directory = tempfile::tempdir().unwrap();
    assert!(write(directory.path(), Format::Brat, &documents, &ontology()).unwrap().is_empty());
    let annotation = fs::read_to_string(directory.path().join("a.ann")).unwrap();
    assert_eq!(annotation, "T1\tBird 4 9;10 14;18 21\tgreat grey owl\n");
    let back = read(directory.path(), None, &ontology()).unwrap();
    assert_eq!(words(&back.documents[0]), ["great\ngrey \r\n owl"]);
    assert_eq!(back.notes.count(&Note::DiscontinuousMention), 0);

    // Labels that brat's names cannot tell apart are not written.
    let twins = Ontology::parse("[[entity]]\nname = \"a b\"\n[[entity]]\nname = \"a/b\"", "test").unwrap();
    let error = write(&directory.path().join("out"), Format::Brat, &[], &twins).unwrap_err().to_string();
    assert!(error.contains("both `a b` and `a/b` as `a_b`"), "{error}");
}

/// A task with one text and the results of one annotation.
fn task(text: &str, results: &serde_json::Value) -> String {
    serde_json::json!([{"id": 1, "data": {"text": text}, "annotations": [{"result": results}]}]).to_string()
}

fn region(id: &str, start: u64, end: u64, text: &str, labels: &[&str]) -> serde_json::Value {
    serde_json::json!({"id": id, "type": "labels", "to_name": "text", "value": {
        "start": start, "end": end, "text": text, "labels": labels,
    }})
}

#[test]
fn label_studio_costs_the_item_that_cannot_be_said() {
    let arrow = |from: &str, to: &str, labels: serde_json::Value| serde_json::json!({"type": "relation", "from_id": from, "to_id": to, "direction": "right", "labels": labels});
    let results = serde_json::json!([
        region("a", 2, 7, "robin", &["Bird"]),
        region("b", 14, 17, "oak", &["Tree"]),
        region("c", 8, 10, "in", &[]),
        {"id": "d", "type": "labels", "value": {"start": null, "end": null, "labels": ["Bird"]}},
        {"id": "e", "type": "paragraphlabels", "value": {"start": "0", "end": "0", "paragraphlabels": ["Bird"]}},
        {"id": 6, "type": "choices", "value": {"choices": ["yes"]}},
        arrow("a", "b", serde_json::json!(["nests-in"])),
        arrow("a", "b", serde_json::json!([])),
        arrow("a", "e", serde_json::json!(["near"])),
        arrow("a", "deleted", serde_json::json!(["unheard-of"])),
        arrow("b", "b", serde_json::json!(["near"])),
    ]);
    let (documents, notes) = load_text("a.json", &task("A robin in an oak.", &results)).unwrap();
    assert_eq!((words(&documents[0]), links(&documents[0])), (vec!["robin", "oak"], vec![(0, 1, 0)]));
    let expected = [
        "1 regions without a label not read",
        "1 regions without offsets not read",
        "2 relations with an unread region not read",
        "1 relations without a label not read",
        "1 results of type `choices` not read",
        "1 results of type `paragraphlabels` not read",
        "1 relations of a mention with itself left out",
    ];
    assert_eq!(shown(&notes), expected);
}

#[test]
fn label_studio_keys_are_read_or_counted() {
    let tasks = serde_json::json!([
        {
            "id": "x", "data": {"body": "An owl.", "title": "A robin in an oak.", "doc_key": 12},
            "annotations": [], "predictions": [{"result": []}], "drafts": [], "remark": "later",
            "completions": [{"skipped": true}, {"was_cancelled": null, "result": [region("a", 2, 7, "robin", &["Bird"])]}],
        },
        {"id": 2, "data": {"body": "An elm.", "title": "A robin."}, "annotations": null},
    ]);
    let (documents, notes) = load_text("a.json", &tasks.to_string()).unwrap();
    assert_eq!(documents.iter().map(|document| document.key.as_str()).collect::<Vec<_>>(), ["12", "2"]);
    // The field whose text has the words of the regions holds the text of the tasks without any, too.
    assert_eq!(documents[1].text, "A robin.");
    assert_eq!(words(&documents[0]), ["robin"]);
    let expected = [
        "2 fields `data.body` not read",
        "1 fields `predictions` not read",
        "1 fields `remark` not read",
        "1 cancelled or further annotations of a task not read",
    ];
    assert_eq!(shown(&notes), expected);
    let error = load_text("a.json", r#"[{"id": 1, "data": {"a": "x", "b": "y"}}]"#).unwrap_err();
    assert!(error.contains("`data` has the fields `a`, `b`") && error.contains("call it `text`"), "{error}");
    // One task a line is read as well.
    let lines = "{\"id\": 1, \"data\": {\"text\": \"a\"}}\n{\"id\": 2, \"data\": {\"text\": \"b\"}}\n";
    assert_eq!(load_text("a.jsonl", lines).unwrap().0.len(), 2);
}

#[test]
fn label_studio_fields_that_come_twice_are_errors() {
    let twice = [
        (r#"[{"id": 1, "data": {"text": "a", "text": "b"}}]"#, "duplicate field `text`"),
        (
            r#"[{"id": 1, "data": {"text": "a"}, "annotations": [{"result": [{"type": "labels", "value": {"start": 0, "start": 0}}]}]}]"#,
            "duplicate field `start`",
        ),
        (r#"[{"id": 1, "id": 2, "data": {"text": "a"}}]"#, "duplicate field `id`"),
    ];
    for (text, expected) in twice {
        let error = load_text("a.json", text).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn label_studio_words_decide_what_offsets_count() {
    let text = "🦉 robin, 🦉 owl";
    let utf16 = serde_json::json!([region("a", 3, 8, "robin", &["Bird"]), region("b", 13, 16, "owl", &["Bird"])]);
    let (documents, notes) = load_text("a.json", &task(text, &utf16)).unwrap();
    assert_eq!((words(&documents[0]), notes.count(&Note::Utf16Offsets)), (vec!["robin", "owl"], 1));
    let points = serde_json::json!([region("a", 2, 7, "robin", &["Bird"]), region("b", 11, 14, "owl", &["Bird"])]);
    let (documents, notes) = load_text("a.json", &task(text, &points)).unwrap();
    assert_eq!((words(&documents[0]), notes.is_empty()), (vec!["robin", "owl"], true));
    let mixed = serde_json::json!([region("a", 2, 7, "robin", &["Bird"]), region("b", 13, 16, "owl", &["Bird"])]);
    let error = load_text("a.json", &task(text, &mixed)).unwrap_err();
    assert!(error.contains("document `1`") && error.contains("[13, 16]") && error.contains("UTF-16 units?"), "{error}");
    // Composed and decomposed words are the same words, and come out as the text has them.
    let decomposed = serde_json::json!([region("a", 0, 4, "p\u{e9}p", &["Bird"])]);
    let (documents, _) = load_text("a.json", &task("pe\u{301}p", &decomposed)).unwrap();
    assert_eq!(words(&documents[0]), ["pe\u{301}p"]);
}

#[test]
fn doccano_of_every_version() {
    let lines = [
        r#"{"id": 1, "text": "A robin.", "labels": [[2, 7, "Bird"]], "meta": {}}"#,
        r#"{"id": 1, "data": "A robin.", "label": {"entities": [{"id": 5, "label": "Bird", "start_offset": 2, "end_offset": 7}], "relations": null}}"#,
        r#"{"id": "1", "text": "A robin.", "annotations": [{"label": "Bird", "start_offset": 2, "end_offset": 7, "user": 1}]}"#,
        r#"{"id": 1, "text": "A robin.", "entities": [{"id": 5, "label": "Bird", "start_offset": 2, "end_offset": 7, "colour": "red"}], "relations": [{"id": 1, "from_id": 5, "to_id": 9, "type": "near"}], "Comments": ["?"]}"#,
    ];
    let mut notes = Vec::new();
    for line in lines {
        let (documents, found) = load_text("d.jsonl", line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!((documents[0].key.as_str(), words(&documents[0])), ("1", vec!["robin"]), "{line}");
        notes.extend(shown(&found));
    }
    let expected = [
        "1 fields `meta` not read",
        "1 fields `Comments` not read",
        "1 fields `entities.colour` not read",
        "1 relations with missing spans not read",
    ];
    assert_eq!(notes, expected);
    let refused = [
        (
            r#"{"id": 1, "text": "A robin.", "annotations": [{"label": 3, "start_offset": 2, "end_offset": 7}]}"#,
            "numbers of labels",
        ),
        (r#"{"id": 1, "text": "A robin.", "label": ["positive"]}"#, "classes of whole texts"),
        (r#"{"id": {}, "text": "A robin.", "label": []}"#, "`id`: invalid type"),
    ];
    for (line, expected) in refused {
        let error = load_text("d.jsonl", line).unwrap_err();
        assert!(error.contains(":1") && error.contains(expected), "{error}");
    }
}

#[test]
fn json_need_not_stand_in_lines() {
    let object = serde_json::json!({"doc_key": 3, "text": "A robin in an oak.", "entities": [
        {"start": 2, "end": 7, "type": "Bird", "text": "robin", "score": 0.5}, {"start": 14, "end": 17, "type": "Tree"},
    ], "relations": null, "clusters": null});
    let other = serde_json::json!({"doc_key": "b", "text": "Nothing."});
    let pretty = |value: &serde_json::Value| serde_json::to_string_pretty(value).unwrap();
    let files = [
        format!("{object}\n{other}\n"),
        pretty(&serde_json::json!([object, other])),
        serde_json::json!([object, other]).to_string(),
        format!("\n{}\n{}", pretty(&object), pretty(&other)),
        format!("\u{feff}{}\r\n{other}\r\n", pretty(&object).replace('\n', "\r\n")),
    ];
    for text in files {
        let (documents, notes) = load_text("a.json", &text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(documents.iter().map(|document| document.key.as_str()).collect::<Vec<_>>(), ["3", "b"]);
        assert_eq!(words(&documents[0]), ["robin", "oak"]);
        assert_eq!(shown(&notes), ["1 fields `entities.score` not read"]);
    }
    let error = load_text("a.json", &pretty(&serde_json::json!([object, object]))).unwrap_err();
    assert!(error.contains("already used in line 2"), "{error}");
    let error = load_text("a.json", "[\n{\"doc_key\": \"a\", \"text\": \"b\"},\n{\"doc_key\": \"c\",\n\"text\": 4}]")
        .unwrap_err();
    assert!(error.contains("a.json:4:") && error.contains("`text`"), "{error}");
    let wrong = object.to_string().replace("\"text\":\"robin\"", "\"text\":\"wren\"");
    assert!(load_text("a.jsonl", &wrong).unwrap_err().contains("the text at 2 to 7 is `robin`, not `wren`"));
}

#[test]
fn dygie_holds_relations_across_sentences_and_scores() {
    let line = r#"{"doc_key": 7, "sentences": [["A", "robin", "."], ["An", "oak", "."]], "ner": [[[1, 1, "Bird", 3.5, 0.9]], [[4, 4, "Tree"]]], "predicted_ner": [], "relations": [[], [[1, 1, 4, 4, "nests-in", 0.1], [4, 4, 4, 4, "near"]]], "clusters": null}"#;
    let (documents, notes) = load_text("a.jsonl", line).unwrap();
    assert_eq!((documents[0].key.as_str(), links(&documents[0])), ("7", vec![(0, 1, 0)]));
    let expected = [
        "1 fields `predicted_ner` not read",
        "2 numbers after labels not read",
        "1 relations of a mention with itself left out",
    ];
    assert_eq!(shown(&notes), expected);
}

#[test]
fn half_a_character_costs_itself_only() {
    let cut = r"\ud83d";
    let lines = [
        format!(r#"{{"doc_key": "a", "sentences": [["A", "{cut}", "robin"]], "ner": [[[2, 2, "Bird"]]]}}"#),
        format!(
            r#"{{"doc_key": "a{cut}", "text": "A {cut} robin", "entities": [{{"start": 4, "end": 9, "type": "Bird"}}]}}"#
        ),
        format!(
            r#"[{{"id": 1, "data": {{"text": "A {cut} robin"}}, "annotations": [{{"result": [{{"id": "a", "type": "labels", "value": {{"start": 4, "end": 9, "text": "robin", "labels": ["Bird"]}}}}]}}]}}]"#
        ),
    ];
    for (line, count) in lines.iter().zip([1, 2, 1]) {
        let (documents, notes) = load_text("a.json", line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!((words(&documents[0]), notes.count(&Note::LoneSurrogate)), (vec!["robin"], count), "{line}");
        assert_eq!(documents[0].text, "A \u{fffd} robin");
    }
}

#[test]
fn formats_that_are_not_read_are_named_with_a_remedy() {
    let files = [
        ("a.json", "[{\"input\": \"A robin\", \"output\": {\"entities\": {\"Bird\": [\"robin\"]}}}]", "GLiNER2"),
        ("a.json", "[{\"id\": 0, \"paragraphs\": []}]", "spaCy"),
        ("a.json", "{\"tokens\": [\"robin\"], \"ner_tags\": [1]}", "CoNLL"),
        ("a.ann", "T1\tBird 2 7\trobin\n", "brat"),
        (
            "a.json",
            "[{\"id\": 1, \"t\": \"A robin\", \"label\": [{\"start\": 2, \"end\": 7, \"labels\": [\"Bird\"]}]}]",
            "JSON-MIN",
        ),
    ];
    for (name, content, expected) in files {
        let error = load_text(name, content).unwrap_err();
        assert!(
            error.contains("looks like") && error.contains(expected) && error.contains("is not supported: "),
            "{error}"
        );
    }
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a.txt"), "A robin.").unwrap();
    let error = read(&directory.path().join("a.txt"), None, &ontology()).unwrap_err().to_string();
    assert!(error.contains("it begins with `A robin.`") && error.contains("name the folder"), "{error}");
    let error = read(Path::new("/"), Some(Format::Dygie), &ontology()).unwrap_err().to_string();
    assert!(error.starts_with("cannot read /"), "{error}");
    let error = load_text("a.jsonl", "{\"tekst\": \"a\"}").unwrap_err();
    assert!(error.contains("but `tekst`") && error.contains("looks like {\"doc_key\""), "{error}");
}

#[test]
fn a_mark_at_the_start_is_no_text() {
    let files: [(&str, &[u8]); 2] =
        [("a.txt", "\u{feff}A robin.".as_bytes()), ("a.ann", "\u{feff}T1\tBird 3 8\trobin\n".as_bytes())];
    let (documents, notes) = load(&files).unwrap();
    assert_eq!((words(&documents[0]), documents[0].token(0)), (vec!["robin"], "A"));
    assert!(notes.is_empty());
    // A mention that begins with the mark loses it, as it would a blank.
    let (documents, notes) = load(&[files[0], ("a.ann", b"T1\tBird 0 8\t\xef\xbb\xbfA robin\n")]).unwrap();
    assert_eq!((words(&documents[0]), notes.count(&Note::TrimmedMention)), (vec!["A robin"], 1));
}
