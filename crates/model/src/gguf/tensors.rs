//! The tensors of a GGUF file under their Hugging Face names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tabpo_gguf::names::{self, ROPE_FREQUENCIES, RowOrder};
use tabpo_gguf::{Gguf, Hyperparameters, Tensor, TensorType};

use crate::config::ModelConfig;
use crate::folder::{FolderError, check_finite, check_shape, nearest};
use crate::stored::{BlockMatrix, SharedBytes, StoredMatrix, StoredType, StoredValues, TensorBytes};

/// The tensors of a file, and which of them have been taken.
pub(crate) struct GgufTensors {
    path: PathBuf,
    model: Gguf,
    hyperparameters: Hyperparameters,
    /// The tensors that have not been taken, by their Hugging Face names.
    left: BTreeMap<String, Tensor>,
}

/// All bytes of one tensor.
struct Whole(Tensor);

impl TensorBytes for Whole {
    fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }
}

impl GgufTensors {
    /// Opens a file, with the shape of its model.
    pub(crate) fn open(path: &Path) -> Result<(ModelConfig, Self), FolderError> {
        let model = super::open(path)?;
        let hyperparameters = super::hyperparameters(&model, path)?;
        let config = super::config::read(&model, &hyperparameters, path)?;
        let mut left = BTreeMap::new();
        for tensor in model.tensors().iter().filter(|tensor| tensor.name() != ROPE_FREQUENCIES) {
            let name = names::hugging_face(tensor.name()).unwrap_or_else(|| tensor.name().to_owned());
            left.insert(name, tensor.clone());
        }
        Ok((config, Self { path: path.into(), model, hyperparameters, left }))
    }

    /// The tensor of this name and shape; a vector is a matrix of one row.
    pub(crate) fn take(&mut self, name: &str, [rows, columns]: [usize; 2]) -> Result<StoredMatrix, FolderError> {
        let Some(tensor) = self.left.remove(name) else {
            let name = names::gguf(name).unwrap_or_else(|| name.to_owned());
            let nearest = nearest(&name, self.left.values().map(Tensor::name)).map(str::to_owned);
            return Err(FolderError::MissingTensor { path: self.path.clone(), name, nearest });
        };
        check_shape(&self.path, tensor.name(), tensor.shape(), [rows, columns])?;
        let heads = names::heads_to_reorder(tensor.name(), &self.hyperparameters);
        let stored = match tensor.tensor_type() {
            TensorType::F32 => Some(StoredType::F32),
            TensorType::F16 => Some(StoredType::F16),
            TensorType::BF16 => Some(StoredType::Bf16),
            _ => None,
        };
        let values = if let Some(stored) = stored {
            // A vector that is reordered has as many rows as values.
            let lines = tensor.shape()[0];
            let bytes: SharedBytes = match heads {
                None => Arc::new(Whole(tensor.clone())),
                Some(heads) => {
                    Arc::new(RowOrder::ToHuggingFace.reorder(tensor.bytes(), lines, heads).map_err(|error| {
                        FolderError::other_content(&self.path, format!("{}: {error}", tensor.name()))
                    })?)
                }
            };
            check_finite(&self.path, tensor.name(), bytes.bytes(), stored)?;
            StoredValues::Plain { stored, bytes, offset: 0 }
        } else {
            let head_length = heads.map(|heads| rows / heads as usize);
            if head_length.is_some_and(|length| length < 2 || length % 2 != 0 || rows % length != 0) {
                let problem = format!("{}: its rows cannot be divided among the heads", tensor.name());
                return Err(FolderError::other_content(&self.path, problem));
            }
            let blocks = BlockMatrix::new(tensor, head_length);
            if let Some(row) = blocks.first_row_not_finite() {
                let name = blocks.tensor().name().to_owned();
                return Err(FolderError::NotFinite { path: self.path.clone(), name, element: row * columns });
            }
            StoredValues::Blocks(blocks)
        };
        Ok(StoredMatrix { rows, columns, values })
    }

    /// Refuses tensors that were not taken.
    pub(crate) fn finish(self) -> Result<(), FolderError> {
        match self.left.into_values().next() {
            Some(tensor) => Err(FolderError::ExtraTensor {
                path: self.path,
                name: tensor.name().into(),
                architecture: format!("{} (GGUF version {})", self.hyperparameters.architecture, self.model.version()),
            }),
            None => Ok(()),
        }
    }
}
