//! The barrier operator: likelihood pressure on chosen tokens in which the policy has too little
//! confidence.

use serde::{Deserialize, Serialize};

/// What a token below the confidence threshold costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gate {
    /// `−p` below the threshold, nothing at or above it: jumps at the threshold.
    Hard,
    /// `max(0, log τ − p)`: continuous at the threshold, same slope below it.
    Hinge,
}

/// What the gated cost is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Denominator {
    /// max(1, weight of the gated tokens).
    GatedWeight,
    /// max(1, number of gated tokens).
    GatedCount,
    /// max(1, weight of all tokens in scope), gated or not: the pull on one token does not grow as
    /// the others leave the gate.
    ScopeWeight,
}

/// `Σ_t g_t v_t φ(p_t) / D` with the gate `g_t = 1[p_t < log τ]`, strict and held fixed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Barrier {
    /// Confidence threshold τ, a probability in (0, 1].
    pub threshold: f64,
    /// The cost φ.
    pub gate: Gate,
    /// The denominator D.
    pub denominator: Denominator,
}

/// A barrier's value and gradient on one completion.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BarrierTerm {
    /// The value, at least 0.
    pub(crate) value: f64,
    /// Derivative with respect to each log-prob.
    pub(crate) gradient: Vec<f64>,
    /// Which tokens are gated.
    pub(crate) gate: Vec<bool>,
}

impl Barrier {
    /// The barrier on log-probs `policy` with token weights `weights` (`v`, at least 0; a token of
    /// weight 0 is out of scope).
    pub(crate) fn evaluate(&self, policy: &[f64], weights: &[f64]) -> BarrierTerm {
        let limit = self.threshold.ln();
        let gate: Vec<bool> = policy.iter().zip(weights).map(|(p, v)| *v > 0.0 && *p < limit).collect();
        let gated = || gate.iter().zip(weights).filter_map(|(active, v)| active.then_some(*v));
        let denominator = match self.denominator {
            Denominator::GatedWeight => gated().sum::<f64>(),
            Denominator::GatedCount => gated().count() as f64,
            Denominator::ScopeWeight => weights.iter().sum(),
        }
        .max(1.0);
        let offset = match self.gate {
            Gate::Hard => 0.0,
            Gate::Hinge => limit,
        };
        let mut term = BarrierTerm { value: 0.0, gradient: vec![0.0; policy.len()], gate };
        for (t, (p, v)) in policy.iter().zip(weights).enumerate().filter(|(t, _)| term.gate[*t]) {
            term.value += v * (offset - p) / denominator;
            term.gradient[t] = -v / denominator;
        }
        term
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HARD: Barrier = Barrier { threshold: 0.5, gate: Gate::Hard, denominator: Denominator::GatedWeight };

    #[test]
    fn a_token_exactly_at_the_threshold_is_not_gated() {
        let limit = 0.5_f64.ln();
        let term = HARD.evaluate(&[limit, limit - 1e-12], &[1.0, 1.0]);
        assert_eq!(term.gate, [false, true]);
        assert_eq!(term.gradient, [0.0, -1.0]);
    }

    #[test]
    fn the_hinge_vanishes_at_the_threshold_where_the_hard_gate_jumps() {
        let below = 0.5_f64.ln() - 1e-9;
        let hinge = Barrier { gate: Gate::Hinge, ..HARD };
        assert!(hinge.evaluate(&[below], &[1.0]).value < 1e-8);
        assert!(HARD.evaluate(&[below], &[1.0]).value > 0.69);
    }

    #[test]
    fn over_the_scope_one_gated_token_pulls_no_harder_when_the_others_leave() {
        let scope = Barrier { denominator: Denominator::ScopeWeight, ..HARD };
        let weights = [1.0; 4];
        let crowded = scope.evaluate(&[-3.0, -3.0, -3.0, -0.1], &weights);
        let alone = scope.evaluate(&[-3.0, -0.1, -0.1, -0.1], &weights);
        assert_eq!(crowded.gradient[0], alone.gradient[0]);
        assert!(HARD.evaluate(&[-3.0, -0.1, -0.1, -0.1], &weights).gradient[0] < alone.gradient[0]);
    }

    #[test]
    fn tokens_of_weight_zero_are_out_of_scope() {
        let term = HARD.evaluate(&[-60.0, -2.0], &[0.0, 1.0]);
        assert_eq!(term.gate, [false, true]);
        assert_eq!(term.value, 2.0);
        assert_eq!(HARD.evaluate(&[-60.0], &[0.0]).value, 0.0);
    }
}
