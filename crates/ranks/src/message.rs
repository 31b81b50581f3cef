//! What rank 0 asks of the others, and what they answer.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tabpo_engine::{Batch, Job, JobTiming, Target, TrainingSetup};

use crate::links::{LinkError, Links, SAME_PROGRAM};

/// A pass that one rank computes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Task {
    /// The tokens.
    pub(crate) batch: Batch,
    /// The log-probabilities to compute.
    pub(crate) targets: Vec<Target>,
    /// See [`Job::dropout_seed`].
    pub(crate) dropout_seed: Option<u64>,
}

impl Task {
    pub(crate) fn job(&self) -> Job<'_> {
        Job { batch: &self.batch, targets: &self.targets, dropout_seed: self.dropout_seed }
    }
}

/// What rank 0 asks for. Only the orders that are answered are waited for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Begin training; answered by [`Answer::Begun`].
    Begin(TrainingSetup),
    /// Log-probabilities of passes; answered by [`Answer::Values`] for each.
    LogProbs(Vec<Task>),
    /// For each pass: values ([`Answer::Values`]), then, when rank 0 has sent their gradient, a backward pass
    /// ([`Answer::Computed`]); at the end [`Answer::Accumulated`].
    Accumulate(Vec<Task>),
    /// Set the gradient to zero.
    Clear,
    /// Take part in the sum of the gradients.
    Sum,
    /// Take a step.
    Step {
        /// The learning rate.
        rate: f64,
        /// The factor of the gradient.
        factor: f64,
    },
    /// Take over a state, whose tensors follow as a message each.
    Import {
        /// Steps so far.
        steps: u64,
        /// Name, shape and type of each tensor.
        tensors: Vec<(String, Vec<usize>, safetensors::Dtype)>,
    },
    /// The training is over.
    End,
}

/// What a rank answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// Training has begun with weights of this digest.
    Begun([u8; 32]),
    /// The values of the next pass.
    Values(tabpo_engine::TargetValues),
    /// The pass is computed.
    Computed,
    /// All passes are.
    Accumulated(JobTiming),
}

/// Sends a value to another rank.
pub(crate) fn send<T: Serialize>(links: &Links, to: usize, value: &T) -> Result<(), LinkError> {
    links.send(to, postcard::to_stdvec(value).expect("messages are plain data"))
}

/// Waits for a value of another rank.
pub(crate) fn receive<T: DeserializeOwned>(links: &Links, from: usize) -> Result<T, LinkError> {
    let message = links.receive(from)?;
    postcard::from_bytes(&message).map_err(|error| {
        LinkError::new(from, format!("sent a message that can't be read: {error}")).with_hint(SAME_PROGRAM)
    })
}

/// The error about an answer that was not asked for.
pub(crate) fn unexpected(rank: usize, answer: &Answer) -> LinkError {
    LinkError::new(rank, format!("answered what was not asked: {answer:?}")).with_hint(SAME_PROGRAM)
}
