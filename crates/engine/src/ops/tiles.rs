//! The inner loop of generation: sums of vectors, weighted by up to six rows of scalars.
//!
//! `sums[row] = sum over k of scalars[row][k] * vectors[k]`, where a vector holds [`LANES`] neighbouring rows of
//! activations, positions of keys or elements of values. Every sum is added up in the order of `k`, whatever is
//! computed beside it, so that what is generated for one sequence does not depend, to the last bit, on the others.

use super::reduce::LANES;
use crate::real::Real;

/// The most rows of scalars of one call: six rows of sums over two vectors leave registers for the operands.
pub(crate) const ROWS: usize = 6;

/// The weighted sums over two panels of vectors; those of missing rows are unspecified.
pub(crate) type Sums<R> = [[[R; LANES]; ROWS]; 2];

/// `sums += scalar * vector`
#[inline(always)]
fn add_scaled<R: Real>(sums: &mut [R; LANES], scalar: R, vector: &[R; LANES]) {
    for (sum, &v) in sums.iter_mut().zip(vector) {
        *sum = scalar.mul_add(v, *sum);
    }
}

/// The sums of up to [`ROWS`] rows of scalars over one or two panels, all of the same length. To be called in
/// [`simd`](super::simd).
#[inline(always)]
pub(crate) fn weighted_sums<R: Real>(scalars: &[&[R]], first: &[[R; LANES]], second: Option<&[[R; LANES]]>) -> Sums<R> {
    let row = scalars[0];
    let at = [
        row,
        scalars.get(1).copied().unwrap_or(row),
        scalars.get(2).copied().unwrap_or(row),
        scalars.get(3).copied().unwrap_or(row),
        scalars.get(4).copied().unwrap_or(row),
        scalars.get(5).copied().unwrap_or(row),
    ];
    match (scalars.len(), second) {
        (1, None) => sums::<R, 1, false>(at, first, first),
        (1, Some(second)) => sums::<R, 1, true>(at, first, second),
        (2, None) => sums::<R, 2, false>(at, first, first),
        (2, Some(second)) => sums::<R, 2, true>(at, first, second),
        (3 | 4, None) => sums::<R, 4, false>(at, first, first),
        (3 | 4, Some(second)) => sums::<R, 4, true>(at, first, second),
        (_, None) => sums::<R, 6, false>(at, first, first),
        (_, Some(second)) => sums::<R, 6, true>(at, first, second),
    }
}

/// The sums of every row are a separate variable, because the compiler would keep a two-dimensional array in memory.
#[inline(always)]
fn sums<R: Real, const N: usize, const PAIR: bool>(
    scalars: [&[R]; ROWS],
    first: &[[R; LANES]],
    second: &[[R; LANES]],
) -> Sums<R> {
    let length = first.len();
    let second = &second[..length];
    let [c0, c1, c2, c3, c4, c5] = scalars;
    let (c0, c1, c2) = (&c0[..length], &c1[..length], &c2[..length]);
    let (c3, c4, c5) = (&c3[..length], &c4[..length], &c5[..length]);
    let zero = [R::ZERO; LANES];
    let (mut a0, mut a1, mut a2, mut a3, mut a4, mut a5) = (zero, zero, zero, zero, zero, zero);
    let (mut b0, mut b1, mut b2, mut b3, mut b4, mut b5) = (zero, zero, zero, zero, zero, zero);
    for k in 0..length {
        add_scaled(&mut a0, c0[k], &first[k]);
        if PAIR {
            add_scaled(&mut b0, c0[k], &second[k]);
        }
        if N > 1 {
            add_scaled(&mut a1, c1[k], &first[k]);
            if PAIR {
                add_scaled(&mut b1, c1[k], &second[k]);
            }
        }
        if N > 2 {
            add_scaled(&mut a2, c2[k], &first[k]);
            add_scaled(&mut a3, c3[k], &first[k]);
            if PAIR {
                add_scaled(&mut b2, c2[k], &second[k]);
                add_scaled(&mut b3, c3[k], &second[k]);
            }
        }
        if N > 4 {
            add_scaled(&mut a4, c4[k], &first[k]);
            add_scaled(&mut a5, c5[k], &first[k]);
            if PAIR {
                add_scaled(&mut b4, c4[k], &second[k]);
                add_scaled(&mut b5, c5[k], &second[k]);
            }
        }
    }
    [[a0, a1, a2, a3, a4, a5], [b0, b1, b2, b3, b4, b5]]
}
