//! Minimum risk over the candidates of an example.

use serde::{Deserialize, Serialize};

use crate::entry::{Entry, configure};
use crate::{Completion, Credit, Evaluation, Formula, Needs, Pair, Pooling, Ranges};

pub(crate) fn entries() -> Vec<Entry> {
    vec![Entry {
        name: "minimum-risk",
        summary: "-λ ΣP_c / Σn_c + ρ Σ_k q_k Δ_k, q = softmax(αS) over gold and candidates, \
                  Δ = [F FP + (2-F) FN] / 2 gold items",
        source: "minimum risk training (Shen et al. 2016, arXiv 1512.02433) with the linear credit of F1. \
                 F: SFT's F1 on validation in a run, else 0.3",
        build: |name, given| configure(name, &MinimumRisk::default(), given),
    }]
}

/// **Minimum risk** over gold and the rejected answers of an example, with the linear credit of F1 as risk.
///
/// ```text
/// L   = −λ Σ p_ct / n + ρ Σ_k q_k Δ_k
/// q   = softmax(αS) over gold (S = 0, Δ = 0) and the rejected answers
/// S_k = Σ_{t ∈ D_k} p_kt − Σ_{t ∈ C_k} p_ct
/// Δ_k = Σ_list [F·FP_k + (2 − F)·FN_k] / (2 · gold items)
/// dL/dp_kt = g_k on D_k,  dL/dp_ct = −λ/n − Σ_{k: t ∈ C_k} g_k,  g_k = ρ α q_k (Δ_k − Σ_j q_j Δ_j)
/// ```
///
/// C and D are the tokens of gold and of the rejected answer that differ, with the divergence point on both sides as
/// in [`TabPo`](super::tab_po::TabPo), so that shared tokens have no coefficient. The pull on a rival fades with its
/// probability, and there is no reference model. An example without gold items counts as one with one item. The risk
/// of an example counts as much as its pairs weigh together. With ρ = 0 it is SFT. Defaults: λ 1, ρ 0.5, α 1.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MinimumRisk {
    /// F1 of entities, 0 to 1. Where it is not set, a run takes that of the SFT model on validation.
    pub entity_f1: Option<f64>,
    /// F1 of relations, 0 to 1. Where it is not set, a run takes that of the SFT model on validation.
    pub relation_f1: Option<f64>,
    /// Weight ρ of the risk.
    pub risk: f64,
    /// Sharpness α of the distribution over the candidates.
    pub alpha: f64,
    /// Weight λ of the likelihood.
    pub anchor: f64,
    /// What the mean of the likelihood is taken over.
    pub pooling: Pooling,
}

impl Default for MinimumRisk {
    fn default() -> Self {
        Self { entity_f1: None, relation_f1: None, risk: 0.5, alpha: 1.0, anchor: 1.0, pooling: Pooling::Tokens }
    }
}

impl MinimumRisk {
    fn credit(&self) -> Credit {
        Credit { entity_f1: self.entity_f1, relation_f1: self.relation_f1 }
    }

    fn add_risk(&self, pairs: &mut [Evaluation<'_>]) {
        let candidates: Vec<Candidate> =
            pairs.iter().map(|terms| Candidate::new(terms.pair(), self.credit())).collect();
        let probabilities = softmax_with_zero(candidates.iter().map(|candidate| self.alpha * candidate.score));
        let expected: f64 = candidates.iter().zip(&probabilities).map(|(candidate, q)| q * candidate.risk).sum();
        let weight: f64 = pairs.iter().map(|terms| terms.pair().weight).sum();
        for ((terms, candidate), q) in pairs.iter_mut().zip(&candidates).zip(probabilities) {
            let slope = self.risk * self.alpha * q * (candidate.risk - expected);
            let chosen: Vec<f64> = candidate.chosen.iter().map(|coefficient| -slope * coefficient).collect();
            let rejected: Vec<f64> = candidate.rejected.iter().map(|coefficient| slope * coefficient).collect();
            terms.term_with_weight(weight, self.risk * q * candidate.risk, &chosen, &rejected);
            terms.set_margin(-candidate.score);
        }
    }
}

/// A rejected answer as a rival of gold.
struct Candidate {
    /// S, in nats.
    score: f64,
    /// Δ.
    risk: f64,
    /// 1 on the tokens of C, 0 elsewhere.
    chosen: Vec<f64>,
    /// 1 on the tokens of D, 0 elsewhere.
    rejected: Vec<f64>,
}

impl Candidate {
    fn new(pair: &Pair, credit: Credit) -> Self {
        let point = pair.shared_prefix();
        let flags = |side: &Completion| (0..side.len()).map(|t| f64::from(u8::from(side.is_apart(t, point)))).collect();
        let (chosen, rejected): (Vec<f64>, Vec<f64>) = (flags(&pair.chosen), flags(&pair.rejected));
        let sum =
            |side: &Completion, flags: &[f64]| side.policy.iter().zip(flags).map(|(p, flag)| flag * p).sum::<f64>();
        let errors = pair.rejected.errors;
        Self {
            score: sum(&pair.rejected, &rejected) - sum(&pair.chosen, &chosen),
            risk: credit.cost(errors) / f64::from(errors.gold.total().max(1)),
            chosen,
            rejected,
        }
    }
}

/// The softmax of some scores and a further one that is 0, without that one.
fn softmax_with_zero(scores: impl Iterator<Item = f64>) -> Vec<f64> {
    let scores: Vec<f64> = scores.collect();
    let largest = scores.iter().copied().fold(0.0, f64::max);
    let total = (-largest).exp() + scores.iter().map(|score| (score - largest).exp()).sum::<f64>();
    scores.iter().map(|score| (score - largest).exp() / total).collect()
}

impl Formula for MinimumRisk {
    fn needs(&self) -> Needs {
        let of_candidates = if self.risk > 0.0 { Needs::PAIR } else { Needs::CHOSEN };
        Needs { credit: self.risk > 0.0, ..of_candidates }
    }

    fn ranges(&self, ranges: &mut Ranges) {
        self.credit().ranges(ranges);
        ranges.not_negative("risk", self.risk).positive("alpha", self.alpha).not_negative("anchor", self.anchor);
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        self.evaluate_example(std::slice::from_mut(terms));
    }

    fn evaluate_example(&self, pairs: &mut [Evaluation<'_>]) {
        if self.risk > 0.0 {
            self.add_risk(pairs);
        }
        for terms in pairs {
            terms.likelihood(self.anchor, self.pooling);
        }
    }
}
