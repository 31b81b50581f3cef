//! What a formula is, and what it needs to know.

use std::fmt::Debug;

use serde::{Deserialize, Serialize};

use crate::{Evaluation, Grouping};

/// Where a completion's external token weights come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WeightSource {
    /// The objective uses none.
    None,
    /// The weights of the public TAB-PO script, [`crate::weights::released`].
    Released,
    /// Scores of two models that were trained on the pairs and on the reversed pairs,
    /// [`crate::weights::contrast`], mapped to weights.
    Contrastive,
    /// Weights that come with the data, such as a mask.
    External,
    /// Weights that follow the moving loss of each label, [`crate::GroupLosses`].
    Groups,
}

/// How much of a rejected completion an objective reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// Nothing: the objective uses none.
    Nothing,
    /// Up to and including its first token that differs from the chosen completion: the divergence
    /// point. All of it is predicted from hidden states that the chosen completion needs anyway, so
    /// such a pair costs no computation of its own.
    Divergence,
    /// All of it.
    Whole,
}

/// Which of the model's own answers stand in the place of rejected completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OwnAnswers {
    /// None: rejected completions are those of the pairs.
    None,
    /// The greedy answer, with what would have been right after its mistakes
    /// ([`Completion::choices`](crate::Completion::choices)).
    Greedy,
    /// Sampled answers, with the verdict of gold on each of their items
    /// ([`Completion::items`](crate::Completion::items)).
    Sampled,
}

/// What an objective needs besides the policy's log-probs of the chosen completion, token roles and
/// the difference mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a thing that is needed or not, in any combination")]
pub struct Needs {
    /// Log-probs of a rejected completion.
    pub rejected: Reach,
    /// Reference log-probs.
    pub reference: bool,
    /// KL(reference ‖ policy) over the vocabulary at each position, value and gradient.
    pub kl: bool,
    /// External token weights.
    pub weights: WeightSource,
    /// Log-probs of a guide model: a further model whose judgement of each token weighs it.
    pub guide: bool,
    /// What an item is worth in F1: which tokens decide between a further record and the end of a list, and
    /// which items a rejected completion gets wrong.
    pub credit: bool,
    /// The model's own answers in the place of rejected completions.
    pub own: OwnAnswers,
}

impl Needs {
    /// Only the policy's log-probs of the chosen completion.
    pub const CHOSEN: Needs = Needs {
        rejected: Reach::Nothing,
        reference: false,
        kl: false,
        weights: WeightSource::None,
        guide: false,
        credit: false,
        own: OwnAnswers::None,
    };
    /// The policy's log-probs of both completions.
    pub const PAIR: Needs = Needs { rejected: Reach::Whole, ..Needs::CHOSEN };
    /// Policy and reference log-probs of both completions.
    pub const PAIR_AND_REFERENCE: Needs = Needs { reference: true, ..Needs::PAIR };

    /// Whether there are rejected completions at all.
    pub fn pairs(self) -> bool {
        self.rejected > Reach::Nothing
    }
}

/// The formula of an objective: a struct of its hyper-parameters.
pub trait Formula: Debug + Send + Sync {
    /// What the inputs must hold.
    fn needs(&self) -> Needs;

    /// States the range of every hyper-parameter that has one.
    fn ranges(&self, ranges: &mut Ranges) {
        let _ = ranges;
    }

    /// How the moving loss of a label weighs its tokens, where [`Needs::weights`] is [`WeightSource::Groups`].
    fn grouping(&self) -> Option<Grouping> {
        None
    }

    /// Whether it moves the decision between a further record and the end of a list away from its probability in the
    /// data, so that a threshold at decoding must not do so again.
    fn moves_list_ends(&self) -> bool {
        false
    }

    /// Adds the objective's terms for one pair.
    fn evaluate(&self, terms: &mut Evaluation<'_>);

    /// Adds the objective's terms for all pairs of one example, which have the chosen completion in common.
    fn evaluate_example(&self, pairs: &mut [Evaluation<'_>]) {
        for terms in pairs {
            self.evaluate(terms);
        }
    }
}

/// Collects the first hyper-parameter that is out of its range.
#[derive(Debug, Default)]
pub struct Ranges {
    pub(crate) violation: Option<RangeViolation>,
}

/// A hyper-parameter that is out of its range.
#[derive(Clone, Debug, PartialEq)]
pub struct RangeViolation {
    /// The hyper-parameter.
    pub parameter: &'static str,
    /// The value that was given.
    pub value: f64,
    /// What it should be.
    pub expected: &'static str,
}

/// The largest hyper-parameter: beyond it losses may overflow.
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

    /// The parameter must be a lead of one token over another, in nats, where it is set.
    pub fn lead(&mut self, name: &'static str, value: Option<f64>) -> &mut Self {
        let lead = value.unwrap_or(0.0);
        self.require(name, lead, lead.abs() <= LARGEST, "a number from -1000000 to 1000000")
    }

    /// The parameter must satisfy `accepted`; `expected` says what is accepted.
    pub fn require(&mut self, name: &'static str, value: f64, accepted: bool, expected: &'static str) -> &mut Self {
        if !accepted && self.violation.is_none() {
            self.violation = Some(RangeViolation { parameter: name, value, expected });
        }
        self
    }
}
