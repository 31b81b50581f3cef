//! Sequence-level objectives of the margin `Δ = (P_c − Q_c) − (P_r − Q_r)`: every token of a
//! completion has the same coefficient.

use serde::{Deserialize, Serialize};

use crate::entry::{Entry, configure};
use crate::{Baseline, Evaluation, Form, Formula, Needs, Ranges};

pub(crate) fn entries() -> Vec<Entry> {
    vec![
        Entry {
            name: "dpo",
            summary: "-ℓ(βΔ)",
            source: "Rafailov et al. 2023; TRL `sigmoid`",
            build: |name, given| configure(name, &Dpo { beta: 0.1 }, given),
        },
        Entry {
            name: "authors-dpo",
            summary: "-ℓ(βΔ) with the value of the TAB-PO authors' baseline",
            source: "SarielMa/SFT_PV `dpo`",
            build: |name, given| configure(name, &Dpo { beta: 0.5 }, given),
        },
        Entry {
            name: "cdpo",
            summary: "-(1-ε)ℓ(βΔ) - εℓ(-βΔ)",
            source: "Mitchell 2023; reference DPO code `label_smoothing`",
            build: |name, given| configure(name, &ConservativeDpo { beta: 0.1, epsilon: 0.1 }, given),
        },
        Entry {
            name: "robust",
            summary: "[-(1-ε)ℓ(βΔ) + εℓ(-βΔ)] / (1-2ε)",
            source: "Chowdhury et al. 2024; TRL `robust`",
            build: |name, given| configure(name, &RobustDpo { beta: 0.1, epsilon: 0.1 }, given),
        },
        Entry {
            name: "ipo",
            summary: "(h - 1/(2τ))², h = a/n_c - b/n_r",
            source: "Azar et al. 2023; TRL `ipo` (length-normalised)",
            build: |name, given| configure(name, &Ipo { tau: 0.1, form: Form::Mean }, given),
        },
        Entry {
            name: "ipo-sum",
            summary: "(Δ - 1/(2τ))²",
            source: "Azar et al. 2023; reference DPO code `ipo`",
            build: |name, given| configure(name, &Ipo { tau: 0.1, form: Form::Sum }, given),
        },
        Entry {
            name: "authors-ipo",
            summary: "(Δ - 1/(2τ))² with the value of the TAB-PO authors' baseline",
            source: "SarielMa/SFT_PV `ipo`",
            build: |name, given| configure(name, &Ipo { tau: 0.5, form: Form::Sum }, given),
        },
        Entry {
            name: "hinge",
            summary: "max(0, 1 - βΔ)",
            source: "Liu et al. 2023 (RSO); TRL `hinge`",
            build: |name, given| configure(name, &Hinge { beta: 0.1 }, given),
        },
        Entry {
            name: "exo",
            summary: "σ(x)[ℓ(x) - log(1-ε)] + σ(-x)[ℓ(-x) - log ε], x = βΔ",
            source: "Ji et al. 2024; TRL `exo_pair`",
            build: |name, given| configure(name, &Exo { beta: 0.1, epsilon: 1e-3 }, given),
        },
        Entry {
            name: "f-dpo-js",
            summary: "-ℓ(β(ℓ(a) - ℓ(b)))",
            source: "Wang et al. 2023; TRL `f_divergence_type=js_divergence`",
            build: |name, given| configure(name, &JensenShannonDpo { beta: 0.1 }, given),
        },
        Entry {
            name: "focalpo",
            summary: "-σ(x)^γ ℓ(x), x = βΔ",
            source: "Liu et al. 2025; no training code is public",
            build: |name, given| configure(name, &FocalPo { beta: 0.1, gamma: 0.05 }, given),
        },
        Entry {
            name: "discopop",
            summary: "(1-m)(-ℓ(x)) + m e^(-x), x = βΔ, m = σ(x/τ)",
            source: "Lu et al. 2024; TRL `discopop`",
            build: |name, given| configure(name, &DiscoPop { beta: 0.1, tau: 0.05 }, given),
        },
    ]
}

