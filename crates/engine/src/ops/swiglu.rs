//! The gated product of the feed-forward part: `p = silu(g) * u` with `silu(g) = g / (1 + e^-g)`.

use rayon::prelude::*;

use super::{ELEMENTS_PER_TASK, simd};
use crate::real::Real;

/// `product = silu(gate) * up`
pub(crate) fn forward<R: Real>(gate: &[R], up: &[R], product: &mut [R]) {
    product
        .par_chunks_mut(ELEMENTS_PER_TASK)
        .zip(gate.par_chunks(ELEMENTS_PER_TASK))
        .zip(up.par_chunks(ELEMENTS_PER_TASK))
        .for_each(|((product, gate), up)| {
            simd(
                #[inline(always)]
                || {
                    for ((p, &g), &u) in product.iter_mut().zip(gate).zip(up) {
                        *p = g / (R::ONE + (-g).exp()) * u;
                    }
                },
            );
        });
}

/// Overwrites three buffers in one pass: `gate` and `up` with their gradients, and `gradient`, which contains
/// dL/d(product), with the recomputed product, which the gradient of the down projection needs. With `s` the
/// sigmoid of `g`: `dg = dp * u * s * (1 + g * (1 - s))` and `du = dp * g * s`.
pub(crate) fn backward<R: Real>(gate: &mut [R], up: &mut [R], gradient: &mut [R]) {
    gradient
        .par_chunks_mut(ELEMENTS_PER_TASK)
        .zip(gate.par_chunks_mut(ELEMENTS_PER_TASK))
        .zip(up.par_chunks_mut(ELEMENTS_PER_TASK))
        .for_each(|((gradient, gate), up)| {
            simd(
                #[inline(always)]
                || {
                    for ((d, g), u) in gradient.iter_mut().zip(gate).zip(up) {
                        let sigmoid = R::ONE / (R::ONE + (-*g).exp());
                        let silu = *g * sigmoid;
                        let product = silu * *u;
                        *g = *d * *u * sigmoid * (R::ONE + *g * (R::ONE - sigmoid));
                        *u = *d * silu;
                        *d = product;
                    }
                },
            );
        });
}
