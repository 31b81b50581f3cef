//! Objectives that judge each completion on its own: functions of the log-ratios
//! `a = P_c − Q_c` and `b = P_r − Q_r` that are not functions of their difference.

use serde::{Deserialize, Serialize};

use crate::entry::{Entry, configure};
use crate::{Baseline, Evaluation, Form, Formula, Needs, Ranges};

pub(crate) fn entries() -> Vec<Entry> {
    vec![
        Entry {
            name: "nca",
            summary: "-ℓ(βa) - ½ℓ(-βa) - ½ℓ(-βb)",
            source: "Chen et al. 2024; TRL `nca_pair`",
            build: |name, given| configure(name, &Nca { beta: 0.1 }, given),
        },
        Entry {
            name: "bco",
            summary: "-ℓ(βa - δ) - ℓ(-(βb - δ))",
            source: "Jung et al. 2024; TRL `bco_pair` (δ = 0)",
            build: |name, given| configure(name, &Bco { beta: 0.1, delta: 0.0 }, given),
        },
        Entry {
            name: "apo-zero",
            summary: "σ(-β(a-z)) + σ(β(b-z))",
            source: "D'Oosterlinck et al. 2024; TRL `apo_zero` (z = 0)",
            build: |name, given| configure(name, &ApoZero { beta: 0.1, z: 0.0 }, given),
        },
        Entry {
            name: "apo-down",
            summary: "σ(βa) + σ(-βΔ)",
            source: "D'Oosterlinck et al. 2024; TRL `apo_down`",
            build: |name, given| configure(name, &ApoDown { beta: 0.1 }, given),
        },
        Entry {
            name: "kto",
            summary: "½[w_D σ(-β(a-z)) + w_U σ(-β(z-b))]",
            source: "Ethayarajh et al. 2024; TRL `KTOTrainer`, z given",
            build: |name, given| configure(name, &Kto { beta: 0.1, z: 0.0, desirable: 1.0, undesirable: 1.0 }, given),
        },
        Entry {
            name: "sppo",
            summary: "(a - 1/(2β))² + (b + 1/(2β))²",
            source: "Wu et al. 2024; TRL `sppo_hard`",
            build: |name, given| configure(name, &Sppo { beta: 0.1 }, given),
        },
        Entry {
            name: "cal-dpo",
            summary: "-ℓ(Δ) + κ[(a-T)² + (b+T)²], T = 1/(2β)",
            source: "Xiao et al. 2024; tengxiao1/Cal-DPO",
            build: |name, given| configure(name, &CalibratedDpo { beta: 1e-3, calibration: 0.5 }, given),
        },
        Entry {
            name: "authors-cal-dpo",
            summary: "-ℓ(Δ) + κ[(a-T)² + (b+T)²] with the values of the TAB-PO authors' baseline",
            source: "SarielMa/SFT_PV `cal_dpo`",
            build: |name, given| configure(name, &CalibratedDpo { beta: 0.5, calibration: 1.0 }, given),
        },
    ]
}

/// **NCA**, `L = −ℓ(βa) − ½ℓ(−βa) − ½ℓ(−βb)`; β 0.1. Chen et al. 2024.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nca {
    /// Inverse temperature β.
    pub beta: f64,
}

impl Formula for Nca {
    fn needs(&self) -> Needs {
        Needs::PAIR_AND_REFERENCE
    }

    fn ranges(&self, ranges: &mut Ranges) {
        ranges.positive("beta", self.beta);
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        let scores = terms.scores(Form::Sum, Baseline::Reference);
        let (a, b) = (self.beta * scores.chosen(), self.beta * scores.rejected());
        terms.preference(&scores, -a.log_sigmoid() - 0.5 * ((-a).log_sigmoid() + (-b).log_sigmoid()));
    }
}

/// **BCO**, `L = −ℓ(βa − δ) − ℓ(−(βb − δ))`; β 0.1, δ 0 as in TRL's pairwise form (its unpaired
/// trainer estimates δ from a running mean). Jung et al. 2024.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bco {
    /// Inverse temperature β.
    pub beta: f64,
    /// Reward shift δ.
    pub delta: f64,
}

impl Formula for Bco {
    fn needs(&self) -> Needs {
        Needs::PAIR_AND_REFERENCE
    }

    fn ranges(&self, ranges: &mut Ranges) {
        ranges.positive("beta", self.beta);
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        let scores = terms.scores(Form::Sum, Baseline::Reference);
        let (a, b) = (self.beta * scores.chosen() - self.delta, self.beta * scores.rejected() - self.delta);
        terms.preference(&scores, -a.log_sigmoid() - (-b).log_sigmoid());
    }
}

