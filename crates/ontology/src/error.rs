//! What can be wrong with an ontology file.

use std::path::PathBuf;

use thiserror::Error;

/// An ontology that cannot be read.
#[derive(Debug, Error)]
pub enum OntologyError {
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
        problem: Box<Problem>,
    },
}

/// What is wrong with a line of an ontology.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    /// Not TOML, or not brat's configuration format.
    #[error("{message}")]
    Syntax {
        /// What the parser said.
        message: String,
    },
    /// A key that means nothing here.
    #[error("unknown key `{found}` in {place}{}", suggestion(.nearest.as_deref(), .valid))]
    UnknownKey {
        /// The key.
        found: String,
        /// The table it stands in, `[[entity]]` for example.
        place: &'static str,
        /// The valid key most like it.
        nearest: Option<String>,
        /// All valid keys.
        valid: Vec<String>,
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
    #[error("`{key}` is `{found}`{}", suggestion(.nearest.as_deref(), .valid))]
    UnknownValue {
        /// The key.
        key: &'static str,
        /// The value.
        found: String,
        /// The valid value most like it.
        nearest: Option<String>,
        /// All valid values.
        valid: Vec<String>,
    },
    /// A domain or range names an entity label that does not exist.
    #[error("unknown entity label `{found}` in `{key}`{}", suggestion(.nearest.as_deref(), .valid))]
    UnknownLabel {
        /// The name.
        found: String,
        /// `domain`, `range`, `Arg1`, ...
        key: String,
        /// The label most like it.
        nearest: Option<String>,
        /// All labels.
        valid: Vec<String>,
    },
    /// A name that an answer could not hold as it stands.
    #[error(
        "`{}` is not a valid {what}: a name is not empty, has no blank at either end, and holds no quote, backslash or control character",
        .found.escape_debug()
    )]
    InvalidName {
        /// What it names.
        what: &'static str,
        /// The name.
        found: String,
    },
    /// A name or alias that is taken.
    #[error("{what} `{found}` is already used in line {first_line}")]
    Duplicate {
        /// What it names.
        what: &'static str,
        /// The name.
        found: String,
        /// Where it was used first.
        first_line: usize,
    },
    /// Two keys of the same object of an answer have the same name.
    #[error("the keys `{first}` and `{second}` are both called `{name}`, but stand in the same object of an answer")]
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
        /// What there are too many of.
        what: &'static str,
    },
}

/// "; did you mean ...?" or the list of what would be right.
fn suggestion(nearest: Option<&str>, valid: &[String]) -> String {
    match nearest {
        Some(name) => format!("; did you mean `{name}`?"),
        None if valid.is_empty() => "; there is none".to_owned(),
        None => format!("; valid: {}", valid.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nothing_is_valid_that_is_said() {
        assert_eq!(suggestion(None, &[]), "; there is none");
        assert_eq!(suggestion(None, &["a".to_owned(), "b".to_owned()]), "; valid: a, b");
    }
}
