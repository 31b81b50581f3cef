//! What every objective implements.

use std::fmt::Debug;

use serde::{Deserialize, Serialize};

use crate::Evaluation;

/// Where a completion's external token weights come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WeightSource {
    /// The objective uses none.
    None,
    /// The weights of the public TAB-PO script, [`crate::weights::released`].
    Released,
    /// Weights that come with the data: scores of other models, masks.
    External,
}

/// How much of a rejected completion an objective reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// Nothing: the objective uses none.
    Nothing,
    /// Up to the first token that differs from the chosen completion. All of it is predicted from
    /// rows that the chosen completion has anyway, so such a pair costs no computation of its own.
    Parting,
    /// All of it.
    Whole,
}

/// What an objective needs beside the policy's log-probs of the chosen completion, token roles and
/// the difference mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// Log-probs of a rejected completion.
    pub rejected: Reach,
    /// Reference log-probs.
    pub reference: bool,
    /// KL(reference ‖ policy) over the vocabulary at each position, value and gradient.
    pub kl: bool,
    /// External token weights.
    pub weights: WeightSource,
    /// Log-probs of a third model.
    pub third: bool,
}

impl Needs {
    /// Only the policy's log-probs of the chosen completion.
    pub const CHOSEN: Needs =
        Needs { rejected: Reach::Nothing, reference: false, kl: false, weights: WeightSource::None, third: false };
    /// The policy's log-probs of both completions.
    pub const PAIR: Needs = Needs { rejected: Reach::Whole, ..Needs::CHOSEN };
    /// Policy and reference log-probs of both completions.
    pub const PAIR_AND_REFERENCE: Needs = Needs { reference: true, ..Needs::PAIR };

    /// Whether there are rejected completions at all.
    pub fn pairs(self) -> bool {
        self.rejected > Reach::Nothing
    }
}

/// An objective with its hyper-parameters.
pub trait Formula: Debug + Send + Sync {
    /// What the inputs must hold.
    fn needs(&self) -> Needs;

    /// States the range of every hyper-parameter that has one.
    fn ranges(&self, ranges: &mut Ranges);

    /// Adds the objective's terms for one pair.
    fn evaluate(&self, sheet: &mut Evaluation<'_>);
}

/// Collects the first hyper-parameter that is out of its range.
#[derive(Debug, Default)]
pub struct Ranges {
    pub(crate) violation: Option<(&'static str, f64, &'static str)>,
}

/// The largest hyper-parameter: beyond it losses leave the range of their numbers.
const LARGEST: f64 = 1e6;

impl Ranges {
    /// The parameter must be greater than 0 and at most a million.
    pub fn positive(&mut self, name: &'static str, value: f64) -> &mut Self {
        self.require(name, value, value > 0.0 && value <= LARGEST, "a number greater than 0 and at most 1000000")
    }

    /// The parameter must be at least 0 and at most a million.
    pub fn not_negative(&mut self, name: &'static str, value: f64) -> &mut Self {
        self.require(name, value, (0.0..=LARGEST).contains(&value), "a number from 0 to 1000000")
    }

    /// The parameter must be a probability greater than 0.
    pub fn confidence(&mut self, name: &'static str, value: f64) -> &mut Self {
        self.require(name, value, value > 0.0 && value <= 1.0, "a probability in (0, 1]")
    }

    /// The parameter must be accepted; `expected` says what would be.
    pub fn require(&mut self, name: &'static str, value: f64, accepted: bool, expected: &'static str) -> &mut Self {
        if !accepted && self.violation.is_none() {
            self.violation = Some((name, value, expected));
        }
        self
    }
}
