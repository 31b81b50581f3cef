//! The state of an interrupted run, in one file that is replaced whole and carries a digest of itself.

#[cfg(fuzzing)]
pub mod fuzzing;

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};
use tabpo_engine::{NamedTensor, Worker, WorkerError};

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
    pub(crate) cursor: Cursor,
    pub(crate) summary: TrainSummary,
}

/// Writes the state of a run. The old file stays until the new one is complete.
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

/// What stands where a checkpoint would be.
pub(crate) enum Found {
    /// No file.
    Nothing,
    /// A sound checkpoint of another run.
    OtherRun,
    /// Something else than what was written.
    Damaged(String),
    /// The checkpoint of the run; the worker has its parameters and moments.
    Resumed(State),
}

/// Reads a checkpoint into `worker`, which is changed only where the whole file is sound.
pub(crate) fn read(path: &Path, run: &str, worker: &mut dyn Worker) -> Result<Found, TrainError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(source) => return Err(TrainError::Io { path: path.to_path_buf(), source }),
    };
    let (state, tensors) = match sound(&bytes) {
        Ok(sound) => sound,
        Err(problem) => return Ok(Found::Damaged(problem)),
    };
    if state.run != run {
        return Ok(Found::OtherRun);
    }
    let tensors: Vec<NamedTensor<'_>> = tensors.iter().map(|(name, tensor)| named(name, &tensor)).collect();
    match worker.import(state.cursor.step, &tensors) {
        Ok(()) => Ok(Found::Resumed(state)),
        Err(WorkerError::State(problem)) => Ok(Found::Damaged(problem)),
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

/// Moves a damaged checkpoint out of the way of the next one, and returns its new place.
pub(crate) fn set_aside(path: &Path) -> Result<PathBuf, TrainError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".damaged");
    let place = PathBuf::from(name);
    std::fs::rename(path, &place).map_err(|source| TrainError::Io { path: path.to_path_buf(), source })?;
    Ok(place)
}

/// State and tensors of a file whose digest is right, or what is wrong.
fn sound(bytes: &[u8]) -> Result<(State, SafeTensors<'_>), String> {
    let refuse = |error: safetensors::SafeTensorError| format!("not a checkpoint: {error}");
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(refuse)?;
    let tensors = SafeTensors::deserialize(bytes).map_err(refuse)?;
    let metadata = header.metadata().as_ref().ok_or("not a checkpoint of a training run")?;
    let text = metadata.get(STATE).ok_or("not a checkpoint of a training run")?;
    let parts = tensors.iter().map(|(name, tensor)| (name, tensor.data()));
    // Fuzzing could not get past it, and what is behind it has to hold by itself.
    if metadata.get(DIGEST) != Some(&digest(text, parts)) && !cfg!(fuzzing) {
        return Err("its digest does not fit its content".to_owned());
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
