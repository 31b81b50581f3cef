//! The state of an interrupted run, in one file that is replaced whole.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use safetensors::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};
use tabpo_engine::{AdamW, AdamWConfig, Moments, Real};

use crate::{Best, Cursor, Policy, TrainError, TrainSummary};

/// Key of the state in the file's metadata.
const STATE: &str = "tabpo";

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
    let metadata = HashMap::from([(STATE.to_owned(), state)]);

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

/// Reads a checkpoint into `policy`. `None` where there is none or it is of another run.
pub(crate) fn read<R: Real>(
    path: &Path,
    run: &str,
    policy: &mut Policy<'_, R>,
    config: AdamWConfig,
) -> Result<Option<Resumed<R>>, TrainError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(TrainError::Io { path: path.to_path_buf(), source }),
    };
    let refuse = |error: safetensors::SafeTensorError| broken(path, &format!("not a checkpoint: {error}"));
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(refuse)?;
    let state: State = metadata
        .metadata()
        .as_ref()
        .and_then(|metadata| serde_json::from_str(metadata.get(STATE)?).ok())
        .ok_or_else(|| broken(path, "not a checkpoint of a training run"))?;
    if state.run != run {
        return Ok(None);
    }
    let tensors = SafeTensors::deserialize(&bytes).map_err(refuse)?;
    let shapes = policy.shapes();
    for ((name, shape), parameter) in shapes.iter().zip(policy.parameters_mut()) {
        let values: Vec<R> = elements(path, &tensors, &format!("parameter.{name}"), shape)?;
        parameter.copy_from_slice(&values);
    }
    let best = match state.best {
        None => None,
        Some(_) => Some(
            shapes
                .iter()
                .map(|(name, shape)| elements(path, &tensors, &format!("best.{name}"), shape))
                .collect::<Result<_, _>>()?,
        ),
    };
    let moments = shapes
        .into_iter()
        .map(|(name, shape)| {
            Ok(Moments {
                first: elements(path, &tensors, &format!("first.{name}"), &shape)?,
                second: elements(path, &tensors, &format!("second.{name}"), &shape)?,
                name,
                shape,
            })
        })
        .collect::<Result<_, TrainError>>()?;
    let optimiser = AdamW::restore(config, state.cursor.step, moments);
    Ok(Some(Resumed { state, optimiser, best }))
}

fn broken(path: &Path, message: &str) -> TrainError {
    TrainError::Checkpoint { path: path.to_path_buf(), message: message.to_owned() }
}

/// The elements of a tensor that must have this shape.
fn elements<T: bytemuck::Pod>(
    path: &Path,
    tensors: &SafeTensors<'_>,
    name: &str,
    shape: &[usize],
) -> Result<Vec<T>, TrainError> {
    let tensor = tensors.tensor(name).map_err(|error| broken(path, &error.to_string()))?;
    if tensor.shape() != shape || tensor.dtype() != dtype::<T>() {
        let found = format!("{:?} {:?}", tensor.dtype(), tensor.shape());
        return Err(broken(path, &format!("tensor {name} is {found}, not {:?} {shape:?}", dtype::<T>())));
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
