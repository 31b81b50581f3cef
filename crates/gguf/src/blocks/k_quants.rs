//! Formats with blocks of 256 values, whose scales are themselves quantised.

use bytemuck::{Pod, Zeroable};

use super::Block;
use super::floats::F16;
use super::search::{ALL_ZERO, Search, nearest, with_minimum, without_minimum};
use crate::tensor_type::TensorType;

const LEN: usize = 256;
/// Values that share a scale in formats with a minimum.
const GROUP: usize = 32;
const GROUPS: usize = LEN / GROUP;
/// Values that share a scale in [`Q6K`].
const SMALL_GROUP: usize = 16;
const SMALL_GROUPS: usize = LEN / SMALL_GROUP;

/// Eight scales and eight minima of six bits each in twelve bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct PackedScales([u8; 12]);

impl PackedScales {
    fn pack(scales: [u8; GROUPS], minima: [u8; GROUPS]) -> Self {
        let mut packed = [0; 12];
        for group in 0..4 {
            let later = group + 4;
            packed[group] = scales[group] | (scales[later] >> 4) << 6;
            packed[group + 4] = minima[group] | (minima[later] >> 4) << 6;
            packed[group + 8] = (scales[later] & 15) | (minima[later] & 15) << 4;
        }
        Self(packed)
    }

    /// Scale and minimum of a group from 0 to 7.
    #[inline(always)]
    fn get(self, group: usize) -> (u8, u8) {
        let Self(packed) = self;
        if group < 4 {
            (packed[group] & 63, packed[group + 4] & 63)
        } else {
            let low = packed[group + 4];
            ((low & 15) | (packed[group - 4] >> 6) << 4, (low >> 4) | (packed[group] >> 6) << 4)
        }
    }
}

/// 4-bit integers times a scale, minus a minimum, for groups of 32 values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Q4K {
    /// What the scales of groups are multiplied by.
    pub scale: F16,
    /// What the minima of groups are multiplied by.
    pub minimum: F16,
    /// Scales and minima of groups.
    pub group_scales: PackedScales,
    /// The integers: each 32 bytes hold one group in their lower halves and the next in their upper.
    pub quants: [u8; LEN / 2],
}

impl Block for Q4K {
    const TYPE: TensorType = TensorType::Q4_K;

    #[inline(always)]
    fn dequantise(&self, out: &mut [f32]) {
        let scales = Scales { scale: self.scale, minimum: self.minimum, groups: self.group_scales };
        scales.dequantise(&self.quants, |_, _| 0, out);
    }

    fn quantise(values: &[f32]) -> Self {
        let search = Search { largest: 15, start: -1.0, steps: 20 };
        let (Scales { scale, minimum, groups }, integers) = Scales::quantise(values, search);
        Self { scale, minimum, group_scales: groups, quants: lower_bits(&integers) }
    }

    fn is_finite(&self) -> bool {
        self.scale.is_finite() && self.minimum.is_finite()
    }
}

/// 5-bit integers times a scale, minus a minimum, for groups of 32 values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Q5K {
    /// What the scales of groups are multiplied by.
    pub scale: F16,
    /// What the minima of groups are multiplied by.
    pub minimum: F16,
    /// Scales and minima of groups.
    pub group_scales: PackedScales,
    /// The fifth bits: bit `g` of byte `i` for value `i` of group `g`.
    pub fifth_bits: [u8; GROUP],
    /// The lower four bits of the integers, in the order of [`Q4K`].
    pub quants: [u8; LEN / 2],
}

impl Block for Q5K {
    const TYPE: TensorType = TensorType::Q5_K;

    #[inline(always)]
    fn dequantise(&self, out: &mut [f32]) {
        let scales = Scales { scale: self.scale, minimum: self.minimum, groups: self.group_scales };
        scales.dequantise(&self.quants, |group, index| (self.fifth_bits[index] >> group & 1) << 4, out);
    }

