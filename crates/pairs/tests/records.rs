//! Pairs on disk, exports and statistics.

use std::{io::Cursor, path::Path};

use serde_json::{Value, json};
use tabpo_ontology::Ontology;
use tabpo_pairs::{EditRecord, ExportFormat, Kind, PairRecord, RecordError, Source, StatsCollector, add_roles, export};

fn record(kind: Kind, from: &str, to: &str, distance: u32) -> PairRecord {
    PairRecord {
        id: "d:0:0".into(),
        doc_key: "d".into(),
        sent: Some(0),
        prompt: "optical flow".into(),
        chosen: r#"{"entities":[{"id":"e1","text":"optical flow","type":"Task"}],"relations":[]}"#.into(),
        rejected: r#"{"entities":[{"id":"e1","text":"optical flow","type":"Method"}],"relations":[]}"#.into(),
        edit: EditRecord {
            kind,
            source: Source::Mode,
            pattern: None,
            from: Some(from.into()),
            to: Some(to.into()),
            item: "e1".into(),
            further: vec![],
        },
        distance_tokens: distance,
        weight: 1.0,
    }
}

#[test]
fn a_line_has_the_documented_fields_and_reads_back() {
    let pair = record(Kind::Label, "Task", "Method", 1);
    let mut bytes = Vec::new();
    pair.write(&mut bytes).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = ["id", "doc_key", "sent", "prompt", "chosen", "rejected", "edit", "distance_tokens", "weight"];
    assert_eq!(keys, expected);
    let edit =
        json!({"kind": "label", "source": "mode", "pattern": null, "from": "Task", "to": "Method", "item": "e1"});
    assert_eq!(value["edit"], edit);
    let read: Vec<_> = PairRecord::read(Cursor::new(bytes), Path::new("p.jsonl")).map(Result::unwrap).collect();
    assert_eq!(read, [pair]);
}

#[test]
fn a_broken_line_is_named() {
    let mut bytes = Vec::new();
    record(Kind::Label, "Task", "Method", 1).write(&mut bytes).unwrap();
    bytes.extend_from_slice(b"\n{\"id\": \"x\"}\n");
    let read: Vec<_> = PairRecord::read(Cursor::new(bytes), Path::new("p.jsonl")).collect();
    assert!(read[0].is_ok());
    match &read[1] {
        Err(RecordError::Line { line, message, .. }) => {
            assert_eq!((*line, message.as_str()), (3, "missing field `doc_key`"));
        }
        other => panic!("expected a line error, found {other:?}"),
    }
}

#[test]
fn exports_have_the_form_of_trl() {
    let pair = record(Kind::Label, "Task", "Method", 1);
    let plain = export(&pair, ExportFormat::Trl, None);
    assert_eq!(plain, json!({"prompt": "optical flow\n", "chosen": pair.chosen, "rejected": pair.rejected}));
    let chat = export(&pair, ExportFormat::TrlChat, Some("Extract."));
    assert_eq!(chat["prompt"][0], json!({"role": "system", "content": "Extract."}));
    assert_eq!(chat["prompt"][1], json!({"role": "user", "content": "optical flow"}));
    assert_eq!(chat["rejected"], json!([{"role": "assistant", "content": pair.rejected}]));
}

#[test]
fn exported_roles_are_those_of_the_writer_counted_in_characters() {
    let ontology = "[[entity]]\nname = \"Task\"\n[[entity]]\nname = \"Method\"\n[[relation]]\nname = \"Used-for\"\n";
    let ontology = Ontology::parse(ontology, "test").unwrap();
    let mut pair = record(Kind::Label, "Task", "Method", 1);
    pair.weight = 0.5;
    pair.chosen = r#"{"entities":[{"id":"e1","text":"naïve “flow”","type":"Task"},{"id":"e2","text":"Kur\"s","type":"Method"}],"relations":[{"head":"e2","type":"Used-for","tail":"e1"}]}"#.into();
    pair.rejected = pair.chosen.replace("Task", "Method");
    let mut line = export(&pair, ExportFormat::Trl, None);
    add_roles(&mut line, &pair, &ontology).unwrap();
    assert_eq!((&line["id"], &line["kind"], &line["weight"]), (&json!("d:0:0"), &json!("label"), &json!(0.5)));
    let read = |side: &str| -> Vec<(String, String)> {
        let text: Vec<char> = line[side].as_str().unwrap().chars().collect();
        let stretch = |stretch: &Value| {
            let at = |key: &str| stretch[key].as_u64().unwrap() as usize;
            (text[at("start")..at("end")].iter().collect(), stretch["role"].as_str().unwrap().to_owned())
        };
        line[format!("{side}_roles")].as_array().unwrap().iter().map(stretch).collect()
    };
    let expected = |label: &str| {
        let stretches = [
            ("naïve “flow”", "span"),
            (label, "entity-label"),
            ("Kur\\\"s", "span"),
            ("Method", "entity-label"),
            ("e2", "link"),
            ("Used-for", "relation-label"),
            ("e1", "link"),
        ];
        stretches.map(|(text, role)| (text.to_owned(), role.to_owned())).to_vec()
    };
    assert_eq!(read("chosen"), expected("Task"));
    assert_eq!(read("rejected"), expected("Method"));

    pair.rejected = pair.rejected.replace("Used-for", "Part-of");
    let error = add_roles(&mut line, &pair, &ontology).unwrap_err();
    assert_eq!(error.to_string(), "pair `d:0:0`: the rejected answer is not in the canonical form of this ontology");
}

#[test]
fn statistics_count_what_is_there() {
    let mut collector = StatsCollector::default();
    for (to, distance) in [("Method", 1), ("Method", 1), ("Generic", 3), ("Metric", 9)] {
        collector.add(&record(Kind::Label, "Task", to, distance));
    }
    collector.add(&record(Kind::Direction, "Used-for", "Used-for", 2));
    let stats = collector.finish(None);
    assert_eq!((stats.pairs, stats.examples, stats.mean_weight), (5, 1, 1.0));
    let labels = &stats.kinds[0];
    assert_eq!((labels.kind, labels.count, labels.share), (Kind::Label, 4, 0.8));
    assert_eq!((labels.distances.least, labels.distances.median, labels.distances.largest), (1, 1, 9));
    assert_eq!((stats.distances.median, stats.distances.mean), (2, 3.2));
    assert_eq!(
        (stats.changes[0].to.as_deref(), stats.changes[0].count, stats.changes[0].share),
        (Some("Method"), 2, 0.5)
    );
    assert_eq!(stats.scaffold_first, 0.0);
    assert!(stats.label_distance.is_none());
    assert!((0.5..0.8).contains(&stats.prefix_shared));
}
