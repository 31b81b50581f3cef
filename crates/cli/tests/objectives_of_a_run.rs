//! Runs with the objectives that need more than log-probs: the F1 of the SFT model, list decisions, moving losses.

mod support;

use std::fs;

use serde_json::Value;
use support::Place;

/// A tiny run with these objectives and further tables.
fn configuration(objectives: &str, tables: &str) -> String {
    format!(
        r#"
[run]
name = "objectives"
directory = "run"

[data.synthetic]
sft = 60
curated = 16
validation = 12
test = 8

[model]
vocabulary = 400
hidden = 32
layers = 1
intermediate = 64

[sft]
epochs = 1
learning_rate = 3e-3

[preference]
objectives = [{objectives}]

[preference.train]
steps = 2

[predict]
max_new_tokens = 24

[evaluate]
resamples = 20
{tables}
"#
    )
}

fn report(place: &Place, system: &str) -> Value {
    let pattern = place.path(format!("run/systems/{system}"));
    let rate = fs::read_dir(&pattern).expect("the system was trained").next().expect("one rate").expect("an entry");
    let text = fs::read_to_string(rate.path().join("seed-1/training.json")).expect("a report");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn a_run_fills_in_the_f1_of_its_sft_model_and_keeps_what_is_given() {
    let place = Place::new();
    let objectives = r#""f-credit", "mine", "minimum-risk", "focus-sft", "group-weighted-sft""#;
    let mine = "[preference.system.mine]\nobjective = \"f-credit\"\nentity_f1 = 0.5\ndecision = 0.0";
    place.write("config.toml", &configuration(objectives, mine));
    let (stdout, stderr) = place.run(&["run", "config.toml"], 0);
    assert!(format!("{stdout}{stderr}").contains("F1 of the SFT model on validation: entities "), "{stdout}{stderr}");

    // What the run measured, from its own answers.
    place.run(&["corpus", "generate", "corpus", "--sft", "60", "--gold", "16", "--validation", "12", "--test", "8"], 0);
    let (scores, _) = place.run(
        &[
            "eval",
            "corpus/validation.jsonl",
            "run/errors/validation.jsonl",
            "--ontology",
            "corpus/ontology.toml",
            "--json",
        ],
        0,
    );
    let scores: Value = serde_json::from_str(&scores).expect("JSON");
    let [credit, mine, risk] = ["f-credit", "mine", "minimum-risk"].map(|system| report(&place, system));
    let f1 = |report: &Value, key: &str| report["objective"][key].as_f64().expect("a number");
    for (key, metric) in [("entity_f1", "ner_f1"), ("relation_f1", "rel_f1")] {
        assert_eq!(f1(&credit, key), f1(&risk, key));
        let text = scores.to_string();
        assert!(text.contains(metric), "{text}");
    }
    assert_eq!((f1(&mine, "entity_f1"), f1(&mine, "relation_f1")), (0.5, f1(&credit, "relation_f1")));
    for system in ["focus-sft", "group-weighted-sft"] {
        assert_eq!(report(&place, system)["summary"]["steps"], 2, "{system}");
    }

    // A second run has nothing left to do.
    let before = fs::read(place.path("run/stages.json")).expect("the ledger");
    place.run(&["run", "config.toml", "--quiet"], 0);
    assert!(fs::read(place.path("run/stages.json")).expect("the ledger") == before);
}

#[test]
fn values_out_of_range_are_named_before_anything_is_written() {
    let place = Place::new();
    for (line, said) in [
        ("objective = \"f-credit\"\nentity_f1 = 47.5", "`entity_f1`: 47.5 should be a number from 0 to 1"),
        ("objective = \"f-credit\"\nthreshold_scale = 0.0", "`threshold_scale`: 0 should be a number greater than 0"),
        ("objective = \"focus-sft\"\nexponent = 11.0", "`exponent`: 11 should be a number from -10 to 10"),
        ("objective = \"group-weighted-sft\"\ndecay = 1.0", "`decay`: 1 should be a number of at least 0 and below 1"),
        ("objective = \"minimum-risk\"\nalpha = 0.0", "`alpha`: 0 should be a number greater than 0"),
    ] {
        let table = format!("[preference.system.mine]\n{line}");
        place.write("config.toml", &configuration("\"mine\"", &table));
        let (_, stderr) = place.run(&["run", "config.toml"], 2);
        assert!(stderr.contains(said), "{stderr}");
        assert!(!place.path("run").exists());
    }
}
