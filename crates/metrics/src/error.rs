//! What can be wrong with the input of an evaluation.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// Gold or predictions that cannot be evaluated.
#[derive(Debug, Error)]
pub enum EvaluationError {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A line of a prediction file makes no sense.
    #[error("{}:{line}: {found}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1.
        line: u32,
        /// What was found and what would be right.
        found: String,
    },
    /// The gold corpus cannot be read.
    #[error(transparent)]
    Gold(Box<dyn std::error::Error + Send + Sync>),
    /// The systems to be compared do not fit together.
    #[error("{0}")]
    Comparison(String),
}

impl EvaluationError {
    pub(crate) fn invalid(path: &Path, line: u32, found: String) -> Self {
        Self::Invalid { path: path.to_path_buf(), line, found }
    }
}
