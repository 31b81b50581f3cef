//! A replica of a model that can be trained, on any device.
//!
//! [`Worker`] is the interface between the training loop and an engine. It describes a whole replica rather than single
//! operations, because engines differ in how they fuse operations, lay out buffers and round. They share the packed
//! batch, the targets, the output gradient and the names of the parameters.

mod digest;
mod generator;
mod host;
mod memory;
mod policy;

use std::borrow::Cow;

use safetensors::{Dtype, View};
use serde::{Deserialize, Serialize};
use tabpo_model::ModelConfig;
use thiserror::Error;

use crate::batch::{Batch, Target};
use crate::optimiser::AdamWConfig;
use crate::options::Recompute;

pub use generator::{GenerationMemory, Generator, GeneratorSize, Pick, Picked, Prefix, Prompt};
pub use host::HostWorker;
pub use memory::{MemoryPlan, MemoryRequest, PolicyShape};
pub use policy::Policy;

/// One pass over a packed batch.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The tokens.
    pub batch: &'a Batch,
    /// The log-probabilities to compute.
    pub targets: &'a [Target],
    /// Seed of the adapter's dropout masks, which must differ between steps; `None` disables dropout.
    pub dropout_seed: Option<u64>,
}

/// Values for every target of a job: log-probabilities and divergences, or the derivatives of a loss with respect to
/// them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TargetValues {
    /// For the log-probability of the target's token.
    pub log_probs: Vec<f64>,
    /// For the divergence `KL(reference || policy)` over the vocabulary at the target's row; empty if the worker keeps
    /// no reference ([`TrainingSetup::divergences`]).
    pub divergences: Vec<f64>,
}

impl TargetValues {
    /// Zeros for the same number of targets.
    #[must_use]
    pub fn zeros_like(&self) -> Self {
        Self { log_probs: vec![0.0; self.log_probs.len()], divergences: vec![0.0; self.divergences.len()] }
    }
}

/// Computes the derivative of the loss with respect to the values of a job, from the job's index and its values.
pub type OutputGradientOf<'a> = dyn Fn(usize, &TargetValues) -> TargetValues + Sync + 'a;

/// Changes a flat gradient ([`Worker::change_gradient`]).
pub type ChangeGradient<'a> = dyn FnMut(&mut [f32]) -> Result<(), WorkerError> + 'a;

/// Seconds spent on jobs, by activity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JobTiming {
    /// Forward passes of the reference.
    pub reference: f64,
    /// Forward passes of the policy.
    pub forward: f64,
    /// The caller's output gradient.
    pub output_gradient: f64,
    /// Backward passes.
    pub backward: f64,
}

/// Settings for training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainingSetup {
    /// Optimiser.
    pub optimiser: AdamWConfig,
    /// What the forward pass keeps; this does not change a bit of the gradient. A worker on a card keeps as much as its
    /// memory holds instead.
    pub recompute: Recompute,
    /// Most bytes of logits in memory at the same time.
    pub logit_bytes: usize,
    /// Whether the current policy is kept as the reference for divergences.
    pub divergences: bool,
}

/// A tensor of a worker's state.
#[derive(Clone, Debug)]
pub struct NamedTensor<'a> {
    /// `parameter.`, or `first.` or `second.` for the optimiser's moments, followed by the parameter's name.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// Type of the elements.
    pub dtype: Dtype,
    /// The elements, little-endian.
    pub bytes: Cow<'a, [u8]>,
}

