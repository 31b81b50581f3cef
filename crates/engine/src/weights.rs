//! Matrices of weights: owned in the computing type, or left in the type of their file.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::real::Real;
use crate::view::View;

/// The element type of a tensor as it is stored, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoredType {
    /// 32-bit float.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    Bf16,
}

impl StoredType {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            StoredType::F32 => 4,
            StoredType::F16 | StoredType::Bf16 => 2,
        }
    }

    /// Widens little-endian elements.
    ///
    /// # Panics
    /// If `bytes` does not hold exactly `out.len()` elements.
    pub fn widen<R: Real>(self, bytes: &[u8], out: &mut [R]) {
        assert_eq!(bytes.len(), out.len() * self.bytes());
        crate::ops::simd(
            #[inline(always)]
            || match self {
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
}

/// Bytes that several tensors share: a memory map or an owned buffer.
pub type SharedBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Where the elements of a [`Matrix`] are.
#[derive(Clone)]
enum Storage<R> {
    Owned(Vec<R>),
    Stored { bytes: SharedBytes, offset: usize, stored: StoredType },
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

    /// A matrix that keeps the type of its file and is widened block by block when it is used.
    /// It takes no gradient and cannot be trained.
    ///
    /// # Panics
    /// If `bytes` ends before the last element.
    pub fn stored(rows: usize, columns: usize, stored: StoredType, bytes: SharedBytes, offset: usize) -> Self {
        let end = offset + rows * columns * stored.bytes();
        assert!((*bytes).as_ref().len() >= end, "a [{rows}, {columns}] matrix ends at byte {end}");
        Self { rows, columns, storage: Storage::Stored { bytes, offset, stored } }
    }

    /// Number of rows (outputs of a projection).
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns (inputs of a projection).
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The elements, where the matrix owns them.
    pub fn as_owned(&self) -> Option<&[R]> {
        match &self.storage {
            Storage::Owned(values) => Some(values),
            Storage::Stored { .. } => None,
        }
    }

    /// The elements, where the matrix owns them.
    pub fn as_owned_mut(&mut self) -> Option<&mut [R]> {
        match &mut self.storage {
            Storage::Owned(values) => Some(values),
            Storage::Stored { .. } => None,
        }
    }

    /// The elements with their type, where the matrix keeps the type of its file.
    pub fn as_stored(&self) -> Option<(StoredType, &[u8])> {
        match &self.storage {
            Storage::Owned(_) => None,
            Storage::Stored { bytes, offset, stored } => {
                let length = self.rows * self.columns * stored.bytes();
                Some((*stored, &(**bytes).as_ref()[*offset..*offset + length]))
            }
        }
    }

    /// Turns stored elements into owned ones, so that the matrix can be trained.
    pub fn make_owned(&mut self) -> &mut [R] {
        if let Some((stored, bytes)) = self.as_stored() {
            let mut values = vec![R::ZERO; self.rows * self.columns];
            stored.widen(bytes, &mut values);
            self.storage = Storage::Owned(values);
        }
        self.as_owned_mut().expect("the storage was just made owned")
    }

    /// Copies one row, widened, into `out` of `columns` elements.
    pub fn copy_row(&self, row: usize, out: &mut [R]) {
        let range = row * self.columns..(row + 1) * self.columns;
        match &self.storage {
            Storage::Owned(values) => out.copy_from_slice(&values[range]),
            Storage::Stored { .. } => {
                let (stored, bytes) = self.as_stored().expect("the storage is not owned");
                stored.widen(&bytes[range.start * stored.bytes()..range.end * stored.bytes()], out);
            }
        }
    }

    /// A block of the matrix in the computing type: a view of owned elements, or a widened copy in
    /// `scratch`, which grows to the largest block asked for.
    pub(crate) fn block<'a>(
        &'a self,
        rows: Range<usize>,
        columns: Range<usize>,
        scratch: &'a mut Vec<R>,
    ) -> View<'a, R> {
        match &self.storage {
            Storage::Owned(values) => View::new(values, self.rows, self.columns).rows(rows).columns(columns),
            Storage::Stored { .. } => {
                let (stored, bytes) = self.as_stored().expect("the storage is not owned");
                let size = stored.bytes();
                let (height, width) = (rows.len(), columns.len());
                if scratch.len() < height * width {
                    scratch.resize(height * width, R::ZERO);
                }
                for (row, out) in rows.zip(scratch.chunks_exact_mut(width)) {
                    let start = (row * self.columns + columns.start) * size;
                    stored.widen(&bytes[start..start + width * size], out);
                }
                View::new(&scratch[..height * width], height, width)
            }
        }
    }
}
