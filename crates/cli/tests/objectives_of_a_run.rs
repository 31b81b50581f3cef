//! Runs with the objectives that need more than log-probs: the F1 of the SFT model, list decisions, moving losses.

mod support;

use std::fs;

use serde_json::Value;
use support::Place;

/// A tiny run with these objectives and further tables. The model learns its sentences in part by heart, and is
/// validated on the same, so that its F1 is neither 0 nor 1.
fn configuration(objectives: &str, tables: &str) -> String {
    format!(
        r#"
[run]
name = "objectives"
directory = "run"

[ontology]
file = "corpus/ontology.toml"

[data]
dir = "corpus"
train = "sft.jsonl"
validation = "sft.jsonl"
test = "test.jsonl"

[model]
vocabulary = 400
hidden = 64
layers = 2
intermediate = 128

[sft]
steps = 70
learning_rate = 4e-3

[pairs]
folds = 2

[preference]
objectives = [{objectives}]

[preference.train]
steps = 2

[predict]
max_new_tokens = 120

[evaluate]
resamples = 20
{tables}
"#
    )
}

fn place() -> Place {
    let place = Place::new();
    place.run(
        &["corpus", "generate", "corpus", "--sft", "24", "--gold", "8", "--validation", "6", "--test", "6", "--quiet"],
        0,
    );
    place
}

