//! Softmax over rows: attention probabilities, log-probabilities of targets, and their gradients.

use super::reduce::{max_lanes, sum_lanes};
use super::simd;
use crate::real::Real;

/// Turns scores into unnormalised probabilities `e^(score - max)` in place and returns their sum and
/// the maximum. The sum of an empty row is 0.
#[inline(always)]
pub(crate) fn exponentiate<R: Real>(scores: &mut [R]) -> (R, R) {
    let maximum = max_lanes(scores);
    for score in scores.iter_mut() {
        *score = (*score - maximum).exp();
    }
    (
        sum_lanes(
            [scores],
            #[inline(always)]
            |[p]| p,
        ),
        maximum,
    )
}

/// `ln sum e^logit`. Sums of blocks are added in double precision.
pub(crate) fn log_sum_exp<R: Real>(logits: &[R]) -> f64 {
    const BLOCK: usize = 512;
    simd(
        #[inline(always)]
        || {
            let maximum = max_lanes(logits);
            let mut sum = 0.0;
            for block in logits.chunks(BLOCK) {
                sum += sum_lanes(
                    [block],
                    #[inline(always)]
                    |[z]| (z - maximum).exp(),
                )
                .to_f64();
            }
            maximum.to_f64() + sum.ln()
        },
    )
}

/// `KL(p || q) = sum p (ln p - ln q)` of two rows of logits with their log-sum-exps. Sums of blocks are added in
/// double precision.
pub(crate) fn divergence<R: Real>(p: &[R], p_sum: f64, q: &[R], q_sum: f64) -> f64 {
    const BLOCK: usize = 512;
    simd(
        #[inline(always)]
        || {
            let mut total = 0.0;
            let shift = R::from_f64(p_sum - q_sum);
            let p_sum = R::from_f64(p_sum);
            for (p, q) in p.chunks(BLOCK).zip(q.chunks(BLOCK)) {
                total += sum_lanes(
                    [p, q],
                    #[inline(always)]
                    |[p, q]| (p - p_sum).exp() * (p - q - shift),
                )
                .to_f64();
            }
            total
        },
    )
}

/// A row of the reference's logits.
#[derive(Clone, Copy)]
pub(crate) struct ReferenceRow<'a, R> {
    pub(crate) logits: &'a [R],
    pub(crate) log_sum: f64,
    /// The factor of the reference's softmax.
    pub(crate) weight: f64,
}

/// Replaces logits by `weight * softmax`, minus the reference's weighted softmax if there is one.
pub(crate) fn weighted<R: Real>(logits: &mut [R], log_sum: f64, weight: f64, reference: Option<ReferenceRow<'_, R>>) {
    let (sum, weight) = (R::from_f64(log_sum), R::from_f64(weight));
    simd(
        #[inline(always)]
        || {
            for logit in logits.iter_mut() {
                *logit = (*logit - sum).exp() * weight;
            }
            if let Some(reference) = reference {
                let (sum, weight) = (R::from_f64(reference.log_sum), R::from_f64(reference.weight));
                for (value, &logit) in logits.iter_mut().zip(reference.logits) {
                    *value -= (logit - sum).exp() * weight;
                }
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_sum_exp_survives_large_logits() {
        assert!((log_sum_exp(&[1000.0_f32, 1000.0]) - (1000.0 + 2.0_f64.ln())).abs() < 1e-6);
        assert_eq!(log_sum_exp(&[f64::NEG_INFINITY, 3.0]), 3.0);
    }

    #[test]
    fn divergence_of_a_distribution_with_itself_is_zero() {
        let logits: Vec<f64> = (0..700).map(|i| f64::from(i % 13) * 0.3).collect();
        let sum = log_sum_exp(&logits);
        assert_eq!(divergence(&logits, sum, &logits, sum), 0.0);
    }
}