    fn quantise(values: &[f32]) -> Self {
        let search = Search { largest: 31, start: -0.5, steps: 15 };
        let (Scales { scale, minimum, groups }, integers) = Scales::quantise(values, search);
        let mut fifth_bits = [0; GROUP];
        for (group, integers) in integers.chunks_exact(GROUP).enumerate() {
            for (bits, integer) in fifth_bits.iter_mut().zip(integers) {
                *bits |= (integer >> 4) << group;
            }
        }
        Self { scale, minimum, group_scales: groups, fifth_bits, quants: lower_bits(&integers) }
    }

    fn is_finite(&self) -> bool {
        self.scale.is_finite() && self.minimum.is_finite()
    }
}

/// The scales of a block with minima.
struct Scales {
    scale: F16,
    minimum: F16,
    groups: PackedScales,
}

impl Scales {
    /// Writes the values of a block. `upper_bits` gives the bits above the fourth by group and index.
    #[inline(always)]
    fn dequantise(&self, quants: &[u8; LEN / 2], upper_bits: impl Fn(usize, usize) -> u8, out: &mut [f32]) {
        let (scale, minimum) = (self.scale.value(), self.minimum.value());
        for (group, out) in out.chunks_exact_mut(GROUP).enumerate() {
            let quants = &quants[group / 2 * GROUP..][..GROUP];
            let shift = group % 2 * 4;
            let (group_scale, group_minimum) = self.groups.get(group);
            let scale = scale * f32::from(group_scale);
            let minimum = minimum * f32::from(group_minimum);
            // As whole arrays, which the compiler turns into vector instructions.
            let integers: [i32; GROUP] =
                std::array::from_fn(|index| i32::from((quants[index] >> shift & 15) | upper_bits(group, index)));
            out.copy_from_slice(&integers.map(|integer| scale * integer as f32 - minimum));
        }
    }

    /// The scales of a block and the integers of all its values.
    fn quantise(values: &[f32], search: Search) -> (Self, [u8; LEN]) {
        let mut integers = [0; LEN];
        let (mut scales, mut minima) = ([0.0_f32; GROUPS], [0.0_f32; GROUPS]);
        let (values, _) = values.as_chunks::<GROUP>();
        let (groups, _) = integers.as_chunks_mut::<GROUP>();
        for (group, (values, quants)) in values.iter().zip(groups.iter_mut()).enumerate() {
            let mut square_sum = 0.0;
            for value in values {
                square_sum += value * value;
            }
            let average = (square_sum / GROUP as f32).sqrt();
            let weights = values.map(|value| average + value.abs());
            (scales[group], minima[group]) = with_minimum(values, &weights, quants, search);
        }

        let largest =
            |numbers: &[f32]| numbers.iter().fold(0.0, |most, &number| if number > most { number } else { most });
        let (largest_scale, largest_minimum): (f32, f32) = (largest(&scales), largest(&minima));
        let six_bits = |numbers: [f32; GROUPS], largest: f32| {
            let inverse = if largest > 0.0 { 63.0 / largest } else { 0.0 };
            numbers.map(|number| (nearest(inverse * number) as u8).min(63))
        };
        let scales = Self {
            scale: (largest_scale / 63.0).into(),
            minimum: (largest_minimum / 63.0).into(),
            groups: PackedScales::pack(six_bits(scales, largest_scale), six_bits(minima, largest_minimum)),
        };

        // Once more, with the scales as they are stored.
        for (group, (values, quants)) in values.iter().zip(groups).enumerate() {
            let (group_scale, group_minimum) = scales.groups.get(group);
            let scale = scales.scale.value() * f32::from(group_scale);
            if scale == 0.0 {
                continue;
            }
            let minimum = scales.minimum.value() * f32::from(group_minimum);
            for (quant, value) in quants.iter_mut().zip(values) {
                *quant = nearest((value + minimum) / scale).clamp(0, search.largest) as u8;
            }
        }
        (scales, integers)
    }
}

/// The lower four bits of all integers, each group beside the next.
fn lower_bits(integers: &[u8; LEN]) -> [u8; LEN / 2] {
    let mut quants = [0; LEN / 2];
    for (quants, integers) in quants.chunks_exact_mut(GROUP).zip(integers.chunks_exact(2 * GROUP)) {
        for (index, quant) in quants.iter_mut().enumerate() {
            *quant = (integers[index] & 15) | (integers[index + GROUP] & 15) << 4;
        }
    }
    quants
}

