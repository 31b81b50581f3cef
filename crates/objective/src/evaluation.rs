//! The evaluation of one pair: a formula adds its terms to it, and their gradients follow.

use serde::{Deserialize, Serialize};

use crate::{Barrier, Baseline, Completion, Dual, Form, Gradient, Normaliser, Pair, PairLoss, Scores};

/// What a likelihood term is averaged over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// All chosen tokens of the batch alike: `−Σ_batch p / Σ_batch n`.
    Tokens,
    /// The mean of each sequence first: `mean_pairs(−Σp/n)`.
    Sequences,
}

/// One pair under evaluation: terms are added with their reduction over the batch.
#[derive(Debug)]
pub struct Evaluation<'a> {
    pair: &'a Pair,
    per_pair: f64,
    per_token: f64,
    /// The sum of the batch's pair weights.
    pairs: f64,
    result: PairLoss,
}

impl<'a> Evaluation<'a> {
    pub(crate) fn new(pair: &'a Pair, normaliser: &Normaliser, with_kl: bool) -> Self {
        let share = |total: f64| if total > 0.0 { pair.weight / total } else { 0.0 };
        let empty = |side: &Completion| Gradient {
            logp: vec![0.0; side.len()],
            kl: vec![0.0; if with_kl { side.len() } else { 0 }],
            choices: side.choices.iter().map(|choice| vec![0.0; choice.len()]).collect(),
        };
        Self {
            pair,
            per_pair: share(normaliser.pairs),
            per_token: share(normaliser.chosen_tokens),
            pairs: normaliser.pairs,
            result: PairLoss { chosen: empty(&pair.chosen), rejected: empty(&pair.rejected), ..PairLoss::default() },
        }
    }

