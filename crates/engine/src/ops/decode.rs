//! Attention of one new token over cached keys and values.

use super::reduce::LANES;
use super::simd;
use super::softmax::exponentiate;
use crate::real::Real;

/// `out = softmax(q k^T / sqrt(head_dim)) v` for one query head over the positions `first..length`, with
/// `keys` as `[head_dim, capacity]` and `values` as `[capacity, head_dim]`. `scores` has room for
/// `length` rounded up to whole vectors, and so has each row of `keys`.
pub(crate) fn attend<R: Real>(
    query: &[R],
    (keys, values): (&[R], &[R]),
    (first, length): (usize, usize),
    scores: &mut [R],
    out: &mut [R],
) {
    let width = query.len();
    let capacity = keys.len() / width;
    let scale = R::from_f64(1.0 / (width as f64).sqrt());
    simd(
        #[inline(always)]
        || {
            // A block of scores stays in registers while the query runs over it. Columns past the end
            // hold keys of nobody and are cut off below.
            for (block, scores) in
                scores[..length.next_multiple_of(LANES)].as_chunks_mut::<LANES>().0.iter_mut().enumerate()
            {
                let mut sums = [R::ZERO; LANES];
                for (row, &q) in query.iter().enumerate() {
                    let start = row * capacity + block * LANES;
                    for (sum, &k) in sums.iter_mut().zip(&keys[start..start + LANES]) {
                        *sum = q.mul_add(k, *sum);
                    }
                }
                for (score, sum) in scores.iter_mut().zip(sums) {
                    *score = sum * scale;
                }
            }
            let scores = &mut scores[first..length];
            let (sum, _) = exponentiate(scores);
            let inverse = R::ONE / sum;
            for (block, out) in out.chunks_mut(LANES).enumerate() {
                let start = block * LANES;
                let mut sums = [R::ZERO; LANES];
                for (offset, &p) in scores.iter().enumerate() {
                    let at = (first + offset) * width + start;
                    if out.len() == LANES {
                        for (sum, &v) in sums.iter_mut().zip(&values[at..at + LANES]) {
                            *sum = p.mul_add(v, *sum);
                        }
                    } else {
                        for (sum, &v) in sums.iter_mut().zip(&values[at..at + out.len()]) {
                            *sum = p.mul_add(v, *sum);
                        }
                    }
                }
                for (out, sum) in out.iter_mut().zip(sums) {
                    *out = sum * inverse;
                }
            }
        },
    );
}
