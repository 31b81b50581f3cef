//! The settings of a run.

use serde::{Deserialize, Serialize};
use tabpo_engine::{AdamWConfig, Recompute};
use tabpo_objective::Objective;

use crate::{BatchPlan, ReferenceIdentity, Schedule};

/// How a policy is trained.
///
/// The serialised form contains what the numbers of a run depend on, and leaves out what only affects its
/// time, memory or files.
#[derive(Clone, Debug, Serialize)]
pub struct TrainSettings {
    /// The objective.
    pub objective: Objective,
    /// Batches, seed and length of the run.
    pub plan: BatchPlan,
    /// Learning rate.
    pub schedule: Schedule,
    /// Optimiser.
    pub optimiser: AdamWConfig,
    /// Largest norm of the gradient; a longer gradient is scaled down. `None` never scales.
    pub clip: Option<f64>,
    /// What the forward pass keeps; this does not change a bit of the gradient.
    #[serde(skip)]
    pub recompute: Recompute,
    /// Bytes of logits that may be kept between the passes.
    pub logit_bytes: usize,
    /// Whether log-probs are compared with those at the start even if the objective needs no reference, so
    /// that the change by role and the erosion are reported for every run.
    pub track_reference: bool,
    /// Steps between checkpoints, if any. One is also written when the observer stops the run.
    #[serde(skip)]
    pub checkpoint_every: Option<u64>,
}

impl TrainSettings {
    /// Settings with `AdamW`'s defaults, clipping at 1, a comparison with the start, and no periodic
    /// checkpoints.
    pub fn new(objective: Objective, plan: BatchPlan, schedule: Schedule) -> Self {
        Self {
            objective,
            plan,
            schedule,
            optimiser: AdamWConfig::default(),
            clip: Some(1.0),
            recompute: Recompute::default(),
            logit_bytes: 64 << 20,
            track_reference: true,
            checkpoint_every: None,
        }
    }

    /// The identity of a run's checkpoints: a digest of the caller's identity, of these settings, of the
    /// initial policy and of the number of records.
    pub(crate) fn identity(&self, caller: &str, start: &ReferenceIdentity, records: usize) -> String {
        let text = serde_json::to_vec(&(caller, self, start, records)).expect("settings are numbers and names");
        blake3::hash(&text).to_hex().to_string()
    }

    /// The identity of a run's work wherever it is done: [`identity`](Self::identity) without what depends on the device.
    pub(crate) fn work(&self, caller: &str, records: usize) -> String {
        let settings = Self { logit_bytes: 0, ..self.clone() };
        let text = serde_json::to_vec(&("work", caller, settings, records)).expect("settings are numbers and names");
        blake3::hash(&text).to_hex().to_string()
    }
}

/// Numbers of computed tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenCount {
    /// Rows through forward and backward passes.
    pub trained: u64,
    /// Rows through forward passes of the reference and the guide model that the objective needs, whether
    /// computed in this run or cached by an earlier one; a caller that generates answers for a run adds their tokens.
    pub reference: u64,
    /// Rows that `trained` would have been with separate sequences without padding.
    pub separate: u64,
}

impl TokenCount {
    /// The number of trained tokens with the same cost: a backward pass takes about twice the operations of a
    /// forward pass, so that a token of a forward pass alone counts a third.
    pub fn equivalent(&self) -> u64 {
        self.trained + self.reference / 3
    }
}