    /// The pair.
    pub fn pair(&self) -> &'a Pair {
        self.pair
    }

    /// Scores that weigh every token of a completion alike.
    pub fn scores(&self, form: Form, baseline: Baseline) -> Scores {
        Scores::new(self.pair, form, baseline)
    }

    /// The KL of each completion, summed over its positions, as variables.
    pub fn kl(&self) -> (Dual, Dual) {
        (
            Dual::variable(self.pair.chosen.kl.iter().sum(), Dual::CHOSEN_KL),
            Dual::variable(self.pair.rejected.kl.iter().sum(), Dual::REJECTED_KL),
        )
    }

    /// Adds a preference term: the pair's `loss` as a function of `scores` (and of the KL),
    /// averaged over pairs.
    pub fn preference(&mut self, scores: &Scores, loss: Dual) {
        self.result.margin = scores.margin().value;
        self.result.preference += self.per_pair * loss.value;
        self.add(scores, loss);
    }

    /// Adds a decision term, like a preference term; the pair's margin stays the preference's.
    pub fn decision(&mut self, scores: &Scores, loss: Dual) {
        self.result.decision += self.per_pair * loss.value;
        self.add(scores, loss);
    }

    fn add(&mut self, scores: &Scores, loss: Dual) {
        let scale = self.per_pair;
        let result = &mut self.result;
        result.loss += scale * loss.value;
        let slope = |index: usize| scale * loss.partials[index];
        add_scaled(&mut result.chosen.logp, slope(Dual::CHOSEN), scores.chosen_coefficients());
        add_scaled(&mut result.rejected.logp, slope(Dual::REJECTED), scores.rejected_coefficients());
        add_constant(&mut result.chosen.kl, slope(Dual::CHOSEN_KL));
        add_constant(&mut result.rejected.kl, slope(Dual::REJECTED_KL));
    }

    /// Adds a term whose gradient you computed yourself: the pair's `loss` with its derivative with
    /// respect to each chosen and each rejected log-prob, averaged over pairs. It counts as preference
    /// in the [`PairLoss`].
    ///
    /// # Panics
    /// If a gradient and its completion differ in length.
    pub fn term(&mut self, loss: f64, chosen: &[f64], rejected: &[f64]) {
        self.term_with_share(self.per_pair, loss, chosen, rejected);
    }

    /// Like [`Evaluation::term`] for a pair that counts `weight` in the mean over pairs, whatever its own weight.
    pub fn term_with_weight(&mut self, weight: f64, loss: f64, chosen: &[f64], rejected: &[f64]) {
        let share = if self.pairs > 0.0 { weight / self.pairs } else { 0.0 };
        self.term_with_share(share, loss, chosen, rejected);
    }

    fn term_with_share(&mut self, share: f64, loss: f64, chosen: &[f64], rejected: &[f64]) {
        assert_eq!(chosen.len(), self.pair.chosen.len(), "one derivative for each chosen token");
        assert_eq!(rejected.len(), self.pair.rejected.len(), "one derivative for each rejected token");
        self.result.loss += share * loss;
        self.result.preference += share * loss;
        add_scaled(&mut self.result.chosen.logp, share, chosen);
        add_scaled(&mut self.result.rejected.logp, share, rejected);
    }

    /// Sets the margin that is logged, where no term has [`Scores`].
    pub fn set_margin(&mut self, margin: f64) {
        self.result.margin = margin;
    }

    /// Adds `weight` times the negative log-likelihood of the chosen completion.
    pub fn likelihood(&mut self, weight: f64, pooling: Pooling) {
        self.token_losses(weight, pooling, |_, p| (-p, -1.0));
    }

    /// Adds `weight` times the mean of a loss of each chosen token, as a likelihood term. `loss` takes a token's
    /// position and log-prob, and returns its loss with the derivative with respect to the log-prob.
    pub fn token_losses(&mut self, weight: f64, pooling: Pooling, loss: impl Fn(usize, f64) -> (f64, f64)) {
        let n = self.pair.chosen.len();
        if n == 0 {
            return;
        }
        let per_token = weight * self.token_share(pooling);
        let mut sum = 0.0;
        for (t, (p, gradient)) in self.pair.chosen.policy.iter().zip(&mut self.result.chosen.logp).enumerate() {
            let (value, slope) = loss(t, *p);
            sum += value;
            *gradient += per_token * slope;
        }
        self.result.likelihood += per_token * sum;
        self.result.loss += per_token * sum;
    }

    /// Adds `weight` times the negative log-likelihood of any right token at each of the
    /// [`choices`](Completion::choices) of the rejected completion, `−log Σ_a e^{p_a}`, as a decision term. Each counts as
    /// much as a chosen token does in a likelihood term.
    pub fn choices(&mut self, weight: f64, pooling: Pooling) {
        if self.pair.chosen.is_empty() {
            return;
        }
        let per_token = weight * self.token_share(pooling);
        for (choice, gradient) in self.pair.rejected.choices.iter().zip(&mut self.result.rejected.choices) {
            let largest = choice.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = choice.iter().map(|p| (p - largest).exp()).sum();
            let value = -per_token * (largest + total.ln());
            self.result.decision += value;
            self.result.loss += value;
            for (p, slope) in choice.iter().zip(gradient) {
                *slope -= per_token * (p - largest).exp() / total;
            }
        }
    }

    /// Adds `weight` times a loss of each token of the rejected completion, which is the model's own answer, as a decision
    /// term. `loss` takes a token's position and log-prob, and returns its loss with the derivative with respect to the
    /// log-prob. Each counts as much as a chosen token does in a likelihood term.
    pub fn own_losses(&mut self, weight: f64, pooling: Pooling, loss: impl Fn(usize, f64) -> (f64, f64)) {
        if self.pair.chosen.is_empty() {
            return;
        }
        let per_token = weight * self.token_share(pooling);
        let mut sum = 0.0;
        for (t, (p, gradient)) in self.pair.rejected.policy.iter().zip(&mut self.result.rejected.logp).enumerate() {
            let (value, slope) = loss(t, *p);
            sum += value;
            *gradient += per_token * slope;
        }
        self.result.decision += per_token * sum;
        self.result.loss += per_token * sum;
    }

    /// What one chosen token counts in a mean over tokens or over sequences. The chosen completion has a token.
    fn token_share(&self, pooling: Pooling) -> f64 {
        match pooling {
            Pooling::Tokens => self.per_token,
            Pooling::Sequences => self.per_pair / self.pair.chosen.len() as f64,
        }
    }

    /// Adds `weight` times a barrier on the chosen completion with token weights `weights`,
    /// averaged over pairs.
    pub fn barrier(&mut self, weight: f64, barrier: &Barrier, weights: &[f64]) {
        let term = barrier.evaluate(&self.pair.chosen.policy, weights);
        let scale = weight * self.per_pair;
        self.result.barrier += scale * term.value;
        self.result.loss += scale * term.value;
        add_scaled(&mut self.result.chosen.logp, scale, &term.gradient);
        self.result.gate = term.gate;
    }

    pub(crate) fn finish(self) -> PairLoss {
        self.result
    }
}

fn add_scaled(sum: &mut [f64], scale: f64, terms: &[f64]) {
    for (sum, term) in sum.iter_mut().zip(terms) {
        *sum += scale * term;
    }
}

fn add_constant(sum: &mut [f64], constant: f64) {
    for sum in sum {
        *sum += constant;
    }
}
