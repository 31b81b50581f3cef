//! `tabpo thresholds`, and `tabpo predict` with what it finds.

mod support;

use serde_json::Value;
use support::Place;

/// A model that has hardly been trained: a grammar sees to it that it writes answers.
const CONFIGURATION: &str = r#"
[run]
name = "thresholds"
directory = "run"
[ontology]
file = "corpus/ontology.toml"
[data]
dir = "corpus"
train = "sft.jsonl"
curated = "gold.jsonl"
validation = "validation.jsonl"
test = "test.jsonl"
[model]
vocabulary = 400
hidden = 32
layers = 1
heads = 2
kv_heads = 2
intermediate = 64
[sft]
steps = 8
learning_rate = 2e-3
[preference]
objectives = ["dpo"]
"#;

const MODEL: [&str; 4] = ["--model", "run/sft/policy", "--ontology", "corpus/ontology.toml"];

fn place() -> Place {
    let place = Place::new();
    let sizes = ["--sft", "24", "--gold", "6", "--validation", "8", "--test", "6"];
    place.run(&[&["corpus", "generate", "corpus", "--quiet"], &sizes[..]].concat(), 0);
    place.write("config.toml", CONFIGURATION);
    place.run(&["--threads", "1", "sft", "config.toml", "--quiet"], 0);
    place
}

#[test]
fn thresholds_are_found_and_used() {
    let place = place();
    let find =
        [&["thresholds"], &MODEL[..], &["--data", "corpus/validation.jsonl", "--folder", "kept", "--constrained"]]
            .concat();
    let (table, said) = place.run(&find, 0);
    assert!(said.contains("entities:") && said.contains("relations:"), "{said}");
    let rows = |text: &str| text.lines().filter(|line| line.trim_start().starts_with("0.")).count();
    assert_eq!(rows(&table), 2 * 19, "{table}");
    assert_eq!(table.matches('<').count(), 2, "{table}");

    let (json, said) = place.run(&[&find[..], &["--json"]].concat(), 0);
    assert!(!said.contains("tokens/s"), "nothing is decoded again: {said}");
    let curves: Vec<Value> = serde_json::from_str(&json).expect("JSON");
    let chosen: Vec<String> = curves.iter().map(|curve| curve["chosen"].to_string()).collect();
    let options = format!("tabpo predict --threshold-entities {} --threshold-relations {}", chosen[0], chosen[1]);
    assert_eq!(table.lines().last(), Some(options.as_str()), "{table}");
    for curve in &curves {
        assert_eq!(curve["points"].as_array().expect("points").len(), 19);
        assert_eq!(curve["points"][9]["threshold"], 0.5);
    }

    // Precision and recall of a curve are those of `eval` on answers at that threshold.
    let predict = |name: &str, options: &[&str]| {
        let data = ["--data", "corpus/validation.jsonl", "--constrained", "--quiet", "--out", name];
        place.run(&[&["predict"], &MODEL[..], &data, options].concat(), 0);
        std::fs::read_to_string(place.path(name)).expect("answers")
    };
    let low = predict("low.jsonl", &["--threshold-entities", "0.05"]);
    let high = predict("high.jsonl", &["--threshold-entities", "0.95"]);
    let entities = |text: &str| text.matches(r#"\"text\":"#).count();
    assert!(entities(&low) > entities(&high), "{} and {}", entities(&low), entities(&high));
    let gold = ["--ontology", "corpus/ontology.toml", "--gold", "corpus/validation.jsonl"];
    let (scores, _) = place
        .run(&[&["eval"], &gold[..], &["--pred", "low.jsonl", "--json", "--resamples", "0", "--quiet"]].concat(), 0);
    let scores: Value = serde_json::from_str(&scores).expect("JSON");
    for rate in ["p", "r", "f1"] {
        assert_eq!(scores["set"]["ner"]["micro"][rate], curves[0]["points"][0][rate], "{rate}");
    }
    let greedy = predict("greedy.jsonl", &[]);
    assert_eq!(predict("half.jsonl", &["--threshold-entities", "0.5", "--threshold-relations", "0.5"]), greedy);
}

#[test]
fn thresholds_are_probabilities_of_greedy_decoding() {
    let place = Place::new();
    let options = [&["predict"], &MODEL[..], &["--data", "a.jsonl", "--out", "b.jsonl"]].concat();
    for wrong in ["0", "1", "-0.5", "nan", "half"] {
        let (_, said) = place.run(&[&options[..], &["--threshold-entities", wrong]].concat(), 2);
        assert!(said.contains("must be a number above 0 and below 1"), "{said}");
    }
    let (_, said) = place.run(&[&options[..], &["--threshold-relations", "0.3", "--temperature", "0.7"]].concat(), 2);
    assert!(said.contains("need greedy decoding"), "{said}");
    let (_, said) =
        place.run(&[&options[..], &["--threshold-relations", "0.3", "--endpoint", "http://localhost:1"]].concat(), 2);
    assert!(said.contains("--threshold-relations"), "{said}");
}
