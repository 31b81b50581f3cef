//! Why a pattern file is refused. Every error but [`PatternError::Io`] is a fault of the input, and its
//! message says what would be valid.

use std::path::PathBuf;

use tabpo_ontology::Alternatives;
use thiserror::Error;

/// A pattern file that cannot be read.
#[derive(Debug, Error)]
pub enum PatternError {
    /// The file cannot be opened or is not UTF-8.
    #[error("cannot read {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The content is invalid.
    #[error("{origin}:{line}: {problem}")]
    Invalid {
        /// The file, or another name for the source of the text.
        origin: String,
        /// Line, counted from 1.
        line: usize,
        /// What is wrong there.
        problem: PatternProblem,
    },
}

/// What is wrong with a line of a pattern file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PatternProblem {
    /// Not TOML.
    #[error("{0}")]
    Syntax(String),
    /// A name that is not valid here: a key, a kind, a label, a word list.
    #[error("unknown {what} `{found}`{alternatives}")]
    Unknown {
        /// What it should name.
        what: &'static str,
        /// The name.
        found: String,
        /// The valid names.
        alternatives: Alternatives,
    },
    /// A required key is missing.
    #[error("{place} has no `{key}`")]
    Missing {
        /// The key.
        key: &'static str,
        /// The table.
        place: &'static str,
    },
    /// A value of the wrong type or out of range.
    #[error("`{key}` must be {expected}, found {found}")]
    Wrong {
        /// The key.
        key: String,
        /// What it must be.
        expected: &'static str,
        /// What was found.
        found: String,
    },
    /// A key that a pattern of this kind does not use.
    #[error("`{key}` is not used by patterns of kind `{kind}`")]
    NotForKind {
        /// The key.
        key: String,
        /// The kind.
        kind: &'static str,
    },
    /// Words for a change that does not use them.
    #[error("`words` is not used by the change `{change}`")]
    NotForChange {
        /// The change.
        change: &'static str,
    },
    /// An id that is already in use.
    #[error("pattern `{id}` is defined twice, first on line {first_line}")]
    Duplicate {
        /// The id.
        id: String,
        /// Where it was first used.
        first_line: usize,
    },
    /// `from` and `to` leave nothing to change.
    #[error("the pattern changes nothing: {0}")]
    Empty(&'static str),
}
