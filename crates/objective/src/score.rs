//! The margin operator: a linear score of each completion's log-probs.

use serde::{Deserialize, Serialize};

use crate::{Completion, Dual, Pair};

/// How a completion's tokens add up to one score, given token weights w (1 unless stated).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// Coefficient `w_t`: the (weighted) sum.
    Sum,
    /// Coefficient `w_t / Σw`: the (weighted) mean; all zero where Σw is 0.
    Mean,
}

/// What is subtracted from a policy log-prob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Baseline {
    /// The reference log-prob.
    Reference,
    /// Nothing: the score is reference-free.
    Zero,
}

/// The scores of both completions of a pair, `Σ_t α_t (p_t − baseline_t)`, with their coefficients
/// α (constants, also where they were computed from the policy).
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    values: [f64; 2],
    coefficients: [Vec<f64>; 2],
}

impl Scores {
    /// Scores in which every token of a completion weighs the same.
    pub fn new(pair: &Pair, form: Form, baseline: Baseline) -> Self {
        Self::weighted(pair, form, baseline, vec![1.0; pair.chosen.len()], vec![1.0; pair.rejected.len()])
    }

    /// Scores with one weight per chosen and per rejected token.
    pub fn weighted(pair: &Pair, form: Form, baseline: Baseline, chosen: Vec<f64>, rejected: Vec<f64>) -> Self {
        let chosen = coefficients(form, chosen);
        let rejected = coefficients(form, rejected);
        Self {
            values: [score(&pair.chosen, baseline, &chosen), score(&pair.rejected, baseline, &rejected)],
            coefficients: [chosen, rejected],
        }
    }

    /// The chosen score as a variable.
    pub fn chosen(&self) -> Dual {
        Dual::variable(self.values[0], Dual::CHOSEN)
    }

    /// The rejected score as a variable.
    pub fn rejected(&self) -> Dual {
        Dual::variable(self.values[1], Dual::REJECTED)
    }

    /// Chosen minus rejected score.
    pub fn margin(&self) -> Dual {
        self.chosen() - self.rejected()
    }

    /// Derivative of the chosen score with respect to each chosen log-prob.
    pub(crate) fn chosen_coefficients(&self) -> &[f64] {
        &self.coefficients[0]
    }

    /// Derivative of the rejected score with respect to each rejected log-prob.
    pub(crate) fn rejected_coefficients(&self) -> &[f64] {
        &self.coefficients[1]
    }
}

fn coefficients(form: Form, mut weights: Vec<f64>) -> Vec<f64> {
    if form == Form::Mean {
        let total: f64 = weights.iter().sum();
        let scale = if total > 0.0 { 1.0 / total } else { 0.0 };
        for weight in &mut weights {
            *weight *= scale;
        }
    }
    weights
}

/// A token of coefficient 0 contributes nothing whatever its log-prob is.
fn score(completion: &Completion, baseline: Baseline, coefficients: &[f64]) -> f64 {
    let policy = completion.policy.iter();
    match baseline {
        Baseline::Zero => policy.zip(coefficients).map(|(p, alpha)| alpha * p).sum(),
        // Differences first: a margin is a small difference of sums of hundreds of nats.
        Baseline::Reference => {
            policy.zip(&completion.reference).zip(coefficients).map(|((p, q), alpha)| alpha * (p - q)).sum()
        }
    }
}
