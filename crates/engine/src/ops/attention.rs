//! Exact causal attention over segments, in blocks of query rows. Probabilities are not kept: the forward pass
//! stores one log-sum-exp per row and head, from which the backward pass recomputes them.
//!
//! For a query row `i` with visible keys `j`, `p = softmax(q_i k_j / sqrt(head_dim))` and
//! `o_i = sum p_j v_j`. Backward, with `D_i = do_i o_i`: `dv_j += p do_i`, `ds = p (do_i v_j - D_i)`,
//! `dq_i = sum ds k_j / sqrt(head_dim)`, `dk_j += ds q_i / sqrt(head_dim)` (arXiv 2205.14135).

use std::ops::Range;

use super::gemm::{add_product, product, scaled_product};
use super::reduce::{sum_lanes, sum_rows};
use super::softmax::exponentiate;
use super::{rows_per_task, simd};
use crate::batch::Segment;
use crate::real::Real;
use crate::scratch::ThreadScratch;
use crate::view::{Bands, View, ViewMut, for_each_tile};

/// Query rows per block.
const QUERY_ROWS: usize = 64;

/// The layout of a batch and the attention settings of a layer.
#[derive(Clone, Copy)]
pub(crate) struct Attention<'a> {
    pub(crate) segments: &'a [Segment],
    /// First row of every segment, and the number of rows.
    pub(crate) segment_bounds: &'a [usize],
    /// First row of every tree (segments that share context), and the number of rows.
    pub(crate) tree_bounds: &'a [usize],
    /// First segment of every tree, and the number of segments.
    pub(crate) tree_segments: &'a [usize],
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

impl<R: Real> Inputs<'_, R> {
    fn head(self, attention: &Attention<'_>, head: usize) -> Self {
        let width = attention.head_dim;
        let kv_head = head / (attention.heads / attention.kv_heads);
        Self {
            query: self.query.columns(head * width..(head + 1) * width),
            key: self.key.columns(kv_head * width..(kv_head + 1) * width),
            value: self.value.columns(kv_head * width..(kv_head + 1) * width),
        }
    }
}

/// A block of query rows and the keys visible to any of them. Keys are counted along the segment's context and
/// then its own rows.
struct Block<'a> {
    segment: &'a Segment,
    rows: Range<usize>,
    /// Number of keys in the context.
    context: usize,
    keys: Range<usize>,
}

impl Block<'_> {
    /// The batch rows of the block's keys, with their columns in the block's scores.
    fn ranges(&self) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let mut start = 0;
        self.segment.context.iter().chain(std::iter::once(&self.segment.rows)).filter_map(move |rows| {
            let (first, last) = (start.max(self.keys.start), (start + rows.len()).min(self.keys.end));
            let packed = (rows.start + first).wrapping_sub(start)..(rows.start + last).wrapping_sub(start);
            start += rows.len();
            (first < last).then(|| (packed, first - self.keys.start..last - self.keys.start))
        })
    }

    /// The columns of the scores that are visible to a row.
    fn visible(&self, attention: &Attention<'_>, row: usize) -> Range<usize> {
        let end = self.context + row - self.segment.rows.start + 1;
        let start = attention.first_key(self.segment, row).max(self.keys.start);
        start - self.keys.start..end - self.keys.start
    }
}

