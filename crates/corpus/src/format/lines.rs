//! Reading one document a line, without holding the file in memory.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

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

/// Documents of a JSONL file, one at a time. After an error the iterator ends.
pub struct Documents<'a> {
    reader: Box<dyn BufRead>,
    path: PathBuf,
    ontology: &'a Ontology,
    parse: LineParser,
    line: usize,
    buffer: String,
    keys: HashMap<String, usize>,
    notes: Notes,
    done: bool,
}

impl<'a> Documents<'a> {
    pub(crate) fn open(path: &Path, ontology: &'a Ontology, parse: LineParser) -> Result<Self, CorpusError> {
        let file = File::open(path).map_err(|source| CorpusError::read(path, source))?;
        Ok(Self::new(Box::new(BufReader::new(file)), path, ontology, parse))
    }

    pub(crate) fn new(reader: Box<dyn BufRead>, path: &Path, ontology: &'a Ontology, parse: LineParser) -> Self {
        Self {
            reader,
            path: path.to_path_buf(),
            ontology,
            parse,
            line: 0,
            buffer: String::new(),
            keys: HashMap::new(),
            notes: Notes::default(),
            done: false,
        }
    }

    /// What was changed in the documents read so far.
    pub fn notes(&self) -> &Notes {
        &self.notes
    }

    fn read_document(&mut self) -> Option<Result<Document, CorpusError>> {
        loop {
            self.buffer.clear();
            self.line += 1;
            match self.reader.read_line(&mut self.buffer) {
                Err(source) => return Some(Err(CorpusError::read(&self.path, source))),
                Ok(0) => return None,
                Ok(_) if self.buffer.trim().is_empty() => {}
                Ok(_) => return Some(self.parse_buffer()),
            }
        }
    }

    fn parse_buffer(&mut self) -> Result<Document, CorpusError> {
        // A byte order mark is not JSON, but editors write it. Without the line's end, an object that
        // stops too early is reported on its own line.
        let content = self.buffer.trim_end_matches(['\n', '\r']);
        let content = content.strip_prefix('\u{feff}').unwrap_or(content);
        let document = (self.parse)(content, self.ontology, &mut self.notes).map_err(|error| match error {
            LineError::Json(error) => json_error(&self.path, self.line, &error),
            LineError::Invalid(key, problem) => CorpusError::invalid(&self.path, self.line, key, problem),
        })?;
        if let Some(first_line) = self.keys.insert(document.key.clone(), self.line) {
            let problem = Problem::DuplicateKey { first_line };
            return Err(CorpusError::invalid(&self.path, self.line, Some(document.key), problem));
        }
        Ok(document)
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
