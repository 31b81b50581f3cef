//! Exact causal attention over segments, in blocks of query rows. Probabilities are not kept: the forward pass
//! stores one log-sum-exp per row and head, from which the backward pass recomputes them.
//!
//! For a query row `i` with visible keys `j`, `p = softmax(q_i k_j / sqrt(head_dim))` and
//! `o_i = sum p_j v_j`. Backward, with `D_i = do_i o_i`: `dv_j += p do_i`, `ds = p (do_i v_j - D_i)`,
//! `dq_i = sum ds k_j / sqrt(head_dim)`, `dk_j += ds q_i / sqrt(head_dim)` (arXiv 2205.14135).
//!
//! The query heads that share a key head are stacked: a block of `n` rows with `g` such heads has `n g` lanes, and its
//! scores are `[keys, lanes]`. Then no product needs keys, values or scores in another order than they are stored, and
//! every step of the softmax works on whole vectors of lanes.

mod layout;
mod softmax;

use std::ops::Range;

use rayon::prelude::*;

use self::layout::{Block, Piece, Tree};
use super::gemm::{add_product, product, scaled_product};
use super::reduce::sum_rows;
use super::transpose::transpose;
use super::{rows_per_task, simd};
use crate::batch::Segment;
use crate::real::Real;
use crate::scratch::{ThreadScratch, fit};
use crate::view::{Bands, View, ViewMut, for_each_tile};

pub(crate) use layout::{Layout, parts};

/// The layout of a batch and the attention settings of a layer.
#[derive(Clone, Copy)]
pub(crate) struct Attention<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) segments: &'a [Segment],
    pub(crate) positions: &'a [u32],
    pub(crate) window: Option<usize>,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
}

/// Queries, keys and values, `[rows, heads * head_dim]` and `[rows, kv_heads * head_dim]` twice.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a, R> {
    pub(crate) query: View<'a, R>,
    pub(crate) key: View<'a, R>,
    pub(crate) value: View<'a, R>,
}

/// What the backward pass reads of the forward pass's outputs.
#[derive(Clone, Copy)]
pub(crate) struct Outputs<'a, R> {
    /// `[rows, heads * head_dim]`
    pub(crate) out: View<'a, R>,
    /// `[rows, heads]`
    pub(crate) log_sums: View<'a, R>,
    /// The gradient of `out`.
    pub(crate) gradient: View<'a, R>,
}

/// The gradients of queries, keys and values.
pub(crate) struct InputGradients<'a, R> {
    pub(crate) query: ViewMut<'a, R>,
    pub(crate) key: ViewMut<'a, R>,
    pub(crate) value: ViewMut<'a, R>,
    /// Scratch for the gradients of keys and values of every part of a tree.
    pub(crate) parts: [&'a mut Vec<R>; 2],
}

/// The gradients that one task of the backward pass writes.
struct Task<'a, R> {
    kv_head: usize,
    tree: &'a Tree,
    /// Blocks of queries.
    blocks: Range<usize>,
    /// `[rows of the blocks, group * head_dim]`
    query: ViewMut<'a, R>,
    /// `[rows of the tree, head_dim]`
    key: ViewMut<'a, R>,
    value: ViewMut<'a, R>,
}

/// The places of keys that each row of a block sees, counted from the block's first key.
struct Visible {
    ranges: Vec<Range<usize>>,
    /// The first place that any row sees.
    first: usize,
}

