//! Token-level objectives: DPO and SimPO whose tokens have coefficients of their own,
//! `h = Σ w_ct (p_ct − q_ct) − Σ w_rt (p_rt − q_rt)`, `L = −ℓ(βh)`.

use serde::{Deserialize, Serialize};

use crate::entry::{Entry, configure};
use crate::{Baseline, Completion, Dual, Evaluation, Form, Formula, Needs, Ranges, Scores, WeightSource};

pub(crate) fn entries() -> Vec<Entry> {
    vec![
        Entry {
            name: "tis-dpo",
            summary: "-ℓ(βh), w from the scores of two contrastive models",
            source: "Liu et al. 2024; exlaw/TIS-DPO (token_level = false)",
            build: |name, given| configure(name, &TisDpo { beta: 0.1 }, given),
        },
        Entry {
            name: "mask-dpo",
            summary: "-ℓ(βh), w = 1 on correct chosen and incorrect rejected spans",
            source: "Gu et al. 2025; open-compass/ANAH `maskdpo`",
            build: |name, given| configure(name, &MaskDpo { beta: 0.1 }, given),
        },
        Entry {
            name: "diff-only",
            summary: "-ℓ(βh), w = 1 on tokens that differ (longest common subsequence)",
            source: "control: DPO on aligned differences",
            build: |name, given| configure(name, &DifferenceDpo { beta: 0.1 }, given),
        },
        Entry {
            name: "d2po",
            summary: "-ℓ(βh), w_t = γ^t, t = 1..n",
            source: "Shao et al. 2025; LotuSrc/D2PO",
            build: |name, given| configure(name, &DecayedDpo { beta: 0.1, gamma: 0.98 }, given),
        },
        Entry {
            name: "ld-dpo",
            summary: "-ℓ(βh), policy weights α beyond the shorter completion's length",
            source: "Liu et al. 2024; TRL `ld_alpha`",
            build: |name, given| configure(name, &LengthDesensitisedDpo { beta: 0.1, alpha: 0.5 }, given),
        },
        Entry {
            name: "tgdpo",
            summary: "-ℓ(βh), w_c = 1 + αβr_c, w_r = 1 - αβr_r, r = guide - reference log-prob",
            source: "Zhu et al. 2025; dvlab-research/TGDPO",
            build: |name, given| configure(name, &TokenGuidedDpo { beta: 0.1, alpha: 0.5 }, given),
        },
        Entry {
            name: "confpo",
            summary: "-ℓ(β(M_c - M_r) - γ), M the mean log-prob of low-confidence tokens",
            source: "Yoon et al. 2025; hee-suk-yoon/ConfPO",
            build: |name, given| {
                configure(name, &ConfPo { beta: 1.5, gamma: 1.6, selection: Selection::Confidence }, given)
            },
        },
    ]
}

/// **TIS-DPO**, `L = −ℓ(βh)` with the importance weights of [`crate::weights`]; β 0.1. As released,
/// without length normalisation. Liu et al. 2024.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TisDpo {
    /// Inverse temperature β.
    pub beta: f64,
}

impl Formula for TisDpo {
    fn needs(&self) -> Needs {
        Needs { weights: WeightSource::Contrastive, ..Needs::PAIR_AND_REFERENCE }
    }

    fn ranges(&self, ranges: &mut Ranges) {
        ranges.positive("beta", self.beta);
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        weighted_dpo(terms, self.beta, |completion| completion.weights.clone());
    }
}

/// **Mask-DPO**, `L = −ℓ(βh)` with the external weights of [`Completion::weights`], usually 0 and 1;
/// β 0.1. Gu et al. 2025.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskDpo {
    /// Inverse temperature β.
    pub beta: f64,
}

impl Formula for MaskDpo {
    fn needs(&self) -> Needs {
        Needs { weights: WeightSource::External, ..Needs::PAIR_AND_REFERENCE }
    }

    fn ranges(&self, ranges: &mut Ranges) {
        ranges.positive("beta", self.beta);
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        weighted_dpo(terms, self.beta, |completion| completion.weights.clone());
    }
}

/// **DPO on differing tokens only**, `w = 1` where [`Completion::differs`]; β 0.1. Where one
/// completion has nothing that the other lacks, the margin has one side only.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DifferenceDpo {
    /// Inverse temperature β.
    pub beta: f64,
}

impl Formula for DifferenceDpo {
    fn needs(&self) -> Needs {
        Needs::PAIR_AND_REFERENCE
    }

    fn ranges(&self, ranges: &mut Ranges) {
        ranges.positive("beta", self.beta);
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        weighted_dpo(terms, self.beta, |completion| {
            completion.differs.iter().map(|differs| f64::from(u8::from(*differs))).collect()
        });
    }
}

/// **D2PO**, temporal decay `w_t = γ^t` with t from 1; β 0.1, γ 0.98. At 200 tokens the weight is
/// 0.018: late records of an answer hardly count. Shao et al. 2025.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecayedDpo {
    /// Inverse temperature β.
    pub beta: f64,
    /// Decay γ per token.
    pub gamma: f64,
}

impl Formula for DecayedDpo {
    fn needs(&self) -> Needs {
        Needs::PAIR_AND_REFERENCE
    }

    fn ranges(&self, ranges: &mut Ranges) {
        ranges.positive("beta", self.beta).confidence("gamma", self.gamma);
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        weighted_dpo(terms, self.beta, |completion| {
            (1..=completion.len()).map(|t| self.gamma.powi(t as i32)).collect()
        });
    }
}

