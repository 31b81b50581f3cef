//! What can be wrong with the input of an evaluation.

use std::path::{Path, PathBuf};

use tabpo_corpus::CorpusError;
use thiserror::Error;

/// Gold or predictions that cannot be evaluated.
#[derive(Debug, Error)]
pub enum EvaluationError {
    /// A file cannot be read or written.
    #[error("cannot read or write {}", path.display())]
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
        line: usize,
        /// What was found and what would be right.
        found: String,
    },
    /// The gold corpus cannot be read.
    #[error(transparent)]
    Gold(Box<CorpusError>),
    /// The systems to be compared do not fit together.
    #[error("{0}")]
    Comparison(String),
}

impl EvaluationError {
    /// Names the file that a failure of the system is about.
    pub(crate) fn io(path: &Path) -> impl Fn(std::io::Error) -> Self {
        move |source| Self::Io { path: path.to_path_buf(), source }
    }

    pub(crate) fn gold(error: CorpusError) -> Self {
        Self::Gold(Box::new(error))
    }

    pub(crate) fn invalid(path: &Path, line: usize, found: String) -> Self {
        Self::Invalid { path: path.to_path_buf(), line, found }
    }
}
