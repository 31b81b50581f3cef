//! NF4, the 4-bit format of `QLoRA` (Dettmers et al. 2023, arXiv 2305.14314), as bitsandbytes lays it out.
//!
//! The elements of a matrix are taken row by row. Each has a code of 4 bits, the first of two in the upper half of a
//! byte; 64 of them share a scale, the largest absolute value among them. The scales may be quantised once more, to
//! 8 bits.

mod matrix;
mod scales;
mod state;
mod weights;

pub use matrix::{Nf4Matrix, NotFiniteAt};
pub use scales::{NestedScales, SCALES_PER_GROUP, Scales};
pub use weights::{LEVELS, WEIGHTS_PER_SCALE};

pub(crate) use state::{QuantState, STATE_BYTES};

use std::ops::Range;

use half::{bf16, f16};

use crate::stored::{SharedBytes, StoredType};

/// Some bytes of a file or of a buffer.
#[derive(Clone)]
pub(crate) struct Piece {
    bytes: SharedBytes,
    range: Range<usize>,
}

impl Piece {
    /// # Panics
    /// If `bytes` ends before the range does.
    pub(crate) fn new(bytes: SharedBytes, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= bytes.bytes().len(), "bytes {range:?}");
        Self { bytes, range }
    }

    pub(crate) fn owned(bytes: Vec<u8>) -> Self {
        let range = 0..bytes.len();
        Self::new(std::sync::Arc::new(bytes), range)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes.bytes()[self.range.clone()]
    }

    fn release(&self) {
        self.bytes.release(self.range.clone());
    }
}

/// A value as this type holds it: the nearest one, or the even one of two that are as near.
fn rounded(value: f32, to: StoredType) -> f32 {
    match to {
        StoredType::F32 => value,
        StoredType::F16 => f16::from_f32(value).to_f32(),
        StoredType::Bf16 => bf16::from_f32(value).to_f32(),
    }
}
