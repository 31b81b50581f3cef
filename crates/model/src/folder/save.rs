//! Writes models as folders that transformers loads.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use safetensors::View;
use serde_json::{Map, Value, json};

use super::write::{replace_atomically, write_atomically};
use super::{FolderError, config, config_to_json, nf4, read_json_if_present, write_json};
use crate::config::ModelConfig;
use crate::gguf::{self, is_gguf_file};
use crate::stored::StoredType;
use crate::tokenizer::Tokenizer;

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

/// Writes `config.json`, `generation_config.json` and the weights of a model trained from scratch. The
/// tokenizer is written by [`Tokenizer::save`](crate::Tokenizer::save). `tensors` are those of
/// [`ModelConfig::tensors`], in the type given by `options`.
pub fn save_model<V: View>(
    folder: &Path,
    config: &ModelConfig,
    tensors: Vec<(String, V)>,
    options: &SaveOptions,
    tokens: &GenerationTokens,
) -> Result<(), FolderError> {
    save_weights(folder, tensors, options)?;
    let settings = describe(folder, config, options.stored, tokens)?;
    write_json(&folder.join("config.json"), &settings)
}

/// Writes the weights of a model derived from the one in `base`, and copies that folder's configuration,
/// tokenizer and chat template.
pub fn save_model_like<V: View>(
    base: &Path,
    folder: &Path,
    config: &ModelConfig,
    tensors: Vec<(String, V)>,
    options: &SaveOptions,
) -> Result<(), FolderError> {
    save_weights(folder, tensors, options)?;
    describe_like(base, folder, config, options.stored, None)
}

/// Copies configuration, tokenizer and chat template of the model in `base` for weights of this type, or in NF4, with its
/// scales quantised if `nf4` says so.
pub(super) fn describe_like(
    base: &Path,
    folder: &Path,
    config: &ModelConfig,
    stored: StoredType,
    nf4: Option<bool>,
) -> Result<(), FolderError> {
    let mut settings = if is_gguf_file(base) {
        describe_gguf(base, folder, config, stored)?
    } else {
        copy_companions(base, folder)?;
        let settings = read_json_if_present(&base.join("config.json"))?;
        let mut settings = settings.unwrap_or_else(|| config_to_json(config, stored));
        let key = if settings.contains_key("dtype") { "dtype" } else { "torch_dtype" };
        settings.insert(key.into(), json!(config::dtype_name(stored)));
        settings.insert("vocab_size".into(), json!(config.vocabulary));
        settings
    };
    nf4::set_config(&mut settings, nf4);
    write_json(&folder.join("config.json"), &settings)
}

/// Copies the files that a folder holds besides `config.json` and weights.
fn copy_companions(base: &Path, folder: &Path) -> Result<(), FolderError> {
    for name in COMPANIONS {
        let from = base.join(name);
        if from.exists() {
            copy_file(&from, &folder.join(name))?;
        }
    }
    let templates = base.join("additional_chat_templates");
    if templates.is_dir() {
        let read = |source| FolderError::Read { path: templates.clone(), source };
        for entry in fs::read_dir(&templates).map_err(read)? {
            let from = entry.map_err(read)?.path();
            let Some(name) = from.file_name().filter(|_| from.is_file()) else { continue };
            copy_file(&from, &folder.join("additional_chat_templates").join(name))?;
        }
    }
    Ok(())
}

/// Makes files of a GGUF file's metadata, and returns the contents of its `config.json`.
fn describe_gguf(
    base: &Path,
    folder: &Path,
    config: &ModelConfig,
    stored: StoredType,
) -> Result<Map<String, Value>, FolderError> {
    let tokenizer = Tokenizer::open(base)?;
    let special = tokenizer.special();
    let id = |token: &Option<String>| token.as_deref().and_then(|token| tokenizer.token_id(token));
    let tokens = GenerationTokens { bos: id(&special.bos), stop: tokenizer.stop_ids().to_vec(), pad: id(&special.pad) };
    let settings = describe(folder, config, stored, &tokens)?;
    tokenizer.save(folder)?;
    for (name, template) in gguf::chat_templates(base)? {
        let path = match name.as_str() {
            "default" => folder.join("chat_template.jinja"),
            _ => folder.join("additional_chat_templates").join(format!("{name}.jinja")),
        };
        write_atomically(&path, |out| out.write_all(template.as_bytes()))?;
    }
    Ok(settings)
}

