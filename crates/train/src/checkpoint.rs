//! The state of an interrupted run: one file, replaced atomically, that contains a digest of itself.

#[cfg(fuzzing)]
pub mod fuzzing;

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};
use tabpo_engine::{NamedTensor, Worker, WorkerError};
use tabpo_objective::GroupLosses;

use crate::{Cursor, TrainError, TrainSummary};

/// Key of the state in the file's metadata.
const STATE: &str = "tabpo";
/// Key of the digest of state and tensors in the file's metadata.
const DIGEST: &str = "blake3";

/// Everything but tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    /// Digest of settings, starting policy and size of the data.
    pub(crate) run: String,
    /// The same wherever the run is computed ([`TrainSettings::work`](crate::TrainSettings)); empty in checkpoints of
    /// versions that did not know it.
    #[serde(default)]
    pub(crate) work: String,
    pub(crate) cursor: Cursor,
    pub(crate) summary: TrainSummary,
    /// The moving losses of labels, for objectives that take their weights from them.
    #[serde(default)]
    pub(crate) labels: GroupLosses,
}

/// Writes the state of a run. The previous file stays until the new one is complete.
pub(crate) fn write(path: &Path, state: &State, tensors: Vec<NamedTensor<'_>>) -> Result<(), TrainError> {
    let failed = |source| TrainError::Io { path: path.to_path_buf(), source };
    let state = serde_json::to_string(state).expect("a state of numbers and strings is JSON");
    let digest = digest(&state, tensors.iter().map(|tensor| (tensor.name.as_str(), &*tensor.bytes)));
    let metadata = HashMap::from([(STATE.to_owned(), state), (DIGEST.to_owned(), digest)]);

    let tensors = tensors.into_iter().map(|tensor| (tensor.name.clone(), tensor));
    let mut unwritable = None;
    let written = tabpo_files::replace_by_path(path, |temporary| {
        safetensors::serialize_to_file(tensors, Some(metadata), temporary).map_err(|error| match error {
            safetensors::SafeTensorError::IoError(source) => source,
            other => {
                unwritable = Some(other.to_string());
                std::io::Error::other("not tensors")
            }
        })
    });
    written.map_err(|source| unwritable.map_or_else(|| failed(source), |problem| broken(path, &problem)))
}

/// What was found at the path of a checkpoint.
pub(crate) enum StoredCheckpoint {
    /// No file.
    Missing,
    /// An intact checkpoint of another run.
    OtherRun,
    /// A file that is not what was written, and the problem with it.
    Damaged(String),
    /// The checkpoint of this run; the worker now has its parameters and moments.
    Resumed(State),
}

/// Reads a checkpoint into `worker`, which is changed only if the whole file is intact. It is one of this run if `ours` says
/// so of its state.
pub(crate) fn read(
    path: &Path,
    ours: impl Fn(&State) -> bool,
    worker: &mut dyn Worker,
) -> Result<StoredCheckpoint, TrainError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(StoredCheckpoint::Missing),
        Err(source) => return Err(TrainError::Io { path: path.to_path_buf(), source }),
    };
    let (state, tensors) = match parse(&bytes) {
        Ok(parsed) => parsed,
        Err(problem) => return Ok(StoredCheckpoint::Damaged(problem)),
    };
    if !ours(&state) {
        return Ok(StoredCheckpoint::OtherRun);
    }
    let tensors: Vec<NamedTensor<'_>> = tensors.iter().map(|(name, tensor)| named(name, &tensor)).collect();
    match worker.import(state.cursor.step, &tensors) {
        Ok(()) => Ok(StoredCheckpoint::Resumed(state)),
        Err(WorkerError::State(problem)) => Ok(StoredCheckpoint::Damaged(problem)),
        Err(other) => Err(other.into()),
    }
}

fn named<'a>(name: &str, tensor: &safetensors::tensor::TensorView<'a>) -> NamedTensor<'a> {
    NamedTensor {
        name: name.to_owned(),
        shape: tensor.shape().to_vec(),
        dtype: tensor.dtype(),
        bytes: Cow::Borrowed(tensor.data()),
    }
}

/// Moves a damaged checkpoint out of the way of the next one, and returns its new path.
pub(crate) fn set_aside(path: &Path) -> Result<PathBuf, TrainError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".damaged");
    let moved_to = PathBuf::from(name);
    std::fs::rename(path, &moved_to).map_err(|source| TrainError::Io { path: path.to_path_buf(), source })?;
    Ok(moved_to)
}

/// The state and tensors of a file with a matching digest, or the problem with it.
fn parse(bytes: &[u8]) -> Result<(State, SafeTensors<'_>), String> {
    let refuse = |error: safetensors::SafeTensorError| format!("not a checkpoint: {error}");
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(refuse)?;
    let tensors = SafeTensors::deserialize(bytes).map_err(refuse)?;
    let metadata = header.metadata().as_ref().ok_or("not a checkpoint of a training run")?;
    let text = metadata.get(STATE).ok_or("not a checkpoint of a training run")?;
    let parts = tensors.iter().map(|(name, tensor)| (name, tensor.data()));
    // Fuzzing could not get past the digest, and the code behind it must withstand any input.
    if metadata.get(DIGEST) != Some(&digest(text, parts)) && !cfg!(fuzzing) {
        return Err("its digest does not match its content".to_owned());
    }
    let state = serde_json::from_str(text).map_err(|error| format!("its state cannot be read: {error}"))?;
    Ok((state, tensors))
}

/// Digest of a state and of tensors by name, in any order.
fn digest<'a>(state: &str, tensors: impl Iterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut tensors: Vec<_> = tensors.collect();
    tensors.sort_unstable_by_key(|&(name, _)| name);
    let mut hasher = blake3::Hasher::new();
    for part in
        std::iter::once(state.as_bytes()).chain(tensors.iter().flat_map(|&(name, data)| [name.as_bytes(), data]))
    {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    hasher.finalize().to_hex().to_string()
}

fn broken(path: &Path, message: &str) -> TrainError {
    TrainError::Checkpoint { path: path.to_path_buf(), message: message.to_owned() }
}
