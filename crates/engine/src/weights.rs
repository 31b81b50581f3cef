//! Matrices of weights: owned in the computing type, stored in the type of their file, quantised, or packed for products
//! in bf16.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;
use tabpo_model::{BlockMatrix, Nf4Matrix, SharedBytes, StoredMatrix, StoredType, StoredValues};

use crate::ops::bf16::Columns;
use crate::ops::rows_per_task;
use crate::ops::transpose::transpose;
use crate::real::Real;
use crate::scratch::ThreadScratch;
use crate::view::{Bands, View, ViewMut, for_each_tile};

/// Widens little-endian elements.
fn widen<R: Real>(stored: StoredType, bytes: &[u8], out: &mut [R]) {
    assert_eq!(bytes.len(), out.len() * stored.bytes());
    crate::ops::simd(
        #[inline(always)]
        || match stored {
            StoredType::F32 => {
                for (value, b) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                    *value = R::from_f32(f32::from_le_bytes(*b));
                }
            }
            StoredType::F16 => {
                for (value, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *value = R::from_f32(half::f16::from_le_bytes(*b).to_f32());
                }
            }
            StoredType::Bf16 => {
                for (value, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *value = R::from_f32(f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16));
                }
            }
        },
    );
}

/// Where the elements of a [`Matrix`] are.
#[derive(Clone)]
enum Storage<R> {
    Owned(Vec<R>),
    Stored {
        bytes: SharedBytes,
        offset: usize,
        stored: StoredType,
    },
    /// Quantised, as in a GGUF file.
    Blocks(BlockMatrix),
    /// Quantised to 4 bits.
    Nf4(Nf4Matrix),
    /// Only if the computing type is `f32`.
    Packed(Arc<Columns>),
}

/// A row-major matrix of weights, `[rows, columns]` as in its Hugging Face tensor
/// (`[outputs, inputs]` for a projection).
#[derive(Clone)]
pub struct Matrix<R> {
    rows: usize,
    columns: usize,
    storage: Storage<R>,
}

impl<R> fmt::Debug for Matrix<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stored = match &self.storage {
            Storage::Owned(_) => "owned".to_owned(),
            Storage::Stored { stored, .. } => format!("stored as {stored:?}"),
            Storage::Blocks(blocks) => format!("stored as {}", blocks.type_name()),
            Storage::Nf4(_) => format!("stored as {}", Nf4Matrix::NAME),
            Storage::Packed(_) => "packed in bf16".to_owned(),
        };
        write!(f, "Matrix([{}, {}], {stored})", self.rows, self.columns)
    }
}

impl<R: Real> Matrix<R> {
    /// A matrix that owns its elements.
    ///
    /// # Panics
    /// If `values` does not have `rows * columns` elements.
    pub fn owned(rows: usize, columns: usize, values: Vec<R>) -> Self {
        assert_eq!(values.len(), rows * columns, "a [{rows}, {columns}] matrix");
        Self { rows, columns, storage: Storage::Owned(values) }
    }

    /// A matrix of zeros.
    pub fn zeros(rows: usize, columns: usize) -> Self {
        Self::owned(rows, columns, vec![R::ZERO; rows * columns])
    }

    /// A matrix that keeps the type of its file and is widened block by block when it is used. It cannot be
    /// trained.
    ///
    /// # Panics
    /// If `bytes` ends before the last element.
    pub fn stored(rows: usize, columns: usize, stored: StoredType, bytes: SharedBytes, offset: usize) -> Self {
        let end = offset + rows * columns * stored.bytes();
        assert!(bytes.bytes().len() >= end, "a [{rows}, {columns}] matrix ends at byte {end}");
        Self { rows, columns, storage: Storage::Stored { bytes, offset, stored } }
    }

    /// A matrix from a file: f32 is copied, other types stay in the file.
    pub(crate) fn from_file(matrix: StoredMatrix) -> Self {
        let StoredMatrix { rows, columns, values } = matrix;
        match values {
            StoredValues::Plain { stored: StoredType::F32, bytes, offset } => {
                let range = offset..offset + rows * columns * StoredType::F32.bytes();
                let mut values = vec![R::ZERO; rows * columns];
                widen(StoredType::F32, &bytes.bytes()[range.clone()], &mut values);
                bytes.release(range);
                Self::owned(rows, columns, values)
            }
            StoredValues::Plain { stored, bytes, offset } => Self::stored(rows, columns, stored, bytes, offset),
            StoredValues::Blocks(blocks) => Self { rows, columns, storage: Storage::Blocks(blocks) },
            StoredValues::Nf4(matrix) => matrix.into(),
        }
    }

    /// Number of rows (outputs of a projection).
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns (inputs of a projection).
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The elements, if the matrix owns them.
    pub fn as_owned(&self) -> Option<&[R]> {
        match &self.storage {
            Storage::Owned(values) => Some(values),
            Storage::Stored { .. } | Storage::Blocks(_) | Storage::Nf4(_) | Storage::Packed(_) => None,
        }
    }

