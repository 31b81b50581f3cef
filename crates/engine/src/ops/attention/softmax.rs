//! The softmax of a block of scores, `[keys, lanes]`, and its gradient.

use std::ops::Range;

use crate::ops::reduce::sum_lanes;
use crate::ops::simd;
use crate::real::Real;

/// Sets the scores of keys that a row does not see to `value`. A row has `group` neighbouring lanes and sees the keys
/// of its range in `visible`.
pub(super) fn hide<R: Real>(scores: &mut [R], group: usize, visible: &[Range<usize>], value: R) {
    let lanes = group * visible.len();
    let all = visible.iter().fold(0..usize::MAX, |all, range| all.start.max(range.start)..all.end.min(range.end));
    for (key, scores) in scores.chunks_exact_mut(lanes).enumerate() {
        if !all.contains(&key) {
            for (scores, range) in scores.chunks_exact_mut(group).zip(visible) {
                if !range.contains(&key) {
                    scores.fill(value);
                }
            }
        }
    }
}

/// Replaces scores by `e^(score - maximum)`, with the maximum and the sum of every lane.
pub(super) fn exponentiate<R: Real>(scores: &mut [R], maxima: &mut [R], sums: &mut [R]) {
    let lanes = maxima.len();
    simd(
        #[inline(always)]
        || {
            maxima.fill(R::NEG_INFINITY);
            sums.fill(R::ZERO);
            // Four keys at a time, because maxima and sums are in memory.
            for scores in scores.chunks(4 * lanes) {
                if let Some([a, b, c, d]) = four(scores, lanes) {
                    for ((((maximum, &a), &b), &c), &d) in maxima.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                        *maximum = a.max(b).max(c.max(d)).max(*maximum);
                    }
                } else {
                    for scores in scores.chunks_exact(lanes) {
                        for (maximum, &score) in maxima.iter_mut().zip(scores) {
                            *maximum = score.max(*maximum);
                        }
                    }
                }
            }
            for scores in scores.chunks_mut(4 * lanes) {
                for scores in scores.chunks_exact_mut(lanes) {
                    for (score, &maximum) in scores.iter_mut().zip(&*maxima) {
                        *score = (*score - maximum).exp();
                    }
                }
                if let Some([a, b, c, d]) = four(scores, lanes) {
                    for ((((sum, &a), &b), &c), &d) in sums.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                        *sum += (a + b) + (c + d);
                    }
                } else {
                    for scores in scores.chunks_exact(lanes) {
                        for (sum, &p) in sums.iter_mut().zip(scores) {
                            *sum += p;
                        }
                    }
                }
            }
        },
    );
}

/// The scores of four keys; `None` if there are fewer.
#[inline(always)]
fn four<R>(scores: &[R], lanes: usize) -> Option<[&[R]; 4]> {
    let (first, second) = scores.split_at_checked(2 * lanes)?;
    let ((a, b), (c, d)) = (first.split_at(lanes), second.split_at_checked(lanes)?);
    (d.len() == lanes).then_some([a, b, c, d])
}

/// Divides the outputs of a row's heads, `[heads, width]`, by the sums of their unnormalised probabilities.
pub(super) fn normalise<R: Real>(out: &mut [R], sums: &[R], width: usize) {
    simd(
        #[inline(always)]
        || {
            for (out, &sum) in out.chunks_exact_mut(width).zip(sums) {
                let inverse = R::ONE / sum;
                for value in out {
                    *value *= inverse;
                }
            }
        },
    );
}

/// The inner product of two vectors.
pub(super) fn dot<R: Real>(a: &[R], b: &[R]) -> R {
    simd(
        #[inline(always)]
        || {
            sum_lanes(
                [a, b],
                #[inline(always)]
                |[a, b]| a * b,
            )
        },
    )
}

/// Replaces scores by probabilities, and gradients of probabilities by gradients of scores. `dots` are the inner
/// products of the outputs of every lane with their gradients.
pub(super) fn backward<R: Real>(scores: &mut [R], gradients: &mut [R], log_sums: &[R], dots: &[R]) {
    let lanes = log_sums.len();
    simd(
        #[inline(always)]
        || {
            for (scores, gradients) in scores.chunks_exact_mut(lanes).zip(gradients.chunks_exact_mut(lanes)) {
                for (((score, gradient), &log_sum), &dot) in scores.iter_mut().zip(gradients).zip(log_sums).zip(dots) {
                    let p = (*score - log_sum).exp();
                    *score = p;
                    *gradient = p * (*gradient - dot);
                }
            }
        },
    );
}