impl Attention<'_> {
    fn scale<R: Real>(&self) -> R {
        R::from_f64(1.0 / (self.head_dim as f64).sqrt())
    }

    /// The first key within the window of a row, counted along context and segment. Positions
    /// increase along the keys.
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

    fn blocks<'s>(&self, segment: &'s Segment) -> impl Iterator<Item = Block<'s>> {
        let context = segment.context.iter().map(ExactSizeIterator::len).sum::<usize>();
        segment.rows.clone().step_by(QUERY_ROWS).map(move |start| {
            let rows = start..(start + QUERY_ROWS).min(segment.rows.end);
            let keys = self.first_key(segment, start)..context + rows.end - segment.rows.start;
            Block { segment, rows, context, keys }
        })
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
        let scale = self.scale();
        let bands = Bands::At(self.segment_bounds);
        for_each_tile([out, log_sums], bands, [self.head_dim, 1], |[mut out, mut log_sums], tile| {
            let Inputs { query, key, value } = inputs.head(self, tile.column);
            for block in self.blocks(&self.segments[tile.band]) {
                let (height, width) = (block.rows.len(), block.keys.len());
                scratch.with_sizes([height * width], |[scores]| {
                    let mut scores = ViewMut::new(scores, height, width);
                    let query = query.rows(block.rows.clone());
                    for (rows, columns) in block.ranges() {
                        let target = scores.reborrow().columns(columns);
                        scaled_product(target, scale, query, key.rows(rows).transposed());
                    }
                    let local = block.rows.start - tile.rows.start;
                    for (offset, row) in block.rows.clone().enumerate() {
                        let visible = block.visible(self, row);
                        let scores = scores.row_mut(offset);
                        let log_sum = normalise(scores, visible);
                        log_sums.row_mut(local + offset)[0] = log_sum;
                    }
                    for (index, (rows, columns)) in block.ranges().enumerate() {
                        let target = out.reborrow().rows(local..local + height);
                        let scores = scores.as_view().columns(columns);
                        if index == 0 {
                            product(target, scores, value.rows(rows));
                        } else {
                            add_product(target, R::ONE, scores, value.rows(rows));
                        }
                    }
                });
            }
        });
    }

    /// Gradients of queries, keys and values. `key_gradient` and `value_gradient` are per *query*
    /// head, `[rows, heads * head_dim]`; see [`sum_groups`].
    pub(crate) fn backward<R: Real>(
        &self,
        inputs: Inputs<'_, R>,
        out: View<'_, R>,
        log_sums: View<'_, R>,
        out_gradient: View<'_, R>,
        gradients: [ViewMut<'_, R>; 3],
        scratch: &ThreadScratch<R>,
    ) {
        let scale = self.scale();
        let width = self.head_dim;
        for_each_tile(gradients, Bands::At(self.tree_bounds), [width; 3], |tiles, tile| {
            let [mut query_gradient, mut key_gradient, mut value_gradient] = tiles;
            for row in 0..tile.rows.len() {
                key_gradient.row_mut(row).fill(R::ZERO);
                value_gradient.row_mut(row).fill(R::ZERO);
            }
            let columns = tile.column * width..(tile.column + 1) * width;
            let (out, out_gradient) = (out.columns(columns.clone()), out_gradient.columns(columns));
            let Inputs { query, key, value } = inputs.head(self, tile.column);
            let tree = self.tree_segments[tile.band]..self.tree_segments[tile.band + 1];
            let local = |rows: &Range<usize>| rows.start - tile.rows.start..rows.end - tile.rows.start;
            for block in self.segments[tree].iter().flat_map(|segment| self.blocks(segment)) {
                let (height, width) = (block.rows.len(), block.keys.len());
                scratch.with_sizes([height * width, height * width], |[probabilities, score_gradients]| {
                    let mut probabilities = ViewMut::new(probabilities, height, width);
                    let mut score_gradients = ViewMut::new(score_gradients, height, width);
                    let query = query.rows(block.rows.clone());
                    let out_gradient = out_gradient.rows(block.rows.clone());
                    let out = out.rows(block.rows.clone());
                    for (rows, columns) in block.ranges() {
                        let target = probabilities.reborrow().columns(columns.clone());
                        scaled_product(target, scale, query, key.rows(rows.clone()).transposed());
                        let target = score_gradients.reborrow().columns(columns);
                        product(target, out_gradient, value.rows(rows).transposed());
                    }
                    for (offset, row) in block.rows.clone().enumerate() {
                        let visible = block.visible(self, row);
                        let log_sum = log_sums.row(row)[tile.column];
                        let (o, d) = (out.row(offset), out_gradient.row(offset));
                        let (scores, gradients) = (probabilities.row_mut(offset), score_gradients.row_mut(offset));
                        row_gradient(scores, gradients, visible, log_sum, o, d);
                    }
                    let (probabilities, score_gradients) = (probabilities.as_view(), score_gradients.as_view());
                    for (index, (rows, columns)) in block.ranges().enumerate() {
                        let p = probabilities.columns(columns.clone());
                        let ds = score_gradients.columns(columns);
                        let target = value_gradient.reborrow().rows(local(&rows));
                        add_product(target, R::ONE, p.transposed(), out_gradient);
                        let target = key_gradient.reborrow().rows(local(&rows));
                        add_product(target, scale, ds.transposed(), query);
                        let target = query_gradient.reborrow().rows(local(&block.rows));
                        if index == 0 {
                            scaled_product(target, scale, ds, key.rows(rows));
                        } else {
                            add_product(target, scale, ds, key.rows(rows));
                        }
                    }
                });
            }
        });
    }
}

/// Softmax over the visible scores, zero elsewhere; returns the log-sum-exp.
fn normalise<R: Real>(scores: &mut [R], visible: Range<usize>) -> R {
    scores[..visible.start].fill(R::ZERO);
    scores[visible.end..].fill(R::ZERO);
    simd(
        #[inline(always)]
        || {
            let scores = &mut scores[visible];
            let (sum, maximum) = exponentiate(scores);
            let inverse = R::ONE / sum;
            for score in scores.iter_mut() {
                *score *= inverse;
            }
            maximum + R::from_f64(sum.to_f64().ln())
        },
    )
}

/// Replaces scores by probabilities, and gradients of probabilities by gradients of scores.
fn row_gradient<R: Real>(
    scores: &mut [R],
    gradients: &mut [R],
    visible: Range<usize>,
    log_sum: R,
    out: &[R],
    out_gradient: &[R],
) {
    for row in [&mut *scores, &mut *gradients] {
        row[..visible.start].fill(R::ZERO);
        row[visible.end..].fill(R::ZERO);
    }
    simd(
        #[inline(always)]
        || {
            let total = sum_lanes(
                [out, out_gradient],
                #[inline(always)]
                |[o, d]| o * d,
            );
            for (score, gradient) in scores[visible.clone()].iter_mut().zip(&mut gradients[visible]) {
                *score = (*score - log_sum).exp();
                *gradient = *score * (*gradient - total);
            }
        },
    );
}

/// Sums the gradients of the query heads that share a key head: `[rows, heads * head_dim]` into
/// `[rows, kv_heads * head_dim]`.
pub(crate) fn sum_groups<R: Real>(per_head: View<'_, R>, target: ViewMut<'_, R>, head_dim: usize) {
    let group = per_head.width() / target.width() * head_dim;
    let width = target.width();
    for_each_tile([target], Bands::Every(rows_per_task(per_head.width())), [width], |[mut target], tile| {
        simd(
            #[inline(always)]
            || {
                for (offset, row) in tile.rows.clone().enumerate() {
                    let heads = per_head.row(row).chunks_exact(group);
                    for (target, heads) in target.row_mut(offset).chunks_exact_mut(head_dim).zip(heads) {
                        sum_rows(heads, target);
                    }
                }
            },
        );
    });
}
