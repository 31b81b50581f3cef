//! Credit in F1 for each item of the model's own answers.

use serde::{Deserialize, Serialize};

use crate::entry::{Entry, configure};
use crate::{Completion, Credit, Evaluation, Formula, Needs, OwnAnswers, Pooling, Ranges};

pub(crate) fn entries() -> Vec<Entry> {
    vec![Entry {
        name: "item-credit",
        summary: "-ΣP_c / Σn_c - ν Σ_i A_i Σ_{t∈i} p_t / Σn_c over the deciding tokens of each item i of sampled \
                  answers, A = 2 - F if it is right, -F if not",
        source: "this project: policy gradient with the linear credit of F1. \
                 F: SFT's F1 on validation in a run, else 0.3",
        build: |name, given| configure(name, &ItemCredit::default(), given),
    }]
}

/// **Item credit**: SFT, and a policy gradient on answers that were sampled from the model, with credit for each item of
/// an answer by itself.
///
/// ```text
/// L = −Σ p_ct / n − (ν/n) Σ_i A_i Σ_{t ∈ i} p_t,  A_i = min(2 c_i − F, cap)
/// dL/dp_t = −(ν/n) A_i, and 0 where A_i < 0 and p_t ≤ log floor
/// ```
///
/// `c_i` is 1 if item i is right and 0 if not, and the t in i are the tokens that decide about it: the one that opens its
/// record, those at the end of its text, its label, the ids of a relation's arguments. Braces, keys and the rest of the
/// text have no part in it. One more item that is right with probability c changes F1 in proportion to `2c − F` (see
/// [`Credit`]), so that the expected credit of an item is 0 exactly at the threshold where it stops to pay, and a
/// baseline from other samples is not needed. F is that of the model on new documents, for entities and relations apart.
///
/// A wrong token that has become improbable is not pushed further: what a push takes from it would go to whatever else is
/// probable. As a loss, its log-prob is held at the floor. A token of a sampled answer weighs ν A times a token of gold;
/// several samples of an example are averaged. The samples are those of the start, so that the gradient is on policy at
/// the first steps only; small ν and learning rates keep it near. Without samples, or with ν = 0, it is SFT. Defaults: ν
/// 0.3, floor 0.05, cap 1.5.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemCredit {
    /// F1 of entities, 0 to 1. Where it is not set, a run takes that of the SFT model on validation.
    pub entity_f1: Option<f64>,
    /// F1 of relations, 0 to 1. Where it is not set, a run takes that of the SFT model on validation.
    pub relation_f1: Option<f64>,
    /// Weight ν of the sampled answers.
    pub credit: f64,
    /// Probability down to which the tokens of wrong items are pushed, in (0, 1].
    pub floor: f64,
    /// The largest credit of an item, from 0 to 2.
    pub cap: f64,
    /// What both means are taken over.
    pub pooling: Pooling,
}

impl Default for ItemCredit {
    fn default() -> Self {
        Self { entity_f1: None, relation_f1: None, credit: 0.3, floor: 0.05, cap: 1.5, pooling: Pooling::Tokens }
    }
}

/// The credits of the items that a token decides about, added up by sign.
#[derive(Clone, Copy, Default)]
struct Advantage {
    positive: f64,
    negative: f64,
}

impl ItemCredit {
    fn credit(&self) -> Credit {
        Credit { entity_f1: self.entity_f1, relation_f1: self.relation_f1 }
    }

    /// What each token of an answer has to do with the credit of its items.
    fn advantages(&self, answer: &Completion) -> Vec<Advantage> {
        let mut advantages = vec![Advantage::default(); answer.len()];
        for item in &answer.items {
            let right = if item.right { 2.0 } else { 0.0 };
            let advantage = (right - self.credit().f1(item.list)).min(self.cap);
            for &token in &item.tokens {
                let of_token = &mut advantages[token];
                if advantage > 0.0 { of_token.positive += advantage } else { of_token.negative += advantage }
            }
        }
        advantages
    }
}

impl Formula for ItemCredit {
    fn needs(&self) -> Needs {
        if self.credit > 0.0 { Needs { own: OwnAnswers::Sampled, ..Needs::PAIR } } else { Needs::CHOSEN }
    }

    fn ranges(&self, ranges: &mut Ranges) {
        self.credit().ranges(ranges);
        ranges.not_negative("credit", self.credit).confidence("floor", self.floor);
        ranges.require("cap", self.cap, (0.0..=2.0).contains(&self.cap), "a number from 0 to 2");
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        if self.credit > 0.0 {
            let advantages = self.advantages(&terms.pair().rejected);
            let floor = self.floor.ln();
            terms.own_losses(self.credit, self.pooling, |t, p| {
                let Advantage { positive, negative } = advantages[t];
                let pushed = if p > floor { negative } else { 0.0 };
                (-positive * p - negative * p.max(floor), -positive - pushed)
            });
        }
        terms.likelihood(1.0, self.pooling);
    }
}