/// **DPO**, `L = −ℓ(βΔ)`; β 0.1 (0.5 in the authors' baseline). Rafailov et al. 2023.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dpo {
    /// Inverse temperature β.
    pub beta: f64,
}

impl Formula for Dpo {
    fn needs(&self) -> Needs {
        Needs::PAIR_AND_REFERENCE
    }

    fn ranges(&self, ranges: &mut Ranges) {
        ranges.positive("beta", self.beta);
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        let scores = terms.scores(Form::Sum, Baseline::Reference);
        terms.preference(&scores, -(self.beta * scores.margin()).log_sigmoid());
    }
}

/// **Conservative DPO**, `L = −(1−ε)ℓ(βΔ) − εℓ(−βΔ)`; β 0.1, ε 0.1. Its optimum is finite:
/// `βΔ = log((1−ε)/ε)`. Mitchell 2023.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConservativeDpo {
    /// Inverse temperature β.
    pub beta: f64,
    /// Assumed rate ε of flipped preferences.
    pub epsilon: f64,
}

impl Formula for ConservativeDpo {
    fn needs(&self) -> Needs {
        Needs::PAIR_AND_REFERENCE
    }

    fn ranges(&self, ranges: &mut Ranges) {
        ranges.positive("beta", self.beta);
        ranges.require("epsilon", self.epsilon, (0.0..0.5).contains(&self.epsilon), "a rate in [0, 0.5)");
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        let scores = terms.scores(Form::Sum, Baseline::Reference);
        let x = self.beta * scores.margin();
        let loss = -((1.0 - self.epsilon) * x.log_sigmoid()) - self.epsilon * (-x).log_sigmoid();
        terms.preference(&scores, loss);
    }
}

/// **Robust DPO**, `L = [−(1−ε)ℓ(βΔ) + εℓ(−βΔ)] / (1−2ε)`; β 0.1, ε 0.1. Unbounded below.
/// Chowdhury et al. 2024.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RobustDpo {
    /// Inverse temperature β.
    pub beta: f64,
    /// Assumed rate ε of flipped preferences.
    pub epsilon: f64,
}

impl Formula for RobustDpo {
    fn needs(&self) -> Needs {
        Needs::PAIR_AND_REFERENCE
    }

    fn ranges(&self, ranges: &mut Ranges) {
        ranges.positive("beta", self.beta);
        ranges.require("epsilon", self.epsilon, (0.0..0.5).contains(&self.epsilon), "a rate in [0, 0.5)");
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        let scores = terms.scores(Form::Sum, Baseline::Reference);
        let x = self.beta * scores.margin();
        let loss = self.epsilon * (-x).log_sigmoid() - (1.0 - self.epsilon) * x.log_sigmoid();
        terms.preference(&scores, (1.0 / (1.0 - 2.0 * self.epsilon)) * loss);
    }
}

/// **IPO**, `L = (h − 1/(2τ))²` with `h = a/n_c − b/n_r` (`form = "mean"`, TRL) or `h = Δ`
/// (`form = "sum"`, the original code); τ 0.1. Azar et al. 2023.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ipo {
    /// Regularisation τ; the margin's target is 1/(2τ).
    pub tau: f64,
    /// Means or sums of log-ratios.
    pub form: Form,
}

impl Formula for Ipo {
    fn needs(&self) -> Needs {
        Needs::PAIR_AND_REFERENCE
    }

    fn ranges(&self, ranges: &mut Ranges) {
        ranges.positive("tau", self.tau);
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        let scores = terms.scores(self.form, Baseline::Reference);
        terms.preference(&scores, (scores.margin() - 0.5 / self.tau).square());
    }
}

/// **Hinge**, `L = max(0, 1 − βΔ)`; β 0.1. Liu et al. 2023 (RSO).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hinge {
    /// Inverse temperature β.
    pub beta: f64,
}

impl Formula for Hinge {
    fn needs(&self) -> Needs {
        Needs::PAIR_AND_REFERENCE
    }

    fn ranges(&self, ranges: &mut Ranges) {
        ranges.positive("beta", self.beta);
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        let scores = terms.scores(Form::Sum, Baseline::Reference);
        terms.preference(&scores, (-(self.beta * scores.margin()) + 1.0).positive_part());
    }
}

