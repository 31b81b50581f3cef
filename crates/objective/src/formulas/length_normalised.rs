//! Objectives of mean log-probs, and the reference-free objectives of sums.
//!
//! On means β must be about n times larger than on sums for the same logit scale.

use serde::{Deserialize, Serialize};

use crate::entry::{Entry, configure};
use crate::{Baseline, Dual, Evaluation, Form, Formula, Needs, Pooling, Ranges};

pub(crate) fn entries() -> Vec<Entry> {
    vec![
        Entry {
            name: "sigmoid-norm",
            summary: "-ℓ(β(a/n_c - b/n_r))",
            source: "TRL `sigmoid_norm`",
            build: |name, given| configure(name, &SigmoidNorm { beta: 2.0 }, given),
        },
        Entry {
            name: "simpo",
            summary: "-ℓ(β(m_c - m_r) - γ)",
            source: "Meng et al. 2024; princeton-nlp/SimPO",
            build: |name, given| configure(name, &SimPo { beta: 2.0, gamma: 1.0 }, given),
        },
        Entry {
            name: "authors-simpo",
            summary: "-ℓ(β(m_c - m_r) - γ) with the values of the TAB-PO authors' baseline",
            source: "SarielMa/SFT_PV `simpo`",
            build: |name, given| configure(name, &SimPo { beta: 0.5, gamma: 0.5 }, given),
        },
        Entry {
            name: "alphapo",
            summary: "-ℓ(β(r(m_c) - r(m_r)) - γ), r(m) = (1 - e^(-αm))/α",
            source: "Gupta et al. 2025; TRL `alphapo`",
            build: |name, given| configure(name, &AlphaPo { beta: 2.0, gamma: 1.0, alpha: 0.25 }, given),
        },
        Entry {
            name: "orpo",
            summary: "-m_c - βℓ(o(m_c) - o(m_r)), o(m) = m - log(1 - e^m)",
            source: "Hong et al. 2024; LLaMA-Factory `odds_ratio_loss`",
            build: |name, given| configure(name, &Orpo { beta: 0.1, likelihood: 1.0 }, given),
        },
        Entry {
            name: "cpo",
            summary: "-ℓ(β(P_c - P_r)) + α·NLL_c, the NLL pooled over the batch's tokens",
            source: "Xu et al. 2024; TRL `CPOTrainer`",
            build: |name, given| configure(name, &Cpo { beta: 0.1, alpha: 1.0 }, given),
        },
        Entry {
            name: "cpo-hinge",
            summary: "max(0, 1 - β(P_c - P_r))",
            source: "TRL `CPOTrainer`, `loss_type=hinge`",
            build: |name, given| configure(name, &Slic { beta: 0.1, delta: 1.0, lambda: 0.0 }, given),
        },
        Entry {
            name: "slic",
            summary: "max(0, δ - β(P_c - P_r)) - λP_c",
            source: "Zhao et al. 2023; ContextualAI/HALOs `slic` (β = 1)",
            build: |name, given| configure(name, &Slic { beta: 1.0, delta: 1.0, lambda: 0.1 }, given),
        },
    ]
}

/// **Length-normalised DPO**, `L = −ℓ(β(a/n_c − b/n_r))`; β 2. TRL `sigmoid_norm`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SigmoidNorm {
    /// Inverse temperature β.
    pub beta: f64,
}

impl Formula for SigmoidNorm {
    fn needs(&self) -> Needs {
        Needs::PAIR_AND_REFERENCE
    }

    fn ranges(&self, ranges: &mut Ranges) {
        ranges.positive("beta", self.beta);
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        let scores = terms.scores(Form::Mean, Baseline::Reference);
        terms.preference(&scores, -(self.beta * scores.margin()).log_sigmoid());
    }
}

/// **SimPO**, `L = −ℓ(β(m_c − m_r) − γ)`; β 2, γ 1 (authors' baseline: β 0.5, γ 0.5). Meng et al.
/// 2024 publish β 2 to 2.5 (10 for some models) and γ/β 0.1 to 0.8.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimPo {
    /// Inverse temperature β.
    pub beta: f64,
    /// Target margin γ, in logits.
    pub gamma: f64,
}

impl Formula for SimPo {
    fn needs(&self) -> Needs {
        Needs::PAIR
    }

    fn ranges(&self, ranges: &mut Ranges) {
        ranges.positive("beta", self.beta);
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        let scores = terms.scores(Form::Mean, Baseline::Zero);
        terms.preference(&scores, -(self.beta * scores.margin() - self.gamma).log_sigmoid());
    }
}

