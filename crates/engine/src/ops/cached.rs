//! Attention of the rows of a generating pass over cached keys and values.
//!
//! The query heads of neighbouring rows that share a key head, and of sequences that share a beginning, are stacked
//! into one product over its keys. What a row sees is in several parts (shared beginnings, then its own tokens), which
//! are joined by their log-sum-exps: with `m` the maximum, `s = sum e^(score - m)` and `o = sum e^(score - m) v` of each
//! part, `o = sum e^(m_i - M) o_i / sum e^(m_i - M) s_i` for `M = max m_i` (arXiv 2205.14135, section 3.1).

use std::ops::Range;

use super::reduce::LANES;
use super::simd;
use super::softmax::exponentiate;
use super::tiles::{ROWS, weighted_sums};
use crate::cache::HeadCache;
use crate::real::Real;

/// The query rows of a task and their running sums: `rows` rows of `width` elements.
pub(crate) struct Rows<'a, R> {
    /// For every row its query, `[width]`.
    pub(crate) queries: &'a [&'a [R]],
    /// Weighted sums of values, `[rows, padded(width)]`.
    pub(crate) sums: &'a mut [R],
    /// Sums of unnormalised probabilities, `[rows]`.
    pub(crate) totals: &'a mut [R],
    /// Maxima of the scores, `[rows]`.
    pub(crate) maxima: &'a mut [R],
}

/// Elements of a value, rounded up to whole vectors.
pub(crate) fn padded(width: usize) -> usize {
    width.next_multiple_of(LANES)
}

impl<R: Real> Rows<'_, R> {
    /// Sets all sums to those over nothing.
    pub(crate) fn clear(&mut self) {
        self.sums.fill(R::ZERO);
        self.totals.fill(R::ZERO);
        self.maxima.fill(R::NEG_INFINITY);
    }

    /// Attends from the rows `rows` to one part, each to its visible keys, `visible(row)`. `scores` is scratch, which
    /// grows.
    pub(crate) fn attend(
        &mut self,
        rows: Range<usize>,
        part: HeadCache<'_, R>,
        visible: impl Fn(usize) -> Range<usize>,
        scores: &mut Vec<R>,
    ) {
        for start in rows.clone().step_by(ROWS) {
            let group = start..rows.end.min(start + ROWS);
            let mut seen = [const { 0..0 }; ROWS];
            let (mut first, mut end) = (usize::MAX, 0);
            for (seen, row) in seen.iter_mut().zip(group.clone()) {
                let keys = visible(row);
                if !keys.is_empty() {
                    (first, end) = (first.min(keys.start), end.max(keys.end));
                }
                *seen = keys;
            }
            if first < end {
                self.attend_group(group, part, &seen, first..end, scores);
            }
        }
    }

    /// At most [`ROWS`] rows, to keys in `range`.
    fn attend_group(
        &mut self,
        group: Range<usize>,
        part: HeadCache<'_, R>,
        seen: &[Range<usize>; ROWS],
        range: Range<usize>,
        scores: &mut Vec<R>,
    ) {
        let width = self.queries[group.start].len();
        let scale = R::from_f64(1.0 / (width as f64).sqrt());
        let (first, last) = (range.start / LANES, range.end.div_ceil(LANES));
        let stride = (last - first) * LANES;
        if scores.len() < stride * ROWS {
            scores.resize(stride * ROWS, R::ZERO);
        }
        let base = first * LANES;
        let padded = padded(width);
        simd(
            #[inline(always)]
            || {
                let queries = &self.queries[group.clone()];
                let count = queries.len();
                // Columns past the end hold stale keys and are cut off below.
                for panel in (first..last).step_by(2) {
                    let keys = &part.keys[panel * width..(panel + 1) * width];
                    let more = (panel + 1 < last).then(|| &part.keys[(panel + 1) * width..(panel + 2) * width]);
                    let pair = if more.is_some() { 2 } else { 1 };
                    let sums = weighted_sums(queries, keys, more);
                    for (row, scores) in scores.chunks_exact_mut(stride).take(count).enumerate() {
                        let scores = &mut scores[panel * LANES - base..][..pair * LANES];
                        for (scores, sums) in scores.chunks_exact_mut(LANES).zip(&sums) {
                            for (score, &sum) in scores.iter_mut().zip(&sums[row]) {
                                *score = sum * scale;
                            }
                        }
                    }
                }
                let mut factors = [R::ZERO; ROWS];
                for (index, row) in group.clone().enumerate() {
                    let scores = &mut scores[index * stride..(index + 1) * stride];
                    let seen = &seen[index];
                    scores[..seen.start.max(base) - base].fill(R::ZERO);
                    if seen.is_empty() {
                        scores.fill(R::ZERO);
                        continue;
                    }
                    scores[seen.end - base..].fill(R::ZERO);
                    let (sum, maximum) = exponentiate(&mut scores[seen.start - base..seen.end - base]);
                    let highest = maximum.max(self.maxima[row]);
                    let before = (self.maxima[row] - highest).exp();
                    factors[index] = (maximum - highest).exp();
                    self.maxima[row] = highest;
                    self.totals[row] = self.totals[row] * before + sum * factors[index];
                    for sum in &mut self.sums[row * padded..(row + 1) * padded] {
                        *sum *= before;
                    }
                }
                let mut weights: [&[R]; ROWS] = [&[]; ROWS];
                for (weights, scores) in weights.iter_mut().zip(scores.chunks_exact(stride)).take(count) {
                    *weights = &scores[range.start - base..range.end - base];
                }
                let panels = padded / LANES;
                let values = |panel: usize| &part.values[panel * part.capacity..][range.clone()];
                for panel in (0..panels).step_by(2) {
                    let more = if panel + 1 < panels { Some(values(panel + 1)) } else { None };
                    let pair = if more.is_some() { 2 } else { 1 };
                    let sums = weighted_sums(&weights[..count], values(panel), more);
                    for (index, row) in group.clone().enumerate() {
                        let target = &mut self.sums[row * padded + panel * LANES..][..pair * LANES];
                        for (target, sums) in target.chunks_exact_mut(LANES).zip(&sums) {
                            for (target, &sum) in target.iter_mut().zip(&sums[index]) {
                                *target = factors[index].mul_add(sum, *target);
                            }
                        }
                    }
                }
            },
        );
    }

    /// Writes the normalised sums of a row to `out`.
    pub(crate) fn finish(&self, row: usize, out: &mut [R]) {
        let inverse = R::ONE / self.totals[row];
        let padded = padded(out.len());
        for (out, &sum) in out.iter_mut().zip(&self.sums[row * padded..]) {
            *out = sum * inverse;
        }
    }
}
