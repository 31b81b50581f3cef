//! Models in GGUF files, in the terms of Hugging Face folders: shape, tensors, tokenizer, chat template.

pub(crate) mod adapter;
mod chat_templates;
mod config;
mod export;
mod pre_tokenizer;
mod tensors;
mod tokenizer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tabpo_gguf::{AdapterMetadata, Gguf, Hyperparameters, MetadataError, TokenizerMetadata};

use crate::config::ModelConfig;
use crate::folder::FolderError;
use crate::tokenizer::Tokenizer;

pub use adapter::{AdapterModule, write_gguf_adapter};
pub use export::{GgufHead, GgufSource, write_gguf};
pub(crate) use tensors::GgufTensors;

/// Whether a path names a GGUF file, by its ending.
pub fn is_gguf_file(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf")) && !path.is_dir()
}

/// The files of the model that a GGUF file belongs to: the parts of a split one (`NAME-00001-of-00003.gguf`) in order,
/// or the file alone.
pub fn gguf_files(path: &Path) -> Result<Vec<PathBuf>, FolderError> {
    Ok(open(path)?.files().to_vec())
}

/// Opens a GGUF file, with the other parts of a split one.
pub(crate) fn open(path: &Path) -> Result<Gguf, FolderError> {
    Gguf::open(path).map_err(|source| FolderError::Gguf { path: path.into(), source: Box::new(source) })
}

/// The shape of the model in a GGUF file.
pub(crate) fn model_config(path: &Path) -> Result<ModelConfig, FolderError> {
    let model = open(path)?;
    config::read(&model, &hyperparameters(&model, path)?, path)
}

fn hyperparameters(model: &Gguf, path: &Path) -> Result<Hyperparameters, FolderError> {
    if AdapterMetadata::is_in(model.metadata()) {
        let problem = "is an adapter, not a model: its base model is needed here".to_owned();
        return Err(FolderError::other_content(path, problem));
    }
    Hyperparameters::read(model).map_err(|error| setting(path, &error))
}

/// The tokenizer of a GGUF file.
pub(crate) fn tokenizer(path: &Path) -> Result<Tokenizer, FolderError> {
    tokenizer::read(&tokenizer_metadata(path)?, path)
}

/// The chat templates of a GGUF file by name.
pub(crate) fn chat_templates(path: &Path) -> Result<BTreeMap<String, String>, FolderError> {
    chat_templates::read(open(path)?.metadata()).map_err(|error| setting(path, &error))
}

fn tokenizer_metadata(path: &Path) -> Result<TokenizerMetadata, FolderError> {
    TokenizerMetadata::read(open(path)?.metadata()).map_err(|error| setting(path, &error))
}

/// Metadata that is missing, wrong or not supported.
fn setting(path: &Path, error: &MetadataError) -> FolderError {
    FolderError::other_content(path, error.to_string())
}
