//! Pairs on disk: one JSON object per line.

use std::{
    io::{BufRead, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Kind, Source};

/// A preference pair: gold and a negative for one example.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairRecord {
    /// Unique in the file: document, sentence (where there is one) and number, joined by colons.
    pub id: String,
    /// The document.
    pub doc_key: String,
    /// The sentence, or null where the whole document is the example.
    pub sent: Option<u32>,
    /// The source text.
    pub prompt: String,
    /// The gold answer in canonical form, as JSON or marked.
    pub chosen: String,
    /// The negative in the same form.
    pub rejected: String,
    /// What differs.
    pub edit: EditRecord,
    /// Edit distance between the answers, in tokens of the model's tokenizer, or in characters if there
    /// was none.
    pub distance_tokens: u32,
    /// The weight of the pair in training; 1 on average over the corpus where every example has all
    /// its negatives.
    pub weight: f64,
}

/// What a negative changes, for people and statistics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EditRecord {
    /// The kind of edit.
    pub kind: Kind,
    /// Where it comes from.
    pub source: Source,
    /// The id of the pattern, for edits that a pattern proposed.
    pub pattern: Option<String>,
    /// What gold has: a label (`Label/sub-label` in a hierarchy), a text, an entity id for an
    /// argument, an occurrence number; null where gold has nothing.
    pub from: Option<String>,
    /// What the negative has instead; null where it has nothing.
    pub to: Option<String>,
    /// Which item: an entity id (`e2`) or a relation (`e1 Used-for e2`) with the ids of the gold
    /// answer; for an added entity its id in the negative.
    pub item: String,
    /// Further edits, where several were requested for each negative.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further: Vec<EditRecord>,
}

/// A pair file that cannot be read.
#[derive(Debug, Error)]
pub enum RecordError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A line is not a pair.
    #[error("{path}:{line}: not a preference pair: {message}")]
    Line {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
}

impl PairRecord {
    /// Writes the pair as one line.
    pub fn write(&self, out: &mut impl Write) -> std::io::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        out.write_all(b"\n")
    }

    /// Reads the pairs of a file one after the other; empty lines are skipped. Errors
    /// name `path`.
    pub fn read<R: BufRead>(reader: R, path: &Path) -> impl Iterator<Item = Result<PairRecord, RecordError>> {
        let lines = (1..).zip(reader.lines());
        lines.filter_map(move |(line, content)| match content {
            Err(source) => Some(Err(RecordError::Io { path: path.to_path_buf(), source })),
            Ok(content) if content.trim().is_empty() => None,
            Ok(content) => Some(serde_json::from_str(&content).map_err(|error| {
                let message = error.to_string();
                let message = message.split(" at line ").next().unwrap_or(&message).to_owned();
                RecordError::Line { path: path.to_path_buf(), line, message }
            })),
        })
    }
}
