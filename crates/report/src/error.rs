//! Errors of this crate.

use std::io;
use std::path::{Path, PathBuf};

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file operation failed.
    #[error("{}: cannot {action}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was attempted, as a verb: `read`, `write`.
        action: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The value of a log record does not serialise to a JSON object.
    #[error("a record of kind `{kind}` must be a JSON object, found {found}")]
    NotAnObject {
        /// The kind of the record.
        kind: String,
        /// What it serialises to, or the serialiser's message.
        found: String,
    },
}

impl ReportError {
    /// Wraps an I/O error with the file and the attempted action.
    pub(crate) fn io<'a>(path: &'a Path, action: &'static str) -> impl FnOnce(io::Error) -> Self + use<'a> {
        move |source| Self::Io { path: path.to_path_buf(), action, source }
    }
}
