//! What a run reports.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tabpo_objective::accounting::RoleSummary;
use tabpo_roles::Role;

use crate::TokenCount;

/// Seconds by activity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Waiting for the next step's tokens.
    pub waiting: f64,
    /// Forward passes of reference models.
    pub reference: f64,
    /// Forward passes of the policy.
    pub forward: f64,
    /// Objective and accounting.
    pub objective: f64,
    /// Backward passes.
    pub backward: f64,
    /// Norm, clipping and `AdamW`.
    pub optimiser: f64,
}

impl Timing {
    /// The sum of all activities.
    pub fn total(&self) -> f64 {
        self.waiting + self.reference + self.forward + self.objective + self.backward + self.optimiser
    }

    pub(crate) fn add(&mut self, other: &Timing) {
        self.waiting += other.waiting;
        self.reference += other.reference;
        self.forward += other.forward;
        self.objective += other.objective;
        self.backward += other.backward;
        self.optimiser += other.optimiser;
    }
}

/// One optimiser step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Number of the step, from 1.
    pub step: u64,
    /// Epoch of its examples, from 0.
    pub epoch: u64,
    /// Share of the budget that is spent at its middle.
    pub progress: f64,
    /// Loss of the step before its update: the sum of the four terms.
    pub loss: f64,
    /// Preference term.
    pub preference: f64,
    /// Decision term.
    pub decision: f64,
    /// Likelihood term on the chosen answers.
    pub likelihood: f64,
    /// Barrier term.
    pub barrier: f64,
    /// Learning rate.
    pub learning_rate: f64,
    /// Norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Examples in the step.
    pub examples: u64,
    /// Mean margin between the chosen and the rejected score, if the objective compares answers.
    pub margin: Option<f64>,
    /// Share of the pairs whose margin is above 0.
    pub accuracy: Option<f64>,
    /// Gradient shares, gate activity and change of log-prob by role.
    pub roles: BTreeMap<Role, RoleSummary>,
    /// Under-confident chosen schema tokens that have lost probability since the start.
    pub erosion: u64,
    /// Rows computed in this step.
    pub tokens: u64,
    /// Rows computed a second in this step, waiting included.
    pub tokens_per_second: f64,
    /// Records that were skipped as too long: their ids, lengths in tokens, and numbers from 1.
    pub skipped: Vec<(String, usize, usize)>,
    /// Where the time went.
    pub timing: Timing,
}

/// How far a step is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepProgress {
    /// The number of the step, from 1.
    pub step: u64,
    /// Finished micro-batches.
    pub done: usize,
    /// Micro-batches of the step.
    pub total: usize,
    /// Rows computed a second in the finished ones, if there are any.
    pub tokens_per_second: Option<f64>,
}

/// A checkpoint from which a run cannot be resumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnusedCheckpoint {
    /// It was written with other settings, another initial policy or other data. The run's first checkpoint
    /// replaces it.
    OtherRun,
    /// It is not what was written.
    Damaged {
        /// What is wrong with it.
        problem: String,
        /// Where it was moved, out of the way of new checkpoints.
        moved_to: PathBuf,
    },
}

/// Observes a run. The default methods do nothing.
pub trait Observer {
    /// The run was resumed from a checkpoint after `step` steps.
    fn resumed(&mut self, _step: u64) {}

    /// The checkpoint from which the run is about to be resumed was written on another device.
    fn taken_over(&mut self) {}

    /// The run could not be resumed from this checkpoint and starts anew.
    fn unused_checkpoint(&mut self, _checkpoint: &UnusedCheckpoint) {}

    /// Reference log-probs have been found for `done` examples.
    fn reference(&mut self, _done: u64) {}

    /// A step is under way.
    fn micro_batches(&mut self, _progress: &StepProgress) {}

    /// A step was taken.
    fn step(&mut self, _record: &StepRecord) {}

    /// Whether to stop after this step, once a checkpoint is written.
    fn should_stop(&self) -> bool {
        false
    }
}

impl Observer for () {}

/// The outcome of a run.
#[derive(Clone, Copy, Debug)]
pub struct TrainOutcome {
    /// Whether the budget was spent; otherwise the observer stopped the run.
    pub finished: bool,
    /// Totals of the run.
    pub summary: TrainSummary,
}

/// Totals of a run, over all its sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainSummary {
    /// Optimiser steps.
    pub steps: u64,
    /// Examples trained on; each use counts.
    pub examples: u64,
    /// Tokens computed.
    pub tokens: TokenCount,
    /// Records skipped as too long; each time counts.
    pub skipped: u64,
    /// Where the time went.
    pub timing: Timing,
}
