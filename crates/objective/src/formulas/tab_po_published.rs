//! The published forms of TAB-PO. Three different losses go by that name; our own form is
//! [`TabPo`](super::tab_po::TabPo).

use serde::{Deserialize, Serialize};

use crate::entry::{Entry, configure};
use crate::{Barrier, Baseline, Denominator, Evaluation, Form, Formula, Gate, Needs, Ranges, Scores, WeightSource};

pub(crate) fn entries() -> Vec<Entry> {
    vec![
        Entry {
            name: "tab-po-released",
            summary: "-ℓ(βh) + λ Σgŵ(-p_c)/max(1, Σgŵ), h of weighted means",
            source: "SarielMa/TAB-PO `train_dpo.py`",
            build: |name, given| {
                configure(
                    name,
                    &PublishedTabPo {
                        beta: 0.5,
                        tau: 0.66,
                        lambda: 0.5,
                        form: Form::Mean,
                        margin_weights: true,
                        barrier_weights: true,
                        denominator: Denominator::GatedWeight,
                    },
                    given,
                )
            },
        },
        Entry {
            name: "tab-po-paper-v2",
            summary: "-ℓ(βΔ) + λ Σg(-p_c)/max(1, Σg)",
            source: "arXiv 2603.00025v2 as reported second-hand; hyper-parameters of the released code",
            build: |name, given| {
                configure(
                    name,
                    &PublishedTabPo {
                        beta: 0.5,
                        tau: 0.66,
                        lambda: 0.5,
                        form: Form::Sum,
                        margin_weights: false,
                        barrier_weights: false,
                        denominator: Denominator::GatedCount,
                    },
                    given,
                )
            },
        },
        Entry {
            name: "tab-po-ablation",
            summary: "-ℓ(βh) + λ Σgŵ(-p_c)/max(1, Σg), with switches",
            source: "SarielMa/SFT_PV `tab_dpo_ablation.py`",
            build: |name, given| {
                configure(
                    name,
                    &PublishedTabPo {
                        beta: 0.5,
                        tau: 0.66,
                        lambda: 0.5,
                        form: Form::Mean,
                        margin_weights: true,
                        barrier_weights: true,
                        denominator: Denominator::GatedCount,
                    },
                    given,
                )
            },
        },
    ]
}

/// **TAB-PO as published**, `L = −ℓ(βh) + λ Σ_t g_t ŵ_t (−p_ct) / D` with the hard gate
/// `g_t = 1[p_ct < log τ]` on all chosen tokens; β 0.5, τ 0.66, λ 0.5.
///
/// `ŵ_t = w_t n / Σw` are the external weights scaled to mean 1 (the released ones are
/// [`crate::weights::released`]). The forms differ in the margin h and the denominator D:
///
/// | form | h | D |
/// |---|---|---|
/// | `released` | difference of `Σ w(p − q) / Σw` | max(1, Σgŵ) |
/// | `paper-v2` | difference of `Σ (p − q)`, no weights anywhere | max(1, Σg) |
/// | `ablation` | as released | max(1, Σg) |
///
/// The switches of the ablation script are `margin_weights` (its token weighting) and `form` (its
/// length normalisation); its normalisation by weight mass is `denominator = "gated-weight"`, and
/// its class balance is the [`Pair::weight`](crate::Pair::weight).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedTabPo {
    /// Inverse temperature β.
    pub beta: f64,
    /// Confidence threshold τ, a probability.
    pub tau: f64,
    /// Weight λ of the barrier.
    pub lambda: f64,
    /// Means or sums of log-ratios in the margin.
    pub form: Form,
    /// Whether the margin uses the external weights.
    pub margin_weights: bool,
    /// Whether the barrier uses the external weights.
    pub barrier_weights: bool,
    /// What the barrier is divided by.
    pub denominator: Denominator,
}

impl Formula for PublishedTabPo {
    fn needs(&self) -> Needs {
        let weighted = self.margin_weights || self.barrier_weights;
        let weights = if weighted { WeightSource::Released } else { WeightSource::None };
        Needs { weights, ..Needs::PAIR_AND_REFERENCE }
    }

    fn ranges(&self, ranges: &mut Ranges) {
        ranges.positive("beta", self.beta).confidence("tau", self.tau).not_negative("lambda", self.lambda);
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        let pair = terms.pair();
        let scores = if self.margin_weights {
            let (chosen, rejected) = (mean_one(&pair.chosen.weights), mean_one(&pair.rejected.weights));
            Scores::weighted(pair, self.form, Baseline::Reference, chosen, rejected)
        } else {
            Scores::new(pair, self.form, Baseline::Reference)
        };
        terms.preference(&scores, -(self.beta * scores.margin()).log_sigmoid());

        let weights = if self.barrier_weights { mean_one(&pair.chosen.weights) } else { vec![1.0; pair.chosen.len()] };
        let barrier = Barrier { threshold: self.tau, gate: Gate::Hard, denominator: self.denominator };
        terms.barrier(self.lambda, &barrier, &weights);
    }
}

/// Weights scaled to mean 1; all zero where they sum to 0.
fn mean_one(weights: &[f64]) -> Vec<f64> {
    let total: f64 = weights.iter().sum();
    let scale = if total > 0.0 { weights.len() as f64 / total } else { 0.0 };
    weights.iter().map(|weight| weight * scale).collect()
}