/// **EXO**, the reverse KL from the policy's to the smoothed preference,
/// `L = σ(x)[ℓ(x) − log(1−ε)] + σ(−x)[ℓ(−x) − log ε]`, `x = βΔ`; β 0.1, ε 1e-3. Ji et al. 2024.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exo {
    /// Inverse temperature β.
    pub beta: f64,
    /// Label smoothing ε, greater than 0.
    pub epsilon: f64,
}

impl Formula for Exo {
    fn needs(&self) -> Needs {
        Needs::PAIR_AND_REFERENCE
    }

    fn ranges(&self, ranges: &mut Ranges) {
        ranges.positive("beta", self.beta);
        let inside = self.epsilon > 0.0 && self.epsilon < 1.0;
        ranges.require("epsilon", self.epsilon, inside, "a rate in (0, 1)");
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        let scores = terms.scores(Form::Sum, Baseline::Reference);
        let x = self.beta * scores.margin();
        let preferred = x.sigmoid() * (x.log_sigmoid() - (-self.epsilon).ln_1p());
        let dispreferred = (-x).sigmoid() * ((-x).log_sigmoid() - self.epsilon.ln());
        terms.preference(&scores, preferred + dispreferred);
    }
}

/// **f-DPO with the Jensen-Shannon divergence** in the place of the KL, `L = −ℓ(β(ℓ(a) − ℓ(b)))`;
/// β 0.1. Wang et al. 2023.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JensenShannonDpo {
    /// Inverse temperature β.
    pub beta: f64,
}

impl Formula for JensenShannonDpo {
    fn needs(&self) -> Needs {
        Needs::PAIR_AND_REFERENCE
    }

    fn ranges(&self, ranges: &mut Ranges) {
        ranges.positive("beta", self.beta);
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        let scores = terms.scores(Form::Sum, Baseline::Reference);
        let margin = scores.chosen().log_sigmoid() - scores.rejected().log_sigmoid();
        terms.preference(&scores, -(self.beta * margin).log_sigmoid());
    }
}

/// **FocalPO**, `L = −σ(x)^γ ℓ(x)`, `x = βΔ`; β 0.1, γ 0.05. Pairs ranked wrongly count less. The
/// form follows the paper's description; no training code is public. Liu et al. 2025.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FocalPo {
    /// Inverse temperature β.
    pub beta: f64,
    /// Exponent γ of the modulation.
    pub gamma: f64,
}

impl Formula for FocalPo {
    fn needs(&self) -> Needs {
        Needs::PAIR_AND_REFERENCE
    }

    fn ranges(&self, ranges: &mut Ranges) {
        ranges.positive("beta", self.beta).not_negative("gamma", self.gamma);
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        let scores = terms.scores(Form::Sum, Baseline::Reference);
        let log = (self.beta * scores.margin()).log_sigmoid();
        terms.preference(&scores, -((self.gamma * log).exp() * log));
    }
}

/// **DiscoPOP**, `L = (1−m)(−ℓ(x)) + m e^(−x)`, `x = βΔ`, `m = σ(x/τ)`; β 0.1, τ 0.05.
/// Lu et al. 2024.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiscoPop {
    /// Inverse temperature β.
    pub beta: f64,
    /// Temperature τ of the modulation m.
    pub tau: f64,
}

impl Formula for DiscoPop {
    fn needs(&self) -> Needs {
        Needs::PAIR_AND_REFERENCE
    }

    fn ranges(&self, ranges: &mut Ranges) {
        let below_one = self.tau > 0.0 && self.tau <= 1.0;
        ranges.positive("beta", self.beta);
        ranges.require("tau", self.tau, below_one, "a temperature in (0, 1]");
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        let scores = terms.scores(Form::Sum, Baseline::Reference);
        let x = self.beta * scores.margin();
        let modulation = (1.0 / self.tau) * x;
        let logistic = -((-modulation).sigmoid() * x.log_sigmoid());
        // m e^(−x) as one exponential: the product would be 0 · ∞ far below zero.
        let exponential = (modulation.log_sigmoid() - x).exp();
        terms.preference(&scores, logistic + exponential);
    }
}
