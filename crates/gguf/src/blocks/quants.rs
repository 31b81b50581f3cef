//! Formats with blocks of 32 values.

use bytemuck::{Pod, Zeroable};

use super::Block;
use super::floats::F16;
use crate::tensor_type::TensorType;

const LEN: usize = 32;
const HALF: usize = LEN / 2;

/// 8-bit integers times a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Q8_0 {
    /// The scale.
    pub scale: F16,
    /// The integers.
    pub quants: [i8; LEN],
}

impl Block for Q8_0 {
    const TYPE: TensorType = TensorType::Q8_0;

    #[inline(always)]
    fn dequantise(&self, out: &mut [f32]) {
        let scale = self.scale.value();
        write(out, self.quants.map(|quant| i32::from(quant) as f32 * scale));
    }

    fn quantise(values: &[f32]) -> Self {
        let largest = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        let scale = largest / 127.0;
        let inverse = inverse(scale);
        let mut quants = [0; LEN];
        for (quant, value) in quants.iter_mut().zip(values) {
            *quant = (value * inverse).round() as i8;
        }
        Self { scale: scale.into(), quants }
    }

    fn is_finite(&self) -> bool {
        self.scale.is_finite()
    }
}

/// 4-bit integers from -8 to 7 times a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Q4_0 {
    /// The scale.
    pub scale: F16,
    /// The integers plus 8: value `i` in the lower half of byte `i`, value `i + 16` in the upper half.
    pub quants: [u8; HALF],
}

impl Block for Q4_0 {
    const TYPE: TensorType = TensorType::Q4_0;

    #[inline(always)]
    fn dequantise(&self, out: &mut [f32]) {
        let scale = self.scale.value();
        write(out, unpack_four(&self.quants).map(|quant| (quant - 8) as f32 * scale));
    }

    fn quantise(values: &[f32]) -> Self {
        let scale = largest_signed(values) / -8.0;
        let inverse = inverse(scale);
        let quants = pack(values, |value| truncate(value * inverse + 8.5).min(15));
        Self { scale: scale.into(), quants: nibbles(&quants) }
    }

    fn is_finite(&self) -> bool {
        self.scale.is_finite()
    }
}

/// 4-bit integers from 0 to 15 times a scale, plus a minimum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Q4_1 {
    /// The scale.
    pub scale: F16,
    /// The minimum.
    pub minimum: F16,
    /// The integers, in the order of [`Q4_0`].
    pub quants: [u8; HALF],
}

impl Block for Q4_1 {
    const TYPE: TensorType = TensorType::Q4_1;

    #[inline(always)]
    fn dequantise(&self, out: &mut [f32]) {
        let (scale, minimum) = (self.scale.value(), self.minimum.value());
        write(out, unpack_four(&self.quants).map(|quant| quant as f32 * scale + minimum));
    }

    fn quantise(values: &[f32]) -> Self {
        let (minimum, maximum) = extremes(values);
        let scale = (maximum - minimum) / 15.0;
        let inverse = inverse(scale);
        let quants = pack(values, |value| truncate((value - minimum) * inverse + 0.5).min(15));
        Self { scale: scale.into(), minimum: minimum.into(), quants: nibbles(&quants) }
    }

    fn is_finite(&self) -> bool {
        self.scale.is_finite() && self.minimum.is_finite()
    }
}

/// 5-bit integers from -16 to 15 times a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Q5_0 {
    /// The scale.
    pub scale: F16,
    /// The fifth bits, bit `i` of the little-endian number for value `i`.
    pub fifth_bits: [u8; 4],
    /// The lower four bits of the integers plus 16, in the order of [`Q4_0`].
    pub quants: [u8; HALF],
}

impl Block for Q5_0 {
    const TYPE: TensorType = TensorType::Q5_0;

    #[inline(always)]
    fn dequantise(&self, out: &mut [f32]) {
        let scale = self.scale.value();
        write(out, unpack_five(self.fifth_bits, &self.quants).map(|quant| (quant - 16) as f32 * scale));
    }

