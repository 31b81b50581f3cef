//! The state of an interrupted run, in one file that is replaced whole and carries a digest of itself.

#[cfg(fuzzing)]
pub mod fuzzing;

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};
use tabpo_engine::{AdamW, AdamWConfig, Moments, Real};

use crate::{Best, Cursor, Policy, TrainError, TrainSummary};

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
    pub(crate) best: Option<Best>,
}

/// Writes the state of a run. The old file stays until the new one is complete.
pub(crate) fn write<R: Real>(
    path: &Path,
    state: &State,
    policy: &Policy<'_, R>,
    best: Option<&[Vec<R>]>,
    optimiser: &AdamW,
) -> Result<(), TrainError> {
    let failed = |source| TrainError::Io { path: path.to_path_buf(), source };

    let mut tensors = Vec::new();
    for ((name, shape), values) in policy.shapes().into_iter().zip(policy.parameters()) {
        tensors.push((format!("parameter.{name}"), Tensor::of(shape, values)));
    }
    for ((name, shape), values) in policy.shapes().into_iter().zip(best.unwrap_or_default()) {
        tensors.push((format!("best.{name}"), Tensor::of(shape, values)));
    }
    for moments in optimiser.moments() {
        let shape = || moments.shape.clone();
        tensors.push((format!("first.{}", moments.name), Tensor::of(shape(), &moments.first)));
        tensors.push((format!("second.{}", moments.name), Tensor::of(shape(), &moments.second)));
    }
    let state = serde_json::to_string(state).expect("a state of numbers and strings is JSON");
    let digest = digest(&state, tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.bytes)));
    let metadata = HashMap::from([(STATE.to_owned(), state), (DIGEST.to_owned(), digest)]);

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

/// What a checkpoint gives back beside the policy's parameters.
pub(crate) struct Resumed<R> {
    pub(crate) state: State,
    pub(crate) optimiser: AdamW,
    pub(crate) best: Option<Vec<Vec<R>>>,
}

/// What stands where a checkpoint would be.
pub(crate) enum Found<R> {
    /// No file.
    Nothing,
    /// A sound checkpoint of another run.
    OtherRun,
    /// Something else than what was written.
    Damaged(String),
    /// The checkpoint of the run; the policy has its parameters.
    Resumed(Box<Resumed<R>>),
}

/// Reads a checkpoint into `policy`, which is changed only where the whole file is sound.
pub(crate) fn read<R: Real>(
    path: &Path,
    run: &str,
    policy: &mut Policy<'_, R>,
    config: AdamWConfig,
) -> Result<Found<R>, TrainError> {
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
    Ok(match restore(state, &tensors, policy, config) {
        Ok(resumed) => Found::Resumed(Box::new(resumed)),
        Err(problem) => Found::Damaged(problem),
    })
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

fn restore<R: Real>(
    state: State,
    tensors: &SafeTensors<'_>,
    policy: &mut Policy<'_, R>,
    config: AdamWConfig,
) -> Result<Resumed<R>, String> {
    let shapes = policy.shapes();
    let of_policy = |kind: &str| -> Result<Vec<Vec<R>>, String> {
        shapes.iter().map(|(name, shape)| elements(tensors, &format!("{kind}.{name}"), shape)).collect()
    };
    let parameters = of_policy("parameter")?;
    let best = state.best.map(|_| of_policy("best")).transpose()?;
    let moments = shapes
        .iter()
        .map(|(name, shape)| {
            Ok(Moments {
                first: elements(tensors, &format!("first.{name}"), shape)?,
                second: elements(tensors, &format!("second.{name}"), shape)?,
                name: name.clone(),
                shape: shape.clone(),
            })
        })
        .collect::<Result<_, String>>()?;
    let optimiser = AdamW::restore(config, state.cursor.step, moments);
    policy.restore(&parameters);
    Ok(Resumed { state, optimiser, best })
}

fn broken(path: &Path, message: &str) -> TrainError {
    TrainError::Checkpoint { path: path.to_path_buf(), message: message.to_owned() }
}

/// The elements of a tensor that must have this shape.
fn elements<T: bytemuck::Pod>(tensors: &SafeTensors<'_>, name: &str, shape: &[usize]) -> Result<Vec<T>, String> {
    let tensor = tensors.tensor(name).map_err(|error| error.to_string())?;
    if tensor.shape() != shape || tensor.dtype() != dtype::<T>() {
        let found = format!("{:?} {:?}", tensor.dtype(), tensor.shape());
        return Err(format!("tensor {name} is {found}, not {:?} {shape:?}", dtype::<T>()));
    }
    // Copied as bytes: those of the file need not be aligned.
    let mut values = vec![T::zeroed(); tensor.data().len() / size_of::<T>()];
    bytemuck::cast_slice_mut(&mut values).copy_from_slice(tensor.data());
    Ok(values)
}

/// The stored type of a type of the engine: it computes in 32 and 64 bits.
fn dtype<T>() -> Dtype {
    if size_of::<T>() == 8 { Dtype::F64 } else { Dtype::F32 }
}

/// A borrowed tensor on its way to the file.
struct Tensor<'a> {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: &'a [u8],
}

impl<'a> Tensor<'a> {
    fn of<T: bytemuck::Pod>(shape: Vec<usize>, values: &'a [T]) -> Self {
        Self { dtype: dtype::<T>(), shape, bytes: bytemuck::cast_slice(values) }
    }
}

impl View for Tensor<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.bytes.into()
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}
