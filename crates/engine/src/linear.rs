//! Linear layers with optional low-rank adapters: `y = x W^T + b + s (x A^T) B^T`.
//!
//! If the weights are packed in bf16, products with them and with the adapters' matrices use operands rounded
//! to bf16, and a layer and its adapter are computed as one sum. Gradients of parameters are always computed
//! in the computing type.

use std::ops::Range;

use crate::lora::{LoraGroup, LoraMember};
use crate::model::Linear;
use crate::ops::bf16::{self, Columns, Rows, Term};
use crate::ops::gemm::{
    Split, add_product, for_each_block, parallel_add_product, parallel_product, product, scaled_product,
};
use crate::ops::{ELEMENTS_PER_TASK, simd};
use crate::real::Real;
use crate::scratch::{ThreadScratch, fit};
use crate::view::{View, ViewMut};
use crate::weights::Matrix;

/// An operand of products, with a rounded copy if the weights are packed.
#[derive(Clone, Copy)]
pub(crate) struct Operand<'a, R> {
    pub(crate) values: View<'a, R>,
    rounded: Option<&'a Rows>,
}

impl<'a, R: Real> Operand<'a, R> {
    /// An operand for products with weights, which may be packed; the rounded copy is made in `copy`.
    pub(crate) fn new(values: View<'a, R>, packed: bool, copy: &'a mut Rows) -> Self {
        if packed {
            copy.pack(values.into_f32());
        }
        Self { values, rounded: packed.then_some(&*copy) }
    }

    /// The rounded copy, which exists if the weights are packed.
    fn rounded(&self) -> &'a Rows {
        self.rounded.expect("an operand of packed weights is rounded")
    }
}

/// The adapter of one projection, with its low-rank input `x A^T`, `[rows, rank]`.
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
}

/// The most projections with one input: query, key and value.
const LARGEST_GROUP: usize = 3;

/// Scratch for the rounded operands of adapters.
#[derive(Debug, Default)]
pub(crate) struct AdapterScratch {
    low: Rows,
    columns: Columns,
}

impl AdapterScratch {
    /// Bytes of the buffers.
    pub(crate) fn bytes(&self) -> usize {
        self.low.bytes() + self.columns.bytes()
    }
}

/// The matrix A of a group, `[ranks, inputs]`.
fn group_a<R: Real>(group: &LoraGroup<R>) -> View<'_, R> {
    let ranks = group.ranks();
    View::new(&group.a, ranks, group.a.len() / ranks)
}

/// The matrix B of a member, `[outputs, rank]`.
fn member_b<R: Real>(member: &LoraMember<R>) -> View<'_, R> {
    View::new(&member.b, member.b.len() / member.rank, member.rank)
}

