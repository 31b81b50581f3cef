//! Writing files.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tabpo_files::Replacement;

use crate::blocks::{self, BlockError};
use crate::error::Problem;
use crate::layout::{DEEPEST_ARRAY, check_key, check_shape, check_tensor_name};
use crate::metadata::Metadata;
use crate::parse::{self, MAGIC};
use crate::tensor_type::TensorType;
use crate::value::{Encode, Value};

/// The version of the format that is written.
const VERSION: u32 = 3;

/// A tensor that is going to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorDeclaration {
    /// The name: 1 to 63 bytes.
    pub name: String,
    /// The dimensions, slowest first: 1 to 4 of them, none zero.
    pub shape: Vec<usize>,
    /// The number format.
    pub tensor_type: TensorType,
}

impl TensorDeclaration {
    /// A declaration.
    pub fn new(name: impl Into<String>, shape: &[usize], tensor_type: TensorType) -> Self {
        Self { name: name.into(), shape: shape.to_vec(), tensor_type }
    }

    fn columns(&self) -> usize {
        self.shape.last().copied().unwrap_or(0)
    }

    fn dimensions(&self) -> Vec<u64> {
        self.shape.iter().map(|&dimension| dimension as u64).collect()
    }
}

/// Why a file was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The operating system reported an error.
    #[error("cannot write {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it reported.
        source: io::Error,
    },
    /// A name, key, shape or value that the format doesn't allow.
    #[error(transparent)]
    Invalid(#[from] Problem),
    /// Data of a tensor out of order.
    #[error("data for tensor {found:?} given, but {} is next", expected.as_ref().map_or("the end of the file".to_owned(), |name| format!("{name:?}")))]
    Order {
        /// The tensor that is next, in the order of declarations.
        expected: Option<String>,
        /// The tensor whose data was given.
        found: String,
    },
    /// More data than the shape of a tensor allows.
    #[error("tensor {name:?} needs {left} more bytes, but {given} were given")]
    TooLong {
        /// The tensor.
        name: String,
        /// The number of bytes missing.
        left: u64,
        /// The number of bytes given.
        given: u64,
    },
    /// The file was finished before all data was there.
    #[error("tensor {name:?} is missing {left} bytes")]
    Incomplete {
        /// The first incomplete tensor.
        name: String,
        /// The number of bytes missing.
        left: u64,
    },
    /// Values that can't be converted to the number format of their tensor.
    #[error("tensor {name:?}: {problem}")]
    Values {
        /// The tensor.
        name: String,
        /// What is wrong.
        problem: BlockError,
    },
}

/// Writes a file of version 3, tensor by tensor, so that only one of them has to be in memory.
///
/// The file appears under its name when [`finish`](Self::finish) is called; a writer that is dropped
/// earlier leaves nothing behind.
pub struct Writer {
    file: Replacement,
    path: PathBuf,
    /// Incomplete tensors and their missing bytes, the next one last.
    open: Vec<(TensorDeclaration, u64)>,
    alignment: u64,
    /// Bytes of tensor data written so far.
    position: u64,
}

impl Writer {
    /// Starts a file and writes everything but the data of tensors, which must follow in the order of
    /// `tensors`. The alignment is 32 unless `general.alignment` says otherwise.
    pub fn create(path: &Path, metadata: &Metadata, tensors: Vec<TensorDeclaration>) -> Result<Self, WriteError> {
        let alignment = u64::from(parse::alignment(metadata)?);
        let mut head = Vec::new();
        head.extend(MAGIC);
        VERSION.encode(&mut head);
        (tensors.len() as u64).encode(&mut head);
        (metadata.len() as u64).encode(&mut head);
        for (index, (key, value)) in metadata.iter().enumerate() {
            check_key(index as u64, key)?;
            if let Value::Array(array) = value
                && array.depth() > DEEPEST_ARRAY
            {
                return Err(Problem::Nesting { key: key.to_owned(), limit: DEEPEST_ARRAY }.into());
            }
            key.encode(&mut head);
            value.value_type().code().encode(&mut head);
            value.encode(&mut head);
        }
        let mut open = Vec::with_capacity(tensors.len());
        let mut names = HashSet::with_capacity(tensors.len());
        let mut start = 0_u64;
        for (index, tensor) in tensors.into_iter().enumerate() {
            check_tensor_name(index as u64, &tensor.name)?;
            let (_, length) = check_shape(&tensor.name, &tensor.dimensions(), tensor.tensor_type)?;
            let length = length as u64;
            if !names.insert(tensor.name.clone()) {
                return Err(Problem::DuplicateTensor { name: tensor.name }.into());
            }
            tensor.name.encode(&mut head);
            (tensor.shape.len() as u32).encode(&mut head);
            for dimension in tensor.dimensions().iter().rev() {
                dimension.encode(&mut head);
            }
            tensor.tensor_type.code().encode(&mut head);
            start.encode(&mut head);
            let end = start.checked_add(length).and_then(|end| end.checked_next_multiple_of(alignment));
            start = end.ok_or_else(|| Problem::Shape { name: tensor.name.clone(), shape: tensor.dimensions() })?;
            open.push((tensor, length));
        }
        open.reverse();
        let io = |source| WriteError::Io { path: path.into(), source };
        let file = Replacement::create(path).map_err(io)?;
        let mut writer = Self { file, path: path.into(), open, alignment, position: 0 };
        let padding = head.len().next_multiple_of(alignment as usize);
        head.resize(padding, 0);
        writer.put(&head)?;
        Ok(writer)
    }

    /// Appends data to the tensor `name`, which must be the first incomplete one. The data of a tensor may
    /// come in several pieces.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), WriteError> {
        let (tensor, left) = match self.open.last_mut() {
            Some((tensor, left)) if tensor.name == name => (tensor, left),
            next => {
                let expected = next.map(|(tensor, _)| tensor.name.clone());
                return Err(WriteError::Order { expected, found: name.to_owned() });
            }
        };
        let given = bytes.len() as u64;
        if given > *left {
            return Err(WriteError::TooLong { name: tensor.name.clone(), left: *left, given });
        }
        *left -= given;
        let complete = *left == 0;
        self.put(bytes)?;
        self.position += given;
        if complete {
            self.open.pop();
            let padding = self.position.next_multiple_of(self.alignment) - self.position;
            self.put(&vec![0; padding as usize])?;
            self.position += padding;
        }
        Ok(())
    }

    /// Converts whole rows to the number format of the tensor `name` and appends them, as
    /// [`write`](Self::write) does.
    pub fn write_values(&mut self, name: &str, values: &[f32]) -> Result<(), WriteError> {
        let bytes = match self.open.last() {
            Some((tensor, _)) if tensor.name == name => blocks::quantise(tensor.tensor_type, values, tensor.columns())
                .map_err(|problem| WriteError::Values { name: name.to_owned(), problem })?,
            // `write` reports the error.
            _ => Vec::new(),
        };
        self.write(name, &bytes)
    }

    /// Gives the file its name. Fails if data is missing.
    pub fn finish(self) -> Result<(), WriteError> {
        if let Some((tensor, left)) = self.open.into_iter().next_back() {
            return Err(WriteError::Incomplete { name: tensor.name, left });
        }
        self.file.finish().map_err(|source| WriteError::Io { path: self.path, source })
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.file.write_all(bytes).map_err(|source| WriteError::Io { path: self.path.clone(), source })
    }
}
