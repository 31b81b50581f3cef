//! Rotary position embeddings (arXiv 2104.09864) in Hugging Face's layout: element `i` of a head is
//! rotated with element `i + head_dim / 2`.

use rayon::prelude::*;

use super::{rows_per_task, simd};
use crate::config::ModelConfig;
use crate::real::Real;

/// Cosines and sines of positions `0..positions`, each `[positions, head_dim / 2]`.
#[derive(Debug, Default)]
pub(crate) struct RopeTable<R> {
    cosines: Vec<R>,
    sines: Vec<R>,
    /// What the table was computed from.
    frequencies: Vec<f64>,
    attention_factor: f64,
}

impl<R: Real> RopeTable<R> {
    /// Makes the table cover `positions` positions; entries that are there already are kept.
    pub(crate) fn extend(&mut self, config: &ModelConfig, positions: usize) {
        let half = config.head_dim / 2;
        let known = if self.frequencies.is_empty() { 0 } else { self.cosines.len() / half };
        // Without dynamic scaling the frequencies do not depend on the length.
        if known >= positions {
            return;
        }
        let (frequencies, attention_factor) = config.rope_frequencies(positions);
        let known =
            if frequencies == self.frequencies && attention_factor == self.attention_factor { known } else { 0 };
        self.cosines.truncate(known * half);
        self.sines.truncate(known * half);
        for position in known..positions {
            for &frequency in &frequencies {
                // Angles are rounded to single precision, as pre-trained models saw them.
                let angle = f64::from(position as f32 * frequency as f32);
                self.cosines.push(R::from_f64(angle.cos() * attention_factor));
                self.sines.push(R::from_f64(angle.sin() * attention_factor));
            }
        }
        self.frequencies = frequencies;
        self.attention_factor = attention_factor;
    }

    /// Bytes of the table.
    pub(crate) fn bytes(&self) -> usize {
        (self.cosines.len() + self.sines.len()) * size_of::<R>()
    }

    /// Rotates every head of every row: `(a, b) <- (a cos - b sin, b cos + a sin)`.
    pub(crate) fn forward(&self, x: &mut [R], positions: &[u32], head_dim: usize) {
        self.rotate(x, positions, head_dim, R::ONE);
    }

    /// The transposed rotation of the gradient.
    pub(crate) fn backward(&self, dx: &mut [R], positions: &[u32], head_dim: usize) {
        self.rotate(dx, positions, head_dim, -R::ONE);
    }

    fn rotate(&self, x: &mut [R], positions: &[u32], head_dim: usize, sign: R) {
        let half = head_dim / 2;
        let width = x.len() / positions.len().max(1);
        let task = rows_per_task(width.max(1));
        x.par_chunks_mut(width * task).zip(positions.par_chunks(task)).for_each(|(rows, positions)| {
            simd(
                #[inline(always)]
                || {
                    for (row, &position) in rows.chunks_exact_mut(width).zip(positions) {
                        let at = position as usize * half..(position as usize + 1) * half;
                        let (cosines, sines) = (&self.cosines[at.clone()], &self.sines[at]);
                        for head in row.chunks_exact_mut(head_dim) {
                            let (low, high) = head.split_at_mut(half);
                            for (((a, b), &cosine), &sine) in low.iter_mut().zip(high).zip(cosines).zip(sines) {
                                let sine = sine * sign;
                                (*a, *b) = (*a * cosine - *b * sine, *b * cosine + *a * sine);
                            }
                        }
                    }
                },
            );
        });
    }
}
