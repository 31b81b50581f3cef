//! `eval`, `compare` and `errors` on invented text whose figures independent evaluators computed.

mod support;

use serde_json::Value;
use support::{Place, example, root};

/// A directory with gold, ontology and predictions.
fn place() -> Place {
    let place = Place::new();
    place.write("ontology.toml", &example("scierc/ontology.toml"));
    for name in ["gold", "offsets_a", "offsets_b", "raw_sentences_ids", "raw_sentences_texts"] {
        let file = root().join(format!("crates/metrics/tests/fixtures/{name}.jsonl"));
        let text = std::fs::read_to_string(file).expect("the fixture is part of the repository");
        place.write(&format!("{name}.jsonl"), &text);
    }
    place
}

const GOLD: [&str; 4] = ["--ontology", "ontology.toml", "--gold", "gold.jsonl"];

fn run(place: &Place, command: &str, rest: &[&str]) -> String {
    let arguments: Vec<&str> = [command].into_iter().chain(GOLD).chain(rest.iter().copied()).collect();
    place.run(&arguments, 0).0
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("standard output holds JSON and nothing else")
}

/// Same shape, same counts, figures within the 1e-9 at which evaluation scripts are compared (a mean
/// over labels may be summed in another order).
fn assert_close(found: &Value, expected: &Value, place: &str) {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            assert!(found.keys().all(|key| expected.contains_key(key)), "{place}: other keys");
            for (key, value) in expected {
                assert_close(found.get(key).unwrap_or(&Value::Null), value, &format!("{place}.{key}"));
            }
        }
        // Where the evaluators write 0 for a rate over nothing, this program writes none.
        (Value::Null, Value::Number(expected)) => assert_eq!(expected.as_f64(), Some(0.0), "{place}"),
        (Value::Number(found), Value::Number(expected)) => {
            let (found, expected) = (found.as_f64().expect("a figure"), expected.as_f64().expect("a figure"));
            assert!((found - expected).abs() <= 1e-9, "{place}: {found} instead of {expected}");
        }
        _ => assert_eq!(found, expected, "{place}"),
    }
}

#[test]
fn the_order_of_predictions_does_not_matter() {
    let place = place();
    let text = std::fs::read_to_string(place.path("raw_sentences_ids.jsonl")).expect("it was written");
    let reversed: String = text.lines().rev().flat_map(|line| [line, "\n"]).collect();
    place.write("reversed.jsonl", &reversed);
    for command in ["eval", "errors"] {
        let [one, other] =
            ["raw_sentences_ids", "reversed"].map(|name| run(&place, command, &["--pred", &format!("{name}.jsonl")]));
        assert_eq!(one, other, "{command}");
    }
}

#[test]
fn eval_writes_the_expected_figures() {
    let place = place();
    for name in ["offsets_a", "raw_sentences_ids"] {
        let found = json(&run(&place, "eval", &["--pred", &format!("{name}.jsonl"), "--resamples", "100", "--json"]));
        let file = root().join(format!("crates/metrics/tests/fixtures/{name}.expected.json"));
        let expected = json(&std::fs::read_to_string(file).expect("the fixture is part of the repository"));
        for key in expected.as_object().expect("an object").keys() {
            assert!(found.get(key).is_some(), "{name}: {key} is missing");
        }
        let expected = if name == "offsets_a" { &expected["set"]["ner"] } else { &expected["ner"] };
        assert_close(&found["set"]["ner"], expected, name);
        assert_eq!(found["gold_split"], "gold");
        let interval = &found["intervals"][0];
        assert_eq!(interval["metric"], "ner_f1");
        assert_close(&interval["value"], &expected["micro"]["f1"], name);
    }
}

#[test]
fn eval_writes_tables_in_every_format() {
    let place = place();
    let table =
        |format: &str| run(&place, "eval", &["--pred", "offsets_a.jsonl", "--resamples", "100", "--format", format]);
    assert!(table("table").contains("Gold label at found spans"));
    assert!(table("markdown").starts_with("| Metric |"));
    assert!(table("latex").starts_with("\\begin{tabular}"));
    assert!(table("csv").starts_with("Metric,P,R,Score,"));
}

#[test]
fn compare_pools_seeds_and_tests_pairs() {
    let place = place();
    let predictions = ["--pred", "a=offsets_a.jsonl", "b=offsets_b.jsonl", "a=offsets_b.jsonl", "--resamples", "200"];
    let found = json(&run(&place, "compare", &[&predictions[..], &["--json"]].concat()));
    assert_eq!(found["systems"][0]["runs"], 2);
    assert_eq!(found["systems"][1]["runs"], 1);
    assert_eq!(found["differences"][0]["a"], "a");
    assert!(found["differences"][0]["differences"][0]["p_holm"].is_number());
    let again = json(&run(&place, "compare", &[&predictions[..], &["--json", "--threads", "1"]].concat()));
    assert_eq!(found, again);
    let table = run(&place, "compare", &predictions);
    assert!(table.contains("a (2 seeds)") && table.contains("a minus b"), "{table}");
}

#[test]
fn errors_writes_a_file() {
    let place = place();
    let table = run(&place, "errors", &["--pred", "raw_sentences_ids.jsonl", "--out", "modes.json"]);
    assert!(table.contains("label-confusion"), "{table}");
    let file = json(&std::fs::read_to_string(place.path("modes.json")).expect("the file was written"));
    assert_eq!(file["version"], 1);
    assert!(file["modes"].as_array().is_some_and(|modes| !modes.is_empty()));
}

#[test]
fn wrong_input_is_named_with_its_line() {
    let place = place();
    place.write(
        "wrong.jsonl",
        "{\"doc_key\":\"reef\",\"sent\":0,\"output\":\"\"}\n{\"doc_key\":\"kilm\",\"sent\":0,\"output\":\"\"}\n",
    );
    let before = place.names();
    let arguments: Vec<&str> = ["eval"].into_iter().chain(GOLD).chain(["--pred", "wrong.jsonl"]).collect();
    let (stdout, stderr) = place.run(&arguments, 2);
    assert!(stdout.is_empty());
    assert!(stderr.contains("wrong.jsonl:2") && stderr.contains("`kiln`"), "{stderr}");
    let profile: Vec<&str> =
        ["eval"].into_iter().chain(GOLD).chain(["--pred", "offsets_a.jsonl", "--profile", "pur"]).collect();
    let (_, stderr) = place.run(&profile, 2);
    assert!(stderr.contains("`pure`"), "{stderr}");
    assert_eq!(place.names(), before);
}

#[test]
fn a_cut_line_of_predictions_is_named_by_the_line_of_the_file_alone() {
    let place = place();
    place.write("cut.jsonl", "{\"doc_key\":\"d\",\"sent\":0,\"output\":\"\"");
    let arguments: Vec<&str> = ["eval"].into_iter().chain(GOLD).chain(["--pred", "cut.jsonl"]).collect();
    let (_, stderr) = place.run(&arguments, 2);
    assert!(
        stderr.contains("cut.jsonl:1:") && stderr.contains("the file was cut short") && !stderr.contains("at line"),
        "{stderr}"
    );
}
