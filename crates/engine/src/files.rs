//! Reads and writes models and adapters.

use std::borrow::Cow;
use std::path::Path;

use half::{bf16, f16};
use safetensors::{Dtype, View};
use tabpo_model::{
    AdapterFolder, FolderError, GenerationTokens, ModelConfig, ModelFolder, SaveOptions, StoredType, save_model,
    save_model_like, take_companions, write_adapter, write_safetensors,
};

use crate::lora::{Lora, SavedModules};
use crate::model::{Model, TensorRef};
use crate::real::Real;
use crate::weights::Matrix;

impl<R: Real> Model<R> {
    /// Opens a Hugging Face folder: `config.json` with `model.safetensors`, or with shards and their
    /// index.
    ///
    /// Matrices in bf16 and f16 stay in the memory map and are widened when they are used, so that a model
    /// takes about as much memory as its file; f32 matrices, norms and biases are copied.
    pub fn open(folder: &Path) -> Result<Self, FolderError> {
        let mut stored = ModelFolder::open(folder)?;
        let config = stored.config().clone();
        let model = Self::from_tensors(config, |name, shape| stored.take(name, shape).map(Matrix::from_file))?;
        stored.finish()?;
        Ok(model)
    }

    /// Writes `config.json`, `generation_config.json` and the weights of a model trained from scratch. The
    /// tokenizer is written by [`Tokenizer::save`](tabpo_model::Tokenizer::save).
    pub fn save(&self, folder: &Path, options: &SaveOptions, tokens: &GenerationTokens) -> Result<(), FolderError> {
        save_model(folder, &self.config, self.saved_tensors(options.stored), options, tokens)
    }

    /// Writes the weights of a model derived from the one in `base`, and copies that folder's
    /// configuration, tokenizer and chat template.
    pub fn save_like(&self, base: &Path, folder: &Path, options: &SaveOptions) -> Result<(), FolderError> {
        save_model_like(base, folder, &self.config, self.saved_tensors(options.stored), options)
    }

    /// As [`Model::save_like`], for a model into which the adapter in `adapter` is merged: a tokenizer or chat
    /// template in that folder replaces the base's.
    pub fn save_merged(
        &self,
        base: &Path,
        adapter: &Path,
        folder: &Path,
        options: &SaveOptions,
    ) -> Result<(), FolderError> {
        self.save_like(base, folder, options)?;
        take_companions(adapter, folder)
    }

    fn saved_tensors(&self, stored: StoredType) -> Vec<(String, SavedTensor<'_, R>)> {
        let shapes = self.config.tensors();
        let tensors = self.tensors().into_iter().zip(shapes);
        tensors.map(|((name, tensor), (_, shape))| (name, SavedTensor { tensor, shape, stored })).collect()
    }

    /// Replaces the embedding and head by those saved with an adapter, as PEFT does. Those that equal the
    /// model's own are removed from the adapter. `folder` is the adapter's, for messages.
    pub fn take_saved(&mut self, adapter: &mut Lora<R>, folder: &Path) -> Result<(), FolderError> {
        let wrong = |problem: &str| Err(AdapterFolder::refusal(folder, problem));
        let saved = &mut *adapter.saved;
        if saved.embedding.as_ref().is_some_and(|embedding| equal(embedding, &self.embedding)) {
            saved.embedding = None;
        }
        if let Some(embedding) = &saved.embedding {
            self.embedding = embedding.clone();
        }
        if saved.head.as_ref().is_some_and(|head| equal(head, self.head_matrix())) {
            saved.head = None;
        }
        match (&saved.head, &mut self.head) {
            (Some(head), Some(own)) => *own = head.clone(),
            (Some(_), None) => {
                return wrong(
                    "contains a head that differs from the embedding, but the base model has one matrix for both: merge \
                     the adapter with PEFT and use the merged model",
                );
            }
            (None, _) => {}
        }
        if self.head.as_ref().is_some_and(|head| head.rows() != self.embedding.rows()) {
            return wrong("contains an embedding and a head with different vocabulary sizes");
        }
        self.config.vocabulary = self.embedding.rows();
        Ok(())
    }
}

fn equal<R: Real>(a: &Matrix<R>, b: &Matrix<R>) -> bool {
    if (a.rows(), a.columns()) != (b.rows(), b.columns()) {
        return false;
    }
    let (mut left, mut right) = (vec![R::ZERO; a.columns()], vec![R::ZERO; b.columns()]);
    (0..a.rows()).all(|row| {
        a.copy_row(row, &mut left);
        b.copy_row(row, &mut right);
        left == right
    })
}

