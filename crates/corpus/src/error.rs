//! What can be wrong with a corpus file.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use tabpo_ontology::nearest;
use thiserror::Error;

/// A corpus that cannot be read or written.
#[derive(Debug, Error)]
pub enum CorpusError {
    /// A file or folder cannot be opened, read or written.
    #[error("cannot {doing} {path}")]
    Io {
        /// `read` or `write`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A line, or a whole file, that is not JSON of the expected shape.
    #[error("{path}:{line}:{column}: {message}")]
    Json {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// Column in bytes, counted from 1.
        column: usize,
        /// What the parser said.
        message: String,
    },
    /// A document that says something impossible.
    #[error("{place}: {problem}")]
    Invalid {
        /// Where.
        place: FilePlace,
        /// What.
        problem: Box<Problem>,
    },
    /// A file or folder without documents.
    #[error("{path} holds no document: {reason}")]
    NoDocuments {
        /// The file or folder.
        path: PathBuf,
        /// What it holds instead and what would be right.
        reason: String,
    },
    /// A file in a format that is recognised but not supported.
    #[error("{path} looks like {name}, which is not supported: {remedy}")]
    OtherFormat {
        /// The file.
        path: PathBuf,
        /// What the format is called.
        name: &'static str,
        /// How to get a file that is read.
        remedy: String,
    },
    /// A format that documents cannot be written in.
    #[error("the format {format} is only read; write one of {}", crate::Format::written_names().join(", "))]
    OnlyRead {
        /// The format.
        format: crate::Format,
    },
    /// A file whose format cannot be recognised.
    #[error("cannot tell the format of {path}: {reason}; name it (one of {})", crate::Format::names().join(", "))]
    UnknownFormat {
        /// The file.
        path: PathBuf,
        /// What was looked at.
        reason: String,
    },
}

impl CorpusError {
    pub(crate) fn read(path: &Path, source: std::io::Error) -> Self {
        Self::Io { doing: "read", path: path.to_path_buf(), source }
    }

    /// A problem of the document `key`, in a line of a file.
    pub(crate) fn invalid(path: &Path, line: usize, key: Option<String>, problem: Problem) -> Self {
        let place = FilePlace { path: path.to_path_buf(), line, key };
        Self::Invalid { place, problem: Box::new(problem) }
    }

    pub(crate) fn write(path: &Path, source: std::io::Error) -> Self {
        Self::Io { doing: "write", path: path.to_path_buf(), source }
    }
}

/// Where a problem is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePlace {
    /// The file.
    pub path: PathBuf,
    /// Line, counted from 1.
    pub line: usize,
    /// The document, where its name is known.
    pub key: Option<String>,
}

impl fmt::Display for FilePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path.display(), self.line)?;
        self.key.as_ref().map_or(Ok(()), |key| write!(f, " (document `{key}`)"))
    }
}

/// What is wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    /// A label that the ontology does not have.
    #[error("unknown {what} `{found}`{}", suggestion(.nearest.as_deref(), .valid))]
    UnknownLabel {
        /// `entity label`, `relation type` or `subtype`.
        what: &'static str,
        /// The name.
        found: String,
        /// The label of which it should be a subtype, if it is one.
        of: Option<String>,
        /// The valid name most like it.
        nearest: Option<String>,
        /// All valid names.
        valid: Vec<String>,
    },
    /// A mention without the sub-label that its label requires.
    #[error("the mention `{text}` has the label `{label}` without a subtype; valid: {}", .valid.join(", "))]
    MissingSubtype {
        /// The mention.
        text: String,
        /// Its label.
        label: String,
        /// Sub-labels of the label.
        valid: Vec<String>,
    },
    /// Offsets outside the text or the sentence.
    #[error("{what} {found} is outside {bounds}")]
    OutOfRange {
        /// What has the offset, `ner span` for example.
        what: &'static str,
        /// The offsets as the file gives them.
        found: String,
        /// What they should be inside of.
        bounds: String,
    },
    /// A span without text, or with nothing but whitespace.
    #[error("{what} {found} is empty")]
    EmptySpan {
        /// What has the span.
        what: &'static str,
        /// The offsets as the file gives them.
        found: String,
    },
    /// A relation whose argument is not a mention.
    #[error("the relation {relation} names {argument}, but the document has no such entity")]
    NoSuchEntity {
        /// The relation as the file gives it.
        relation: String,
        /// The argument that is missing.
        argument: String,
    },
    /// A relation that breaks a hard constraint of the ontology.
    #[error("`{relation}` may not connect {head} with {tail}: {allowed}")]
    ForbiddenSignature {
        /// Its type.
        relation: String,
        /// Label of the head.
        head: String,
        /// Label of the tail.
        tail: String,
        /// What the ontology allows.
        allowed: String,
    },
    /// A document name that is already used.
    #[error("the document name is already used in line {first_line}")]
    DuplicateKey {
        /// Where it was used first.
        first_line: usize,
    },
    /// A list that should have one entry a sentence.
    #[error("`{field}` has {found} entries for {sentences} sentences")]
    SentenceCount {
        /// The list.
        field: &'static str,
        /// Its length.
        found: usize,
        /// The number of sentences.
        sentences: usize,
    },
    /// A required field that is missing.
    #[error("`{field}` is missing")]
    MissingField {
        /// The field.
        field: &'static str,
    },
    /// A text that is not the one at its offsets.
    #[error("the text at {found} is `{actual}`, not `{stated}`{}", .shift.as_ref().map_or(String::new(), |shift| format!("; {shift}")))]
    TextMismatch {
        /// The offsets.
        found: String,
        /// The text there.
        actual: String,
        /// What the file says.
        stated: String,
        /// Why the text may be elsewhere, or where it is.
        shift: Option<String>,
    },
    /// A document without a name.
    #[error(
        "`{field}` is missing: every document needs a unique name; a line looks like \
         {{\"{field}\": \"a\", \"text\": \"...\"}}"
    )]
    MissingName {
        /// The field that would hold the name.
        field: &'static str,
    },
    /// Something that does not follow the format.
    #[error("{message}")]
    Malformed {
        /// What was found and what would be right.
        message: String,
    },
}

impl Problem {
    pub(crate) fn unknown_label(what: &'static str, found: &str, valid: Vec<String>) -> Self {
        let nearest = nearest(found, valid.iter().map(String::as_str)).map(str::to_owned);
        Self::UnknownLabel { what, found: found.to_owned(), of: None, nearest, valid }
    }

    pub(crate) fn unknown_subtype(label: &str, found: &str, valid: Vec<String>) -> Self {
        let nearest = nearest(found, valid.iter().map(String::as_str)).map(str::to_owned);
        let of = Some(label.to_owned());
        Self::UnknownLabel { what: "subtype", found: found.to_owned(), of, nearest, valid }
    }

    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::Malformed { message: message.into() }
    }
}

fn suggestion(nearest: Option<&str>, valid: &[String]) -> String {
    match nearest {
        Some(name) => format!("; did you mean `{name}`?"),
        None if valid.is_empty() => "; the ontology has none".to_owned(),
        None => format!("; valid: {}", valid.join(", ")),
    }
}