/// Writes `generation_config.json`, and returns the contents of `config.json`.
fn describe(
    folder: &Path,
    config: &ModelConfig,
    stored: StoredType,
    tokens: &GenerationTokens,
) -> Result<Map<String, Value>, FolderError> {
    let mut generation = Map::new();
    tokens.write_to(&mut generation);
    write_json(&folder.join("generation_config.json"), &generation)?;
    let mut settings = config_to_json(config, stored);
    tokens.write_to(&mut settings);
    Ok(settings)
}

/// Replaces the tokenizer and chat template that [`save_model_like`] copied from the base model by those of an
/// adapter's folder, if it has them.
pub fn take_companions(adapter: &Path, folder: &Path) -> Result<(), FolderError> {
    let has_tokenizer = adapter.join("tokenizer.json").exists();
    for name in COMPANIONS {
        let (from, to) = (adapter.join(name), folder.join(name));
        let is_template = name.starts_with("chat_template");
        if from.exists() && (has_tokenizer || is_template) {
            copy_file(&from, &to)?;
        } else if has_tokenizer && !is_template && name != "generation_config.json" {
            // Leftover files of the base's tokenizer would be read together with the adapter's.
            remove_if_present(&to)?;
        }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> Result<(), FolderError> {
    replace_atomically(to, |temporary| fs::copy(from, temporary).map(|_| ()))
}

fn save_weights<V: View>(folder: &Path, tensors: Vec<(String, V)>, options: &SaveOptions) -> Result<(), FolderError> {
    let mut shards: Vec<Vec<(String, V)>> = vec![Vec::new()];
    let (mut size, mut total) = (0, 0);
    for (name, tensor) in tensors {
        let bytes = tensor.data_len();
        if size > 0 && size + bytes > options.shard_bytes {
            shards.push(Vec::new());
            size = 0;
        }
        size += bytes;
        total += bytes;
        shards.last_mut().expect("there is always a last shard").push((name, tensor));
    }
    let files = shard_names(shards.len());
    let names: Vec<Vec<String>> =
        shards.iter().map(|shard| shard.iter().map(|(name, _)| name.clone()).collect()).collect();
    for (file, shard) in files.iter().zip(shards) {
        write_safetensors(&folder.join(file), shard)?;
    }
    index_shards(folder, &files, names, total)
}

/// The names of the files of so many shards.
pub(super) fn shard_names(count: usize) -> Vec<String> {
    if count == 1 {
        return vec!["model.safetensors".into()];
    }
    (1..=count).map(|number| format!("model-{number:05}-of-{count:05}.safetensors")).collect()
}

/// Writes which tensor is in which file, if there are several, and removes what would be read in their place. `total` is
/// the number of bytes of all tensors.
pub(super) fn index_shards<N: IntoIterator<Item = String>>(
    folder: &Path,
    files: &[String],
    tensors: impl IntoIterator<Item = N>,
    total: usize,
) -> Result<(), FolderError> {
    let path = folder.join("model.safetensors.index.json");
    if files.len() == 1 {
        return remove_if_present(&path);
    }
    let mut weight_map = Map::new();
    for (file, names) in files.iter().zip(tensors) {
        weight_map.extend(names.into_iter().map(|name| (name, json!(file))));
    }
    write_json(&path, &json!({"metadata": {"total_size": total}, "weight_map": weight_map}))?;
    // A leftover single file would take precedence over the index when the folder is loaded.
    remove_if_present(&folder.join("model.safetensors"))
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

/// Writes tensors as one safetensors file, one at a time.
pub fn write_safetensors<V: View>(path: &Path, tensors: Vec<(String, V)>) -> Result<(), FolderError> {
    // transformers refuses files that do not name the framework whose layout they have.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    replace_atomically(path, |temporary| {
        safetensors::serialize_to_file(tensors, Some(metadata), temporary).map_err(std::io::Error::other)
    })
}
