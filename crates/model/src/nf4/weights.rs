//! Blocks of weights: a code of 4 bits each, and a scale.

use super::rounded;
use crate::stored::StoredType;

/// Weights that share a scale.
pub const WEIGHTS_PER_SCALE: usize = 64;

/// What the codes stand for, in units of the scale: quantiles of a normal distribution, scaled to -1 to 1, with a zero.
pub const LEVELS: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// The value between a level and the next; up to it, the lower one is nearer.
const BOUNDS: [f32; 15] = {
    let mut bounds = [0.0; 15];
    let mut index = 0;
    while index < bounds.len() {
        bounds[index] = f32::midpoint(LEVELS[index], LEVELS[index + 1]);
        index += 1;
    }
    bounds
};

/// The smallest divisor: that of a block of zeros.
const SMALLEST: f32 = 1e-38;

/// Codes of up to 64 weights, all of them finite, and their scale. `codes` has a byte for every two weights, the last of
/// an odd number included.
///
/// The last block of a matrix may be shorter; bitsandbytes divides there by the scale, and elsewhere multiplies by its
/// inverse.
pub(super) fn quantise(weights: &[f32], codes: &mut [u8]) -> f32 {
    let largest = weights.iter().fold(0.0_f32, |largest, weight| largest.max(weight.abs()));
    let divisor = largest.max(SMALLEST);
    let is_whole = weights.len() == WEIGHTS_PER_SCALE;
    let inverse = 1.0 / divisor;
    let code = |weight: f32| {
        let scaled = if is_whole { weight * inverse } else { weight / divisor };
        let scaled = scaled.clamp(-1.0, 1.0);
        BOUNDS.iter().map(|bound| u8::from(scaled > *bound)).sum::<u8>()
    };
    for (byte, pair) in codes.iter_mut().zip(weights.chunks(2)) {
        // Half a byte that no weight has is that of a zero.
        *byte = code(pair[0]) << 4 | pair.get(1).map_or(code(0.0), |&weight| code(weight));
    }
    if is_whole { largest } else { divisor }
}

/// The weights of codes and their scale, rounded to a type: the inverse of [`quantise`].
#[inline(always)]
#[allow(clippy::inline_always, reason = "vector instructions reach only what is inlined")]
pub(super) fn dequantise(codes: &[u8], scale: f32, rounding: StoredType, weights: &mut [f32; WEIGHTS_PER_SCALE]) {
    let values = LEVELS.map(|level| rounded(level * scale, rounding));
    for (pair, code) in weights.as_chunks_mut::<2>().0.iter_mut().zip(codes) {
        *pair = [values[usize::from(code >> 4)], values[usize::from(code & 15)]];
    }
}
