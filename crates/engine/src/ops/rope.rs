//! Rotary position embeddings (arXiv 2104.09864) in Hugging Face's layout: element `i` of a head is
//! rotated with element `i + head_dim / 2`.

use rayon::prelude::*;

use super::{rows_per_task, simd};
use crate::real::Real;
use tabpo_model::{ModelConfig, RopeScaling};

/// Cosines and sines of positions `0..positions`, each `[positions, head_dim / 2]`.
#[derive(Debug, Default)]
pub struct RopeTable<R> {
    cosines: Vec<R>,
    sines: Vec<R>,
    /// The sequence length that the entries were computed for.
    made_for: Option<Lengths>,
}

/// The length of the sequence for which the frequencies of a position are computed. It only matters for dynamic
/// scaling, beyond the length that the model was designed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lengths {
    /// One sequence of at most this many tokens.
    Sequence(usize),
    /// A sequence that ends with the position itself.
    Growing,
}

impl<R: Real> RopeTable<R> {
    /// Makes the table cover the `positions` positions of a sequence; existing entries are kept if their
    /// frequencies are those of this length.
    pub fn extend(&mut self, config: &ModelConfig, positions: usize) {
        let length = match config.rope_scaling {
            RopeScaling::Dynamic { .. } => positions.max(config.max_positions),
            _ => 0,
        };
        self.cover(config, positions, Lengths::Sequence(length));
    }

    /// Makes the table cover `positions` positions for sequences that grow token by token: every position
    /// has the frequencies of a sequence that ends there.
    pub fn extend_growing(&mut self, config: &ModelConfig, positions: usize) {
        self.cover(config, positions, Lengths::Growing);
    }

    fn cover(&mut self, config: &ModelConfig, positions: usize, lengths: Lengths) {
        let half = config.head_dim / 2;
        if self.made_for != Some(lengths) {
            self.cosines.clear();
            self.sines.clear();
            self.made_for = Some(lengths);
        }
        let known = self.cosines.len() / half;
        if known >= positions {
            return;
        }
        let changes = lengths == Lengths::Growing && matches!(config.rope_scaling, RopeScaling::Dynamic { .. });
        let (mut frequencies, mut attention_factor) = config.rope_frequencies(positions);
        for position in known..positions {
            if changes {
                (frequencies, attention_factor) = config.rope_frequencies(position + 1);
            }
            for &frequency in &frequencies {
                // Angles are rounded to single precision, as in pre-training.
                let angle = f64::from(position as f32 * frequency as f32);
                self.cosines.push(R::from_f64(angle.cos() * attention_factor));
                self.sines.push(R::from_f64(angle.sin() * attention_factor));
            }
        }
    }

    /// The cosines, for engines that rotate elsewhere.
    pub fn cosines(&self) -> &[R] {
        &self.cosines
    }

    /// The sines.
    pub fn sines(&self) -> &[R] {
        &self.sines
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
