//! Models in GGUF files, in the terms of Hugging Face folders: shape, tensors, tokenizer, chat template.

mod config;
mod pre_tokenizer;
mod tensors;
mod tokenizer;

use std::path::{Path, PathBuf};

use tabpo_gguf::{Gguf, MetadataError, TokenizerMetadata};

use crate::config::ModelConfig;
use crate::folder::FolderError;
use crate::tokenizer::Tokenizer;

pub(crate) use tensors::GgufTensors;

/// Whether a path names a GGUF file, by its ending.
pub fn is_gguf_file(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf")) && !path.is_dir()
}

/// The files of the model that a GGUF file belongs to: those of a split one (`NAME-00001-of-00003.gguf`) that are
/// there, in order, or the file alone.
pub fn gguf_parts(path: &Path) -> Vec<PathBuf> {
    let alone = || vec![path.to_owned()];
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return alone() };
    let Some((start, end)) = name.rsplit_once("-of-") else { return alone() };
    let Some((stem, number)) = start.rsplit_once('-') else { return alone() };
    let count = end.split('.').next().and_then(|count| count.parse::<u32>().ok());
    let (Some(count), true) = (count, number.parse::<u32>().is_ok()) else { return alone() };
    let part = |number: u32| path.with_file_name(format!("{stem}-{number:05}-of-{end}"));
    (1..=count.min(99_999)).map(part).filter(|part| part.is_file()).collect()
}

/// Opens a GGUF file, with the other parts of a split one.
pub(crate) fn open(path: &Path) -> Result<Gguf, FolderError> {
    Gguf::open(path).map_err(|source| FolderError::Gguf { path: path.into(), source: Box::new(source) })
}

/// The shape of the model in a GGUF file.
pub(crate) fn model_config(path: &Path) -> Result<ModelConfig, FolderError> {
    config::read(&open(path)?, path)
}

/// The tokenizer of a GGUF file.
pub(crate) fn tokenizer(path: &Path) -> Result<Tokenizer, FolderError> {
    tokenizer::read(&tokenizer_metadata(path)?, path)
}

/// The chat template of a GGUF file, if it has one.
pub(crate) fn chat_template(path: &Path) -> Result<Option<String>, FolderError> {
    Ok(tokenizer_metadata(path)?.chat_template)
}

fn tokenizer_metadata(path: &Path) -> Result<TokenizerMetadata, FolderError> {
    TokenizerMetadata::read(open(path)?.metadata()).map_err(|error| setting(path, &error))
}

/// Metadata that is missing, wrong or not supported.
fn setting(path: &Path, error: &MetadataError) -> FolderError {
    FolderError::other_content(path, error.to_string())
}
