//! What can be wrong with a pattern file.

use std::path::PathBuf;

use thiserror::Error;

/// A pattern file that cannot be read.
#[derive(Debug, Error)]
pub enum PatternError {
    /// The file cannot be opened or is not UTF-8.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The content is wrong.
    #[error("{origin}:{line}: {problem}")]
    Invalid {
        /// The file, or whatever the text came from.
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
    #[error("unknown {what} `{found}`{}", suggestion(.nearest.as_deref(), .valid))]
    Unknown {
        /// What it should name.
        what: &'static str,
        /// The name.
        found: String,
        /// The valid name most like it.
        nearest: Option<String>,
        /// All valid names.
        valid: Vec<String>,
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
    #[error("`{key}` means nothing in a pattern of kind `{kind}`")]
    NotForKind {
        /// The key.
        key: String,
        /// The kind.
        kind: &'static str,
    },
    /// Words for a change that uses none.
    #[error("`words` means nothing with the change `{change}`")]
    NotForChange {
        /// The change.
        change: &'static str,
    },
    /// An id that is taken.
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

fn suggestion(nearest: Option<&str>, valid: &[String]) -> String {
    match nearest {
        Some(name) => format!("; did you mean `{name}`?"),
        None if valid.is_empty() => String::new(),
        None => format!("; valid are {}", valid.join(", ")),
    }
}