impl View for NamedTensor<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// Why a worker failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WorkerError {
    /// The policy has no trainable parameters.
    #[error("the policy has no trainable parameters")]
    Frozen,
    /// An imported tensor is missing or does not match the policy.
    #[error("{0}")]
    State(String),
    /// A logit is not a finite number.
    #[error("the logits of sequence {row} are not finite")]
    NotFinite {
        /// The sequence's row among the logits.
        row: usize,
    },
    /// The device on which the worker computes failed or has too little memory, or cannot compute this model.
    #[error("{message}")]
    Device {
        /// What happened.
        message: String,
        /// What the user can do about it.
        hint: Option<String>,
    },
    /// One of the replicas that train together failed.
    #[error("rank {rank}: {reason}")]
    Rank {
        /// Its number, from 0.
        rank: usize,
        /// What happened there.
        reason: String,
        /// What the user can do about it.
        hint: Option<String>,
    },
}

impl WorkerError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Device { hint, .. } | Self::Rank { hint, .. } => hint.as_deref(),
            Self::Frozen | Self::State(_) | Self::NotFinite { .. } => None,
        }
    }
}

/// One replica of a model with its trained parameters, gradient and optimiser.
pub trait Worker {
    /// The model's shape.
    fn config(&self) -> &ModelConfig;

    /// Digest of the weights as used in computations: their values, their type, and the kind of machine. Two workers
    /// with the same identity give the same log-probabilities for the same jobs, up to [`Worker::tolerance`].
    fn identity(&self) -> [u8; 32];

    /// How much a log-probability, in nats, may change if its tokens are computed together with different other
    /// tokens.
    fn tolerance(&self) -> f64;

    /// Whether training uses dropout.
    fn uses_dropout(&self) -> bool;

    /// The memory that training would take. With a `limit` in bytes, as much as fits is kept between the passes.
    fn memory(&self, request: &MemoryRequest, limit: Option<usize>) -> MemoryPlan;

    /// Begins training with a zero gradient, a fresh optimiser, and the reference for divergences.
    fn begin(&mut self, setup: &TrainingSetup) -> Result<(), WorkerError>;

    /// Log-probabilities of the targets under the current policy, without dropout or gradient.
    fn log_probs(&mut self, job: &Job<'_>) -> Result<Vec<f64>, WorkerError>;

    /// [`Worker::log_probs`] of several jobs, which a worker may compute at the same time.
    fn log_probs_of_all(&mut self, jobs: &[Job<'_>]) -> Result<Vec<Vec<f64>>, WorkerError> {
        jobs.iter().map(|job| self.log_probs(job)).collect()
    }

    /// For every job, runs a forward pass, the caller's output gradient, and a backward pass. Gradients are summed in
    /// the order of the jobs; `output_gradient` may be called in another order and from several threads. `progress` is
    /// called with the number of finished jobs whenever it has grown.
    fn accumulate(
        &mut self,
        jobs: &[Job<'_>],
        output_gradient: &OutputGradientOf<'_>,
        progress: &mut dyn FnMut(usize),
    ) -> Result<JobTiming, WorkerError>;

    /// Sets the gradient to zero.
    fn clear_gradient(&mut self) -> Result<(), WorkerError>;

    /// Hands the gradient to `change`, flat and in the order of the parameters, and takes what it leaves there.
    fn change_gradient(&mut self, change: &mut ChangeGradient<'_>) -> Result<(), WorkerError>;

    /// Euclidean norm of the gradient.
    fn gradient_norm(&mut self) -> Result<f64, WorkerError>;

    /// One step of the optimiser on the gradient times `factor`.
    fn step(&mut self, learning_rate: f64, factor: f64) -> Result<(), WorkerError>;

    /// The trained parameters and the optimiser's moments.
    fn export(&self) -> Result<Vec<NamedTensor<'_>>, WorkerError>;

    /// Restores what [`Worker::export`] returned after `steps` steps; changes nothing if a tensor does not match.
    fn import(&mut self, steps: u64, tensors: &[NamedTensor<'_>]) -> Result<(), WorkerError>;

    /// The memory that a generator would take.
    fn generation_memory(&self, size: GeneratorSize) -> GenerationMemory;

    /// Creates a generator.
    fn generator(&mut self, size: GeneratorSize) -> Result<Box<dyn Generator + '_>, WorkerError>;
}