    /// The elements, if the matrix owns them.
    pub fn as_owned_mut(&mut self) -> Option<&mut [R]> {
        match &mut self.storage {
            Storage::Owned(values) => Some(values),
            Storage::Stored { .. } | Storage::Blocks(_) | Storage::Nf4(_) | Storage::Packed(_) => None,
        }
    }

    /// The elements with their type, if the matrix keeps the type of its file.
    pub fn as_stored(&self) -> Option<(StoredType, &[u8])> {
        match &self.storage {
            Storage::Owned(_) | Storage::Blocks(_) | Storage::Nf4(_) | Storage::Packed(_) => None,
            Storage::Stored { bytes, offset, stored } => {
                let length = self.rows * self.columns * stored.bytes();
                Some((*stored, &bytes.bytes()[*offset..*offset + length]))
            }
        }
    }

    /// The quantised elements, if the matrix keeps them as its GGUF file has them.
    pub(crate) fn as_blocks(&self) -> Option<&BlockMatrix> {
        if let Storage::Blocks(blocks) = &self.storage { Some(blocks) } else { None }
    }

    /// Codes and scales, if the matrix is kept in NF4.
    pub fn as_nf4(&self) -> Option<&Nf4Matrix> {
        if let Storage::Nf4(matrix) = &self.storage { Some(matrix) } else { None }
    }

    /// The packed elements, if the matrix is packed for products in bf16.
    pub(crate) fn as_packed(&self) -> Option<&Columns> {
        match &self.storage {
            Storage::Packed(columns) => Some(columns),
            Storage::Owned(_) | Storage::Stored { .. } | Storage::Blocks(_) | Storage::Nf4(_) => None,
        }
    }

    /// The elements as they are in memory, for a digest: in the computing type, in the file's type, quantised with all that
    /// they are widened with, or packed.
    pub(crate) fn parts(&self) -> Vec<&[u8]> {
        match &self.storage {
            Storage::Owned(values) => vec![bytemuck::cast_slice(values)],
            Storage::Packed(columns) => vec![columns.as_bytes()],
            Storage::Blocks(blocks) => vec![blocks.bytes()],
            Storage::Nf4(matrix) => matrix.parts(),
            Storage::Stored { .. } => vec![self.as_stored().expect("the storage is stored").1],
        }
    }

