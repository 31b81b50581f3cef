//! A replica of a model with what is trained of it, wherever it computes.
//!
//! [`Worker`] is the border between the training loop and an engine. It is drawn at the level of a replica and not of
//! single operations, because engines differ in how they fuse operations, lay out buffers and round; what they share
//! is the packed batch, the targets, the gradient of the outputs and the names of the parameters.

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

pub use generator::{Generator, GeneratorSize, Pick, Picked};
pub use host::HostWorker;
pub use memory::{MemoryPlan, MemoryRequest, PolicyShape};
pub use policy::Policy;

/// One pass over a packed batch.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The tokens.
    pub batch: &'a Batch,
    /// The log-probabilities that are wanted.
    pub targets: &'a [Target],
    /// Seed of the adapter's dropout masks, a different one every step; `None` switches dropout off.
    pub dropout_seed: Option<u64>,
}

/// A number for every target of a job: log-probabilities and divergences, or the derivatives of a loss with respect
/// to them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TargetValues {
    /// Of the log-probability of the target's token.
    pub log_probs: Vec<f64>,
    /// Of the divergence `KL(reference || policy)` over the vocabulary at the target's row; empty where the worker
    /// keeps no reference ([`TrainingSetup::divergences`]).
    pub divergences: Vec<f64>,
}

impl TargetValues {
    /// Zeros for as many targets.
    #[must_use]
    pub fn zeros_like(&self) -> Self {
        Self { log_probs: vec![0.0; self.log_probs.len()], divergences: vec![0.0; self.divergences.len()] }
    }
}

/// The derivative of the loss with respect to the values of a job, given the job's position and its values.
pub type OutputGradientOf<'a> = dyn Fn(usize, &TargetValues) -> TargetValues + Sync + 'a;

/// Seconds spent on some jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spent {
    /// Forward passes of the reference.
    pub reference: f64,
    /// Forward passes of the policy.
    pub forward: f64,
    /// The caller's gradient of the outputs.
    pub output_gradient: f64,
    /// Backward passes.
    pub backward: f64,
}

/// How a worker trains.
#[derive(Clone, Copy, Debug)]
pub struct TrainingSetup {
    /// Optimiser.
    pub optimiser: AdamWConfig,
    /// What the forward pass keeps. The gradient is the same to the bit.
    pub recompute: Recompute,
    /// Bytes of logits that may be in memory at once.
    pub logit_bytes: usize,
    /// Whether the policy as it is now is kept as the reference of divergences.
    pub divergences: bool,
}

/// A tensor of a worker's state.
#[derive(Clone, Debug)]
pub struct NamedTensor<'a> {
    /// `parameter.`, `first.` or `second.` (moments of the optimiser) and the parameter's name.
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

/// Why a worker cannot do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WorkerError {
    /// Training was begun on a policy without trainable parameters.
    #[error("the policy has nothing that is trained")]
    Frozen,
    /// A tensor of a state is missing or another one than the policy has.
    #[error("{0}")]
    State(String),
    /// A logit is not a finite number.
    #[error("the logits of sequence {row} are not finite")]
    NotFinite {
        /// The sequence's row among the logits.
        row: usize,
    },
}

/// One replica of a model with what is trained of it: parameters, gradient and optimiser.
pub trait Worker {
    /// The model's shape.
    fn config(&self) -> &ModelConfig;

    /// Digest of the weights as they are computed with: their values, their type, the kind of machine. Two workers
    /// with one identity give the same log-probabilities for the same jobs, up to [`Worker::tolerance`].
    fn identity(&self) -> [u8; 32];

    /// How far two passes over the same tokens may differ in a log-probability, in nats, when other tokens are computed
    /// beside them.
    fn tolerance(&self) -> f64;

    /// Whether training drops inputs of the adapter at random.
    fn uses_dropout(&self) -> bool;

    /// The memory that training would take, with the most kept between the passes that fits into `limit` bytes.
    fn memory(&self, request: &MemoryRequest, limit: Option<usize>) -> MemoryPlan;

    /// Begins training: a gradient of zero, a fresh optimiser, and the reference of divergences.
    fn begin(&mut self, setup: &TrainingSetup) -> Result<(), WorkerError>;

    /// Log-probabilities of the targets under the policy as it is, without dropout and without a gradient.
    fn log_probs(&mut self, job: &Job<'_>) -> Result<Vec<f64>, WorkerError>;

    /// For every job a forward pass, the caller's gradient of its outputs, and a backward pass. Gradients add up in
    /// the order of the jobs; the caller's function may be called in another order and from several threads.
    fn accumulate(&mut self, jobs: &[Job<'_>], output_gradient: &OutputGradientOf<'_>) -> Result<Spent, WorkerError>;

    /// Sets the gradient to zero.
    fn clear_gradient(&mut self) -> Result<(), WorkerError>;

    /// Euclidean norm of the gradient.
    fn gradient_norm(&mut self) -> Result<f64, WorkerError>;

    /// One step of the optimiser on the gradient times `factor`.
    fn step(&mut self, learning_rate: f64, factor: f64) -> Result<(), WorkerError>;

    /// The trained parameters and the optimiser's moments.
    fn export(&self) -> Result<Vec<NamedTensor<'_>>, WorkerError>;

    /// Takes up what [`Worker::export`] gave out after `steps` steps; changes nothing if a tensor does not fit.
    fn import(&mut self, steps: u64, tensors: &[NamedTensor<'_>]) -> Result<(), WorkerError>;

    /// Starts generation.
    fn generator(&mut self, size: GeneratorSize) -> Result<Box<dyn Generator + '_>, WorkerError>;
}
