//! RMS normalisation (arXiv 1910.07467): `y = w * x / sqrt(mean(x^2) + epsilon)`, over rows or heads.

use rayon::prelude::*;

use super::reduce::sum_lanes;
use super::{ROWS_PER_TASK, simd};
use crate::real::Real;

/// Normalises groups of `scale.len()` elements and keeps the inverse root mean square of each.
pub(crate) fn forward<R: Real>(x: &[R], scale: &[R], epsilon: f64, inverse: &mut [R], y: &mut [R]) {
    let width = scale.len();
    let epsilon = R::from_f64(epsilon);
    let count = R::from_f64(width as f64);
    y.par_chunks_mut(width * ROWS_PER_TASK)
        .zip(x.par_chunks(width * ROWS_PER_TASK))
        .zip(inverse.par_chunks_mut(ROWS_PER_TASK))
        .for_each(|((y, x), inverse)| {
            simd(
                #[inline(always)]
                || {
                    for ((y, x), inverse) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(inverse) {
                        let squares = sum_lanes(
                            width,
                            #[inline(always)]
                            |i| x[i] * x[i],
                        );
                        *inverse = R::ONE / (squares / count + epsilon).sqrt();
                        for ((y, &x), &w) in y.iter_mut().zip(x).zip(scale) {
                            *y = x * *inverse * w;
                        }
                    }
                },
            );
        });
}

/// Repeats the forward pass from the stored inverse root mean squares.
pub(crate) fn repeat<R: Real>(x: &[R], scale: &[R], inverse: &[R], y: &mut [R]) {
    let width = scale.len();
    y.par_chunks_mut(width * ROWS_PER_TASK)
        .zip(x.par_chunks(width * ROWS_PER_TASK))
        .zip(inverse.par_chunks(ROWS_PER_TASK))
        .for_each(|((y, x), inverse)| {
            simd(
                #[inline(always)]
                || {
                    for ((y, x), &inverse) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(inverse) {
                        for ((y, &x), &w) in y.iter_mut().zip(x).zip(scale) {
                            *y = x * inverse * w;
                        }
                    }
                },
            );
        });
}

/// With `r` the inverse root mean square and `n` the width,
/// `dx = r * (w * dy - x * r^2 / n * sum(w * dy * x))`.
///
/// `dx` is added to `target`, the gradient of the residual stream.
pub(crate) fn backward_add<R: Real>(x: &[R], scale: &[R], inverse: &[R], dy: &[R], target: &mut [R]) {
    let width = scale.len();
    target
        .par_chunks_mut(width * ROWS_PER_TASK)
        .zip(x.par_chunks(width * ROWS_PER_TASK))
        .zip(dy.par_chunks(width * ROWS_PER_TASK))
        .zip(inverse.par_chunks(ROWS_PER_TASK))
        .for_each(|(((target, x), dy), inverse)| {
            simd(
                #[inline(always)]
                || {
                    let rows = target.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(dy.chunks_exact(width));
                    for (((target, x), dy), &r) in rows.zip(inverse) {
                        let factor = projection(x, scale, r, dy);
                        for (((target, &x), &dy), &w) in target.iter_mut().zip(x).zip(dy).zip(scale) {
                            *target += r * (w * dy - x * factor);
                        }
                    }
                },
            );
        });
}

/// As [`backward_add`], but `dx` replaces `dy`.
pub(crate) fn backward_in_place<R: Real>(x: &[R], scale: &[R], inverse: &[R], dy: &mut [R]) {
    let width = scale.len();
    dy.par_chunks_mut(width * ROWS_PER_TASK)
        .zip(x.par_chunks(width * ROWS_PER_TASK))
        .zip(inverse.par_chunks(ROWS_PER_TASK))
        .for_each(|((dy, x), inverse)| {
            simd(
                #[inline(always)]
                || {
                    for ((dy, x), &r) in dy.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(inverse) {
                        let factor = projection(x, scale, r, dy);
                        for ((dy, &x), &w) in dy.iter_mut().zip(x).zip(scale) {
                            *dy = r * (w * *dy - x * factor);
                        }
                    }
                },
            );
        });
}

/// `r^2 / n * sum(w * dy * x)`
#[inline(always)]
fn projection<R: Real>(x: &[R], scale: &[R], r: R, dy: &[R]) -> R {
    let sum = sum_lanes(
        scale.len(),
        #[inline(always)]
        |i| scale[i] * dy[i] * x[i],
    );
    sum * r * r / R::from_f64(scale.len() as f64)
}

/// `dw += sum over groups of dy * x * r`, in order of the groups.
pub(crate) fn backward_scale<R: Real>(x: &[R], inverse: &[R], dy: &[R], gradient: &mut [R]) {
    /// Columns of one task.
    const STRIPE: usize = 64;
    let width = gradient.len();
    gradient.par_chunks_mut(STRIPE).enumerate().for_each(|(stripe, gradient)| {
        simd(
            #[inline(always)]
            || {
                let start = stripe * STRIPE;
                let columns = start..start + gradient.len();
                for ((x, dy), &r) in x.chunks_exact(width).zip(dy.chunks_exact(width)).zip(inverse) {
                    for ((g, &x), &dy) in gradient.iter_mut().zip(&x[columns.clone()]).zip(&dy[columns.clone()]) {
                        *g += dy * x * r;
                    }
                }
            },
        );
    });
}
