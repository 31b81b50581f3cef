//! Scales, in single precision or quantised to 8 bits.

use std::sync::Arc;

use super::Piece;

/// Scales that are quantised with one largest value.
pub const SCALES_PER_GROUP: usize = 256;

/// The scales of a matrix.
#[derive(Clone)]
pub enum Scales {
    /// In single precision.
    Plain(Arc<[f32]>),
    /// Quantised to 8 bits.
    Nested(NestedScales),
}

impl Scales {
    /// The scale of a block of weights.
    #[inline]
    pub fn scale(&self, block: usize) -> f32 {
        match self {
            Scales::Plain(scales) => scales[block],
            Scales::Nested(nested) => nested.scale(block),
        }
    }

    /// Number of scales.
    pub(super) fn len(&self) -> usize {
        match self {
            Scales::Plain(scales) => scales.len(),
            Scales::Nested(nested) => nested.codes().len(),
        }
    }
}

/// Scales as codes of 8 bits: a scale is `map[code] * largest[index / 256] + offset`, with a rounding after the product.
#[derive(Clone)]
pub struct NestedScales {
    pub(super) codes: Piece,
    pub(super) map: Arc<[f32; 256]>,
    pub(super) largest: Arc<[f32]>,
    pub(super) offset: f32,
}

impl NestedScales {
    /// Codes of a file, with what they stand for and a largest value for every 256 of them.
    ///
    /// # Panics
    /// If there are too few largest values.
    pub(crate) fn new(codes: Piece, map: &[f32; 256], largest: Vec<f32>, offset: f32) -> Self {
        assert_eq!(largest.len(), codes.bytes().len().div_ceil(SCALES_PER_GROUP), "a largest value for every group");
        Self { codes, map: Arc::new(*map), largest: largest.into(), offset }
    }

    /// Quantises scales around their mean.
    ///
    /// bitsandbytes sums in single precision, in an order that depends on the machine; this is the mean of the exact
    /// sum, which differs from it in the last bit at most now and then.
    pub fn quantise(scales: &[f32]) -> Self {
        let sum = scales.iter().map(|&scale| f64::from(scale)).sum::<f64>();
        Self::quantise_around(scales, (sum / scales.len().max(1) as f64) as f32)
    }

    /// Quantises scales around an offset, each to the code whose value is nearest.
    pub fn quantise_around(scales: &[f32], offset: f32) -> Self {
        let map = dynamic_map();
        let mut codes = Vec::with_capacity(scales.len());
        let mut largest = Vec::with_capacity(scales.len().div_ceil(SCALES_PER_GROUP));
        for group in scales.chunks(SCALES_PER_GROUP) {
            let most = group.iter().fold(0.0_f32, |most, scale| most.max((scale - offset).abs()));
            largest.push(most);
            // Where all scales are the offset, any code would do; bitsandbytes takes the first.
            let code = |scale: &f32| if most == 0.0 { 0 } else { nearest(&map, (scale - offset) / most) };
            codes.extend(group.iter().map(code));
        }
        Self { codes: Piece::owned(codes), map: Arc::new(map), largest: largest.into(), offset }
    }

    /// The scale of a block of weights: the inverse of [`NestedScales::quantise_around`].
    #[inline]
    pub fn scale(&self, block: usize) -> f32 {
        self.map[usize::from(self.codes()[block])] * self.largest[block / SCALES_PER_GROUP] + self.offset
    }

    /// The codes, one a scale.
    pub fn codes(&self) -> &[u8] {
        self.codes.bytes()
    }

    /// What the codes stand for, in units of the largest value of their group.
    pub fn map(&self) -> &[f32; 256] {
        &self.map
    }

    /// The largest distance from the offset in every group of 256 scales.
    pub fn largest(&self) -> &[f32] {
        &self.largest
    }

    /// What is added to every scale.
    pub fn offset(&self) -> f32 {
        self.offset
    }
}

/// The code whose value is nearest to a value from -1 to 1, which is first moved to the nearest of 65,536 equally spaced
/// ones: bitsandbytes looks codes up in a table of that length on a CPU. On a card it searches without a table, so that
/// a few scales in a thousand that lie in the middle between two codes get the other one there.
fn nearest(map: &[f32; 256], value: f32) -> u8 {
    const LAST: f32 = 65535.0;
    let index = ((value.clamp(-1.0, 1.0) + 1.0) * 0.5 * LAST + 0.5).floor();
    let value = index / LAST * 2.0 - 1.0;
    let above = map.partition_point(|&entry| entry < value).min(255);
    let below = above.saturating_sub(1);
    let code = if value - map[below] <= map[above] - value { below } else { above };
    u8::try_from(code).expect("a map has 256 entries")
}

/// The values of the signed dynamic type of 8 bits (Dettmers et al. 2022, arXiv 2110.02861), in ascending order: a
/// number of leading zeros is a decimal exponent, and what is left of the bits is a fraction between 0.1 and 1. It is
/// computed as bitsandbytes' `create_dynamic_map` does, so that every bit is the same.
fn dynamic_map() -> [f32; 256] {
    const EXPONENTS: u32 = 7;
    let mut values = vec![0.0, 1.0];
    for exponent in 0..EXPONENTS {
        let fractions = 1_usize << exponent;
        let power = 10_f64.powi(exponent.cast_signed() - (EXPONENTS.cast_signed() - 1)) as f32;
        // The boundaries of `fractions` equal parts of 0.1 to 1, each half counted from its end with one rounding, as
        // torch.linspace does where the processor multiplies and adds at once.
        let step = (1.0 - 0.1_f32) / fractions as f32;
        let boundary = |index: usize| {
            if index < fractions.div_ceil(2) {
                step.mul_add(index as f32, 0.1)
            } else {
                (-step).mul_add((fractions - index) as f32, 1.0)
            }
        };
        for index in 0..fractions {
            let middle = f32::midpoint(boundary(index), boundary(index + 1));
            values.extend([power * middle, -power * middle]);
        }
    }
    values.sort_unstable_by(f32::total_cmp);
    values.try_into().expect("2 and twice 127 values")
}
