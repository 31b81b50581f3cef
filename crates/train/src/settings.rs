//! The settings of a run.

use serde::{Deserialize, Serialize};
use tabpo_engine::{AdamWConfig, Recompute};
use tabpo_objective::Objective;

use crate::{BatchPlan, Schedule};

/// How a policy is trained.
#[derive(Clone, Debug)]
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
    /// What the forward pass keeps.
    pub recompute: Recompute,
    /// Bytes of logits that may be kept between the passes.
    pub logit_bytes: usize,
    /// Whether log-probs are compared with those at the start even where the objective needs no
    /// reference, so that the change by role and the erosion are known for every run.
    pub track_reference: bool,
    /// Steps between evaluations by [`Observer::evaluate`](crate::Observer::evaluate); the run ends
    /// with the best policy found. `None` never evaluates and ends with the last.
    pub evaluate_every: Option<u64>,
    /// Steps between checkpoints. One is also written when the run is asked to stop.
    pub checkpoint_every: Option<u64>,
}

impl TrainSettings {
    /// Settings for an objective with what the others leave open: `AdamW`'s defaults, clipping at 1,
    /// no evaluation, and a comparison with the start.
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
            evaluate_every: None,
            checkpoint_every: None,
        }
    }

    /// Digest of everything that the numbers of a run depend on; a checkpoint of another run is not
    /// taken up.
    pub(crate) fn digest(&self) -> String {
        let Self { objective, plan, schedule, optimiser, clip, recompute, track_reference, evaluate_every, .. } = self;
        let text = format!(
            "{objective:?} {plan:?} {schedule:?} {optimiser:?} {clip:?} {recompute:?} {track_reference} {evaluate_every:?}"
        );
        blake3::hash(text.as_bytes()).to_hex().to_string()
    }
}

/// Tokens that were computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenCount {
    /// Rows through forward and backward.
    pub trained: u64,
    /// Rows through forward alone, for the reference.
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
