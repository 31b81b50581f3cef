//! RMS normalisation (arXiv 1910.07467): `y = w * x / sqrt(mean(x^2) + epsilon)`, over rows or heads.

use rayon::prelude::*;

use super::reduce::sum_lanes;
use super::{rows_per_task, simd};
use crate::real::Real;

/// Normalises groups of `scale.len()` elements and stores the inverse root mean square of each.
pub(crate) fn forward<R: Real>(x: &[R], scale: &[R], epsilon: f64, inverse: &mut [R], y: &mut [R]) {
    let width = scale.len();
    let rows = rows_per_task(width);
    let epsilon = R::from_f64(epsilon);
    let count = R::from_f64(width as f64);
    y.par_chunks_mut(width * rows).zip(x.par_chunks(width * rows)).zip(inverse.par_chunks_mut(rows)).for_each(
        |((y, x), inverse)| {
            simd(
                #[inline(always)]
                || {
                    for ((y, x), inverse) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(inverse) {
                        let squares = sum_lanes(
                            [x],
                            #[inline(always)]
                            |[x]| x * x,
                        );
                        *inverse = R::ONE / (squares / count + epsilon).sqrt();
                        for ((y, &x), &w) in y.iter_mut().zip(x).zip(scale) {
                            *y = x * *inverse * w;
                        }
                    }
                },
            );
        },
    );
}

/// Repeats the forward pass from the stored inverse root mean squares.
pub(crate) fn repeat<R: Real>(x: &[R], scale: &[R], inverse: &[R], y: &mut [R]) {
    let width = scale.len();
    let rows = rows_per_task(width);
    y.par_chunks_mut(width * rows).zip(x.par_chunks(width * rows)).zip(inverse.par_chunks(rows)).for_each(
        |((y, x), inverse)| {
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
        },
    );
}

/// With `r` the inverse root mean square and `n` the width,
/// `dx = r * (w * dy - x * r^2 / n * sum(w * dy * x))`.
///
/// `dx` is added to `target`, the gradient of the residual stream.
pub(crate) fn backward_add<R: Real>(x: &[R], scale: &[R], inverse: &[R], dy: &[R], target: &mut [R]) {
    let width = scale.len();
    let rows = rows_per_task(width);
    target
        .par_chunks_mut(width * rows)
        .zip(x.par_chunks(width * rows))
        .zip(dy.par_chunks(width * rows))
        .zip(inverse.par_chunks(rows))
        .for_each(|(((target, x), dy), inverse)| {
            simd(
                #[inline(always)]
                || {
                    let groups = target.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(dy.chunks_exact(width));
                    for (((target, x), dy), &r) in groups.zip(inverse) {
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
    let rows = rows_per_task(width);
    dy.par_chunks_mut(width * rows).zip(x.par_chunks(width * rows)).zip(inverse.par_chunks(rows)).for_each(
        |((dy, x), inverse)| {
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
        },
    );
}

/// `r^2 / n * sum(w * dy * x)`
#[inline(always)]
fn projection<R: Real>(x: &[R], scale: &[R], r: R, dy: &[R]) -> R {
    let sum = sum_lanes(
        [scale, dy, x],
        #[inline(always)]
        |[w, dy, x]| w * dy * x,
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
