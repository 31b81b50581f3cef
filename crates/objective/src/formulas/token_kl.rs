//! Objectives with the full-vocabulary KL of each position, `K = Σ_t KL(reference ‖ policy)_t`.
//!
//! The KL is an input with a gradient of its own, [`Gradient::kl`](crate::Gradient::kl). With
//! respect to the logits of its position, `dK_t/dlogit_v = π(v) − π_ref(v)`.

use serde::{Deserialize, Serialize};

use crate::entry::{Entry, configure};
use crate::{Baseline, Evaluation, Form, Formula, Needs, Ranges};

pub(crate) fn entries() -> Vec<Entry> {
    vec![
        Entry {
            name: "tdpo1",
            summary: "-ℓ(β[Δ - (K_r - K_c)])",
            source: "Zeng et al. 2024; Vance0124/Token-level-Direct-Preference-Optimization",
            build: |name, given| configure(name, &Tdpo1 { beta: 0.1 }, given),
        },
        Entry {
            name: "tdpo2",
            summary: "-ℓ(β[Δ - α(K_r - K_c)]), K_c held fixed",
            source: "Zeng et al. 2024; Vance0124/Token-level-Direct-Preference-Optimization",
            build: |name, given| configure(name, &Tdpo2 { beta: 0.1, alpha: 0.5 }, given),
        },
    ]
}

/// **TDPO1**, `L = −ℓ(β[Δ − (K_r − K_c)])`; β 0.1. A larger KL on the chosen side raises the margin,
/// as the method defines it. Zeng et al. 2024.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tdpo1 {
    /// Inverse temperature β.
    pub beta: f64,
}

impl Formula for Tdpo1 {
    fn needs(&self) -> Needs {
        Needs { kl: true, ..Needs::PAIR_AND_REFERENCE }
    }

    fn ranges(&self, ranges: &mut Ranges) {
        ranges.positive("beta", self.beta);
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        let scores = terms.scores(Form::Sum, Baseline::Reference);
        let (chosen_kl, rejected_kl) = terms.kl();
        let margin = scores.margin() - (rejected_kl - chosen_kl);
        terms.preference(&scores, -(self.beta * margin).log_sigmoid());
    }
}

/// **TDPO2**, `L = −ℓ(β[Δ − α(K_r − sg(K_c))])`; β 0.1, α 0.5. No gradient flows through the chosen
/// KL. Zeng et al. 2024.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tdpo2 {
    /// Inverse temperature β.
    pub beta: f64,
    /// Weight α of the KL difference.
    pub alpha: f64,
}

impl Formula for Tdpo2 {
    fn needs(&self) -> Needs {
        Needs { kl: true, ..Needs::PAIR_AND_REFERENCE }
    }

    fn ranges(&self, ranges: &mut Ranges) {
        ranges.positive("beta", self.beta).not_negative("alpha", self.alpha);
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        let scores = terms.scores(Form::Sum, Baseline::Reference);
        let (chosen_kl, rejected_kl) = terms.kl();
        let margin = scores.margin() - self.alpha * (rejected_kl - chosen_kl.detached());
        terms.preference(&scores, -(self.beta * margin).log_sigmoid());
    }
}
