//! Hugging Face model folders: `config.json` and safetensors, read and written; GGUF files where a folder is read.

mod check;
mod config;
mod error;
mod nf4;
pub(crate) mod remedy;
mod rope;
mod save;
mod stream;
mod tensor_file;
mod weights;
mod write;

use std::path::Path;

use serde_json::{Map, Value};

pub use check::check_model_folder;
pub use config::{config_from_json, config_to_json};
pub use error::FolderError;
pub use nf4::{Nf4Options, save_nf4};
pub use save::{GenerationTokens, SaveOptions, save_model, save_model_like, take_companions, write_safetensors};
pub use weights::ModelFolder;
pub use write::write_atomically;

pub(crate) use check::inside;
pub(crate) use tensor_file::{TensorFile, check_finite, check_shape};
pub(crate) use write::write_json;

/// Reads a JSON object; `None` if the file does not exist.
pub(crate) fn read_json_if_present(path: &Path) -> Result<Option<Map<String, Value>>, FolderError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(FolderError::Read { path: path.into(), source }),
    };
    if let Some(problem) = remedy::instead_of_text(&bytes) {
        return Err(FolderError::other_content(path, problem));
    }
    serde_json::from_slice(&bytes).map(Some).map_err(|source| FolderError::Json { path: path.into(), source })
}

/// Reads a JSON object from a file that must exist.
pub(crate) fn read_json(path: &Path) -> Result<Map<String, Value>, FolderError> {
    read_json_if_present(path)?.ok_or_else(|| FolderError::Read {
        path: path.into(),
        source: std::io::Error::from(std::io::ErrorKind::NotFound),
    })
}

/// The candidate that is most similar to `name`, if it is similar enough to be worth suggesting.
pub(crate) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}