    /// The name of the format that the elements are computed with where it is not the computing type, for a digest.
    pub(crate) fn format(&self) -> Option<&'static str> {
        match &self.storage {
            Storage::Packed(_) => Some("bf16"),
            Storage::Blocks(blocks) => Some(blocks.type_name()),
            Storage::Nf4(_) => Some(Nf4Matrix::NAME),
            Storage::Owned(_) | Storage::Stored { .. } => None,
        }
    }

    /// Hints that the matrix was used for the last time, so that the pages of its file need not stay in memory.
    pub(crate) fn release(&self) {
        match &self.storage {
            Storage::Stored { bytes, offset, stored } => {
                bytes.release(*offset..offset + self.rows * self.columns * stored.bytes());
            }
            Storage::Nf4(matrix) => matrix.release(),
            Storage::Owned(_) | Storage::Blocks(_) | Storage::Packed(_) => {}
        }
    }

    /// The name of the format that the elements are kept in.
    pub(crate) fn kept_as(&self) -> &'static str {
        let name = |stored| match stored {
            StoredType::F32 => "f32",
            StoredType::F16 => "f16",
            StoredType::Bf16 => "bf16",
        };
        match &self.storage {
            Storage::Owned(_) => {
                if size_of::<R>() == 8 {
                    "f64"
                } else {
                    name(StoredType::F32)
                }
            }
            Storage::Stored { stored, .. } => name(*stored),
            Storage::Blocks(_) | Storage::Nf4(_) | Storage::Packed(_) => self.format().expect("these have a format"),
        }
    }

    /// Whether the elements are packed for products in bf16.
    pub(crate) fn is_packed(&self) -> bool {
        self.as_packed().is_some()
    }

    /// Converts stored or packed elements to owned ones, so that the matrix can be trained.
    pub fn make_owned(&mut self) -> &mut [R] {
        if let Some(columns) = self.as_packed() {
            let mut values = vec![R::ZERO; self.rows * self.columns];
            for (row, values) in values.chunks_exact_mut(self.columns.max(1)).enumerate() {
                columns.copy_column(row, values);
            }
            self.storage = Storage::Owned(values);
        }
        if matches!(self.storage, Storage::Stored { .. } | Storage::Blocks(_) | Storage::Nf4(_)) {
            let mut values = vec![R::ZERO; self.rows * self.columns];
            for (row, values) in values.chunks_exact_mut(self.columns.max(1)).enumerate() {
                self.widen(row, 0..self.columns, values);
            }
            self.storage = Storage::Owned(values);
        }
        self.as_owned_mut().expect("the storage was just made owned")
    }

    /// Copies one row, widened, into `out` of `columns` elements.
    pub fn copy_row(&self, row: usize, out: &mut [R]) {
        match &self.storage {
            Storage::Owned(values) => out.copy_from_slice(&values[row * self.columns..(row + 1) * self.columns]),
            Storage::Stored { .. } | Storage::Blocks(_) | Storage::Nf4(_) => self.widen(row, 0..self.columns, out),
            Storage::Packed(columns) => columns.copy_column(row, out),
        }
    }

    /// Widens some columns of a row that is stored in the type of its file.
    fn widen(&self, row: usize, columns: Range<usize>, out: &mut [R]) {
        /// Puts widened elements where they belong.
        #[inline(always)]
        #[allow(clippy::inline_always, reason = "vector instructions reach only what is inlined")]
        fn put<R: Real>(out: &mut [R], start: usize, values: &[f32]) {
            for (out, &value) in out[start..].iter_mut().zip(values) {
                *out = R::from_f32(value);
            }
        }
        match &self.storage {
            Storage::Blocks(blocks) => crate::ops::simd(
                #[inline(always)]
                || {
                    blocks.widen(
                        row,
                        columns,
                        #[inline(always)]
                        |start, values| put(out, start, values),
                    );
                },
            ),
            Storage::Nf4(matrix) => crate::ops::simd(
                #[inline(always)]
                || {
                    matrix.widen(
                        row,
                        columns,
                        #[inline(always)]
                        |start, values| put(out, start, values),
                    );
                },
            ),
            Storage::Stored { .. } => {
                let (stored, bytes) = self.as_stored().expect("the storage is stored");
                let start = (row * self.columns + columns.start) * stored.bytes();
                widen(stored, &bytes[start..start + columns.len() * stored.bytes()], out);
            }
            Storage::Owned(_) | Storage::Packed(_) => unreachable!("only stored elements are widened"),
        }
    }

    /// A block of the matrix in the computing type: a view of owned elements, or a widened copy of stored ones
    /// in `scratch`, which grows if necessary. Packed matrices have no blocks: they have products of their own.
    pub(crate) fn block<'a>(
        &'a self,
        rows: Range<usize>,
        columns: Range<usize>,
        scratch: &'a mut Vec<R>,
    ) -> View<'a, R> {
        match &self.storage {
            Storage::Owned(values) => View::new(values, self.rows, self.columns).rows(rows).columns(columns),
            Storage::Stored { .. } | Storage::Blocks(_) | Storage::Nf4(_) => {
                let (height, width) = (rows.len(), columns.len());
                if scratch.len() < height * width {
                    scratch.resize(height * width, R::ZERO);
                }
                for (row, out) in rows.zip(scratch.chunks_exact_mut(width)) {
                    self.widen(row, columns.clone(), out);
                }
                View::new(&scratch[..height * width], height, width)
            }
            Storage::Packed(_) => unreachable!("packed elements have products of their own"),
        }
    }

    /// Some rows in the computing type as the columns of `target`, `[columns, rows.len()]`; in parallel.
    pub(crate) fn transpose_rows(&self, rows: Range<usize>, target: &mut [R], scratch: &ThreadScratch<R>) {
        /// Rows of a task.
        const ROWS: usize = 48;
        let target = ViewMut::new(target, self.columns, rows.len());
        for_each_tile([target], Bands::Every(self.columns), [ROWS], |[tile], position| {
            let first = rows.start + position.column * ROWS;
            scratch.with(|scratch| {
                transpose(self.block(first..first + tile.width(), 0..self.columns, scratch), tile);
            });
        });
    }

    /// Some columns of a stored matrix in the computing type, `[rows, columns.len()]`; in parallel.
    pub(crate) fn widen_columns(&self, columns: Range<usize>, target: &mut [R]) {
        let width = columns.len();
        let rows = rows_per_task(width);
        target.par_chunks_mut(rows * width).enumerate().for_each(|(task, target)| {
            for (row, target) in target.chunks_exact_mut(width).enumerate() {
                self.widen(task * rows + row, columns.clone(), target);
            }
        });
    }
}

impl<R> From<Nf4Matrix> for Matrix<R> {
    fn from(matrix: Nf4Matrix) -> Self {
        Self { rows: matrix.rows(), columns: matrix.columns(), storage: Storage::Nf4(matrix) }
    }
}

impl Matrix<f32> {
    /// Rounds the elements to bf16 and packs them for products, at two bytes each. The matrix can no longer be
    /// trained.
    pub(crate) fn pack(&mut self) {
        if !self.is_packed() {
            let columns = Columns::of_weights(self.rows, self.columns, |row, out| self.copy_row(row, out));
            self.storage = Storage::Packed(Arc::new(columns));
        }
    }
}
