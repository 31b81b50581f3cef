//! Tensors as they are stored in a file.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;
use tabpo_gguf::Tensor;
use tabpo_gguf::blocks::dequantise_here;
use tabpo_gguf::names::RowOrder;

use crate::nf4::Nf4Matrix;

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

/// Where the elements of a stored matrix are, row by row.
#[derive(Clone)]
pub enum StoredValues {
    /// One after the other.
    Plain {
        /// Type of the elements.
        stored: StoredType,
        /// The file.
        bytes: SharedBytes,
        /// The first byte of the matrix in the file.
        offset: usize,
    },
    /// Quantised in blocks.
    Blocks(BlockMatrix),
    /// Quantised to 4 bits.
    Nf4(Nf4Matrix),
}

/// A matrix in a file, or a vector as a matrix of one row. Every element is finite.
#[derive(Clone)]
pub struct StoredMatrix {
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub columns: usize,
    /// The elements.
    pub values: StoredValues,
}

impl std::fmt::Debug for StoredMatrix {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match &self.values {
            StoredValues::Plain { stored, .. } => format!("{stored:?}"),
            StoredValues::Blocks(blocks) => blocks.type_name().to_owned(),
            StoredValues::Nf4(_) => Nf4Matrix::NAME.to_owned(),
        };
        write!(formatter, "StoredMatrix([{}, {}], {kind})", self.rows, self.columns)
    }
}

/// The elements of a tensor that is written: a matrix, or a vector as a matrix of one row.
pub trait WrittenTensor {
    /// Copies one row to `out`, which has as many elements as a row.
    fn copy_row(&self, row: usize, out: &mut [f32]);

    /// The quantised elements, if the tensor comes from a GGUF file that has them.
    fn blocks(&self) -> Option<&BlockMatrix> {
        None
    }
}

/// Elements that are widened at a time: a multiple of the length of every block.
const CHUNK: usize = 256;

/// A matrix of a GGUF file whose rows are quantised in blocks. Clones share the file.
#[derive(Clone)]
pub struct BlockMatrix {
    tensor: Tensor,
    /// Rows of a head, where the file has the rows of each head in llama.cpp's order.
    head_length: Option<usize>,
}

impl BlockMatrix {
    /// A tensor of a file; `head_length`, an even divisor of its rows, says that the rows of each head are in
    /// llama.cpp's order.
    pub(crate) fn new(tensor: Tensor, head_length: Option<usize>) -> Self {
        Self { tensor, head_length }
    }

    pub(crate) fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// Whether the rows are reordered when they are widened, because the file has them in llama.cpp's order.
    pub(crate) fn is_in_file_order(&self) -> bool {
        self.head_length.is_some()
    }

    /// The elements as the file has them.
    pub fn bytes(&self) -> &[u8] {
        self.tensor.bytes()
    }

    /// The name of the block format (`Q4_K`).
    pub fn type_name(&self) -> &'static str {
        self.tensor.tensor_type().name()
    }

    /// Widens some columns of a row and hands them out in pieces, each with its first column counted from the
    /// start of `columns`. It is inlined, so that it uses the vector instructions that its caller is compiled for.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "vector instructions reach only what is inlined")]
    pub fn widen(&self, row: usize, columns: Range<usize>, mut piece: impl FnMut(usize, &[f32])) {
        let kind = self.tensor.tensor_type();
        let row = self.head_length.map_or(row, |length| RowOrder::ToHuggingFace.source(row, length));
        let bytes = &self.tensor.bytes()[row * self.tensor.row_bytes()..][..self.tensor.row_bytes()];
        let mut values = [0.0_f32; CHUNK];
        let mut start = columns.start / CHUNK * CHUNK;
        while start < columns.end {
            let end = (start + CHUNK).min(self.tensor.columns());
            let blocks = |column: usize| column / kind.block_len() * kind.block_bytes();
            dequantise_here(kind, &bytes[blocks(start)..blocks(end)], &mut values[..end - start])
                .expect("a row has whole blocks, and so has a piece of it");
            let (first, last) = (start.max(columns.start), end.min(columns.end));
            piece(first - columns.start, &values[first - start..last - start]);
            start = end;
        }
    }

    /// The first row with an element that is infinite or not a number.
    pub(crate) fn first_row_not_finite(&self) -> Option<usize> {
        let columns = self.tensor.columns();
        (0..self.tensor.rows()).into_par_iter().find_first(|&row| {
            let mut finite = true;
            self.widen(row, 0..columns, |_, values| finite &= values.iter().all(|value| value.is_finite()));
            !finite
        })
    }
}
