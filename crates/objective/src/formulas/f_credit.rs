//! Cost-sensitive SFT: what F1 pays for going on with a list and for ending it.

use serde::{Deserialize, Serialize};
use tabpo_roles::List;

use crate::decision::Decision;
use crate::entry::{Entry, configure};
use crate::{Credit, Evaluation, Formula, ItemCounts, ItemErrors, Needs, Pair, Pooling, Ranges, Reach};

pub(crate) fn entries() -> Vec<Entry> {
    vec![Entry {
        name: "f-credit",
        summary: "-Σw p_c / Σn_c - κ a ℓ(p_ck - p_rk), w = 2(1-θ) to open a record, 2θ to close a list, θ = F/2; \
                  a = (2-F)/2 for an omission, F/2 for an insertion, 1 for a label",
        source: "this project; threshold of arXiv 1402.1892. F: SFT's F1 on validation in a run, else 0.3",
        build: |name, given| configure(name, &FCredit::default(), given),
    }]
}

/// **F-credit**: SFT in which the decisions between a further record and the end of a list weigh what they are worth
/// in F1, with pairs weighed alike.
///
/// ```text
/// L = −Σ_t w_t p_ct / n − κ a ℓ(p_ck − p_rk)
/// w_t = 2(1 − θ)  where the token opens a further record,
///       2θ        where it closes the list,                θ = F/2 times `threshold_scale`
///       1         elsewhere; the product where one token decides both lists
/// a   = (F·FP + (2 − F)·FN)/2: (2 − F)/2 where the rejected answer omits an item, F/2 where it adds one, 1 where it
///       has a wrong one instead
/// ```
///
/// A model that is trained with these weights learns log-odds of a further record that are higher by
/// `log((1 − θ)/θ)` than the data's, so that greedy decoding, which goes on above 1/2, goes on exactly where the
/// probability of a right record exceeds θ (see [`Credit`]). It must not be decoded with a threshold besides, which
/// would shift the rule twice. F is that of the model on new documents, for entities and relations apart. With θ = 1/2
/// (F = 1) and κ = 0 it is SFT.
///
/// The sum is divided by the number of tokens, not by the sum of the weights: the batch's scale then does not depend
/// on how many lists it closes, and the optimiser doesn't see the difference. Of a pair, only the list in which its
/// answers part counts, and one wrong and one missing item at most, since the pair is one decision. `decision_target`
/// (see [`TabPo`](super::tab_po::TabPo)) applies to wrong labels only. Defaults: κ 0.1, target 0.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FCredit {
    /// F1 of entities, 0 to 1. Where it is not set, a run takes that of the SFT model on validation.
    pub entity_f1: Option<f64>,
    /// F1 of relations, 0 to 1. Where it is not set, a run takes that of the SFT model on validation.
    pub relation_f1: Option<f64>,
    /// Factor of θ, which stays at most 1; greater than 0 and at most 2.
    pub threshold_scale: f64,
    /// Weight κ of the pairs.
    pub decision: f64,
    /// Lead of the right token, in nats, at which a pair with a wrong label stops pushing; none without a value.
    pub decision_target: Option<f64>,
    /// What the mean of the likelihood is taken over.
    pub pooling: Pooling,
}

impl Default for FCredit {
    fn default() -> Self {
        Self {
            entity_f1: None,
            relation_f1: None,
            threshold_scale: 1.0,
            decision: 0.1,
            decision_target: Some(0.0),
            pooling: Pooling::Tokens,
        }
    }
}

impl FCredit {
    fn credit(&self) -> Credit {
        Credit { entity_f1: self.entity_f1, relation_f1: self.relation_f1 }
    }

    /// The weights of a decision that opens a further record and of one that closes the list.
    fn weights(&self, list: List) -> (f64, f64) {
        let threshold = (self.threshold_scale * self.credit().threshold(list)).min(1.0);
        (2.0 * (1.0 - threshold), 2.0 * threshold)
    }

    fn add_pair(&self, terms: &mut Evaluation<'_>) {
        let errors = decided(terms.pair().rejected.errors);
        let label = errors.wrong.total() > 0 && errors.missing.total() > 0;
        let decision = Decision { target: self.decision_target.filter(|_| label), taper: None };
        decision.add(terms, Pair::shared_prefix(terms.pair()), self.decision * self.credit().cost(errors));
    }
}

/// The errors that a pair's one decision stands for: those in the first list with any, each kind once.
fn decided(errors: ItemErrors) -> ItemErrors {
    let in_entities = errors.wrong.entities + errors.missing.entities > 0;
    let once = |counts: ItemCounts| {
        if in_entities {
            ItemCounts { entities: counts.entities.min(1), relations: 0 }
        } else {
            ItemCounts { entities: 0, relations: counts.relations.min(1) }
        }
    };
    ItemErrors { wrong: once(errors.wrong), missing: once(errors.missing), gold: errors.gold }
}

impl Formula for FCredit {
    fn needs(&self) -> Needs {
        let rejected = if self.decision > 0.0 { Reach::Divergence } else { Reach::Nothing };
        Needs { rejected, credit: true, ..Needs::CHOSEN }
    }

    fn ranges(&self, ranges: &mut Ranges) {
        self.credit().ranges(ranges);
        let scale = self.threshold_scale;
        ranges.require("threshold_scale", scale, scale > 0.0 && scale <= 2.0, "a number greater than 0 and at most 2");
        ranges.not_negative("decision", self.decision);
        ranges.lead("decision_target", self.decision_target);
    }

    fn moves_list_ends(&self) -> bool {
        true
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        if self.decision > 0.0 {
            self.add_pair(terms);
        }
        let chosen = &terms.pair().chosen;
        let mut weights = vec![1.0; chosen.len()];
        for (t, decision) in &chosen.decisions {
            let (open, close) = self.weights(decision.list);
            weights[*t] *= if decision.opens { open } else { close };
        }
        terms.token_losses(1.0, self.pooling, |t, p| (-weights[t] * p, -weights[t]));
    }
}
