//! Files and their tensors.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::blocks::{self, BlockError};
use crate::error::{Malformed, ReadError, SplitProblem};
use crate::metadata::Metadata;
use crate::parse::{Head, TensorInfo};
use crate::split::Split;
use crate::storage::Storage;
use crate::tensor_type::TensorType;

/// A model in one or several GGUF files, with everything in their heads checked.
///
/// The files are mapped: opening costs little more than reading the metadata, and a tensor is read
/// from disk when it is used.
pub struct Gguf {
    files: Vec<PathBuf>,
    version: u32,
    metadata: Metadata,
    tensors: Vec<Tensor>,
    index: HashMap<String, usize>,
}

impl Gguf {
    /// Opens a file. If it is one part of a split model (`NAME-00001-of-00003.gguf`), all parts are opened;
    /// `path` may name any of them. The metadata is that of the first part.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let opened = Self::open_file(path)?;
        let Some(split) = Split::of(&opened.metadata) else { return Ok(opened) };
        let at = |path: &Path| {
            let path = path.to_owned();
            move |problem| ReadError::Split { path, problem }
        };
        let open_part = |index| {
            let path = split.part(path, index).map_err(at(path))?;
            let part = Self::open_file(&path)?;
            split.check_part(&part.metadata, index).map_err(at(&path))?;
            Ok(part)
        };
        let mut model = open_part(0)?;
        for index in 1..split.count {
            let part = open_part(index)?;
            for tensor in part.tensors {
                model.add(tensor).map_err(|problem| ReadError::Split { path: part.files[0].clone(), problem })?;
            }
            model.files.extend(part.files);
        }
        split.check_tensor_count(model.tensors.len() as u64).map_err(at(path))?;
        Ok(model)
    }

    /// Reads a file that is in memory. A part of a split model is read as it is.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, Malformed> {
        Self::of(Storage::Memory(bytes))
    }

    fn open_file(path: &Path) -> Result<Self, ReadError> {
        let storage = Storage::map(path).map_err(|source| ReadError::Io { path: path.into(), source })?;
        let model = Self::of(storage).map_err(|malformed| ReadError::Malformed { path: path.into(), malformed })?;
        Ok(Self { files: vec![path.into()], ..model })
    }

    fn of(storage: Storage) -> Result<Self, Malformed> {
        let head = Head::parse(storage.bytes())?;
        let storage = Arc::new(storage);
        let tensor = |info| Tensor { info: Arc::new(info), storage: Arc::clone(&storage) };
        let tensors: Vec<Tensor> = head.tensors.into_iter().map(tensor).collect();
        let index = tensors.iter().enumerate().map(|(index, tensor)| (tensor.name().to_owned(), index)).collect();
        Ok(Self { files: Vec::new(), version: head.version, metadata: head.metadata, tensors, index })
    }

    /// Adds a tensor of another part.
    fn add(&mut self, tensor: Tensor) -> Result<(), SplitProblem> {
        if self.index.insert(tensor.name().to_owned(), self.tensors.len()).is_some() {
            return Err(SplitProblem::DuplicateTensor { name: tensor.name().to_owned() });
        }
        self.tensors.push(tensor);
        Ok(())
    }

    /// The files that the model was opened from, in the order of their parts; none if it was read from memory.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The version of the format: 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The key–value pairs.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// All tensors in the order of the files.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The tensor with a name.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.index.get(name).map(|&index| &self.tensors[index])
    }
}

impl fmt::Debug for Gguf {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Gguf")
            .field("version", &self.version)
            .field("pairs", &self.metadata.len())
            .field("tensors", &self.tensors)
            .finish_non_exhaustive()
    }
}

/// A tensor of a file. Clones share the file and keep it mapped.
#[derive(Clone)]
pub struct Tensor {
    info: Arc<TensorInfo>,
    storage: Arc<Storage>,
}

impl Tensor {
    /// The name.
    pub fn name(&self) -> &str {
        &self.info.name
    }

    /// The dimensions, slowest first as in NumPy and safetensors (GGUF stores them in reverse): 1 to 4, none
    /// of them zero.
    pub fn shape(&self) -> &[usize] {
        &self.info.shape
    }

    /// The number format.
    pub fn tensor_type(&self) -> TensorType {
        self.info.tensor_type
    }

    /// The number of values in a row: the last dimension.
    pub fn columns(&self) -> usize {
        self.info.shape[self.info.shape.len() - 1]
    }

    /// The number of rows: the product of all other dimensions, 1 for a vector.
    pub fn rows(&self) -> usize {
        self.info.shape[..self.info.shape.len() - 1].iter().product()
    }

    /// The number of bytes in a row.
    pub fn row_bytes(&self) -> usize {
        self.info.bytes.len() / self.rows()
    }

    /// The bytes of all rows, as stored in the file.
    pub fn bytes(&self) -> &[u8] {
        &self.storage.bytes()[self.info.bytes.clone()]
    }

    /// The position of these bytes in their file.
    pub fn file_range(&self) -> Range<usize> {
        self.info.bytes.clone()
    }

    /// Writes the values of a range of rows to `out`, which must have exactly their number.
    pub fn dequantise_rows(&self, rows: Range<usize>, out: &mut [f32]) -> Result<(), BlockError> {
        if rows.start > rows.end || rows.end > self.rows() {
            return Err(BlockError::Rows { start: rows.start, end: rows.end, rows: self.rows() });
        }
        let bytes = rows.start * self.row_bytes()..rows.end * self.row_bytes();
        blocks::dequantise(self.tensor_type(), &self.bytes()[bytes], out)
    }

    /// All values, row after row.
    pub fn dequantise(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.rows() * self.columns()];
        blocks::dequantise_exactly(self.tensor_type(), self.bytes(), &mut values);
        values
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {} {:?}", self.info.name, self.info.tensor_type, self.info.shape)
    }
}
