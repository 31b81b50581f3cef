//! Reading one document a line, without holding the file in memory.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
    vec,
};

use rayon::prelude::*;
use rustc_hash::FxHashMap;
use serde_json::value::RawValue;
use tabpo_files::{Block, Line, LineBlocks};
use tabpo_ontology::Ontology;

use crate::{CorpusError, Document, Note, Notes, Problem};

/// What can be wrong with a line.
pub(crate) enum LineError {
    /// Not JSON, or not of the right shape.
    Json(serde_json::Error),
    /// Impossible content of the document with this name.
    Invalid(Option<String>, Problem),
}

impl LineError {
    /// A problem of the document `key`.
    pub(crate) fn of(key: &str) -> impl Fn(Problem) -> LineError + use<> {
        let key = key.to_owned();
        move |problem| LineError::Invalid(Some(key.clone()), problem)
    }
}

impl From<serde_json::Error> for LineError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}

/// Turns one line into a document.
pub(crate) type LineParser = fn(&str, &Ontology, &mut Notes) -> Result<Document, LineError>;

/// Bytes that are parsed at a time, in parallel; memory grows with it, results do not depend on it.
const BLOCK: usize = 1 << 18;

/// Lines that one thread takes at a time.
const LINES: usize = 16;

/// What became of a line: its number, the document and what parsing changed.
type ParsedLine = (usize, Result<Document, CorpusError>, Notes);

/// Documents of a JSONL file, one at a time. After an error the iterator ends.
pub struct Documents<'a> {
    blocks: LineBlocks<File>,
    block: Block,
    path: PathBuf,
    ontology: &'a Ontology,
    parse: LineParser,
    /// Parsed and not yet given out; blank lines are `None`.
    parsed: vec::IntoIter<Option<ParsedLine>>,
    /// The line of each document.
    keys: FxHashMap<Box<str>, usize>,
    notes: Notes,
    done: bool,
}

impl<'a> Documents<'a> {
    pub(crate) fn open(path: &Path, ontology: &'a Ontology, parse: LineParser) -> Result<Self, CorpusError> {
        let file = File::open(path).map_err(|source| CorpusError::read(path, source))?;
        Ok(Self {
            blocks: LineBlocks::new(file, BLOCK),
            block: Block::default(),
            path: path.to_path_buf(),
            ontology,
            parse,
            parsed: Vec::new().into_iter(),
            keys: FxHashMap::default(),
            notes: Notes::default(),
            done: false,
        })
    }

    /// What was changed in the documents read so far.
    pub fn notes(&self) -> &Notes {
        &self.notes
    }

    /// Parses the lines of the block.
    fn parse_block(&mut self) {
        let (path, ontology, parse) = (&self.path, self.ontology, self.parse);
        let parse_line = |line: &Line| {
            let Ok(text) = str::from_utf8(line.bytes) else {
                let source = io::Error::new(io::ErrorKind::InvalidData, "stream did not contain valid UTF-8");
                return Some((line.number, Err(CorpusError::read(path, source)), Notes::default()));
            };
            if text.trim_start().is_empty() {
                return None;
            }
            // A byte order mark is not JSON, but editors write it. Without the line's end, an object
            // that stops too early is reported on its own line.
            let content = text.trim_end_matches(['\n', '\r']);
            let content = content.strip_prefix('\u{feff}').unwrap_or(content);
            let mut notes = Notes::default();
            let document = parse(content, ontology, &mut notes).map_err(|error| match error {
                LineError::Json(error) => json_error(path, line.number, &error),
                LineError::Invalid(key, problem) => CorpusError::invalid(path, line.number, key, problem),
            });
            Some((line.number, document, notes))
        };
        let lines: Vec<Line> = self.block.lines().collect();
        self.parsed = lines.par_iter().with_min_len(LINES).map(parse_line).collect::<Vec<_>>().into_iter();
    }

    /// The next line that is not blank.
    fn next_parsed(&mut self) -> Result<Option<ParsedLine>, CorpusError> {
        loop {
            if let Some(parsed) = self.parsed.by_ref().flatten().next() {
                return Ok(Some(parsed));
            }
            self.blocks.fill(&mut self.block).map_err(|source| CorpusError::read(&self.path, source))?;
            if self.block.is_empty() {
                return Ok(None);
            }
            self.parse_block();
        }
    }

    fn read_document(&mut self) -> Option<Result<Document, CorpusError>> {
        let (line, document, notes) = match self.next_parsed() {
            Ok(parsed) => parsed?,
            Err(failure) => return Some(Err(failure)),
        };
        self.notes.merge(notes);
        Some(document.and_then(|document| match self.keys.get(document.key.as_str()) {
            None => {
                self.keys.insert(document.key.as_str().into(), line);
                Ok(document)
            }
            Some(&first_line) => {
                let problem = Problem::DuplicateKey { first_line };
                Err(CorpusError::invalid(&self.path, line, Some(document.key), problem))
            }
        }))
    }
}

impl Iterator for Documents<'_> {
    type Item = Result<Document, CorpusError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let item = self.read_document();
        self.done = !matches!(item, Some(Ok(_)));
        item
    }
}

/// An error of the JSON parser in the text that begins with line `first_line` of a file.
pub(crate) fn json_error(path: &Path, first_line: usize, error: &serde_json::Error) -> CorpusError {
    CorpusError::Json {
        path: path.to_path_buf(),
        line: first_line + error.line().saturating_sub(1),
        column: error.column(),
        message: without_position(error),
    }
}

/// The message of a parser that read one line of a file, without its own " at line 1 column 5", which
/// counts within the line.
pub fn without_position(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let suffix = format!(" at line {} column {}", error.line(), error.column());
    message.strip_suffix(&suffix).map_or(message.clone(), str::to_owned)
}

/// Counts the fields of a JSON object that its reader does not know.
pub(crate) fn note_unknown_fields(object: &str, known: &[&str], notes: &mut Notes) -> Result<(), serde_json::Error> {
    for field in field_names(object)?.into_iter().filter(|field| !known.contains(&field.as_str())) {
        notes.add(Note::IgnoredField(field));
    }
    Ok(())
}

/// The names of the fields of a JSON object.
pub(crate) fn field_names(object: &str) -> Result<Vec<String>, serde_json::Error> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(object)?;
    Ok(fields.into_keys().collect())
}
