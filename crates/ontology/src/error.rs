//! Why an ontology is refused. Every error but [`OntologyError::Io`] is a fault of the input, and its
//! message says what would be valid.

use std::path::PathBuf;

use thiserror::Error;

use crate::Alternatives;

/// An ontology that cannot be read.
#[derive(Debug, Error)]
pub enum OntologyError {
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
        problem: Box<OntologyProblem>,
    },
}

/// What is wrong with a line of an ontology file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OntologyProblem {
    /// Not TOML, or not brat's configuration format.
    #[error("{message}")]
    Syntax {
        /// What the parser said.
        message: String,
    },
    /// A key that does not belong here.
    #[error("unknown key `{found}` in {place}{alternatives}")]
    UnknownKey {
        /// The key.
        found: String,
        /// The table, `[[entity]]` for example.
        place: &'static str,
        /// The valid keys.
        alternatives: Alternatives,
    },
    /// A required key is missing.
    #[error("{place} has no `{key}`")]
    MissingKey {
        /// The key.
        key: &'static str,
        /// The table.
        place: &'static str,
    },
    /// A value of the wrong type.
    #[error("`{key}` in {place} must be {expected}, found {found}")]
    WrongType {
        /// The key.
        key: String,
        /// The table.
        place: &'static str,
        /// What it must be.
        expected: &'static str,
        /// The TOML type that was found.
        found: String,
    },
    /// A value outside a fixed list.
    #[error("`{key}` is `{found}`{alternatives}")]
    UnknownValue {
        /// The key.
        key: &'static str,
        /// The value.
        found: String,
        /// The valid values.
        alternatives: Alternatives,
    },
    /// A domain or range names an entity label that does not exist.
    #[error("unknown entity label `{found}` in `{key}`{alternatives}")]
    UnknownLabel {
        /// The name.
        found: String,
        /// `domain`, `range`, `Arg1`, ...
        key: String,
        /// The labels of the ontology.
        alternatives: Alternatives,
    },
    /// A name that an answer could not contain unescaped.
    #[error(
        "`{}` is not a valid {what}: a name must not be empty, start or end with a space, or contain a quote, a backslash or a control character",
        .found.escape_debug()
    )]
    InvalidName {
        /// The kind of thing it names.
        what: &'static str,
        /// The name.
        found: String,
    },
    /// A name or alias that is already in use.
    #[error("{what} `{found}` is already used on line {first_line}")]
    Duplicate {
        /// The kind of thing it names.
        what: &'static str,
        /// The name.
        found: String,
        /// Where it was used first.
        first_line: usize,
    },
    /// Two keys of the same object of an answer have the same name.
    #[error("the keys `{first}` and `{second}` are both named `{name}`, but belong to the same object of an answer")]
    KeysCollide {
        /// One key, by its default name.
        first: &'static str,
        /// The other key.
        second: &'static str,
        /// The name that both have.
        name: String,
    },
    /// No entity label at all.
    #[error("the ontology has no entity label: add `[[entity]]` with a `name`")]
    NoEntities,
    /// More labels than ids.
    #[error("more than {} {what}", u16::MAX)]
    TooMany {
        /// The kind of label.
        what: &'static str,
    },
}