fn report(place: &Place, system: &str) -> Value {
    let pattern = place.path(format!("run/systems/{system}"));
    let rate = fs::read_dir(&pattern).expect("the system was trained").next().expect("one rate").expect("an entry");
    let text = fs::read_to_string(rate.path().join("seed-1/training.json")).expect("a report");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn a_run_fills_in_the_f1_of_its_sft_model_and_keeps_what_is_given() {
    let place = place();
    let objectives = r#""f-credit", "mine", "minimum-risk", "focus-sft", "group-weighted-sft""#;
    let mine = "[preference.system.mine]\nobjective = \"f-credit\"\nentity_f1 = 0.5\ndecision = 0.0";
    place.write("config.toml", &configuration(objectives, mine));
    let (stdout, stderr) = place.run(&["run", "config.toml"], 0);
    assert!(format!("{stdout}{stderr}").contains("F1 of the SFT model on validation: entities "), "{stdout}{stderr}");

    let answers = ["eval", "--gold", "corpus/sft.jsonl", "--pred", "run/errors/validation.jsonl"];
    let (scores, _) = place.run(&[&answers[..], &["--ontology", "corpus/ontology.toml", "--json"]].concat(), 0);
    let scores: Value = serde_json::from_str(&scores).expect("JSON");
    let measured = [&scores["set"]["ner"]["micro"], &scores["set"]["rel_symmetric"]["micro"]];
    let f1 = measured.map(|counts| counts["f1"].as_f64().expect("a rate"));
    assert!(f1.iter().all(|f1| (0.01..0.99).contains(f1)), "{f1:?}");
    for system in ["f-credit", "minimum-risk"] {
        let objective = &report(&place, system)["objective"];
        assert_eq!([&objective["entity_f1"], &objective["relation_f1"]].map(Value::as_f64), f1.map(Some), "{system}");
    }
    let objective = &report(&place, "mine")["objective"];
    assert_eq!([&objective["entity_f1"], &objective["relation_f1"]].map(Value::as_f64), [Some(0.5), Some(f1[1])]);
    for system in ["focus-sft", "group-weighted-sft"] {
        assert_eq!(report(&place, system)["summary"]["steps"], 2, "{system}");
    }

    // A second run has nothing left to do.
    let before = fs::read(place.path("run/stages.json")).expect("the ledger");
    place.run(&["run", "config.toml", "--quiet"], 0);
    assert!(fs::read(place.path("run/stages.json")).expect("the ledger") == before);
}

#[test]
fn the_dynamic_oracle_trains_on_the_answers_of_models_that_have_not_seen_the_sentence() {
    let place = place();
    let plain = "[preference.system.plain]\nobjective = \"dynamic-oracle\"\noracle = 0.0";
    place.write("config.toml", &configuration("\"dynamic-oracle\", \"plain\"", plain));
    place.run(&["run", "config.toml", "--quiet"], 0);
    for fold in ["fold-1", "fold-2"] {
        assert!(place.path(format!("run/pairs/{fold}/answers.jsonl")).exists());
    }
    // Something was right after a mistake, and generating the answers has its price.
    let log = fs::read_to_string(place.path("run/metrics.jsonl")).expect("a log");
    let records: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let decision = |system: &str| -> f64 {
        let of_system = |record: &&Value| record["stage"].as_str().is_some_and(|stage| stage.contains(system));
        records.iter().filter(of_system).filter_map(|record| record["decision"].as_f64()).sum()
    };
    assert!(decision("/dynamic-oracle/") > 0.0 && decision("/plain/") == 0.0);
    let tokens = |system: &str| report(&place, system)["summary"]["tokens"]["reference"].as_u64().expect("a number");
    let answers = ["fold-1", "fold-2"]
        .map(|fold| fs::read_to_string(place.path(format!("run/pairs/{fold}/answers.jsonl"))).expect("answers"));
    assert!(tokens("dynamic-oracle") > answers.iter().map(|text| text.lines().count() as u64).sum::<u64>());
    assert_eq!(tokens("plain"), 0);
}

#[test]
fn items_are_credited_in_samples_of_models_that_have_not_seen_the_sentence() {
    let place = place();
    let tables = "[preference.system.plain]\nobjective = \"item-credit\"\ncredit = 0.0";
    place.write("config.toml", &configuration("\"item-credit\", \"plain\"", tables));
    place.run(&["run", "config.toml", "--quiet", "--set", "pairs.samples=3"], 0);
    // Three answers to each sentence, not all the same.
    let mut different = false;
    let mut lines = 0;
    for fold in ["fold-1", "fold-2"] {
        let text = fs::read_to_string(place.path(format!("run/pairs/{fold}/samples.jsonl"))).expect("samples");
        let answers: Vec<&str> = text.lines().collect();
        for answers in answers.chunks(3) {
            let key = |line: &str| -> Value { serde_json::from_str::<Value>(line).expect("JSON")["doc_key"].clone() };
            assert!(answers.iter().all(|answer| key(answer) == key(answers[0])));
            different |= answers.iter().any(|answer| *answer != answers[0]);
        }
        lines += answers.len();
    }
    assert!(different && lines == 3 * 24, "{lines}");
    // Some items had a credit, F1 is that of the SFT model, and generating the samples has its price.
    let log = fs::read_to_string(place.path("run/metrics.jsonl")).expect("a log");
    let records: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let decision = |system: &str| -> f64 {
        let of_system = |record: &&Value| record["stage"].as_str().is_some_and(|stage| stage.contains(system));
        records.iter().filter(of_system).filter_map(|record| record["decision"].as_f64()).map(f64::abs).sum()
    };
    assert!(decision("/item-credit/") > 0.0 && decision("/plain/") == 0.0);
    assert!(report(&place, "item-credit")["objective"]["entity_f1"].as_f64().is_some_and(|f1| f1 > 0.0));
    let tokens = |system: &str| report(&place, system)["summary"]["tokens"]["reference"].as_u64().expect("a number");
    assert!(tokens("item-credit") > lines as u64);
    assert_eq!(tokens("plain"), 0);
    // Fewer samples are other inputs, of that system alone.
    let (stdout, stderr) = place.run(&["run", "config.toml", "--set", "pairs.samples=1"], 0);
    let said = format!("{stdout}{stderr}");
    let kept = |system: &str| said.contains(&format!("systems/{system}/lr-2e-4/seed-1: up to date"));
    assert!(kept("plain") && !kept("item-credit"), "{said}");
}

#[test]
fn values_out_of_range_are_named_before_anything_is_written() {
    let place = place();
    for (line, said) in [
        ("objective = \"f-credit\"\nentity_f1 = 47.5", "`entity_f1`: 47.5 should be a number from 0 to 1"),
        ("objective = \"f-credit\"\nthreshold_scale = 0.0", "`threshold_scale`: 0 should be a number greater than 0"),
        ("objective = \"focus-sft\"\nexponent = 11.0", "`exponent`: 11 should be a number from -10 to 10"),
        ("objective = \"group-weighted-sft\"\ndecay = 1.0", "`decay`: 1 should be a number of at least 0 and below 1"),
        ("objective = \"item-credit\"\nfloor = 0.0", "`floor`: 0 should be a probability in (0, 1]"),
        ("objective = \"item-credit\"\ncap = 2.5", "`cap`: 2.5 should be a number from 0 to 2"),
        ("objective = \"minimum-risk\"\nalpha = 0.0", "`alpha`: 0 should be a number greater than 0"),
    ] {
        let table = format!("[preference.system.mine]\n{line}");
        place.write("config.toml", &configuration("\"mine\"", &table));
        let (_, stderr) = place.run(&["run", "config.toml"], 2);
        assert!(stderr.contains(said), "{stderr}");
        assert!(!place.path("run").exists());
    }
    // A threshold on top of weights would move the ends of lists twice.
    let table = "[preference.system.mine]\nobjective = \"f-credit\"";
    place.write("config.toml", &configuration("\"mine\"", table));
    let (_, stderr) = place.run(&["run", "config.toml", "--set", "predict.threshold=tuned"], 2);
    assert!(stderr.contains("the system `mine`") && stderr.contains("would shift it twice"), "{stderr}");
    assert!(stderr.contains("`threshold = \"none\"` in [preference.system.mine]"), "{stderr}");
    assert!(!place.path("run").exists());
}

#[test]
fn a_system_may_keep_out_of_tuning_and_train_on_documents_that_sft_has_not_seen() {
    let place = place();
    let tables = "[preference.system.mine]\nobjective = \"f-credit\"\nthreshold = \"none\"";
    let text = configuration("\"mine\", \"focus-sft\"", tables).replace("steps = 70", "steps = 2");
    place.write("config.toml", &text.replace("test = \"test.jsonl\"", "test = \"test.jsonl\"\nset_aside = 2"));
    let set = ["--set", "predict.threshold=tuned", "--set", "pairs.folds=1"];
    let (stdout, stderr) = place.run(&[&["run", "config.toml"], &set[..]].concat(), 0);
    let said = format!("{stdout}{stderr}");
    let count = |split: &str| -> u32 {
        let after = said.split(&format!("{split} ")).nth(1).expect("the number of prompts");
        after.chars().take_while(char::is_ascii_digit).collect::<String>().parse().expect("a number")
    };
    let (train, curated) = (count("prompts: train"), count(", curated"));
    assert!(train > curated && curated > 0 && train + curated == 24, "{train} {curated}");
    let comparison = fs::read_to_string(place.path("run/comparison.json")).expect("a comparison");
    let comparison: Value = serde_json::from_str(&comparison).expect("JSON");
    let tuned = comparison["thresholds"].as_array().expect("a list").iter().map(|system| &system["name"]);
    let tuned: Vec<&str> = tuned.map(|name| name.as_str().expect("a name")).collect();
    assert!(tuned.iter().any(|name| name.starts_with("focus-sft")), "{tuned:?}");
    assert!(tuned.iter().all(|name| !name.starts_with("mine")), "{tuned:?}");
    // Nothing is left for training, or the curated documents are named twice.
    for (set, said) in [
        ("data.set_aside=5", "data.set_aside takes 5 documents from 5 that are left for training"),
        ("data.curated=gold.jsonl", "data.set_aside sets training documents aside, but `curated` names others"),
    ] {
        let (_, stderr) = place.run(&["run", "config.toml", "--set", set], 2);
        assert!(stderr.contains(said), "{stderr}");
    }
}
