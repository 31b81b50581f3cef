//! Formats without scales. A block is one value.

use bytemuck::{Pod, Zeroable};
use half::{bf16, f16};

use super::Block;
use crate::tensor_type::TensorType;

/// A 32-bit number, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct F32([u8; 4]);

impl Block for F32 {
    const TYPE: TensorType = TensorType::F32;

    #[inline(always)]
    fn dequantise(&self, out: &mut [f32]) {
        out[0] = f32::from_le_bytes(self.0);
    }

    fn quantise(values: &[f32]) -> Self {
        Self(values[0].to_le_bytes())
    }

    fn is_finite(&self) -> bool {
        f32::from_le_bytes(self.0).is_finite()
    }
}

/// A 16-bit number as IEEE 754 defines it, little-endian. Rounded to nearest, ties to even.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct F16([u8; 2]);

impl F16 {
    /// The number as `f32`, which holds it exactly.
    #[inline(always)]
    pub fn value(self) -> f32 {
        f16::from_le_bytes(self.0).to_f32()
    }
}

impl From<f32> for F16 {
    fn from(value: f32) -> Self {
        Self(f16::from_f32(value).to_le_bytes())
    }
}

impl Block for F16 {
    const TYPE: TensorType = TensorType::F16;

    #[inline(always)]
    fn dequantise(&self, out: &mut [f32]) {
        out[0] = self.value();
    }

    fn quantise(values: &[f32]) -> Self {
        values[0].into()
    }

    fn is_finite(&self) -> bool {
        self.value().is_finite()
    }
}

/// The upper half of a 32-bit number, little-endian. Rounded to nearest, ties to even.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct Bf16([u8; 2]);

impl Block for Bf16 {
    const TYPE: TensorType = TensorType::BF16;

    #[inline(always)]
    fn dequantise(&self, out: &mut [f32]) {
        out[0] = bf16::from_le_bytes(self.0).to_f32();
    }

    fn quantise(values: &[f32]) -> Self {
        Self(bf16::from_f32(values[0]).to_le_bytes())
    }

    fn is_finite(&self) -> bool {
        bf16::from_le_bytes(self.0).is_finite()
    }
}
