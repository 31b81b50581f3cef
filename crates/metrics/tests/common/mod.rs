//! Files and figures for the tests of this crate.

#![allow(dead_code, unreachable_pub, reason = "every test file uses its own part of this module")]

use std::path::{Path, PathBuf};

use serde_json::Value;
use tabpo_corpus::Document;
use tabpo_metrics::{Counts, Evaluation, EvaluationError, Predictions, count};
use tabpo_ontology::Ontology;

pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The labels of `SciERC`.
pub fn scierc_ontology() -> Ontology {
    Ontology::read(&workspace().join("examples/scierc/ontology.toml")).expect("a valid ontology")
}

pub fn read_gold(path: &Path, ontology: &Ontology) -> Vec<Document> {
    tabpo_corpus::read(path, None, ontology).expect("a valid corpus").documents
}

/// The golden figures and the gold they belong to, in the shared folder beside the repository.
pub fn shared() -> (PathBuf, PathBuf) {
    let shared = workspace().join("../shared");
    (shared.join("golden/metrics"), shared.join("data/scierc/dev.json"))
}

pub fn count_documents(
    gold: &[Document],
    predictions: &mut Predictions,
    ontology: &Ontology,
) -> Result<Counts, EvaluationError> {
    count(gold.iter().map(Ok), predictions, ontology)
}

pub fn evaluate(gold: &[Document], predictions: &Path, ontology: &Ontology) -> (Counts, Value) {
    let mut predictions = Predictions::open(predictions).expect("valid predictions");
    let counts = count_documents(gold, &mut predictions, ontology).expect("predictions that fit");
    let value = serde_json::to_value(Evaluation::of(&counts)).expect("plain data");
    (counts, value)
}

/// A rate is none exactly where there is nothing to take it of.
fn assert_rates_over_nothing(found: &Value, path: &str) {
    let count = |key: &str| found.get(key).and_then(Value::as_u64);
    let none = |key: &str| found[key].is_null();
    if let (Some(predicted), Some(gold)) = (count("predicted"), count("gold")) {
        let expected = (predicted == 0, gold == 0, predicted + gold == 0);
        assert_eq!((none("p"), none("r"), none("f1")), expected, "{path}");
    }
    if let (Some(total), Some(_)) = (count("total"), found.get("accuracy")) {
        assert_eq!(none("accuracy"), total == 0, "{path}");
    }
}

/// Every figure of `expected` must be in `found` under the same name, to 1e-9; names that `found`
/// has besides are fine at the top levels, but a table of labels must have exactly the same ones.
pub fn assert_agrees(found: &Value, expected: &Value, path: &str) -> usize {
    match expected {
        Value::Object(expected) => {
            assert_rates_over_nothing(found, path);
            let found = found.as_object().unwrap_or_else(|| panic!("{path}: missing"));
            if path.ends_with("per_label") || path.ends_with("label_confusion_given_span") {
                assert_eq!(found.len(), expected.len(), "{path}");
            }
            let missing = Value::Null;
            expected
                .iter()
                .map(|(key, value)| assert_agrees(found.get(key).unwrap_or(&missing), value, &format!("{path}/{key}")))
                .sum()
        }
        // Where the evaluators write 0 for a rate over nothing, this crate writes none.
        Value::Number(expected) if found.is_null() && expected.as_f64() == Some(0.0) => 1,
        Value::Number(expected) => {
            let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{path}: no number"));
            let (found, expected) = (number(found), expected.as_f64().expect("a number"));
            assert!((found - expected).abs() < 1e-9, "{path}: {found} is not {expected}");
            1
        }
        other => panic!("{path}: unexpected {other}"),
    }
}
