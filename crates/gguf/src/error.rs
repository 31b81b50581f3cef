//! What can be wrong with a file.

use std::io;
use std::path::PathBuf;

use crate::TensorType;

/// Why a GGUF file was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The operating system reported an error.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it reported.
        source: io::Error,
    },
    /// The file is damaged, or uses something that this library doesn't support.
    #[error("{}: {malformed}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        malformed: Malformed,
    },
    /// The parts of a split model don't fit together.
    #[error("{}: {problem}", path.display())]
    Split {
        /// The part.
        path: PathBuf,
        /// What is wrong.
        problem: SplitProblem,
    },
}

impl ReadError {
    /// What the user can do about it, if that is known.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("check the path; the parts of a split model must be in one folder")
            }
            Self::Io { .. } => None,
            Self::Malformed { malformed, .. } => malformed.problem.hint(),
            Self::Split { problem, .. } => Some(problem.hint()),
        }
    }
}

/// A problem of a file's content, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: {problem}")]
pub struct Malformed {
    /// Offset of the bytes that are wrong, from the start of the file.
    pub offset: u64,
    /// What is wrong with them.
    pub problem: Problem,
}

/// What is wrong with the content of a GGUF file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The first four bytes aren't `GGUF`.
    #[error("not a GGUF file: it starts with \"{}\" instead of \"GGUF\"", found.escape_ascii())]
    Magic {
        /// The first bytes, at most four.
        found: Vec<u8>,
    },
    /// The file was written for big-endian machines.
    #[error("the file is big-endian; only little-endian files are supported")]
    BigEndian,
    /// An unsupported version of the format.
    #[error("GGUF version {version} is not supported; versions 2 and 3 are")]
    Version {
        /// The version found.
        version: u32,
    },
    /// The file ends too early.
    #[error("the file ends within {item}: {needed} more bytes are needed, but only {left} are left")]
    Truncated {
        /// What is cut off.
        item: String,
        /// The number of bytes needed.
        needed: u64,
        /// The number of bytes left.
        left: u64,
    },
    /// A count that is larger than the file allows.
    #[error("{item} declares {count} entries, but the rest of the file can hold at most {most}")]
    Count {
        /// What declares the count.
        item: String,
        /// The count.
        count: u64,
        /// The largest possible number.
        most: u64,
    },
    /// Metadata and tensor descriptions are larger than those of any real model.
    #[error("metadata and tensor descriptions take more than {limit} bytes")]
    HeadTooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// Text that isn't UTF-8.
    #[error("{item} is not valid UTF-8")]
    Utf8 {
        /// What holds the text.
        item: String,
    },
    /// A key of metadata is empty or too long.
    #[error("metadata key {index} has {length} bytes; allowed are 1 to 65535")]
    KeyLength {
        /// Position of the key, from 0.
        index: u64,
        /// Its length in bytes.
        length: u64,
    },
    /// A key of metadata occurs twice.
    #[error("metadata key {key:?} occurs twice")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// A value of an unknown type.
    #[error("metadata key {key:?} has a value of type {code}; known are 0 to 12")]
    ValueType {
        /// The key.
        key: String,
        /// The number of the type.
        code: u32,
    },
    /// Arrays inside arrays, too deep.
    #[error("metadata key {key:?} nests arrays more than {limit} deep")]
    Nesting {
        /// The key.
        key: String,
        /// The limit.
        limit: usize,
    },
    /// A Boolean that is neither 0 nor 1.
    #[error("metadata key {key:?} has a Boolean stored as {byte}; only 0 and 1 are valid")]
    Boolean {
        /// The key.
        key: String,
        /// The byte found.
        byte: u8,
    },
    /// An invalid alignment.
    #[error("general.alignment is {found}; it must be a power of two of type u32, at most {largest}")]
    Alignment {
        /// The value found.
        found: String,
        /// The largest alignment that is accepted.
        largest: u32,
    },
    /// A tensor's name is empty or too long.
    #[error("the name of tensor {index} has {length} bytes; allowed are 1 to {most}")]
    TensorNameLength {
        /// Position of the tensor, from 0.
        index: u64,
        /// Length of the name in bytes.
        length: u64,
        /// The most bytes that a name may have.
        most: usize,
    },
    /// A tensor's name occurs twice.
    #[error("tensor {name:?} occurs twice")]
    DuplicateTensor {
        /// The tensor.
        name: String,
    },
    /// A tensor with too few or too many dimensions.
    #[error("tensor {name:?} has {count} dimensions; allowed are 1 to 4")]
    Dimensions {
        /// The tensor.
        name: String,
        /// The number of its dimensions.
        count: u32,
    },
    /// A tensor with a dimension of zero, or more values than can be counted.
    #[error("tensor {name:?} has the shape {shape:?}; each dimension and their product must be from 1 to 2^63 - 1")]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape, slowest dimension first.
        shape: Vec<u64>,
    },
    /// A type code that ggml doesn't define.
    #[error("tensor {name:?} has type {code}, which ggml doesn't define")]
    UnknownTensorType {
        /// The tensor.
        name: String,
        /// The number found.
        code: u32,
    },
    /// A type of ggml that this library doesn't read.
    #[error("tensor {name:?} has type {tensor_type}, which is not supported")]
    UnsupportedTensorType {
        /// The tensor.
        name: String,
        /// ggml's name of the type.
        tensor_type: &'static str,
    },
    /// Rows that aren't whole blocks.
    #[error("tensor {name:?} has rows of {columns} values; a row of {tensor_type} needs a multiple of {}", tensor_type.block_len())]
    RowLength {
        /// The tensor.
        name: String,
        /// Values in a row.
        columns: u64,
        /// Its type.
        tensor_type: TensorType,
    },
    /// A tensor whose data isn't aligned.
    #[error("tensor {name:?} has the data offset {start}, which is not a multiple of the alignment {alignment}")]
    Unaligned {
        /// The tensor.
        name: String,
        /// Its offset from the start of the tensor data.
        start: u64,
        /// The alignment of the file.
        alignment: u64,
    },
    /// A tensor whose data reaches beyond the end of the file.
    #[error("tensor {name:?} occupies {length} bytes from byte {start} on, but the file has only {size} bytes")]
    OutsideFile {
        /// The tensor.
        name: String,
        /// Where it starts, from the start of the file.
        start: u64,
        /// Its length in bytes.
        length: u64,
        /// The size of the file.
        size: u64,
    },
    /// Two tensors that share bytes.
    #[error("tensors {first:?} and {second:?} overlap")]
    Overlap {
        /// The tensor that starts first.
        first: String,
        /// The tensor that starts inside it.
        second: String,
    },
}