/// **LD-DPO**, `L = −ℓ(β[Σ w p_c − Q_c − Σ w p_r + Q_r])` with `w_t = 1` up to the length of the
/// shorter completion and α beyond; β 0.1, α 0.5. As in TRL, the weights act on the policy and not on
/// the reference. Liu et al. 2024.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LengthDesensitisedDpo {
    /// Inverse temperature β.
    pub beta: f64,
    /// Weight α of the excess tokens.
    pub alpha: f64,
}

impl Formula for LengthDesensitisedDpo {
    fn needs(&self) -> Needs {
        Needs::PAIR_AND_REFERENCE
    }

    fn ranges(&self, ranges: &mut Ranges) {
        ranges.positive("beta", self.beta).not_negative("alpha", self.alpha);
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        let pair = terms.pair();
        let public = pair.chosen.len().min(pair.rejected.len());
        let weights = |n: usize| (0..n).map(|t| if t < public { 1.0 } else { self.alpha }).collect();
        let (chosen, rejected) = (weights(pair.chosen.len()), weights(pair.rejected.len()));
        let scores = Scores::weighted(pair, Form::Sum, Baseline::Zero, chosen, rejected);
        let reference = pair.chosen.reference.iter().sum::<f64>() - pair.rejected.reference.iter().sum::<f64>();
        terms.preference(&scores, -(self.beta * (scores.margin() - reference)).log_sigmoid());
    }
}

/// **TGDPO**, `w_ct = 1 + αβ r_ct`, `w_rt = 1 − αβ r_rt` with `r` the log-ratio of a guide model to
/// the reference; β 0.1, α 0.5. The guide model is usually one that was trained with DPO before. Weights
/// may be negative. Zhu et al. 2025.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenGuidedDpo {
    /// Inverse temperature β.
    pub beta: f64,
    /// Strength α of the guidance.
    pub alpha: f64,
}

impl Formula for TokenGuidedDpo {
    fn needs(&self) -> Needs {
        Needs { guide: true, ..Needs::PAIR_AND_REFERENCE }
    }

    fn ranges(&self, ranges: &mut Ranges) {
        ranges.positive("beta", self.beta).not_negative("alpha", self.alpha);
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        let pair = terms.pair();
        let guided = |completion: &Completion, sign: f64| -> Vec<f64> {
            let rewards = completion.guide.iter().zip(&completion.reference).map(|(guide, q)| guide - q);
            rewards.map(|reward| 1.0 + sign * self.alpha * self.beta * reward).collect()
        };
        let (chosen, rejected) = (guided(&pair.chosen, 1.0), guided(&pair.rejected, -1.0));
        let scores = Scores::weighted(pair, Form::Sum, Baseline::Reference, chosen, rejected);
        terms.preference(&scores, -(self.beta * scores.margin()).log_sigmoid());
    }
}

/// Which tokens [`ConfPo`] looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Selection {
    /// Tokens less probable than the completion's arithmetic mean probability, strictly.
    Confidence,
    /// Tokens with an external weight greater than 0 (the selection of SePO, for one).
    External,
}

/// **ConfPO**, `L = −ℓ(β(M_c − M_r) − γ)`, M the mean log-prob of the selected tokens; β 1.5, γ 1.6.
/// The selection is held fixed; a pair with an empty selection on either side has loss 0 and still
/// counts in the mean. Yoon et al. 2025.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfPo {
    /// Inverse temperature β.
    pub beta: f64,
    /// Target margin γ, in logits.
    pub gamma: f64,
    /// Which tokens are selected.
    pub selection: Selection,
}

impl ConfPo {
    fn selected(&self, completion: &Completion) -> Vec<f64> {
        let flag = |selected: bool| f64::from(u8::from(selected));
        match self.selection {
            Selection::Confidence => {
                let limit = log_mean_exp(&completion.policy);
                completion.policy.iter().map(|p| flag(*p < limit)).collect()
            }
            Selection::External => completion.weights.iter().map(|weight| flag(*weight > 0.0)).collect(),
        }
    }
}

impl Formula for ConfPo {
    fn needs(&self) -> Needs {
        let weights = match self.selection {
            Selection::Confidence => WeightSource::None,
            Selection::External => WeightSource::External,
        };
        Needs { weights, ..Needs::PAIR }
    }

    fn ranges(&self, ranges: &mut Ranges) {
        ranges.positive("beta", self.beta);
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        let pair = terms.pair();
        let (chosen, rejected) = (self.selected(&pair.chosen), self.selected(&pair.rejected));
        let empty = |selection: &[f64]| selection.iter().all(|selected| *selected == 0.0);
        let nothing_to_compare = empty(&chosen) || empty(&rejected);
        let scores = Scores::weighted(pair, Form::Mean, Baseline::Zero, chosen, rejected);
        let loss = if nothing_to_compare {
            Dual::constant(0.0)
        } else {
            -(self.beta * scores.margin() - self.gamma).log_sigmoid()
        };
        terms.preference(&scores, loss);
    }
}

fn weighted_dpo(terms: &mut Evaluation<'_>, beta: f64, weights: impl Fn(&Completion) -> Vec<f64>) {
    let pair = terms.pair();
    let (chosen, rejected) = (weights(&pair.chosen), weights(&pair.rejected));
    let scores = Scores::weighted(pair, Form::Sum, Baseline::Reference, chosen, rejected);
    terms.preference(&scores, -(beta * scores.margin()).log_sigmoid());
}

/// log of the arithmetic mean of e^x; −∞ for no values.
fn log_mean_exp(values: &[f64]) -> f64 {
    let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if values.is_empty() {
        return largest;
    }
    let sum: f64 = values.iter().map(|x| (x - largest).exp()).sum();
    largest + (sum / values.len() as f64).ln()
}
