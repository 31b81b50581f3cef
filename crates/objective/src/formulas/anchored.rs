//! DPO with protection of the chosen likelihood.

use serde::{Deserialize, Serialize};

use super::sequence::Dpo;
use crate::entry::{Entry, configure};
use crate::{Baseline, Evaluation, Form, Formula, Needs, Pooling, Ranges};

pub(crate) fn entries() -> Vec<Entry> {
    vec![
        Entry {
            name: "rpo",
            summary: "-ℓ(βΔ) + α·NLL_c, the NLL pooled over the batch's tokens",
            source: "TRL `loss_type=[sigmoid, sft]`",
            build: |name, given| configure(name, &Rpo { beta: 0.1, alpha: 1.0, pooling: Pooling::Tokens }, given),
        },
        Entry {
            name: "rpo-sequence",
            summary: "-ℓ(βΔ) - α m_c",
            source: "Pang et al. 2024; LLaMA-Factory `pref_ftx`",
            build: |name, given| configure(name, &Rpo { beta: 0.1, alpha: 1.0, pooling: Pooling::Sequences }, given),
        },
        Entry {
            name: "dpop",
            summary: "-ℓ(β(Δ - λ max(0, -a)))",
            source: "Pal et al. 2024; PaddleNLP `dpop_lambda`",
            build: |name, given| configure(name, &DpoPositive { beta: 0.3, lambda: 50.0 }, given),
        },
        Entry {
            name: "authors-dpop",
            summary: "-ℓ(β(Δ - λ max(0, -a))) with the values of the TAB-PO authors' baseline",
            source: "SarielMa/SFT_PV `dpop`",
            build: |name, given| configure(name, &DpoPositive { beta: 0.5, lambda: 1.0 }, given),
        },
        Entry {
            name: "dpop-outside",
            summary: "-ℓ(βΔ) + δ max(0, -a)",
            source: "mlx-lm-lora `dpop`",
            build: |name, given| configure(name, &DpoPositiveOutside { beta: 0.1, delta: 50.0 }, given),
        },
    ]
}

/// **RPO** (DPO with a likelihood term), `L = −ℓ(βΔ) + α·NLL_c`; β 0.1, α 1. The NLL is pooled over
/// the batch's tokens (TRL) or each sequence's mean (LLaMA-Factory). Pang et al. 2024.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rpo {
    /// Inverse temperature β.
    pub beta: f64,
    /// Weight α of the likelihood term.
    pub alpha: f64,
    /// What the likelihood is averaged over.
    pub pooling: Pooling,
}

impl Formula for Rpo {
    fn needs(&self) -> Needs {
        Needs::PAIR_AND_REFERENCE
    }

    fn ranges(&self, ranges: &mut Ranges) {
        ranges.positive("beta", self.beta).not_negative("alpha", self.alpha);
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        Dpo { beta: self.beta }.evaluate(terms);
        terms.likelihood(self.alpha, self.pooling);
    }
}

/// **DPO-Positive**, `L = −ℓ(β(Δ − λ max(0, −a)))`; β 0.3, λ 50 (authors' baseline: β 0.5, λ 1).
/// At a = 0, where training starts, the penalty has derivative 0. Pal et al. 2024.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DpoPositive {
    /// Inverse temperature β.
    pub beta: f64,
    /// Weight λ of the penalty on a chosen likelihood below the reference's.
    pub lambda: f64,
}

impl Formula for DpoPositive {
    fn needs(&self) -> Needs {
        Needs::PAIR_AND_REFERENCE
    }

    fn ranges(&self, ranges: &mut Ranges) {
        ranges.positive("beta", self.beta).not_negative("lambda", self.lambda);
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        let scores = terms.scores(Form::Sum, Baseline::Reference);
        let penalised = scores.margin() - self.lambda * (-scores.chosen()).positive_part();
        terms.preference(&scores, -(self.beta * penalised).log_sigmoid());
    }
}

/// **DPO-Positive with the penalty outside the logistic**, `L = −ℓ(βΔ) + δ max(0, −a)`; β 0.1,
/// δ 50. A different loss from [`DpoPositive`] that goes by the same name in mlx-lm-lora.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DpoPositiveOutside {
    /// Inverse temperature β.
    pub beta: f64,
    /// Weight δ of the penalty.
    pub delta: f64,
}

impl Formula for DpoPositiveOutside {
    fn needs(&self) -> Needs {
        Needs::PAIR_AND_REFERENCE
    }

    fn ranges(&self, ranges: &mut Ranges) {
        ranges.positive("beta", self.beta).not_negative("delta", self.delta);
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        let scores = terms.scores(Form::Sum, Baseline::Reference);
        let penalty = self.delta * (-scores.chosen()).positive_part();
        terms.preference(&scores, penalty - (self.beta * scores.margin()).log_sigmoid());
    }
}