/// **APO-zero**, `L = σ(−β(a−z)) + σ(β(b−z))`; β 0.1, z 0. With z the KL of the policy from the
/// reference it is twice [`Kto`] with unit weights. D'Oosterlinck et al. 2024.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApoZero {
    /// Inverse temperature β.
    pub beta: f64,
    /// Reference point z in nats, at least 0.
    pub z: f64,
}

impl Formula for ApoZero {
    fn needs(&self) -> Needs {
        Needs::PAIR_AND_REFERENCE
    }

    fn ranges(&self, ranges: &mut Ranges) {
        ranges.positive("beta", self.beta).not_negative("z", self.z);
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        let scores = terms.scores(Form::Sum, Baseline::Reference);
        let (a, b) = (scores.chosen() - self.z, scores.rejected() - self.z);
        terms.preference(&scores, (-(self.beta * a)).sigmoid() + (self.beta * b).sigmoid());
    }
}

/// **APO-down**, `L = σ(βa) + σ(−βΔ)`; β 0.1. It assumes that the model is better than the chosen
/// completion, which gold answers never are. D'Oosterlinck et al. 2024.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApoDown {
    /// Inverse temperature β.
    pub beta: f64,
}

impl Formula for ApoDown {
    fn needs(&self) -> Needs {
        Needs::PAIR_AND_REFERENCE
    }

    fn ranges(&self, ranges: &mut Ranges) {
        ranges.positive("beta", self.beta);
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        let scores = terms.scores(Form::Sum, Baseline::Reference);
        let margin = self.beta * scores.margin();
        terms.preference(&scores, (self.beta * scores.chosen()).sigmoid() + (-margin).sigmoid());
    }
}

/// **KTO** on pairs, `L = ½[w_D σ(−β(a−z)) + w_U σ(−β(z−b))]`; β 0.1, weights 1. TRL averages over
/// the 2B completions of B pairs, hence the half. Its z is the batch mean of the log-ratio on
/// mismatched completions, floored at 0; here z is a constant. Ethayarajh et al. 2024.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kto {
    /// Inverse temperature β.
    pub beta: f64,
    /// Reference point z in nats, at least 0.
    pub z: f64,
    /// Weight of chosen completions.
    pub desirable: f64,
    /// Weight of rejected completions.
    pub undesirable: f64,
}

impl Formula for Kto {
    fn needs(&self) -> Needs {
        Needs::PAIR_AND_REFERENCE
    }

    fn ranges(&self, ranges: &mut Ranges) {
        ranges.positive("beta", self.beta).not_negative("z", self.z);
        ranges.not_negative("desirable", self.desirable).not_negative("undesirable", self.undesirable);
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        let scores = terms.scores(Form::Sum, Baseline::Reference);
        let (a, b) = (scores.chosen() - self.z, scores.rejected() - self.z);
        let desirable = self.desirable * (-(self.beta * a)).sigmoid();
        let undesirable = self.undesirable * (self.beta * b).sigmoid();
        terms.preference(&scores, 0.5 * (desirable + undesirable));
    }
}

/// **SPPO** (hard labels), `L = (a − 1/(2β))² + (b + 1/(2β))²`; β 0.1. The targets are in nats of
/// summed log-probs. Wu et al. 2024.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sppo {
    /// Inverse temperature β.
    pub beta: f64,
}

impl Formula for Sppo {
    fn needs(&self) -> Needs {
        Needs::PAIR_AND_REFERENCE
    }

    fn ranges(&self, ranges: &mut Ranges) {
        ranges.positive("beta", self.beta);
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        let target = 0.5 / self.beta;
        let scores = terms.scores(Form::Sum, Baseline::Reference);
        terms.preference(&scores, (scores.chosen() - target).square() + (scores.rejected() + target).square());
    }
}

/// **Cal-DPO**, `L = −ℓ(Δ) + κ[(a−T)² + (b+T)²]`, `T = 1/(2β)`; β 1e-3, κ ½ (authors' baseline:
/// β 0.5, κ 1). There is no β in the logistic; with T = 500 nats the squares are the whole loss.
/// Xiao et al. 2024.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibratedDpo {
    /// Inverse temperature β, which sets the target T.
    pub beta: f64,
    /// Weight κ of the squares.
    pub calibration: f64,
}

impl Formula for CalibratedDpo {
    fn needs(&self) -> Needs {
        Needs::PAIR_AND_REFERENCE
    }

    fn ranges(&self, ranges: &mut Ranges) {
        ranges.positive("beta", self.beta).not_negative("calibration", self.calibration);
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        let target = 0.5 / self.beta;
        let scores = terms.scores(Form::Sum, Baseline::Reference);
        let squares = (scores.chosen() - target).square() + (scores.rejected() + target).square();
        terms.preference(&scores, self.calibration * squares - scores.margin().log_sigmoid());
    }
}