impl Attention<'_> {
    fn scale<R: Real>(&self) -> R {
        R::from_f64(1.0 / (self.head_dim as f64).sqrt())
    }

    /// Query heads that share a key head.
    fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// The place of the first key within the window of a row. Positions increase along the keys.
    fn first_key(&self, segment: &Segment, row: usize) -> usize {
        let Some(window) = self.window else { return 0 };
        let oldest = (self.positions[row] as usize + 1).saturating_sub(window);
        let mut hidden = 0;
        for rows in segment.context.iter().chain(std::iter::once(&segment.rows)) {
            let within = self.positions[rows.clone()].partition_point(|&position| (position as usize) < oldest);
            hidden += within;
            if within < rows.len() {
                break;
            }
        }
        hidden
    }

    fn visible(&self, block: &Block) -> Visible {
        let members = &self.layout.members[block.members.clone()];
        let mut ranges = Vec::with_capacity(block.rows.len());
        for member in members {
            let segment = &self.segments[member.segment];
            ranges.extend(member.rows.clone().map(|row| {
                let end = member.context + row - segment.rows.start + 1;
                self.first_key(segment, row)..end
            }));
        }
        let first = ranges.iter().map(|range| range.start).min().unwrap_or(0);
        for range in &mut ranges {
            *range = range.start - first..range.end - first;
        }
        Visible { ranges, first }
    }

    /// The products of a block from the first visible place on: lanes of the queries, rows of the keys, and their
    /// rows among the scores.
    fn products<'b>(
        &'b self,
        block: &'b Block,
        first: usize,
    ) -> impl Iterator<Item = (Range<usize>, Range<usize>, Range<usize>)> + 'b {
        let group = self.group();
        self.layout.pieces[block.pieces.clone()].iter().filter_map(move |Piece { queries, keys, place }| {
            let hidden = first.saturating_sub(*place);
            let lanes = (queries.start - block.rows.start) * group..(queries.end - block.rows.start) * group;
            let at = place + hidden - first;
            (hidden < keys.len()).then(|| (lanes, keys.start + hidden..keys.end, at..at + keys.len() - hidden))
        })
    }

    /// Copies the heads that share a key head into `stacked`, `[rows * group, head_dim]`.
    fn stack<R: Real>(&self, matrix: View<'_, R>, rows: Range<usize>, kv_head: usize, stacked: &mut [R]) {
        let width = self.group() * self.head_dim;
        for (row, target) in rows.zip(stacked.chunks_exact_mut(width)) {
            target.copy_from_slice(&matrix.row(row)[kv_head * width..(kv_head + 1) * width]);
        }
    }

    /// `out = softmax(q k^T / sqrt(head_dim)) v`, `[rows, heads * head_dim]`, and the log-sum-exps of the
    /// scaled scores, `[rows, heads]`.
    pub(crate) fn forward<R: Real>(
        &self,
        inputs: Inputs<'_, R>,
        out: ViewMut<'_, R>,
        log_sums: ViewMut<'_, R>,
        scratch: &ThreadScratch<R>,
    ) {
        let (scale, group, width) = (self.scale(), self.group(), self.head_dim);
        let bands = Bands::At(&self.layout.block_bounds);
        for_each_tile([out, log_sums], bands, [group * width, group], |[mut out, mut log_sums], tile| {
            let block = &self.layout.blocks[tile.band];
            let kv_head = tile.column;
            let visible = self.visible(block);
            let (lanes, keys) = (block.rows.len() * group, block.keys - visible.first);
            let of_head = kv_head * width..(kv_head + 1) * width;
            let (key, value) = (inputs.key.columns(of_head.clone()), inputs.value.columns(of_head));
            let sizes = [lanes * width, lanes * width, keys * lanes, lanes, lanes];
            scratch.with_sizes(sizes, |[stacked, transposed, scores, maxima, sums]| {
                self.stack(inputs.query, block.rows.clone(), kv_head, stacked);
                transpose(View::new(stacked, lanes, width), ViewMut::new(transposed, width, lanes));
                let query = View::new(transposed, width, lanes);
                let mut matrix = ViewMut::new(scores, keys, lanes);
                for (lanes, keys, at) in self.products(block, visible.first) {
                    let target = matrix.reborrow().rows(at).columns(lanes.clone());
                    scaled_product(target, scale, key.rows(keys), query.columns(lanes));
                }
                softmax::hide(scores, group, &visible.ranges, R::NEG_INFINITY);
                softmax::exponentiate(scores, maxima, sums);
                let probabilities = View::new(scores, keys, lanes);
                stacked.fill(R::ZERO);
                let mut result = ViewMut::new(stacked, lanes, width);
                for (lanes, keys, at) in self.products(block, visible.first) {
                    let p = probabilities.rows(at).columns(lanes.clone()).transposed();
                    add_product(result.reborrow().rows(lanes), R::ONE, p, value.rows(keys));
                }
                for row in 0..block.rows.len() {
                    let of_row = row * group..(row + 1) * group;
                    let out = out.row_mut(row);
                    out.copy_from_slice(&stacked[of_row.start * width..of_row.end * width]);
                    softmax::normalise(out, &sums[of_row.clone()], width);
                    for ((log_sum, &maximum), sum) in
                        log_sums.row_mut(row).iter_mut().zip(&maxima[of_row.clone()]).zip(&sums[of_row])
                    {
                        *log_sum = maximum + R::from_f64(sum.to_f64().ln());
                    }
                }
            });
        });
    }

    /// Gradients of queries, keys and values.
    pub(crate) fn backward<R: Real>(
        &self,
        inputs: Inputs<'_, R>,
        outputs: Outputs<'_, R>,
        gradients: InputGradients<'_, R>,
        scratch: &ThreadScratch<R>,
    ) {
        let InputGradients { query, key, value, parts } = gradients;
        let work = |tasks: Vec<Task<'_, R>>| {
            tasks.into_par_iter().with_max_len(1).for_each(|task| self.task_backward(inputs, outputs, task, scratch));
        };
        let count = self.layout.parts;
        if count == 1 {
            return work(self.tasks(query, [key, value]));
        }
        let (rows, width) = (key.height(), count * key.width());
        let [key_parts, value_parts] = parts.map(|part| fit(part, rows * width));
        work(self.tasks(query, [&mut *key_parts, &mut *value_parts].map(|part| ViewMut::new(part, rows, width))));
        sum_groups(View::new(key_parts, rows, width), key, self.head_dim);
        sum_groups(View::new(value_parts, rows, width), value, self.head_dim);
    }

    /// The tasks of the backward pass: trees by key heads by parts.
    fn tasks<'t, R: Real>(&'t self, query: ViewMut<'t, R>, keys: [ViewMut<'t, R>; 2]) -> Vec<Task<'t, R>> {
        let Layout { trees, block_bounds, parts, .. } = self.layout;
        let mut tasks = Vec::with_capacity(trees.len() * self.kv_heads * parts);
        let (mut query, [mut key, mut value]) = (query, keys);
        for tree in trees {
            let [mut of_tree, mut keys, mut values];
            (of_tree, query) = query.split_rows(tree.rows.len());
            (keys, key) = key.split_rows(tree.rows.len());
            (values, value) = value.split_rows(tree.rows.len());
            for kv_head in 0..self.kv_heads {
                let mut of_head;
                (of_head, of_tree) = of_tree.split_columns(self.group() * self.head_dim);
                for part in 0..*parts {
                    let blocks = tree.parts[part]..tree.parts[part + 1];
                    let [query, key, value];
                    (query, of_head) = of_head.split_rows(block_bounds[blocks.end] - block_bounds[blocks.start]);
                    (key, keys) = keys.split_columns(self.head_dim);
                    (value, values) = values.split_columns(self.head_dim);
                    tasks.push(Task { kv_head, tree, blocks, query, key, value });
                }
            }
        }
        tasks
    }

    fn task_backward<R: Real>(
        &self,
        inputs: Inputs<'_, R>,
        outputs: Outputs<'_, R>,
        task: Task<'_, R>,
        scratch: &ThreadScratch<R>,
    ) {
        let (scale, group, width) = (self.scale(), self.group(), self.head_dim);
        let Task { kv_head, tree, blocks, query: query_gradient, key: mut key_gradient, value: mut value_gradient } =
            task;
        for row in 0..tree.rows.len() {
            key_gradient.row_mut(row).fill(R::ZERO);
            value_gradient.row_mut(row).fill(R::ZERO);
        }
        let of_head = kv_head * width..(kv_head + 1) * width;
        let (key, value) = (inputs.key.columns(of_head.clone()), inputs.value.columns(of_head));
        let local = |rows: &Range<usize>| rows.start - tree.rows.start..rows.end - tree.rows.start;
        let mut rest = query_gradient;
        for block in &self.layout.blocks[blocks] {
            let mut query_gradient;
            (query_gradient, rest) = rest.split_rows(block.rows.len());
            let visible = self.visible(block);
            let (lanes, keys) = (block.rows.len() * group, block.keys - visible.first);
            let area = lanes * width;
            let sizes = [area, area, area, area, keys * lanes, keys * lanes, lanes, lanes];
            scratch.with_sizes(
                sizes,
                |[query, out_gradient, transposed, result, scores, gradients, log_sums, dots]| {
                    // The outputs are needed only for their products with their gradients.
                    self.stack(outputs.gradient, block.rows.clone(), kv_head, out_gradient);
                    self.stack(outputs.out, block.rows.clone(), kv_head, result);
                    for ((dot, o), d) in
                        dots.iter_mut().zip(result.chunks_exact(width)).zip(out_gradient.chunks_exact(width))
                    {
                        *dot = softmax::dot(o, d);
                    }
                    for (row, log_sums) in block.rows.clone().zip(log_sums.chunks_exact_mut(group)) {
                        log_sums.copy_from_slice(&outputs.log_sums.row(row)[kv_head * group..(kv_head + 1) * group]);
                    }
                    transpose(View::new(out_gradient, lanes, width), ViewMut::new(transposed, width, lanes));
                    let mut matrix = ViewMut::new(gradients, keys, lanes);
                    let right = View::new(transposed, width, lanes);
                    for (lanes, keys, at) in self.products(block, visible.first) {
                        let target = matrix.reborrow().rows(at).columns(lanes.clone());
                        product(target, value.rows(keys), right.columns(lanes));
                    }
                    self.stack(inputs.query, block.rows.clone(), kv_head, query);
                    transpose(View::new(query, lanes, width), ViewMut::new(transposed, width, lanes));
                    let mut matrix = ViewMut::new(scores, keys, lanes);
                    let right = View::new(transposed, width, lanes);
                    for (lanes, keys, at) in self.products(block, visible.first) {
                        let target = matrix.reborrow().rows(at).columns(lanes.clone());
                        scaled_product(target, scale, key.rows(keys), right.columns(lanes));
                    }
                    softmax::hide(scores, group, &visible.ranges, R::NEG_INFINITY);
                    softmax::hide(gradients, group, &visible.ranges, R::ZERO);
                    softmax::backward(scores, gradients, log_sums, dots);
                    let (probabilities, score_gradients) =
                        (View::new(scores, keys, lanes), View::new(gradients, keys, lanes));
                    let (query, out_gradient) = (View::new(query, lanes, width), View::new(out_gradient, lanes, width));
                    result.fill(R::ZERO);
                    let mut stacked = ViewMut::new(result, lanes, width);
                    for (lanes, keys, at) in self.products(block, visible.first) {
                        let p = probabilities.rows(at.clone()).columns(lanes.clone());
                        let ds = score_gradients.rows(at).columns(lanes.clone());
                        let target = value_gradient.reborrow().rows(local(&keys));
                        add_product(target, R::ONE, p, out_gradient.rows(lanes.clone()));
                        let target = key_gradient.reborrow().rows(local(&keys));
                        add_product(target, scale, ds, query.rows(lanes.clone()));
                        add_product(stacked.reborrow().rows(lanes), scale, ds.transposed(), key.rows(keys));
                    }
                    for (row, result) in result.chunks_exact(group * width).enumerate() {
                        query_gradient.row_mut(row).copy_from_slice(result);
                    }
                },
            );
        }
    }
}

/// Sums the gradients of the parts of each key head: `[rows, kv_heads * parts * head_dim]` into
/// `[rows, kv_heads * head_dim]`.
fn sum_groups<R: Real>(parts: View<'_, R>, target: ViewMut<'_, R>, head_dim: usize) {
    let group = parts.width() / target.width() * head_dim;
    let width = target.width();
    for_each_tile([target], Bands::Every(rows_per_task(parts.width())), [width], |[mut target], tile| {
        simd(
            #[inline(always)]
            || {
                for (offset, row) in tile.rows.clone().enumerate() {
                    let heads = parts.row(row).chunks_exact(group);
                    for (target, parts) in target.row_mut(offset).chunks_exact_mut(head_dim).zip(heads) {
                        sum_rows(parts, target);
                    }
                }
            },
        );
    });
}
