//! Reading one document a line, without holding the file in memory.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

use rayon::prelude::*;
use serde_json::value::RawValue;
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

/// Lines that are parsed at a time, in parallel; memory grows with it, results do not depend on it.
const BATCH: usize = 512;

/// Documents of a JSONL file, one at a time. After an error the iterator ends.
pub struct Documents<'a> {
    reader: Box<dyn BufRead>,
    path: PathBuf,
    ontology: &'a Ontology,
    parse: LineParser,
    line: usize,
    /// Parsed and not yet given out, with their line numbers and what parsing changed.
    parsed: VecDeque<(usize, Result<Document, CorpusError>, Notes)>,
    /// A failure to read, which comes after everything that was read.
    failure: Option<CorpusError>,
    keys: HashMap<String, usize>,
    notes: Notes,
    done: bool,
}

impl<'a> Documents<'a> {
    pub(crate) fn open(path: &Path, ontology: &'a Ontology, parse: LineParser) -> Result<Self, CorpusError> {
        let file = File::open(path).map_err(|source| CorpusError::read(path, source))?;
        Ok(Self {
            reader: Box::new(BufReader::with_capacity(1 << 18, file)),
            path: path.to_path_buf(),
            ontology,
            parse,
            line: 0,
            parsed: VecDeque::new(),
            failure: None,
            keys: HashMap::new(),
            notes: Notes::default(),
            done: false,
        })
    }

    /// What was changed in the documents read so far.
    pub fn notes(&self) -> &Notes {
        &self.notes
    }

    /// Reads and parses the next lines.
    fn fill(&mut self) {
        let mut lines: Vec<(usize, String)> = Vec::with_capacity(BATCH);
        while lines.len() < BATCH {
            let mut text = String::new();
            self.line += 1;
            match self.reader.read_line(&mut text) {
                Err(source) => {
                    self.failure = Some(CorpusError::read(&self.path, source));
                    break;
                }
                Ok(0) => break,
                Ok(_) if text.trim().is_empty() => {}
                Ok(_) => lines.push((self.line, text)),
            }
        }
        let (path, ontology, parse) = (&self.path, self.ontology, self.parse);
        let parse_line = |(number, text): &(usize, String)| {
            // A byte order mark is not JSON, but editors write it. Without the line's end, an object
            // that stops too early is reported on its own line.
            let content = text.trim_end_matches(['\n', '\r']);
            let content = content.strip_prefix('\u{feff}').unwrap_or(content);
            let mut notes = Notes::default();
            let document = parse(content, ontology, &mut notes).map_err(|error| match error {
                LineError::Json(error) => json_error(path, *number, &error),
                LineError::Invalid(key, problem) => CorpusError::invalid(path, *number, key, problem),
            });
            (*number, document, notes)
        };
        self.parsed = lines.par_iter().map(parse_line).collect::<Vec<_>>().into();
    }

    fn read_document(&mut self) -> Option<Result<Document, CorpusError>> {
        if self.parsed.is_empty() && self.failure.is_none() {
            self.fill();
        }
        let Some((line, document, notes)) = self.parsed.pop_front() else {
            return self.failure.take().map(Err);
        };
        self.notes.merge(notes);
        Some(document.and_then(|document| match self.keys.insert(document.key.clone(), line) {
            None => Ok(document),
            Some(first_line) => {
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

/// The parser's message without its own " at line 1 column 5", which counts within the line.
fn without_position(error: &serde_json::Error) -> String {
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
