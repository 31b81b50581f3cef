//! Prediction files as programs write them: with a mark, names that are numbers, halves of characters,
//! texts in another spelling.

mod common;

use tabpo_corpus::{Document, Format};
use tabpo_metrics::{Family, Predictions, Prf, count};

/// Scores a prediction file.
fn score(gold: &str, predictions: &str) -> Result<Prf, String> {
    let directory = tempfile::tempdir().unwrap();
    let ontology = common::scierc_ontology();
    let (gold_path, path) = (directory.path().join("gold.jsonl"), directory.path().join("p.jsonl"));
    std::fs::write(&gold_path, gold).unwrap();
    std::fs::write(&path, predictions).unwrap();
    let documents: Vec<Document> = tabpo_corpus::read(&gold_path, Some(Format::Jsonl), &ontology).unwrap().documents;
    let counts = Predictions::open(&path)
        .and_then(|mut predictions| count(documents.iter().map(Ok), &mut predictions, &ontology))
        .map_err(|error| error.to_string())?;
    Ok(Prf::of(counts.layout.total(&counts.table.pooled(), Family::Ner)))
}

fn gold(key: &str, text: &str) -> String {
    let end = text.chars().count();
    let entity = serde_json::json!({"start": 0, "end": end, "type": "Method"});
    format!("{}\n", serde_json::json!({"doc_key": key, "text": text, "entities": [entity]}))
}

fn output(text: &str) -> String {
    serde_json::json!({"entities": [{"id": "e1", "text": text, "type": "Method"}], "relations": []}).to_string()
}

#[test]
fn names_may_be_numbers_and_lines_may_begin_with_a_mark() {
    let answer = serde_json::to_string(&output("parsing")).unwrap();
    for line in [
        format!("\u{feff}{{\"doc_key\": \"7\", \"sent\": 0, \"output\": {answer}}}\n"),
        format!("{{\"doc_key\": 7, \"sent\": 0, \"output\": {answer}}}\n"),
        format!("\u{feff}{{\"sent\": 0, \"doc_key\": 7, \"output\": {answer}, \"model\": 1}}\r\n"),
        "\u{feff}{\"doc_key\": 7, \"predicted_ner\": [[[0, 0, \"Method\", 0.5]]]}\n".to_owned(),
    ] {
        let prf = score(&gold("7", "parsing"), &line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(prf.f1, Some(1.0), "{line}");
    }
}

#[test]
fn names_match_in_either_composition() {
    let answer = serde_json::to_string(&output("parsing")).unwrap();
    for (gold_key, key) in [("Cafe\u{301}", "Caf\u{e9}"), ("Caf\u{e9}", "Cafe\u{301}"), ("\u{2126}", "\u{3a9}")] {
        let line = format!("{{\"doc_key\": \"{key}\", \"sent\": 0, \"output\": {answer}}}\n");
        let prf = score(&gold(gold_key, "parsing"), &line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(prf.f1, Some(1.0), "{line}");
    }
    // Names that gold has in both compositions are two names.
    let both = gold("Cafe\u{301}", "parsing") + &gold("Caf\u{e9}", "parsing");
    let lines = ["Cafe\u{301}", "Caf\u{e9}"]
        .map(|key| format!("{{\"doc_key\": \"{key}\", \"sent\": 0, \"output\": {answer}}}\n"));
    assert_eq!(score(&both, &lines.concat()).unwrap().f1, Some(1.0));
    let error = score(&gold("Cafe\u{301}", "parsing"), &lines[0].replace("Cafe", "Kafe")).unwrap_err();
    assert!(error.contains("has no document"), "{error}");
}

#[test]
fn half_a_character_in_an_answer_is_wrong_and_no_more() {
    let answer = r#""{\"entities\":[{\"id\":\"e1\",\"text\":\"parsing\",\"type\":\"Method\"},{\"id\":\"e2\",\"text\":\"\ud83d\",\"type\":\"Task\"}],\"relations\":[]}""#;
    let line = format!("{{\"doc_key\": \"a\", \"sent\": 0, \"output\": {answer}}}\n");
    let prf = score(&gold("a", "parsing"), &line).unwrap();
    assert_eq!((prf.p, prf.r), (Some(0.5), Some(1.0)));
}

#[test]
fn texts_match_in_either_spelling() {
    for (source, written) in [("na\u{ef}ve", "nai\u{308}ve"), ("nai\u{308}ve", "na\u{ef}ve"), ("\u{2126}", "\u{3a9}")] {
        let line = serde_json::json!({"doc_key": "a", "sent": 0, "output": output(written)}).to_string();
        assert_eq!(score(&gold("a", source), &line).unwrap().f1, Some(1.0), "{source} {written}");
    }
}

#[test]
fn what_is_no_line_of_predictions_is_said() {
    let cases = [
        ("[{\"doc_key\": \"a\", \"output\": \"\"}]", "not a list"),
        ("{\n\"doc_key\": \"a\",\n\"output\": \"\"}", "jq -c ."),
        ("{\"doc_key\": [], \"output\": \"\"}", "`doc_key`: invalid type"),
    ];
    for (text, expected) in cases {
        let error = score(&gold("a", "parsing"), text).unwrap_err();
        assert!(error.contains("p.jsonl:1") && error.contains(expected), "{error}");
    }
}
