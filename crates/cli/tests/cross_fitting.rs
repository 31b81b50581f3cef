//! On-policy pairs from models that have not seen what they answer.

mod support;

use std::{collections::BTreeSet, fs};

use support::Place;

/// A run on files, whose curated documents are its training documents.
const CONFIGURATION: &str = r#"
[run]
name = "folds"
directory = "run"

[ontology]
file = "corpus/ontology.toml"

[data]
dir = "corpus"
train = "sft.jsonl"
validation = "validation.jsonl"
test = "test.jsonl"

[model]
vocabulary = 400
hidden = 32
layers = 1
intermediate = 64

[sft]
epochs = 1

[pairs]
sources = ["on-policy"]
folds = 2

[preference]
objectives = ["dpo"]

[preference.train]
steps = 1

[predict]
max_new_tokens = 24
"#;

fn place() -> Place {
    let place = Place::new();
    place.run(
        &["corpus", "generate", "corpus", "--sft", "24", "--gold", "8", "--validation", "8", "--test", "8", "--quiet"],
        0,
    );
    place
}

#[test]
fn every_document_is_answered_once_by_a_model_of_its_own_fold() {
    let place = place();
    place.write("config.toml", CONFIGURATION);
    place.run(&["train", "config.toml", "--quiet", "--memory-gb", "0.5"], 0);
    let resolved = fs::read_to_string(place.path("run/run.toml")).expect("the configuration as resolved");
    assert_eq!(resolved.matches("memory_gb = 0.5").count(), 3, "SFT, preference training and prediction");
    let keys = |text: &str| -> Vec<String> {
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a JSON line"));
        lines.map(|line| line["doc_key"].as_str().expect("a key").to_owned()).collect()
    };
    let read = |path: &str| fs::read_to_string(place.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let folds = [1, 2].map(|fold| keys(&read(&format!("run/pairs/fold-{fold}/answers.jsonl"))));
    assert_eq!(folds.iter().map(Vec::len).sum::<usize>(), 24, "every sentence is answered once");
    let documents = folds.map(|fold| fold.into_iter().collect::<BTreeSet<String>>());
    assert!(documents[0].is_disjoint(&documents[1]));
    let train: BTreeSet<String> = keys(&read("corpus/sft.jsonl")).into_iter().collect();
    assert_eq!(documents[0].union(&documents[1]).cloned().collect::<BTreeSet<_>>(), train);
    let weights = ["pairs/fold-1/policy", "pairs/fold-2/policy", "sft/policy"]
        .map(|folder| fs::read(place.path(format!("run/{folder}/model.safetensors"))).expect("a model"));
    assert!(weights[0] != weights[1] && weights[0] != weights[2], "the models have seen different documents");
}

#[test]
fn folds_that_cannot_be_are_refused() {
    let place = place();
    for (from, to, said) in [
        ("folds = 2", "folds = 0", "pairs.folds is 0"),
        ("folds = 2", "folds = 6", "pairs.folds is 6, with 5 curated documents"),
        ("train = ", "curated = \"gold.jsonl\"\ntrain = ", "no curated document is a training document"),
    ] {
        place.write("config.toml", &CONFIGURATION.replace(from, to));
        let (_, stderr) = place.run(&["train", "config.toml"], 2);
        assert!(stderr.contains(said) && stderr.contains("hint"), "{stderr}");
        assert!(!place.path("run").exists(), "nothing is left behind");
    }
}
