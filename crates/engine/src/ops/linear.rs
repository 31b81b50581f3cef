//! Linear layers with optional low-rank adapters: `y = x W^T + b + s (x A^T) B^T`.

use super::gemm::{add_product, for_each_block, parallel_add_product, parallel_product, product, scaled_product};
use super::{ELEMENTS_PER_TASK, simd};
use crate::lora::{LoraGroup, LoraMember};
use crate::model::Linear;
use crate::real::Real;
use crate::view::{View, ViewMut};
use crate::weights::Matrix;
use crate::workspace::ThreadScratch;

/// The adapter of one projection with its low-rank input `x A^T`, `[rows, rank]`.
#[derive(Clone, Copy)]
pub(crate) struct Adapter<'a, R> {
    pub(crate) member: &'a LoraMember<R>,
    pub(crate) low: View<'a, R>,
}

impl<'a, R: Real> Adapter<'a, R> {
    /// The adapter of a member, given the low-rank inputs of its whole group, `[rows, ranks]`.
    pub(crate) fn of_group(member: &'a LoraMember<R>, low: View<'a, R>) -> Self {
        Self { member, low: low.columns(member.offset..member.offset + member.rank) }
    }

    fn b(&self) -> View<'a, R> {
        View::new(&self.member.b, self.member.b.len() / self.member.rank, self.member.rank)
    }
}

/// The matrix A of a group, `[ranks, inputs]`.
fn group_a<R: Real>(group: &LoraGroup<R>) -> View<'_, R> {
    let ranks = group.ranks();
    View::new(&group.a, ranks, group.a.len() / ranks)
}

/// `low = x A^T` for all adapters that read `x`, `[rows, ranks]`.
pub(crate) fn forward_low<R: Real>(group: &LoraGroup<R>, x: View<'_, R>, low: ViewMut<'_, R>) {
    parallel_product(low, x, group_a(group).transposed());
}

/// `y = x W^T + b + s low B^T`, plus `residual` where given.
pub(crate) fn forward<R: Real>(
    linear: &Linear<R>,
    adapter: Option<Adapter<'_, R>>,
    x: View<'_, R>,
    residual: Option<View<'_, R>>,
    y: ViewMut<'_, R>,
    scratch: &ThreadScratch<R>,
) {
    for_each_block(y, x.width, |mut block, rows, columns| {
        scratch.with(|scratch| {
            let weight = linear.weight.block(columns.clone(), 0..x.width, scratch);
            product(block.reborrow(), x.rows(rows.clone()), weight.transposed());
        });
        if let Some(adapter) = adapter {
            let b = adapter.b().rows(columns.clone()).transposed();
            add_product(block.reborrow(), adapter.member.scale, adapter.low.rows(rows.clone()), b);
        }
        if let Some(residual) = residual {
            for (offset, row) in rows.enumerate() {
                for (y, &x) in block.row_mut(offset).iter_mut().zip(&residual.row(row)[columns.clone()]) {
                    *y += x;
                }
            }
        }
        if let Some(bias) = &linear.bias {
            for row in 0..block.height {
                for (y, &b) in block.row_mut(row).iter_mut().zip(&bias[columns.clone()]) {
                    *y += b;
                }
            }
        }
    });
}

/// `y = x W^T`
pub(crate) fn forward_matrix<R: Real>(
    matrix: &Matrix<R>,
    x: View<'_, R>,
    y: ViewMut<'_, R>,
    scratch: &ThreadScratch<R>,
) {
    for_each_block(y, x.width, |block, rows, columns| {
        scratch.with(|scratch| {
            let weight = matrix.block(columns, 0..x.width, scratch);
            product(block, x.rows(rows), weight.transposed());
        });
    });
}

/// `dx = dy W`
pub(crate) fn backward_matrix<R: Real>(
    matrix: &Matrix<R>,
    dy: View<'_, R>,
    dx: ViewMut<'_, R>,
    scratch: &ThreadScratch<R>,
) {
    for_each_block(dx, dy.width, |block, rows, columns| {
        scratch.with(|scratch| {
            let weight = matrix.block(0..dy.width, columns, scratch);
            product(block, dy.rows(rows), weight);
        });
    });
}

/// `dW += dy^T x`
pub(crate) fn backward_weight<R: Real>(dy: View<'_, R>, x: View<'_, R>, gradient: &mut [R]) {
    parallel_add_product(ViewMut::new(gradient, dy.width, x.width), R::ONE, dy.transposed(), x);
}