/// **AlphaPO**, SimPO with the reward `r(m) = (1 − e^(−αm))/α`; β 2, γ 1, α 0.25. At α = 0 it is
/// SimPO. Gupta et al. 2025.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlphaPo {
    /// Inverse temperature β.
    pub beta: f64,
    /// Target margin γ, in logits.
    pub gamma: f64,
    /// Shape α of the reward.
    pub alpha: f64,
}

impl AlphaPo {
    fn reward(&self, mean: Dual) -> Dual {
        if self.alpha == 0.0 {
            return mean;
        }
        (-1.0 / self.alpha) * (-self.alpha * mean).exp_m1()
    }
}

impl Formula for AlphaPo {
    fn needs(&self) -> Needs {
        Needs::PAIR
    }

    fn ranges(&self, ranges: &mut Ranges) {
        ranges.positive("beta", self.beta);
        ranges.require("alpha", self.alpha, self.alpha.abs() <= 1e6, "a number from -1000000 to 1000000");
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        let scores = terms.scores(Form::Mean, Baseline::Zero);
        let reward = self.reward(scores.chosen()) - self.reward(scores.rejected());
        terms.preference(&scores, -(self.beta * reward - self.gamma).log_sigmoid());
    }
}

/// **ORPO**, `L = −λm_c − βℓ(o(m_c) − o(m_r))` with the log-odds `o(m) = m − log(1 − e^m)`; β 0.1,
/// λ 1. Likelihood over the completion only (TRL's covers the prompt too). Hong et al. 2024.
///
/// The log-odds have an infinite slope at m = 0, which extraction models come close to (mean
/// log-prob about −0.01); they are held constant above m = −1e-6.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Orpo {
    /// Weight β of the odds-ratio term.
    pub beta: f64,
    /// Weight λ of the likelihood term.
    pub likelihood: f64,
}

impl Orpo {
    const LARGEST_MEAN: f64 = -1e-6;
}

impl Formula for Orpo {
    fn needs(&self) -> Needs {
        Needs::PAIR
    }

    fn ranges(&self, ranges: &mut Ranges) {
        ranges.positive("beta", self.beta).not_negative("likelihood", self.likelihood);
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        let scores = terms.scores(Form::Mean, Baseline::Zero);
        let log_odds = |mean: Dual| mean.at_most(Self::LARGEST_MEAN).log_odds();
        let odds_ratio = log_odds(scores.chosen()) - log_odds(scores.rejected());
        terms.preference(&scores, -(self.beta * odds_ratio.log_sigmoid()));
        terms.likelihood(self.likelihood, Pooling::Sequences);
    }
}

/// **CPO**, `L = −ℓ(β(P_c − P_r)) + α·NLL_c`, the NLL pooled over the batch's tokens; β 0.1, α 1.
/// Xu et al. 2024.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cpo {
    /// Inverse temperature β.
    pub beta: f64,
    /// Weight α of the likelihood term.
    pub alpha: f64,
}

impl Formula for Cpo {
    fn needs(&self) -> Needs {
        Needs::PAIR
    }

    fn ranges(&self, ranges: &mut Ranges) {
        ranges.positive("beta", self.beta).not_negative("alpha", self.alpha);
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        let scores = terms.scores(Form::Sum, Baseline::Zero);
        terms.preference(&scores, -(self.beta * scores.margin()).log_sigmoid());
        terms.likelihood(self.alpha, Pooling::Tokens);
    }
}

/// **SLiC**, `L = max(0, δ − β(P_c − P_r)) − λP_c`; β 1, δ 1, λ 0.1 (Zhao et al. 2023), and with
/// β 0.1, λ 0 the hinge of TRL's CPO.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slic {
    /// Scale β of the margin.
    pub beta: f64,
    /// Target δ of the scaled margin.
    pub delta: f64,
    /// Weight λ of the summed likelihood.
    pub lambda: f64,
}

impl Formula for Slic {
    fn needs(&self) -> Needs {
        Needs::PAIR
    }

    fn ranges(&self, ranges: &mut Ranges) {
        ranges.positive("beta", self.beta).not_negative("lambda", self.lambda);
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        let scores = terms.scores(Form::Sum, Baseline::Zero);
        let hinge = (-(self.beta * scores.margin()) + self.delta).positive_part();
        terms.preference(&scores, hinge - self.lambda * scores.chosen());
    }
}
