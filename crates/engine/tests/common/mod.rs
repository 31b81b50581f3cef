//! Fixtures that transformers and peft computed (see `fixtures/make_fixtures.py`).
#![allow(dead_code, reason = "every test binary uses a part of these helpers")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde::Deserialize;
use serde_json::Value;
use tabpo_engine::{Batch, Lora, Model, Segment, Workspace, logits};
use tempfile::TempDir;

/// The fixture folders, one per family.
pub(crate) const FAMILIES: [&str; 4] = ["llama", "qwen2", "qwen3", "mistral"];

/// A folder of fixtures.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// `expected.json` of a family.
#[derive(Deserialize)]
pub(crate) struct Expected {
    pub(crate) input_ids: Vec<Vec<u32>>,
    pub(crate) prompts: Vec<Vec<u32>>,
    pub(crate) greedy: Vec<Vec<u32>>,
    pub(crate) adapter_greedy: Vec<Vec<u32>>,
    pub(crate) gradient_of_tokens_from: usize,
    pub(crate) mean_log_prob: f64,
}

pub(crate) fn expected(folder: &Path) -> Expected {
    serde_json::from_slice(&std::fs::read(folder.join("expected.json")).expect("expected.json")).expect("expected.json")
}

/// The f32 tensors of a file.
pub(crate) fn tensors(path: &Path) -> BTreeMap<String, Vec<f32>> {
    let bytes = std::fs::read(path).expect("a tensor file");
    let file = SafeTensors::deserialize(&bytes).expect("a tensor file");
    let floats = |data: &[u8]| data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    file.iter().map(|(name, view)| (name.to_owned(), floats(view.data()))).collect()
}

/// Sequences as a batch without padding.
pub(crate) fn batch(sequences: &[Vec<u32>]) -> Batch {
    let mut batch = Batch::default();
    for ids in sequences {
        let start = batch.tokens.len();
        batch.tokens.extend(ids);
        batch.positions.extend(0..ids.len() as u32);
        batch.segments.push(Segment { rows: start..start + ids.len(), context: Vec::new() });
    }
    batch
}

/// The logits of every token of some sequences, computed in one batch: one vector a sequence.
pub(crate) fn all_logits(model: &Model<f32>, lora: Option<&Lora<f32>>, sequences: &[Vec<u32>]) -> Vec<Vec<f32>> {
    let batch = batch(sequences);
    let rows: Vec<u32> = (0..batch.tokens.len() as u32).collect();
    let all = logits(model, lora, &batch, &rows, &mut Workspace::new());
    let mut rest = &all[..];
    let mut split = Vec::new();
    for ids in sequences {
        let (mine, others) = rest.split_at(ids.len() * model.config.vocabulary);
        split.push(mine.to_vec());
        rest = others;
    }
    split
}

/// Asserts that two vectors agree to an absolute tolerance and reports where they do not.
#[track_caller]
pub(crate) fn assert_close(found: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}: length");
    let worst = found
        .iter()
        .zip(expected)
        .enumerate()
        .map(|(i, (a, b))| (if a.is_nan() { f32::INFINITY } else { (a - b).abs() }, i))
        .fold((0.0, 0), |worst, next| if next.0 > worst.0 { next } else { worst });
    assert!(worst.0 <= tolerance, "{what}: differs by {} at {}", worst.0, worst.1);
}

/// A copy of a fixture folder without its expected values.
pub(crate) fn copy(name: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("temporary folder");
    for entry in std::fs::read_dir(fixture(name)).expect("a fixture").map(|entry| entry.expect("an entry")) {
        if entry.file_type().expect("a type").is_file() {
            std::fs::copy(entry.path(), folder.path().join(entry.file_name())).expect("copying");
        }
    }
    folder
}

pub(crate) fn json_file(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("reading")).expect("JSON")
}

/// Changes keys of a JSON file; null removes a key.
pub(crate) fn change(path: &Path, changes: &Value) {
    let mut value = json_file(path);
    let object = value.as_object_mut().expect("an object");
    for (key, value) in changes.as_object().expect("an object") {
        if value.is_null() {
            object.shift_remove(key);
        } else {
            object.insert(key.clone(), value.clone());
        }
    }
    std::fs::write(path, value.to_string()).expect("writing");
}

/// The message of the error with which a changed copy of a family is refused.
pub(crate) fn refusal(family: &str, changes: &Value) -> String {
    let folder = copy(family);
    change(&folder.path().join("config.json"), changes);
    Model::<f32>::open(folder.path()).map(|_| ()).expect_err("an error").to_string()
}

/// An error with its causes, as a program shows it.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