/// `db += sum over rows of dy`, in order of the rows.
pub(crate) fn backward_bias<R: Real>(dy: View<'_, R>, gradient: &mut [R]) {
    simd(
        #[inline(always)]
        || {
            for row in 0..dy.height {
                for (g, &d) in gradient.iter_mut().zip(dy.row(row)) {
                    *g += d;
                }
            }
        },
    );
}

/// `dlow = s dy B`: the gradient of one member's low-rank input.
pub(crate) fn backward_low<R: Real>(member: &LoraMember<R>, dy: View<'_, R>, dlow: ViewMut<'_, R>) {
    let b = View::new(&member.b, dy.width, member.rank);
    for_each_block(dlow, dy.width, |block, rows, columns| {
        scaled_product(block, member.scale, dy.rows(rows), b.columns(columns));
    });
}

/// `dB += s dy^T low`
pub(crate) fn backward_b<R: Real>(adapter: Adapter<'_, R>, dy: View<'_, R>, gradient: &mut [R]) {
    let target = ViewMut::new(gradient, dy.width, adapter.member.rank);
    parallel_add_product(target, adapter.member.scale, dy.transposed(), adapter.low);
}

/// `dA += dlow^T x` for all members of a group.
pub(crate) fn backward_a<R: Real>(dlow: View<'_, R>, x: View<'_, R>, gradient: &mut [R]) {
    parallel_add_product(ViewMut::new(gradient, dlow.width, x.width), R::ONE, dlow.transposed(), x);
}

/// `dx = sum of dy W over the projections that read x, + dlow A` where `low` is given.
pub(crate) fn backward_input<R: Real>(
    outputs: &[(&Linear<R>, View<'_, R>)],
    low: Option<(&LoraGroup<R>, View<'_, R>)>,
    dx: ViewMut<'_, R>,
    scratch: &ThreadScratch<R>,
) {
    let depth = outputs.iter().map(|(_, dy)| dy.width).sum();
    for_each_block(dx, depth, |mut block, rows, columns| {
        for (index, (linear, dy)) in outputs.iter().enumerate() {
            scratch.with(|scratch| {
                let weight = linear.weight.block(0..dy.width, columns.clone(), scratch);
                if index == 0 {
                    product(block.reborrow(), dy.rows(rows.clone()), weight);
                } else {
                    add_product(block.reborrow(), R::ONE, dy.rows(rows.clone()), weight);
                }
            });
        }
        if let Some((group, dlow)) = low {
            add_product(block, R::ONE, dlow.rows(rows), group_a(group).columns(columns));
        }
    });
}

/// `dx = dlow A`: the adapters' share of the input gradient alone.
pub(crate) fn backward_low_input<R: Real>(group: &LoraGroup<R>, dlow: View<'_, R>, dx: ViewMut<'_, R>) {
    parallel_product(dx, dlow, group_a(group));
}

/// A mask of independent coin flips that is a pure function of its key and the element's index, so
/// that the backward pass repeats it instead of storing it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dropout {
    key: u64,
    threshold: u32,
    keep: f64,
}

impl Dropout {
    /// The mask of one input group of one layer at one step.
    pub(crate) fn new(seed: u64, layer: usize, group: usize, probability: f64) -> Self {
        let key = mix(seed ^ mix((layer * 4 + group) as u64 + 1));
        let threshold = (probability * f64::from(u32::MAX)) as u32;
        Self { key, threshold, keep: 1.0 / (1.0 - probability) }
    }

    /// `target = mask * values / (1 - probability)`, or added to `target`.
    pub(crate) fn apply<R: Real>(self, values: &[R], target: &mut [R], accumulate: bool) {
        use rayon::prelude::*;
        let keep = R::from_f64(self.keep);
        let chunks = target.par_chunks_mut(ELEMENTS_PER_TASK).zip(values.par_chunks(ELEMENTS_PER_TASK));
        chunks.enumerate().for_each(|(chunk, (target, values))| {
            for (offset, (t, &v)) in target.iter_mut().zip(values).enumerate() {
                let random = mix(self.key.wrapping_add((chunk * ELEMENTS_PER_TASK + offset) as u64));
                let masked = if (random >> 32) as u32 >= self.threshold { v * keep } else { R::ZERO };
                *t = if accumulate { *t + masked } else { masked };
            }
        });
    }
}

/// The finaliser of `SplitMix64`.
fn mix(value: u64) -> u64 {
    let z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
