//! The settings of a run.

use serde::{Deserialize, Serialize};
use tabpo_engine::{AdamWConfig, Recompute};
use tabpo_objective::Objective;

use crate::{BatchPlan, ReferenceIdentity, Schedule};

/// How a policy is trained.
///
/// Its serialised form is what the numbers of a run depend on; what only decides the time, the memory
/// or the files that a run takes is left out.
#[derive(Clone, Debug, Serialize)]
pub struct TrainSettings {
    /// What is minimised.
    pub objective: Objective,
    /// Batches, seed and length of the run.
    pub plan: BatchPlan,
    /// Learning rate.
    pub schedule: Schedule,
    /// Optimiser.
    pub optimiser: AdamWConfig,
    /// Longest gradient; a longer one is scaled down. `None` never scales.
    pub clip: Option<f64>,
    /// What the forward pass keeps. The gradient is the same to the bit.
    #[serde(skip)]
    pub recompute: Recompute,
    /// Bytes of logits that may be kept between the passes.
    pub logit_bytes: usize,
    /// Whether log-probs are compared with those at the start even where the objective needs no
    /// reference, so that the change by role and the erosion are known for every run.
    pub track_reference: bool,
    /// Steps between checkpoints; `None` makes none on the way. One is also written when the run is asked to stop.
    #[serde(skip)]
    pub checkpoint_every: Option<u64>,
}

impl TrainSettings {
    /// Settings for an objective with what the others leave open: `AdamW`'s defaults, clipping at 1
    /// and a comparison with the start.
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
    /// policy at the start and of the number of records.
    pub(crate) fn identity(&self, callers: &str, start: &ReferenceIdentity, records: usize) -> String {
        let text = serde_json::to_vec(&(callers, self, start, records)).expect("settings are numbers and names");
        blake3::hash(&text).to_hex().to_string()
    }
}

/// Tokens that were computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenCount {
    /// Rows through forward and backward.
    pub trained: u64,
    /// Rows through forward alone that the objective needs, for the reference and a third model,
    /// whether they were computed for this run or known from an earlier one.
    pub reference: u64,
    /// Rows that the trained part would have taken as separate sequences without padding.
    pub separate: u64,
}

impl TokenCount {
    /// Trained tokens that cost as much: a backward pass takes about twice the operations of a
    /// forward pass, so a token of a forward pass alone counts a third.
    pub fn equivalent(&self) -> u64 {
        self.trained + self.reference / 3
    }
}
