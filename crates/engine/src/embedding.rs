//! Token embeddings.

use rayon::prelude::*;

use crate::ops::{rows_per_task, simd};
use crate::real::Real;
use crate::view::{Bands, View, ViewMut, for_each_tile};
use crate::weights::Matrix;

/// Copies the embedding of every token: `x[row] = E[token]`.
pub(crate) fn forward<R: Real>(embedding: &Matrix<R>, tokens: &[u32], x: &mut [R]) {
    let width = embedding.columns();
    let task = rows_per_task(width);
    x.par_chunks_mut(width * task).zip(tokens.par_chunks(task)).for_each(|(x, tokens)| {
        for (row, &token) in x.chunks_exact_mut(width).zip(tokens) {
            embedding.copy_row(token as usize, row);
        }
    });
}

/// `dE[token] += dx[row]`, in order of the rows; parallel over columns, because a token may occur more than once.
pub(crate) fn backward<R: Real>(dx: &[R], tokens: &[u32], width: usize, gradient: &mut [R]) {
    /// Columns of one task.
    const STRIPE: usize = 64;
    let height = gradient.len() / width;
    let dx = View::new(dx, tokens.len(), width);
    for_each_tile([ViewMut::new(gradient, height, width)], Bands::Every(height), [STRIPE], |[mut stripe], tile| {
        let start = tile.column * STRIPE;
        simd(
            #[inline(always)]
            || {
                for (row, &token) in tokens.iter().enumerate() {
                    let target = stripe.row_mut(token as usize);
                    let end = start + target.len();
                    for (g, &d) in target.iter_mut().zip(&dx.row(row)[start..end]) {
                        *g += d;
                    }
                }
            },
        );
    });
}