    fn quantise(values: &[f32]) -> Self {
        let scale = largest_signed(values) / -16.0;
        let inverse = inverse(scale);
        let quants = pack(values, |value| truncate(value * inverse + 16.5).min(31));
        Self { scale: scale.into(), fifth_bits: fifth_bits(&quants), quants: nibbles(&quants) }
    }

    fn is_finite(&self) -> bool {
        self.scale.is_finite()
    }
}

/// 5-bit integers from 0 to 31 times a scale, plus a minimum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Q5_1 {
    /// The scale.
    pub scale: F16,
    /// The minimum.
    pub minimum: F16,
    /// The fifth bits, as in [`Q5_0`].
    pub fifth_bits: [u8; 4],
    /// The lower four bits of the integers, in the order of [`Q4_0`].
    pub quants: [u8; HALF],
}

impl Block for Q5_1 {
    const TYPE: TensorType = TensorType::Q5_1;

    #[inline(always)]
    fn dequantise(&self, out: &mut [f32]) {
        let (scale, minimum) = (self.scale.value(), self.minimum.value());
        write(out, unpack_five(self.fifth_bits, &self.quants).map(|quant| quant as f32 * scale + minimum));
    }

    fn quantise(values: &[f32]) -> Self {
        let (minimum, maximum) = extremes(values);
        let scale = (maximum - minimum) / 31.0;
        let inverse = inverse(scale);
        let quants = pack(values, |value| truncate((value - minimum) * inverse + 0.5));
        Self { scale: scale.into(), minimum: minimum.into(), fifth_bits: fifth_bits(&quants), quants: nibbles(&quants) }
    }

    fn is_finite(&self) -> bool {
        self.scale.is_finite() && self.minimum.is_finite()
    }
}

/// Writes a block. Its values are made as a whole array, which the compiler turns into vector instructions; it does not
/// do so for a loop over 16 bytes with two values each.
#[inline(always)]
fn write(out: &mut [f32], values: [f32; LEN]) {
    out[..LEN].copy_from_slice(&values);
}

/// The lower halves of all bytes, then the upper ones.
#[inline(always)]
fn unpack_four(quants: &[u8; HALF]) -> [i32; LEN] {
    std::array::from_fn(|i| if i < HALF { i32::from(quants[i] & 15) } else { i32::from(quants[i - HALF] >> 4) })
}

/// As [`unpack_four`], with the fifth bit of value `i` in bit `i` of `fifth_bits`.
#[inline(always)]
fn unpack_five(fifth_bits: [u8; 4], quants: &[u8; HALF]) -> [i32; LEN] {
    let bits = u32::from_le_bytes(fifth_bits);
    let four = unpack_four(quants);
    std::array::from_fn(|i| four[i] | ((bits >> i & 1) << 4) as i32)
}

/// 1 over a scale, or 0 where the scale is 0.
fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

/// The first value with the largest magnitude.
fn largest_signed(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |largest: f32, &value| if largest.abs() < value.abs() { value } else { largest })
}

fn extremes(values: &[f32]) -> (f32, f32) {
    values.iter().fold((f32::MAX, -f32::MAX), |(minimum, maximum), &value| {
        (if value < minimum { value } else { minimum }, if value > maximum { value } else { maximum })
    })
}

/// A number without its fraction, from 0 to 127.
fn truncate(value: f32) -> u8 {
    (value as i8).max(0) as u8
}

fn pack(values: &[f32], quant: impl Fn(f32) -> u8) -> [u8; LEN] {
    let mut quants = [0; LEN];
    for (out, &value) in quants.iter_mut().zip(values) {
        *out = quant(value);
    }
    quants
}

/// The lower four bits of all numbers, value `i` beside value `i + 16`.
fn nibbles(quants: &[u8; LEN]) -> [u8; HALF] {
    std::array::from_fn(|index| (quants[index] & 15) | (quants[index + HALF] & 15) << 4)
}

/// The fifth bits of all numbers.
fn fifth_bits(quants: &[u8; LEN]) -> [u8; 4] {
    let bits = quants.iter().rev().fold(0_u32, |bits, &quant| bits << 1 | u32::from(quant >> 4 & 1));
    bits.to_le_bytes()
}
