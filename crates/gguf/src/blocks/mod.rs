//! ggml's number formats, bit for bit as its reference code (`dequantize_row_*`, `quantize_row_*_ref`).
//!
//! A row is a sequence of blocks. Each format is a type with the exact layout of a block and an
//! alignment of one byte, so that [`bytemuck::cast_slice`] views the bytes of a
//! [`Tensor`](crate::Tensor) as blocks without a copy. [`dequantise`] and [`quantise`] choose the format
//! at run time and work in parallel; their results don't depend on the number of threads.

#![allow(clippy::inline_always, reason = "vector instructions reach only what is inlined; see `dequantise_here`")]

mod floats;
mod k_quants;
mod quants;
mod search;

use bytemuck::Pod;
use rayon::prelude::*;

pub use floats::{Bf16, F16, F32};
pub use k_quants::{Q4K, Q5K, Q6K};
pub use quants::{Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};

use crate::tensor_type::TensorType;

/// Blocks of one number format.
pub trait Block: Pod + Send + Sync {
    /// The format.
    const TYPE: TensorType;
    /// Values in a block.
    const LEN: usize = Self::TYPE.block_len();

    /// Writes the values of the block to the first [`LEN`](Self::LEN) elements of `out`.
    fn dequantise(&self, out: &mut [f32]);

    /// The block that represents the first [`LEN`](Self::LEN) of `values`.
    fn quantise(values: &[f32]) -> Self;

    /// Whether all scales are finite numbers.
    fn is_finite(&self) -> bool;
}

/// Why values or bytes were not converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// The bytes aren't a whole number of blocks, or hold another number of values.
    #[error("{bytes} bytes of {tensor_type} do not hold {values} values")]
    Length {
        /// The format.
        tensor_type: TensorType,
        /// The number of bytes.
        bytes: usize,
        /// The number of values.
        values: usize,
    },
    /// The values aren't a whole number of rows, or a row isn't a whole number of blocks.
    #[error("{values} values cannot be stored as {tensor_type} in rows of {columns}: a row needs a multiple of {}", tensor_type.block_len())]
    Columns {
        /// The format.
        tensor_type: TensorType,
        /// The number of values.
        values: usize,
        /// The length of a row.
        columns: usize,
    },
    /// Rows that a tensor doesn't have.
    #[error("rows {start} to {end} of a tensor with {rows} rows")]
    Rows {
        /// The first row.
        start: usize,
        /// The row after the last.
        end: usize,
        /// The number of rows.
        rows: usize,
    },
    /// A value that the format can't represent: not finite, or too large for its scale.
    #[error("{tensor_type} cannot represent row {row} from column {column} on: a value is not finite or too large")]
    Value {
        /// The format.
        tensor_type: TensorType,
        /// The row.
        row: usize,
        /// The first column of the block that holds the value.
        column: usize,
    },
}

/// Calls a generic function with the block type of a format.
macro_rules! with_block {
    ($tensor_type:expr, $function:ident($($argument:expr),*)) => {
        match $tensor_type {
            TensorType::F32 => $function::<F32>($($argument),*),
            TensorType::F16 => $function::<F16>($($argument),*),
            TensorType::BF16 => $function::<Bf16>($($argument),*),
            TensorType::Q8_0 => $function::<Q8_0>($($argument),*),
            TensorType::Q4_0 => $function::<Q4_0>($($argument),*),
            TensorType::Q4_1 => $function::<Q4_1>($($argument),*),
            TensorType::Q5_0 => $function::<Q5_0>($($argument),*),
            TensorType::Q5_1 => $function::<Q5_1>($($argument),*),
            TensorType::Q4_K => $function::<Q4K>($($argument),*),
            TensorType::Q5_K => $function::<Q5K>($($argument),*),
            TensorType::Q6_K => $function::<Q6K>($($argument),*),
        }
    };
}

/// Values that a thread converts at a time.
const PORTION: usize = 1 << 16;

/// Converts blocks to values. `out` must be exactly as long as the number of values in `bytes`.
pub fn dequantise(tensor_type: TensorType, bytes: &[u8], out: &mut [f32]) -> Result<(), BlockError> {
    if tensor_type.bytes_of(out.len()) != Some(bytes.len()) {
        return Err(BlockError::Length { tensor_type, bytes: bytes.len(), values: out.len() });
    }
    dequantise_exactly(tensor_type, bytes, out);
    Ok(())
}

