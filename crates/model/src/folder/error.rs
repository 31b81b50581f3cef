//! What can be wrong with a folder on disk.

use std::path::PathBuf;

use thiserror::Error;

/// An error in a model folder, an adapter folder or a tokenizer. Every variant names the file and
/// the key or tensor that is wrong.
#[derive(Debug, Error)]
pub enum FolderError {
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not valid JSON, or not a JSON object.
    #[error("{}:{}: not the JSON object that is expected", path.display(), source.line())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A setting is missing, has a wrong value or requests something unsupported.
    #[error("{}: `{key}` {problem}", path.display())]
    Setting {
        /// The file.
        path: PathBuf,
        /// The key, with dots between levels.
        key: String,
        /// What was found and what would be right.
        problem: String,
    },
    /// A file is not in safetensors format.
    #[error("{}: not a safetensors file", path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// Why.
        source: safetensors::SafeTensorError,
    },
    /// A file is not a valid GGUF file.
    #[error("cannot read {}{}", path.display(), hint(source))]
    Gguf {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<tabpo_gguf::ReadError>,
    },
    /// A file or folder is not what it should be.
    #[error("{}: {problem}", path.display())]
    OtherContent {
        /// The file.
        path: PathBuf,
        /// What it is and what to do about it.
        problem: String,
    },
    /// A weight is infinite or not a number.
    #[error(
"{}: element {element} of tensor `{name}` is not a finite number: the file is damaged, or training diverged",
        path.display()
    )]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The position of the first such element.
        element: usize,
    },
    /// A tensor that the model needs is missing.
    #[error("{}: no tensor `{name}`{}", path.display(), suggestion(nearest.as_deref()))]
    MissingTensor {
        /// The folder.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The most similar name among the tensors that nothing uses.
        nearest: Option<String>,
    },
    /// A tensor that the model does not use.
    #[error("{}: tensor `{name}` is not part of a {architecture} with this configuration", path.display())]
    ExtraTensor {
        /// The folder.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The architecture named by config.json.
        architecture: String,
    },
    /// A tensor whose shape differs from the one that the configuration implies.
    #[error("{}: tensor `{name}` has shape {found:?}; the configuration requires {expected:?}", path.display())]
    Shape {
        /// The folder.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its shape on disk.
        found: Vec<usize>,
        /// The shape that the configuration implies.
        expected: Vec<usize>,
    },
    /// A tensor of an unsupported type.
    #[error("{}: tensor `{name}` has type {found}; bf16, f16 and f32 are supported", path.display())]
    Dtype {
        /// The folder.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its type on disk.
        found: String,
    },
    /// The tokenizer library rejected a file or a text.
    #[error("{}: {problem}", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// The library's message.
        problem: String,
    },
}

impl FolderError {
    /// A [`FolderError::OtherContent`].
    pub(crate) fn other_content(path: impl Into<PathBuf>, problem: impl Into<String>) -> Self {
        Self::OtherContent { path: path.into(), problem: problem.into() }
    }

    /// A [`FolderError::Setting`].
    pub(crate) fn setting(path: impl Into<PathBuf>, key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Setting { path: path.into(), key: key.into(), problem: problem.into() }
    }
}

/// What helps against a problem of a GGUF file.
fn hint(error: &tabpo_gguf::ReadError) -> String {
    error.hint().map_or_else(String::new, |hint| format!(" ({hint})"))
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!("; there is `{name}`"))
}
