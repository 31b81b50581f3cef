//! Chooses tokens from logits.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::real::Real;

/// How tokens are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Divisor of the logits; 0 chooses the most likely token.
    pub temperature: f64,
    /// Tokens are drawn from the smallest set of the most likely ones with at least this total probability; 1
    /// keeps all.
    pub top_p: f64,
    /// Random seed. The number drawn for a token depends only on the seed, the request's position in the list and
    /// the token's position, so that batching does not change it.
    pub seed: u64,
}

impl Sampling {
    /// Always the most likely token.
    pub const GREEDY: Self = Self { temperature: 0.0, top_p: 1.0, seed: 0 };

    /// The number in [0, 1) that selects a token: it depends on the seed, the position of the request and that of the
    /// token in its completion.
    pub fn draw(&self, request: u64, step: u64) -> f64 {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        random.set_stream(request);
        // A step draws one 64-bit number: two words.
        random.set_word_pos(u128::from(step) * 2);
        (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Chooses a token among those for which `allowed` is true; `None` if there is none.
///
/// Among equally likely tokens greedy choice takes the smallest id.
pub(crate) fn choose<R: Real>(
    logits: &[R],
    allowed: impl Fn(u32) -> bool,
    sampling: &Sampling,
    request: u64,
    step: u64,
) -> Option<u32> {
    let candidates = (0..logits.len() as u32).filter(|&token| allowed(token));
    if sampling.temperature <= 0.0 {
        let mut best: Option<(R, u32)> = None;
        for token in candidates {
            let logit = logits[token as usize];
            if best.is_none_or(|(highest, _)| logit > highest) {
                best = Some((logit, token));
            }
        }
        return best.map(|(_, token)| token);
    }
    let mut scaled: Vec<(f64, u32)> =
        candidates.map(|token| (logits[token as usize].to_f64() / sampling.temperature, token)).collect();
    scaled.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let highest = scaled.first()?.0;
    for (value, _) in &mut scaled {
        *value = (*value - highest).exp();
    }
    let total: f64 = scaled.iter().map(|(weight, _)| weight).sum();
    let mut kept = 0.0;
    let count = scaled.iter().take_while(|(weight, _)| {
        let wanted = kept < sampling.top_p * total;
        kept += weight;
        wanted
    });
    // The most likely token is always kept.
    let nucleus = &scaled[..count.count().max(1)];
    let mass: f64 = nucleus.iter().map(|(weight, _)| weight).sum();
    let mut left = sampling.draw(request, step) * mass;
    let drawn = nucleus.iter().find(|(weight, _)| {
        left -= weight;
        left < 0.0
    });
    // Rounding may leave a little mass after the last token.
    drawn.or(nucleus.last()).map(|(_, token)| *token)
}

/// The log-probability of a token under the model itself: temperature 1, no constraint.
pub(crate) fn log_probability<R: Real>(logits: &[R], token: u32) -> f64 {
    let highest = logits.iter().fold(f64::NEG_INFINITY, |highest, logit| highest.max(logit.to_f64()));
    let sum: f64 = logits.iter().map(|logit| (logit.to_f64() - highest).exp()).sum();
    logits[token as usize].to_f64() - highest - sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greedy_takes_the_first_of_the_highest_allowed() {
        let logits = [1.0_f32, 3.0, 3.0, 9.0];
        assert_eq!(choose(&logits, |token| token != 3, &Sampling::GREEDY, 0, 0), Some(1));
        assert_eq!(choose(&logits, |_| false, &Sampling::GREEDY, 0, 0), None);
    }

    #[test]
    fn draws_follow_the_distribution() {
        let logits = [0.5_f64.ln(), 0.3_f64.ln(), 0.2_f64.ln()];
        let share = |sampling: Sampling, token| {
            let draws = (0..4000).filter(|&step| choose(&logits, |_| true, &sampling, 7, step) == Some(token));
            draws.count() as f64 / 4000.0
        };
        let plain = Sampling { temperature: 1.0, top_p: 1.0, seed: 3 };
        for (token, probability) in [(0, 0.5), (1, 0.3), (2, 0.2)] {
            assert!((share(plain, token) - probability).abs() < 0.03, "token {token}");
        }
        // 0.5 alone is less than 0.6, so that two tokens are kept.
        let nucleus = Sampling { top_p: 0.6, ..plain };
        assert!((share(nucleus, 0) - 0.625).abs() < 0.03);
        assert_eq!(share(nucleus, 2), 0.0);
        let cold = Sampling { temperature: 0.5, ..plain };
        assert!((share(cold, 0) - 0.25 / 0.38).abs() < 0.03);
    }

    #[test]
    fn log_probabilities_are_normalised() {
        let logits = [1000.0_f32, 1001.0, 998.5];
        let total: f64 = (0..3).map(|token| log_probability(&logits, token).exp()).sum();
        assert!((total - 1.0).abs() < 1e-12);
    }
}
