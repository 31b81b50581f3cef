//! Models as folders that transformers loads.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs;
use std::path::Path;

use half::{bf16, f16};
use safetensors::{Dtype, View};
use serde_json::{Map, Value, json};

use super::write::replace_atomically;
use super::{FolderError, config, config_to_json, read_json_if_present, write_json};
use crate::model::{Model, TensorRef};
use crate::real::Real;
use crate::weights::{Matrix, StoredType};

/// How a model is written.
#[derive(Clone, Debug)]
pub struct SaveOptions {
    /// The type of the weights.
    pub stored: StoredType,
    /// Above this many bytes the weights are split into shards.
    pub shard_bytes: usize,
}

impl SaveOptions {
    /// Weights of this type in shards of at most 5 GB, as transformers writes them.
    pub fn new(stored: StoredType) -> Self {
        Self { stored, shard_bytes: 5_000_000_000 }
    }
}

/// The token ids that `config.json` and `generation_config.json` name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GenerationTokens {
    /// Beginning of sequence.
    pub bos: Option<u32>,
    /// Ids that stop generation.
    pub stop: Vec<u32>,
    /// Padding.
    pub pad: Option<u32>,
}

impl GenerationTokens {
    fn write_to(&self, object: &mut Map<String, Value>) {
        let stop = match self.stop[..] {
            [] => Value::Null,
            [id] => json!(id),
            _ => json!(self.stop),
        };
        for (key, value) in
            [("bos_token_id", json!(self.bos)), ("eos_token_id", stop), ("pad_token_id", json!(self.pad))]
        {
            object.insert(key.into(), value);
        }
    }
}

impl<R: Real> Model<R> {
    /// Writes `config.json`, `generation_config.json` and the weights of a model that was trained
    /// from scratch. The tokenizer is written by [`Tokenizer::save`](crate::Tokenizer::save).
    pub fn save(&self, folder: &Path, options: &SaveOptions, tokens: &GenerationTokens) -> Result<(), FolderError> {
        self.save_weights(folder, options)?;
        let mut generation = Map::new();
        tokens.write_to(&mut generation);
        write_json(&folder.join("generation_config.json"), &generation)?;
        let mut config = config_to_json(&self.config, options.stored);
        tokens.write_to(&mut config);
        write_json(&folder.join("config.json"), &config)
    }

    /// Writes the weights of a model that was made from the one in `base`, and copies that folder's
    /// configuration, tokenizer and chat template.
    pub fn save_like(&self, base: &Path, folder: &Path, options: &SaveOptions) -> Result<(), FolderError> {
        self.save_weights(folder, options)?;
        for name in COMPANIONS {
            let from = base.join(name);
            if from.exists() {
                replace_atomically(&folder.join(name), |temporary| fs::copy(&from, temporary).map(|_| ()))?;
            }
        }
        let templates = base.join("additional_chat_templates");
        if templates.is_dir() {
            let read = |source| FolderError::Read { path: templates.clone(), source };
            for entry in fs::read_dir(&templates).map_err(read)? {
                let from = entry.map_err(read)?.path();
                let Some(name) = from.file_name().filter(|_| from.is_file()) else { continue };
                let to = folder.join("additional_chat_templates").join(name);
                replace_atomically(&to, |temporary| fs::copy(&from, temporary).map(|_| ()))?;
            }
        }
        let path = base.join("config.json");
        let mut config = read_json_if_present(&path)?.unwrap_or_else(|| config_to_json(&self.config, options.stored));
        let key = if config.contains_key("dtype") { "dtype" } else { "torch_dtype" };
        config.insert(key.into(), json!(config::dtype_name(options.stored)));
        config.insert("vocab_size".into(), json!(self.config.vocabulary));
        write_json(&folder.join("config.json"), &config)
    }

    /// As [`Model::save_like`], for a model into which the adapter in `adapter` is merged: what that folder has
    /// of tokenizer and chat template takes the place of the base's.
    pub fn save_merged(
        &self,
        base: &Path,
        adapter: &Path,
        folder: &Path,
        options: &SaveOptions,
    ) -> Result<(), FolderError> {
        self.save_like(base, folder, options)?;
        let has_tokenizer = adapter.join("tokenizer.json").exists();
        for name in COMPANIONS {
            let (from, to) = (adapter.join(name), folder.join(name));
            let is_template = name.starts_with("chat_template");
            if from.exists() && (has_tokenizer || is_template) {
                replace_atomically(&to, |temporary| fs::copy(&from, temporary).map(|_| ()))?;
            } else if has_tokenizer && !is_template && name != "generation_config.json" {
                // Files of another tokenizer would be read together with those of the adapter's.
                remove_if_present(&to)?;
            }
        }
        Ok(())
    }

    fn save_weights(&self, folder: &Path, options: &SaveOptions) -> Result<(), FolderError> {
        let mut shards: Vec<Vec<(String, SavedTensor<'_, R>)>> = vec![Vec::new()];
        let (mut size, mut total) = (0, 0);
        for ((name, tensor), (_, shape)) in self.tensors().into_iter().zip(Self::shapes(&self.config)) {
            let tensor = SavedTensor { tensor, shape, stored: options.stored };
            if size > 0 && size + tensor.data_len() > options.shard_bytes {
                shards.push(Vec::new());
                size = 0;
            }
            size += tensor.data_len();
            total += tensor.data_len();
            shards.last_mut().expect("there is always a last shard").push((name, tensor));
        }
        let index_path = folder.join("model.safetensors.index.json");
        if shards.len() == 1 {
            write_safetensors(&folder.join("model.safetensors"), shards.remove(0))?;
            return remove_if_present(&index_path);
        }
        let count = shards.len();
        let mut places = Map::new();
        for (i, shard) in shards.into_iter().enumerate() {
            let file = format!("model-{:05}-of-{count:05}.safetensors", i + 1);
            places.extend(shard.iter().map(|(name, _)| (name.clone(), json!(file))));
            write_safetensors(&folder.join(file), shard)?;
        }
        write_json(&index_path, &json!({"metadata": {"total_size": total}, "weight_map": places}))?;
        // A single file would win over the index when the folder is loaded.
        remove_if_present(&folder.join("model.safetensors"))
    }
}

/// What a model folder holds besides `config.json` and weights.
const COMPANIONS: [&str; 10] = [
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
];

fn remove_if_present(path: &Path) -> Result<(), FolderError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(FolderError::Write { path: path.into(), source: error })
        }
        _ => Ok(()),
    }
}

/// Writes tensors as one safetensors file, converting one at a time.
pub(crate) fn write_safetensors<V: View>(path: &Path, tensors: Vec<(String, V)>) -> Result<(), FolderError> {
    // transformers refuses files that do not say which framework's layout they have.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    replace_atomically(path, |temporary| {
        safetensors::serialize_to_file(tensors, Some(metadata), temporary).map_err(std::io::Error::other)
    })
}

/// A tensor of a model on its way to disk.
pub(crate) struct SavedTensor<'a, R> {
    pub(crate) tensor: TensorRef<'a, R>,
    pub(crate) shape: Vec<usize>,
    pub(crate) stored: StoredType,
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
