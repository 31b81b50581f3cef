//! Reading one document a line, without holding the file in memory.

use std::{
    collections::{BTreeMap, hash_map},
    fs::File,
    io,
    path::Path,
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

/// Bytes of a part of a file that one thread is given to read.
const PART: usize = 1 << 17;

/// Documents of a JSONL file, one at a time. After an error the iterator ends.
///
/// As an iterator it reads many documents at once, in parallel. A caller with threads of its own takes
/// [parts](Documents::next_part) of the file instead, [reads](DocumentLines::documents) them in any
/// thread, and [enters](Documents::enter) the documents in their order.
pub struct Documents<'a> {
    blocks: LineBlocks<File>,
    part: DocumentLines<'a>,
    /// Read and not yet given out; blank lines are `None`.
    read: vec::IntoIter<Option<Result<LineDocument, CorpusError>>>,
    /// The line of each document.
    keys: FxHashMap<Box<str>, usize>,
    notes: Notes,
    done: bool,
}

/// Lines of a file that follow each other, to be read as documents. Made to be filled again and again.
pub struct DocumentLines<'a> {
    block: Block,
    reader: LineReader<'a>,
}

/// How to read a line.
#[derive(Clone, Copy)]
struct LineReader<'a> {
    path: &'a Path,
    ontology: &'a Ontology,
    parse: LineParser,
}

/// A document and what its file has to know of it.
#[derive(Debug)]
pub struct LineDocument {
    /// The document.
    pub document: Document,
    /// To be [entered](Documents::enter).
    pub entry: Entry,
}

/// What a file has to know of a document that was read from it.
#[derive(Debug)]
pub struct Entry {
    key: Box<str>,
    line: usize,
    notes: Notes,
}

impl LineReader<'_> {
    /// Reads a line; `None` if it is blank.
    fn read(&self, line: &Line) -> Option<Result<LineDocument, CorpusError>> {
        let Ok(text) = str::from_utf8(line.bytes) else {
            let source = io::Error::new(io::ErrorKind::InvalidData, "stream did not contain valid UTF-8");
            return Some(Err(CorpusError::read(self.path, source)));
        };
        if text.trim_start().is_empty() {
            return None;
        }
        // A byte order mark is not JSON, but editors write it. Without the line's end, an object
        // that stops too early is reported on its own line.
        let content = text.trim_end_matches(['\n', '\r']);
        let content = content.strip_prefix('\u{feff}').unwrap_or(content);
        let mut notes = Notes::default();
        let document = (self.parse)(content, self.ontology, &mut notes).map_err(|error| match error {
            LineError::Json(error) => json_error(self.path, line.number, &error),
            LineError::Invalid(key, problem) => CorpusError::invalid(self.path, line.number, key, problem),
        });
        Some(document.map(|document| {
            let entry = Entry { key: document.key.as_str().into(), line: line.number, notes };
            LineDocument { document, entry }
        }))
    }
}

impl DocumentLines<'_> {
    /// Whether there are no lines at all.
    pub fn is_empty(&self) -> bool {
        self.block.is_empty()
    }

    /// How many documents there are, as far as can be said without reading them.
    pub fn count(&self) -> usize {
        self.block.lines().filter(|line| !line.bytes.trim_ascii_start().is_empty()).count()
    }

    /// Reads them.
    pub fn documents(&self) -> impl Iterator<Item = Result<LineDocument, CorpusError>> {
        self.block.lines().filter_map(|line| self.reader.read(&line))
    }
}

impl<'a> Documents<'a> {
    pub(crate) fn open(path: &'a Path, ontology: &'a Ontology, parse: LineParser) -> Result<Self, CorpusError> {
        let file = File::open(path).map_err(|source| CorpusError::read(path, source))?;
        Ok(Self {
            blocks: LineBlocks::new(file),
            part: DocumentLines { block: Block::default(), reader: LineReader { path, ontology, parse } },
            read: Vec::new().into_iter(),
            keys: FxHashMap::default(),
            notes: Notes::default(),
            done: false,
        })
    }

    /// What was changed in the documents read so far.
    pub fn notes(&self) -> &Notes {
        &self.notes
    }

    /// A part without lines.
    pub fn empty_part(&self) -> DocumentLines<'a> {
        DocumentLines { block: Block::default(), reader: self.part.reader }
    }

    /// Replaces `part` by the next lines of the file; without any at its end. Not to be mixed with the
    /// iterator, which reads ahead.
    pub fn next_part(&mut self, part: &mut DocumentLines<'a>) -> Result<(), CorpusError> {
        self.blocks.fill(&mut part.block, PART).map_err(|source| CorpusError::read(part.reader.path, source))
    }

    /// Takes note of the next document that was read; fails if its key is not its own.
    pub fn enter(&mut self, Entry { key, line, notes }: Entry) -> Result<(), CorpusError> {
        self.notes.merge(notes);
        match self.keys.entry(key) {
            hash_map::Entry::Vacant(entry) => {
                entry.insert(line);
                Ok(())
            }
            hash_map::Entry::Occupied(entry) => {
                let (key, problem) = (entry.key().to_string(), Problem::DuplicateKey { first_line: *entry.get() });
                Err(CorpusError::invalid(self.part.reader.path, line, Some(key), problem))
            }
        }
    }

    /// The next document, not entered yet.
    fn next_document(&mut self) -> Option<Result<LineDocument, CorpusError>> {
        loop {
            if let Some(document) = self.read.by_ref().flatten().next() {
                return Some(document);
            }
            let DocumentLines { block, reader } = &mut self.part;
            if let Err(source) = self.blocks.fill(block, BLOCK) {
                return Some(Err(CorpusError::read(reader.path, source)));
            }
            let lines: Vec<Line> = block.lines().collect();
            if lines.is_empty() {
                return None;
            }
            let read = lines.par_iter().with_min_len(LINES).map(|line| reader.read(line));
            self.read = read.collect::<Vec<_>>().into_iter();
        }
    }
}

impl Iterator for Documents<'_> {
    type Item = Result<Document, CorpusError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = self.next_document();
        let next = next.map(|read| read.and_then(|read| self.enter(read.entry).map(|()| read.document)));
        self.done = !matches!(next, Some(Ok(_)));
        next
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
