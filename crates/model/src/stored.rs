//! Tensors as they are stored in a file.

use std::ops::Range;
use std::sync::Arc;

/// The element type of a tensor in a file, little-endian.
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
}

/// A memory map or an owned buffer.
pub trait TensorBytes: Send + Sync {
    /// All bytes.
    fn bytes(&self) -> &[u8];

    /// Hints that a range has been copied, so that its pages need not stay in memory beside the copy.
    fn release(&self, _range: Range<usize>) {}
}

impl TensorBytes for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }
}

/// Bytes that several tensors share.
pub type SharedBytes = Arc<dyn TensorBytes>;

/// A matrix in a file, row by row, or a vector as a matrix of one row. Every element is finite.
#[derive(Clone)]
pub struct StoredMatrix {
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub columns: usize,
    /// Type of the elements.
    pub stored: StoredType,
    /// The file.
    pub bytes: SharedBytes,
    /// The first byte of the matrix in the file.
    pub offset: usize,
}

impl StoredMatrix {
    /// The elements as they are stored.
    pub fn elements(&self) -> &[u8] {
        &self.bytes.bytes()[self.range()]
    }

    /// Lets the system drop the pages of the elements once they have been copied.
    pub fn release(&self) {
        self.bytes.release(self.range());
    }

    fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.rows * self.columns * self.stored.bytes()
    }
}

impl std::fmt::Debug for StoredMatrix {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "StoredMatrix([{}, {}], {:?})", self.rows, self.columns, self.stored)
    }
}
