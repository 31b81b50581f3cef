//! Sums over long vectors.

use rayon::prelude::*;

use super::simd;
use crate::real::Real;

/// Number of independent partial sums, so that the compiler can use vector registers.
pub(crate) const LANES: usize = 16;

/// The sum of `term` over the elements of `N` vectors of the same length. The order of the sum does not depend
/// on the width of the machine's registers.
#[inline(always)]
pub(crate) fn sum_lanes<R: Real, S: Real, const N: usize>(inputs: [&[R]; N], term: impl Fn([R; N]) -> S) -> S {
    let length = inputs[0].len();
    // Split into arrays first, so that no bounds check prevents vector instructions.
    let parts = inputs.map(|input| input[..length].as_chunks::<LANES>());
    let mut lanes = [S::ZERO; LANES];
    for chunk in 0..length / LANES {
        let chunks = parts.map(|(chunks, _)| &chunks[chunk]);
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += term(chunks.map(|chunk| chunk[lane]));
        }
    }
    let mut sum = S::ZERO;
    for lane in lanes {
        sum += lane;
    }
    for rest in 0..length % LANES {
        sum += term(parts.map(|(_, tail)| tail[rest]));
    }
    sum
}

/// The largest element, or negative infinity if there is none.
#[inline(always)]
pub(crate) fn max_lanes<R: Real>(values: &[R]) -> R {
    let mut lanes = [R::NEG_INFINITY; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = value.max(*lane);
        }
    }
    lanes.iter().chain(rest).fold(
        R::NEG_INFINITY,
        #[inline(always)]
        |largest, &value| value.max(largest),
    )
}

/// The sum of the rows of a matrix as wide as `target`.
#[inline(always)]
pub(crate) fn sum_rows<R: Real>(rows: &[R], target: &mut [R]) {
    target.fill(R::ZERO);
    for row in rows.chunks_exact(target.len()) {
        for (sum, &value) in target.iter_mut().zip(row) {
            *sum += value;
        }
    }
}

/// The sum of squares in double precision.
pub(crate) fn sum_of_squares<R: Real>(values: &[R]) -> f64 {
    const CHUNK: usize = 1 << 15;
    let chunk_sum = |chunk: &[R]| {
        simd(
            #[inline(always)]
            || {
                sum_lanes(
                    [chunk],
                    #[inline(always)]
                    |[x]| x.to_f64() * x.to_f64(),
                )
            },
        )
    };
    if values.len() <= CHUNK {
        return chunk_sum(values);
    }
    // Collected in order before they are added, so that the sum does not depend on the number of threads.
    let sums: Vec<f64> = values.par_chunks(CHUNK).map(chunk_sum).collect();
    sums.into_iter().sum()
}
