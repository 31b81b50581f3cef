//! The engine's number types.

#![allow(clippy::inline_always, reason = "vector instructions reach only what is inlined into the loops that use them")]

use std::fmt::Debug;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, DivAssign, Mul, MulAssign, Neg, Sub, SubAssign};

/// A floating-point type of the engine: `f32` for training and generation, `f64` for checking
/// gradients by finite differences.
///
/// Everything is `#[inline(always)]`, so that a loop over these operations compiled for AVX2 or
/// AVX-512 uses those instructions.
pub trait Real:
    Copy
    + Debug
    + Default
    + PartialOrd
    + Send
    + Sync
    + bytemuck::Pod
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + DivAssign
    + Sum
    + 'static
{
    /// Zero.
    const ZERO: Self;
    /// One.
    const ONE: Self;
    /// Negative infinity, the logit of a masked key.
    const NEG_INFINITY: Self;

    /// The nearest value of this type.
    fn from_f64(value: f64) -> Self;
    /// The nearest value of this type.
    fn from_f32(value: f32) -> Self;
    /// The value in double precision.
    fn to_f64(self) -> f64;
    /// `self * factor + addend`, rounded once.
    #[must_use]
    fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// The square root.
    #[must_use]
    fn sqrt(self) -> Self;
    /// `e^self`, to 2 units in the last place for `f32`; 0 for negative infinity.
    #[must_use]
    fn exp(self) -> Self;
    /// The larger of two numbers.
    #[must_use]
    fn max(self, other: Self) -> Self;
}

impl Real for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const NEG_INFINITY: Self = f32::NEG_INFINITY;

    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value as f32
    }

    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        value
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        self as f64
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        f32::mul_add(self, factor, addend)
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        f32::sqrt(self)
    }

    /// `e^x = 2^n * e^r` with `n = round(x / ln 2)`; `e^r` by the polynomial of the Cephes library.
    /// Free of branches and table look-ups, so that loops over it are vectorised.
    #[inline(always)]
    fn exp(self) -> Self {
        // Adding and subtracting 1.5 * 2^23 rounds to the nearest integer, which is in the low bits of the
        // sum.
        const ROUND: f32 = 12_582_912.0;
        const LN2_HIGH: f32 = 0.693_359_4;
        const LN2_LOW: f32 = -2.121_944_4e-4;
        let x = if self > 88.7 { 88.7 } else { self };
        let x = if x < -87.3 { -87.3 } else { x };
        let shifted = f32::mul_add(x, std::f32::consts::LOG2_E, ROUND);
        let n = shifted - ROUND;
        let r = f32::mul_add(n, -LN2_LOW, f32::mul_add(n, -LN2_HIGH, x));
        let mut p = 1.987_569_1e-4_f32;
        p = f32::mul_add(p, r, 1.398_199_9e-3);
        p = f32::mul_add(p, r, 8.333_452e-3);
        p = f32::mul_add(p, r, 4.166_579_6e-2);
        p = f32::mul_add(p, r, 1.666_666_5e-1);
        p = f32::mul_add(p, r, 0.5);
        p = f32::mul_add(p * r, r, r) + 1.0;
        // The exponent of 88.7 is 128, one more than a float can hold: multiply by two factors of half the power.
        let power = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
        let half = power >> 1;
        let first = f32::from_bits(((half + 127) << 23) as u32);
        let second = f32::from_bits(((power - half + 127) << 23) as u32);
        let result = p * first * second;
        if self < -87.3 { 0.0 } else { result }
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        if self > other { self } else { other }
    }
}

impl Real for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const NEG_INFINITY: Self = f64::NEG_INFINITY;

    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value
    }

    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        value as f64
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        f64::mul_add(self, factor, addend)
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        f64::sqrt(self)
    }

    #[inline(always)]
    fn exp(self) -> Self {
        f64::exp(self)
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        if self > other { self } else { other }
    }
}

#[cfg(test)]
mod tests {
    use super::Real;

    #[test]
    fn single_precision_exp_is_accurate_over_its_range() {
        let mut worst = 0.0_f64;
        for step in -87_000..88_700 {
            let x = step as f32 * 1e-3;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(Real::exp(x)) - exact).abs() / exact);
        }
        assert!(worst < 2.4e-7, "worst relative error {worst}");
        assert_eq!(Real::exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(Real::exp(0.0_f32), 1.0);
    }
}