impl Problem {
    /// What the user can do about it, if that is known.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Magic { .. } => Some("it may be a Git LFS pointer or a failed download; download the model itself"),
            Self::BigEndian => {
                Some("convert it with gguf-py's gguf-convert-endian, or download the little-endian file")
            }
            Self::Version { .. } => Some("convert the model again with a current llama.cpp"),
            Self::Truncated { .. } | Self::Count { .. } | Self::OutsideFile { .. } => {
                Some("the file is incomplete or damaged; download it again")
            }
            Self::UnsupportedTensorType { .. } => Some(
                "use a file with F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K or Q6_K (such as Q4_K_M)",
            ),
            _ => None,
        }
    }
}

/// What is wrong with the parts of a split model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitProblem {
    /// The other parts can't be found because of the file's name.
    #[error("the file is one of {count} parts of a model, but its name does not end in \"-NNNNN-of-{count:05}.gguf\"")]
    Name {
        /// The number of parts.
        count: u64,
    },
    /// A key that disagrees with the file's name or with the other parts.
    #[error("{key} is {}, expected {expected}", found.map_or("missing".to_owned(), |found| found.to_string()))]
    Key {
        /// The key.
        key: &'static str,
        /// Its value.
        found: Option<u64>,
        /// What it should be.
        expected: u64,
    },
    /// A tensor that occurs in two parts.
    #[error("tensor {name:?} also occurs in another part")]
    DuplicateTensor {
        /// The tensor.
        name: String,
    },
}

impl SplitProblem {
    fn hint(&self) -> &'static str {
        match self {
            Self::Name { .. } => "rename the parts to the names they were published under",
            Self::Key { .. } | Self::DuplicateTensor { .. } => {
                "all parts must come from one model; download them again into an empty folder"
            }
        }
    }
}

/// Why metadata can't be understood.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MetadataError {
    /// A key is missing.
    #[error("metadata key {key:?} is missing")]
    Missing {
        /// The key.
        key: String,
    },
    /// A value of the wrong type or out of range.
    #[error("metadata key {key:?} is {found}, expected {expected}")]
    Unexpected {
        /// The key.
        key: String,
        /// The value, or what kind of value it is.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// Something valid that this library doesn't support.
    #[error("metadata key {key:?} is {found}, which is not supported (supported: {supported})")]
    Unsupported {
        /// The key.
        key: String,
        /// The value.
        found: String,
        /// What is supported.
        supported: &'static str,
    },
}

impl MetadataError {
    /// The key.
    pub fn key(&self) -> &str {
        match self {
            Self::Missing { key } | Self::Unexpected { key, .. } | Self::Unsupported { key, .. } => key,
        }
    }
}