/// A sum of products of rounded operands.
fn rounded_product<R: Real>(
    terms: &[Term<'_>],
    target: ViewMut<'_, R>,
    finish: impl Fn(&mut ViewMut<'_, f32>, Range<usize>, Range<usize>) + Sync,
) {
    bf16::product(bf16::kernel(), terms, target.into_f32(), finish);
}

/// `low = x A^T` for all adapters that read `x`, `[rows, ranks]`.
pub(crate) fn forward_low<R: Real>(
    group: &LoraGroup<R>,
    x: Operand<'_, R>,
    low: ViewMut<'_, R>,
    scratch: &mut AdapterScratch,
) {
    if let Some(rounded) = x.rounded {
        scratch.columns.pack_along(group_a(group).into_f32(), 1.0);
        rounded_product(&[Term::new(rounded, &scratch.columns)], low, |_, _, _| ());
    } else {
        parallel_product(low, x.values, group_a(group).transposed());
    }
}

/// `y = x W^T + b + s low B^T`, plus `residual` if given.
pub(crate) fn forward<R: Real>(
    linear: &Linear<R>,
    adapter: Option<Adapter<'_, R>>,
    x: Operand<'_, R>,
    residual: Option<View<'_, R>>,
    y: ViewMut<'_, R>,
    scratch: &ThreadScratch<R>,
    rounded: &mut AdapterScratch,
) {
    let bias = linear.bias.as_deref();
    if let Some(weight) = linear.weight.as_packed() {
        let (residual, bias) = (residual.map(View::into_f32), bias.map(bytemuck::cast_slice));
        let own = Term::new(x.rounded(), weight);
        let finish = |block: &mut ViewMut<'_, f32>, rows, columns| add_rows(block, residual, bias, rows, columns);
        if let Some(adapter) = adapter {
            rounded.low.pack(adapter.low.into_f32());
            rounded.columns.pack_along(member_b(adapter.member).into_f32(), adapter.member.scale.to_f64() as f32);
            rounded_product(&[own, Term::new(&rounded.low, &rounded.columns)], y, finish);
        } else {
            rounded_product(&[own], y, finish);
        }
        return;
    }
    let x = x.values;
    for_each_block_of_weights(&linear.weight, x, y, scratch, |mut block, rows, columns| {
        if let Some(adapter) = adapter {
            let b = member_b(adapter.member).rows(columns.clone()).transposed();
            add_product(block.reborrow(), adapter.member.scale, adapter.low.rows(rows.clone()), b);
        }
        add_rows(&mut block, residual, bias, rows, columns);
    });
}

/// Adds the residual and the bias to a block of the output.
fn add_rows<R: Real>(
    block: &mut ViewMut<'_, R>,
    residual: Option<View<'_, R>>,
    bias: Option<&[R]>,
    rows: Range<usize>,
    columns: Range<usize>,
) {
    if let Some(residual) = residual {
        for (offset, row) in rows.enumerate() {
            for (y, &x) in block.row_mut(offset).iter_mut().zip(&residual.row(row)[columns.clone()]) {
                *y += x;
            }
        }
    }
    if let Some(bias) = bias {
        for row in 0..block.height() {
            for (y, &b) in block.row_mut(row).iter_mut().zip(&bias[columns.clone()]) {
                *y += b;
            }
        }
    }
}

/// `y = x W^T`
pub(crate) fn forward_matrix<R: Real>(
    matrix: &Matrix<R>,
    x: View<'_, R>,
    y: ViewMut<'_, R>,
    scratch: &ThreadScratch<R>,
    rounded: &mut Rows,
) {
    if let Some(weight) = matrix.as_packed() {
        let x = Operand::new(x, true, rounded);
        return rounded_product(&[Term::new(x.rounded(), weight)], y, |_, _, _| ());
    }
    for_each_block_of_weights(matrix, x, y, scratch, |_, _, _| ());
}

/// Computes `y = x W^T` in blocks and calls `finish(block, rows, columns)` for each.
///
/// Weights that several blocks read are widened and transposed once, because otherwise `gemm` would do the latter for
/// each of these blocks.
fn for_each_block_of_weights<R: Real>(
    matrix: &Matrix<R>,
    x: View<'_, R>,
    y: ViewMut<'_, R>,
    scratch: &ThreadScratch<R>,
    finish: impl Fn(ViewMut<'_, R>, Range<usize>, Range<usize>) + Sync,
) {
    let depth = x.width();
    let split = Split::new(y.height(), y.width(), depth);
    if !split.repeats_weights() {
        return split.for_each(y, |mut block, rows, columns| {
            scratch.with(|scratch| {
                let weight = matrix.block(columns.clone(), 0..depth, scratch);
                product(block.reborrow(), x.rows(rows.clone()), weight.transposed());
            });
            finish(block, rows, columns);
        });
    }
    scratch.with_weights(|buffer| {
        let (mut rest, mut start) = (y, 0);
        while rest.width() > 0 {
            let width = split.strip(depth, size_of::<R>()).min(rest.width());
            let strip;
            (strip, rest) = rest.split_columns(width);
            let weights = fit(buffer, depth * width);
            matrix.transpose_rows(start..start + width, weights, scratch);
            let weights = View::new(weights, depth, width);
            split.for_each(strip, |mut block, rows, columns| {
                product(block.reborrow(), x.rows(rows.clone()), weights.columns(columns.clone()));
                finish(block, rows, start + columns.start..start + columns.end);
            });
            start += width;
        }
    });
}

/// `dx = dy W`
pub(crate) fn backward_matrix<R: Real>(
    matrix: &Matrix<R>,
    dy: View<'_, R>,
    dx: ViewMut<'_, R>,
    scratch: &ThreadScratch<R>,
    rounded: &mut Rows,
) {
    if let Some(weight) = matrix.as_packed() {
        let dy = Operand::new(dy, true, rounded);
        return rounded_product(&[Term::transposed(dy.rounded(), weight)], dx, |_, _, _| ());
    }
    sum_of_products([(matrix, dy)], dx, scratch, |_, _, _| ());
}

/// Computes the sum of `dy W` over matrices in blocks and calls `finish(block, rows, columns)` for each. Weights that
/// are not in the computing type are widened once.
fn sum_of_products<R: Real, const N: usize>(
    terms: [(&Matrix<R>, View<'_, R>); N],
    dx: ViewMut<'_, R>,
    scratch: &ThreadScratch<R>,
    finish: impl Fn(ViewMut<'_, R>, Range<usize>, Range<usize>) + Sync,
) {
    let depth = terms.iter().map(|(_, dy)| dy.width()).sum();
    let split = Split::new(dx.height(), dx.width(), depth);
    scratch.with_weights(|buffer| {
        let (mut rest, mut start) = (dx, 0);
        while rest.width() > 0 {
            let width = split.strip(depth, size_of::<R>()).min(rest.width());
            let strip;
            (strip, rest) = rest.split_columns(width);
            let mut free = &mut *fit(
                buffer,
                if terms.iter().all(|(matrix, _)| matrix.as_owned().is_some()) { 0 } else { depth * width },
            );
            let weights = terms.map(|(matrix, _)| {
                if let Some(values) = matrix.as_owned() {
                    return View::new(values, matrix.rows(), matrix.columns()).columns(start..start + width);
                }
                let (own, others) = std::mem::take(&mut free).split_at_mut(matrix.rows() * width);
                free = others;
                matrix.widen_columns(start..start + width, own);
                View::new(own, matrix.rows(), width)
            });
            split.for_each(strip, |mut block, rows, columns| {
                for (index, ((_, dy), weights)) in terms.iter().zip(weights).enumerate() {
                    let (dy, weights) = (dy.rows(rows.clone()), weights.columns(columns.clone()));
                    if index == 0 {
                        product(block.reborrow(), dy, weights);
                    } else {
                        add_product(block.reborrow(), R::ONE, dy, weights);
                    }
                }
                finish(block, rows, start + columns.start..start + columns.end);
            });
            start += width;
        }
    });
}

/// `dW += dy^T x`
pub(crate) fn backward_weight<R: Real>(dy: View<'_, R>, x: View<'_, R>, gradient: &mut [R]) {
    parallel_add_product(ViewMut::new(gradient, dy.width(), x.width()), R::ONE, dy.transposed(), x);
}

/// `db += sum over rows of dy`, in order of the rows.
pub(crate) fn backward_bias<R: Real>(dy: View<'_, R>, gradient: &mut [R]) {
    simd(
        #[inline(always)]
        || {
            for row in 0..dy.height() {
                for (g, &d) in gradient.iter_mut().zip(dy.row(row)) {
                    *g += d;
                }
            }
        },
    );
}

/// `dlow = s dy B`: the gradient of one member's low-rank input.
pub(crate) fn backward_low<R: Real>(
    member: &LoraMember<R>,
    dy: Operand<'_, R>,
    dlow: ViewMut<'_, R>,
    scratch: &mut AdapterScratch,
) {
    let b = member_b(member);
    if let Some(rounded) = dy.rounded {
        scratch.columns.pack_across(b.into_f32(), member.scale.to_f64() as f32);
        return rounded_product(&[Term::new(rounded, &scratch.columns)], dlow, |_, _, _| ());
    }
    let dy = dy.values;
    for_each_block(dlow, dy.width(), |block, rows, columns| {
        scaled_product(block, member.scale, dy.rows(rows), b.columns(columns));
    });
}

/// `dB += s dy^T low`
pub(crate) fn backward_b<R: Real>(adapter: Adapter<'_, R>, dy: View<'_, R>, gradient: &mut [R]) {
    let target = ViewMut::new(gradient, dy.width(), adapter.member.rank);
    parallel_add_product(target, adapter.member.scale, dy.transposed(), adapter.low);
}

/// `dA += dlow^T x` for all members of a group.
pub(crate) fn backward_a<R: Real>(dlow: View<'_, R>, x: View<'_, R>, gradient: &mut [R]) {
    parallel_add_product(ViewMut::new(gradient, dlow.width(), x.width()), R::ONE, dlow.transposed(), x);
}

/// `dx = sum of dy W` over the projections with input `x`, plus `dlow A` if `low` is given.
pub(crate) fn backward_input<R: Real, const N: usize>(
    outputs: [(&Linear<R>, Operand<'_, R>); N],
    low: Option<(&LoraGroup<R>, View<'_, R>)>,
    dx: ViewMut<'_, R>,
    scratch: &ThreadScratch<R>,
    rounded: &mut AdapterScratch,
) {
    let packed =
        outputs.map(|(linear, dy)| linear.weight.as_packed().map(|weight| Term::transposed(dy.rounded(), weight)));
    if packed.iter().all(Option::is_some) {
        if let Some((group, dlow)) = low {
            rounded.low.pack(dlow.into_f32());
            rounded.columns.pack_across(group_a(group).into_f32(), 1.0);
        }
        let own = low.map(|_| Term::new(&rounded.low, &rounded.columns));
        let mut terms = [packed[0].expect("all are packed"); LARGEST_GROUP + 1];
        let mut count = 0;
        for term in packed.into_iter().chain([own]).flatten() {
            terms[count] = term;
            count += 1;
        }
        return rounded_product(&terms[..count], dx, |_, _, _| ());
    }
    let terms = outputs.map(|(linear, dy)| (&linear.weight, dy.values));
    sum_of_products(terms, dx, scratch, |block, rows, columns| {
        if let Some((group, dlow)) = low {
            add_product(block, R::ONE, dlow.rows(rows), group_a(group).columns(columns));
        }
    });
}

/// `dx = dlow A`: only the adapters' share of the input gradient.
pub(crate) fn backward_low_input<R: Real>(group: &LoraGroup<R>, dlow: View<'_, R>, dx: ViewMut<'_, R>) {
    parallel_product(dx, dlow, group_a(group));
}

/// A mask of independent random bits that is a pure function of its key and the element's index, so that
/// the backward pass recomputes it instead of storing it.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    /// An element is kept if the upper half of `mix(key + index)` is at least `threshold` ([`Dropout::keeps`]).
    pub key: u64,
    /// See `key`.
    pub threshold: u32,
    /// Kept elements are multiplied by this.
    pub keep: f64,
}

impl Dropout {
    /// The mask of one input group (its index in [`INPUT_GROUPS`](tabpo_model::INPUT_GROUPS)) of one layer at one step.
    pub fn new(seed: u64, layer: usize, group: usize, probability: f64) -> Self {
        let key = mix(seed ^ mix((layer * 4 + group) as u64 + 1));
        let threshold = (probability * f64::from(u32::MAX)) as u32;
        Self { key, threshold, keep: 1.0 / (1.0 - probability) }
    }

    /// Whether an element is kept, by its index in the matrix of all rows.
    pub fn keeps(self, index: u64) -> bool {
        (mix(self.key.wrapping_add(index)) >> 32) as u32 >= self.threshold
    }

    /// `target = mask * values / (1 - probability)`, or with `accumulate` `target += ...`.
    pub(crate) fn apply<R: Real>(self, values: &[R], target: &mut [R], accumulate: bool) {
        use rayon::prelude::*;
        let keep = R::from_f64(self.keep);
        let chunks = target.par_chunks_mut(ELEMENTS_PER_TASK).zip(values.par_chunks(ELEMENTS_PER_TASK));
        chunks.enumerate().for_each(|(chunk, (target, values))| {
            for (offset, (t, &v)) in target.iter_mut().zip(values).enumerate() {
                let index = (chunk * ELEMENTS_PER_TASK + offset) as u64;
                let masked = if self.keeps(index) { v * keep } else { R::ZERO };
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