/// 6-bit integers from -32 to 31 times a scale, for groups of 16 values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Q6K {
    /// The lower four bits of the integers plus 32. Of each 128 values, the first 64 are in the lower
    /// halves of 64 bytes and the others in the upper halves.
    pub low_bits: [u8; LEN / 2],
    /// The upper two bits: of each 128 values, byte `i` of 32 has those of `i`, `i + 32`, `i + 64` and
    /// `i + 96`.
    pub high_bits: [u8; LEN / 4],
    /// The scales of groups.
    pub group_scales: [i8; SMALL_GROUPS],
    /// What the scales of groups are multiplied by.
    pub scale: F16,
}

impl Block for Q6K {
    const TYPE: TensorType = TensorType::Q6_K;

    #[inline(always)]
    fn dequantise(&self, out: &mut [f32]) {
        let scale = self.scale.value();
        let scales = self.group_scales.map(|group_scale| scale * f32::from(group_scale));
        for (half, out) in out.chunks_exact_mut(LEN / 2).enumerate() {
            let low_bits = &self.low_bits[64 * half..][..64];
            let high_bits = &self.high_bits[32 * half..][..32];
            for (quarter, out) in out.chunks_exact_mut(32).enumerate() {
                let low_bits = &low_bits[32 * (quarter % 2)..][..32];
                let (low_shift, high_shift) = (4 * (quarter / 2), 2 * quarter);
                let integers: [i32; GROUP] = std::array::from_fn(|index| {
                    let low = low_bits[index] >> low_shift & 15;
                    let high = high_bits[index] >> high_shift & 3;
                    i32::from(low | high << 4) - 32
                });
                let small = 8 * half + 2 * quarter;
                let scales: [f32; GROUP] = std::array::from_fn(|index| scales[small + index / SMALL_GROUP]);
                out.copy_from_slice(&std::array::from_fn::<f32, GROUP, _>(|i| scales[i] * integers[i] as f32));
            }
        }
    }

    fn quantise(values: &[f32]) -> Self {
        let mut integers = [0; LEN];
        let mut scales = [0.0_f32; SMALL_GROUPS];
        let (values, _) = values.as_chunks::<SMALL_GROUP>();
        let (groups, _) = integers.as_chunks_mut::<SMALL_GROUP>();
        let mut extreme = 0.0_f32;
        for ((values, quants), scale) in values.iter().zip(groups.iter_mut()).zip(&mut scales) {
            *scale = without_minimum(values, quants, 32);
            if scale.abs() > extreme.abs() {
                extreme = *scale;
            }
        }
        if extreme.abs() < ALL_ZERO {
            return Self::zeroed();
        }

        let inverse = -128.0 / extreme;
        let scale = F16::from(1.0 / inverse);
        let group_scales = scales.map(|scale| nearest(inverse * scale).min(127) as i8);
        for ((values, quants), &group_scale) in values.iter().zip(groups).zip(&group_scales) {
            let scale = scale.value() * f32::from(group_scale);
            if scale == 0.0 {
                continue;
            }
            for (quant, value) in quants.iter_mut().zip(values) {
                *quant = (nearest(value / scale).clamp(-32, 31) + 32) as u8;
            }
        }

        let (mut low_bits, mut high_bits) = ([0; LEN / 2], [0; LEN / 4]);
        for (position, integer) in integers.into_iter().enumerate() {
            let (half, quarter, index) = (position / 128, position / 32 % 4, position % 32);
            low_bits[64 * half + 32 * (quarter % 2) + index] |= (integer & 15) << (4 * (quarter / 2));
            high_bits[32 * half + index] |= (integer >> 4) << (2 * quarter);
        }
        Self { low_bits, high_bits, group_scales, scale }
    }

    fn is_finite(&self) -> bool {
        self.scale.is_finite()
    }
}