/// As [`dequantise`], on the calling thread. It is inlined whole, so that a caller that is compiled for a machine's
/// vector instructions uses them here too.
#[inline(always)]
pub fn dequantise_here(tensor_type: TensorType, bytes: &[u8], out: &mut [f32]) -> Result<(), BlockError> {
    if tensor_type.bytes_of(out.len()) != Some(bytes.len()) {
        return Err(BlockError::Length { tensor_type, bytes: bytes.len(), values: out.len() });
    }
    with_block!(tensor_type, dequantise_in_order(bytes, out));
    Ok(())
}

#[inline(always)]
fn dequantise_in_order<B: Block>(bytes: &[u8], out: &mut [f32]) {
    let blocks: &[B] = bytemuck::cast_slice(bytes);
    for (block, out) in blocks.iter().zip(out.chunks_exact_mut(B::LEN)) {
        block.dequantise(out);
    }
}

/// As [`dequantise`], for lengths that are known to agree.
pub(crate) fn dequantise_exactly(tensor_type: TensorType, bytes: &[u8], out: &mut [f32]) {
    with_block!(tensor_type, dequantise_blocks(bytes, out));
}

fn dequantise_blocks<B: Block>(bytes: &[u8], out: &mut [f32]) {
    let blocks: &[B] = bytemuck::cast_slice(bytes);
    blocks.par_chunks(PORTION / B::LEN).zip(out.par_chunks_mut(PORTION)).for_each(|(blocks, out)| {
        for (block, out) in blocks.iter().zip(out.chunks_exact_mut(B::LEN)) {
            block.dequantise(out);
        }
    });
}

/// Converts rows of `columns` values to blocks.
///
/// Fails if a row isn't a whole number of blocks, if a format with scales can't represent a value, and
/// for finite values beyond the range of `F16`.
pub fn quantise(tensor_type: TensorType, values: &[f32], columns: usize) -> Result<Vec<u8>, BlockError> {
    let bytes = tensor_type.bytes_of(values.len()).filter(|_| {
        columns > 0 && columns.is_multiple_of(tensor_type.block_len()) && values.len().is_multiple_of(columns)
    });
    let Some(bytes) = bytes else {
        return Err(BlockError::Columns { tensor_type, values: values.len(), columns });
    };
    let mut out = vec![0; bytes];
    match with_block!(tensor_type, quantise_blocks(values, &mut out)) {
        None => Ok(out),
        Some(position) => Err(BlockError::Value { tensor_type, row: position / columns, column: position % columns }),
    }
}

/// The position of the first block whose values can't be represented, if any.
fn quantise_blocks<B: Block>(values: &[f32], out: &mut [u8]) -> Option<usize> {
    let blocks: &mut [B] = bytemuck::cast_slice_mut(out);
    // Quantising to fewer bits tries many scales, which is slow enough for small portions.
    let portion = 1 << 12;
    blocks
        .par_chunks_mut(portion / B::LEN)
        .zip(values.par_chunks(portion))
        .enumerate()
        .filter_map(|(index, (blocks, values))| {
            let mut refused = None;
            for (number, (block, values)) in blocks.iter_mut().zip(values.chunks_exact(B::LEN)).enumerate() {
                *block = B::quantise(values);
                if refused.is_none() && !holds(block, values) {
                    refused = Some(index * portion + number * B::LEN);
                }
            }
            refused
        })
        .min()
}

/// No format with scales reaches further: the largest F16 times the largest integers of [`Q6K`].
/// Beyond, sums of the search for scales would overflow.
const FURTHEST: f32 = 65504.0 * 128.0 * 32.0;

/// Whether a block represents its values.
fn holds<B: Block>(block: &B, values: &[f32]) -> bool {
    if B::TYPE.is_quantised() {
        // The comparison is false for NaN.
        block.is_finite() && values.iter().all(|value| value.abs() <= FURTHEST)
    } else {
        // A value that wasn't finite before may stay so.
        block.is_finite() || !values[0].is_finite()
    }
}