impl<R: Real> Lora<R> {
    /// Opens a PEFT folder with an adapter for a model of this shape; see [`AdapterFolder::open`] for what is
    /// supported. A projection that is adapted in some blocks only has zeros of rank 1 in the others, which stay
    /// zero in training. An embedding and head that are saved with the adapter are read too; [`Model::take_saved`]
    /// moves them into the model.
    pub fn open(folder: &Path, model: &ModelConfig) -> Result<Self, FolderError> {
        let stored = AdapterFolder::open(folder, model)?;
        let mut lora = Self::zeros(model, stored.config.clone());
        let [embedding, head] = stored.saved_modules(model.hidden)?.map(|matrix| matrix.map(Matrix::from_file));
        lora.saved = Box::new(SavedModules { embedding, head });
        let shapes = lora.shapes(model);
        for ((name, shape), values) in shapes.into_iter().zip(lora.parameters_mut()) {
            if let Some(matrix) = stored.matrix(&name, [shape[0], shape[1]])? {
                values.copy_from_slice(Matrix::from_file(matrix).make_owned());
            }
        }
        Ok(lora)
    }

    /// Writes the adapter in f32, with its own embedding and head if it has them, as a folder that PEFT loads.
    /// `base` becomes `base_model_name_or_path`: where the base model is found.
    pub fn save(&self, folder: &Path, model: &ModelConfig, base: &str) -> Result<(), FolderError> {
        let stored = StoredType::F32;
        let tensors =
            self.shapes(model).into_iter().zip(self.parameters()).map(|((name, shape), values)| {
                (name, SavedTensor { tensor: TensorRef::Vector(values), shape, stored })
            });
        let saved = [("model.embed_tokens.weight", &self.saved.embedding), ("lm_head.weight", &self.saved.head)];
        let saved = saved.into_iter().filter_map(|(name, matrix)| {
            let matrix = matrix.as_ref()?;
            let shape = vec![matrix.rows(), matrix.columns()];
            Some((name.to_owned(), SavedTensor { tensor: TensorRef::Matrix(matrix), shape, stored }))
        });
        write_adapter(folder, &self.config, model, base, tensors.chain(saved).collect())
    }
}

/// A tensor to be written.
struct SavedTensor<'a, R> {
    tensor: TensorRef<'a, R>,
    shape: Vec<usize>,
    stored: StoredType,
}

impl<R: Real> View for SavedTensor<'_, R> {
    fn dtype(&self) -> Dtype {
        match self.stored {
            StoredType::F32 => Dtype::F32,
            StoredType::F16 => Dtype::F16,
            StoredType::Bf16 => Dtype::BF16,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match self.tensor {
            TensorRef::Vector(values) => Cow::Owned(narrow(values, self.stored)),
            TensorRef::Matrix(matrix) => match (matrix.as_owned(), matrix.as_stored()) {
                (Some(values), _) => Cow::Owned(narrow(values, self.stored)),
                (None, Some((stored, bytes))) if stored == self.stored => Cow::Borrowed(bytes),
                _ => Cow::Owned(convert(matrix, self.stored)),
            },
        }
    }

    fn data_len(&self) -> usize {
        self.shape.iter().product::<usize>() * self.stored.bytes()
    }
}

/// Little-endian elements, rounded to the nearest value of the type.
fn narrow<R: Real>(values: &[R], stored: StoredType) -> Vec<u8> {
    let values = values.iter().map(|value| value.to_f64() as f32);
    match stored {
        StoredType::F32 => values.flat_map(f32::to_le_bytes).collect(),
        StoredType::F16 => values.flat_map(|value| f16::from_f32(value).to_le_bytes()).collect(),
        StoredType::Bf16 => values.flat_map(|value| bf16::from_f32(value).to_le_bytes()).collect(),
    }
}

fn convert<R: Real>(matrix: &Matrix<R>, stored: StoredType) -> Vec<u8> {
    let mut row_values = vec![R::ZERO; matrix.columns()];
    let mut bytes = Vec::with_capacity(matrix.rows() * matrix.columns() * stored.bytes());
    for row in 0..matrix.rows() {
        matrix.copy_row(row, &mut row_values);
        bytes.extend(narrow(&row_values, stored));
    }
    bytes
}

/// Writes logits as a safetensors file: tensors `logits.0`, `logits.1`, ... in f32, each
/// `[length, vocabulary]`.
pub fn write_logits(path: &Path, logits: &[Vec<f32>], vocabulary: usize) -> Result<(), FolderError> {
    let tensors = logits.iter().enumerate().map(|(index, values)| {
        let shape = vec![values.len() / vocabulary, vocabulary];
        (format!("logits.{index}"), SavedTensor { tensor: TensorRef::Vector(values), shape, stored: StoredType::F32 })
    });
    write_safetensors(path, tensors.collect())
}
