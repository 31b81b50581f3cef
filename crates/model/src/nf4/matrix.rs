//! A matrix whose weights are kept in 4 bits.

use std::ops::Range;

use rayon::prelude::*;

use super::scales::{NestedScales, Scales};
use super::weights::{WEIGHTS_PER_SCALE, dequantise, quantise};
use super::{Piece, rounded};
use crate::stored::StoredType;

/// Bytes of the codes of a block of weights.
const BLOCK_BYTES: usize = WEIGHTS_PER_SCALE / 2;

/// Blocks that a thread quantises at a time.
const PORTION: usize = 1 << 10;

/// A matrix, `[rows, columns]`, whose weights have 4 bits each. Clones share codes and scales.
#[derive(Clone)]
pub struct Nf4Matrix {
    rows: usize,
    columns: usize,
    codes: Piece,
    scales: Scales,
    rounding: StoredType,
}

/// A weight that has no code, because it is infinite or not a number: its position, counted row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotFiniteAt(pub usize);

impl Nf4Matrix {
    /// The name of the format.
    pub const NAME: &'static str = "NF4";

    /// Codes and scales of a file. Weights are rounded to `rounding`, the type of the matrix that was quantised.
    ///
    /// # Panics
    /// If there are too few or too many codes or scales.
    pub(crate) fn new([rows, columns]: [usize; 2], codes: Piece, scales: Scales, rounding: StoredType) -> Self {
        assert_eq!(codes.bytes().len(), Self::code_bytes(rows, columns), "codes of a [{rows}, {columns}] matrix");
        assert_eq!(scales.len(), Self::blocks(rows, columns), "scales of a [{rows}, {columns}] matrix");
        Self { rows, columns, codes, scales, rounding }
    }

    /// Codes and scales that are already in memory; see [`Nf4Matrix::codes`] and [`Nf4Matrix::scales`].
    ///
    /// # Panics
    /// If there are too few or too many codes or scales.
    pub fn from_parts(shape: [usize; 2], codes: Vec<u8>, scales: Scales, rounding: StoredType) -> Self {
        Self::new(shape, Piece::owned(codes), scales, rounding)
    }

    /// Bytes of the codes of a matrix.
    pub fn code_bytes(rows: usize, columns: usize) -> usize {
        (rows * columns).div_ceil(2)
    }

    /// Blocks of weights, each with a scale, in a matrix.
    pub fn blocks(rows: usize, columns: usize) -> usize {
        (rows * columns).div_ceil(WEIGHTS_PER_SCALE)
    }

    /// Quantises a matrix in parallel. Its weights are first rounded to `rounding`, as where the matrix had been loaded in
    /// that type; `nested` says that its scales are quantised, too. `copy_row` copies a row.
    pub fn quantise(
        [rows, columns]: [usize; 2],
        rounding: StoredType,
        nested: bool,
        copy_row: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Result<Self, NotFiniteAt> {
        let mut codes = vec![0; Self::code_bytes(rows, columns)];
        let mut scales = vec![0.0; Self::blocks(rows, columns)];
        let not_finite = codes
            .par_chunks_mut(PORTION * BLOCK_BYTES)
            .zip(scales.par_chunks_mut(PORTION))
            .enumerate()
            .filter_map(|(portion, (codes, scales))| {
                let start = portion * PORTION * WEIGHTS_PER_SCALE;
                let end = (start + PORTION * WEIGHTS_PER_SCALE).min(rows * columns);
                let weights = elements(start..end, columns, rounding, &copy_row);
                if let Some(element) = weights.iter().position(|weight| !weight.is_finite()) {
                    return Some(start + element);
                }
                let blocks = weights.chunks(WEIGHTS_PER_SCALE).zip(codes.chunks_mut(BLOCK_BYTES));
                for (scale, (weights, codes)) in scales.iter_mut().zip(blocks) {
                    *scale = quantise(weights, codes);
                }
                None
            })
            .min();
        if let Some(element) = not_finite {
            return Err(NotFiniteAt(element));
        }
        let scales =
            if nested { Scales::Nested(NestedScales::quantise(&scales)) } else { Scales::Plain(scales.into()) };
        Ok(Self::from_parts([rows, columns], codes, scales, rounding))
    }

    /// Widens some columns of a row and hands them out in pieces, each with its first column counted from the start of
    /// `columns`: the inverse of [`Nf4Matrix::quantise`]. It is inlined, so that it uses the vector instructions that its
    /// caller is compiled for.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "vector instructions reach only what is inlined")]
    pub fn widen(&self, row: usize, columns: Range<usize>, mut piece: impl FnMut(usize, &[f32])) {
        let (first, last) = (row * self.columns + columns.start, row * self.columns + columns.end);
        let codes = self.codes.bytes();
        let mut weights = [0.0; WEIGHTS_PER_SCALE];
        let mut next = first;
        while next < last {
            let block = next / WEIGHTS_PER_SCALE;
            let start = block * WEIGHTS_PER_SCALE;
            let end = (start + WEIGHTS_PER_SCALE).min(last);
            let bytes = &codes[block * BLOCK_BYTES..codes.len().min((block + 1) * BLOCK_BYTES)];
            dequantise(bytes, self.scales.scale(block), self.rounding, &mut weights);
            piece(next - first, &weights[next - start..end - start]);
            next = end;
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The codes: two weights a byte, the first in the upper half.
    pub fn codes(&self) -> &[u8] {
        self.codes.bytes()
    }

    /// The scales, one for every 64 weights.
    pub fn scales(&self) -> &Scales {
        &self.scales
    }

    /// The type that widened weights are rounded to.
    pub fn rounding(&self) -> StoredType {
        self.rounding
    }

    /// All that the weights are computed from: codes and scales, the latter little-endian.
    pub fn parts(&self) -> Vec<&[u8]> {
        let codes = self.codes.bytes();
        match &self.scales {
            Scales::Plain(scales) => vec![codes, bytemuck::cast_slice(scales)],
            Scales::Nested(nested) => vec![
                codes,
                nested.codes(),
                bytemuck::cast_slice(nested.map()),
                bytemuck::cast_slice(nested.largest()),
                bytemuck::bytes_of(&nested.offset),
            ],
        }
    }

    /// Hints that the matrix was used for the last time, so that the pages of its file need not stay in memory.
    pub fn release(&self) {
        self.codes.release();
    }

    /// The position of the first weight of the first block whose weights are not finite.
    pub(crate) fn first_not_finite(&self) -> Option<usize> {
        let block = (0..self.scales.len())
            .into_par_iter()
            .find_first(|&block| !rounded(self.scales.scale(block), self.rounding).is_finite())?;
        Some(block * WEIGHTS_PER_SCALE)
    }
}

/// Some elements of a matrix, counted row by row.
fn elements(
    range: Range<usize>,
    columns: usize,
    rounding: StoredType,
    copy_row: &impl Fn(usize, &mut [f32]),
) -> Vec<f32> {
    let mut elements = Vec::with_capacity(range.len());
    let mut values = vec![0.0; columns];
    for row in range.start / columns..range.end.div_ceil(columns) {
        copy_row(row, &mut values);
        let start = range.start.max(row * columns) - row * columns;
        let end = range.end.min((row + 1) * columns) - row * columns;
        elements.extend(values[start..end].iter().map(|&value| rounded(value, rounding)));
    }
    elements
}
