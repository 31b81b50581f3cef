//! Reading one document a line, without holding the file in memory.

use std::{
    collections::{BTreeMap, hash_map},
    io::Read,
    path::Path,
    vec,
};

use rayon::prelude::*;
use rustc_hash::FxHashMap;
use serde_json::{Value, value::RawValue};
use tabpo_files::{Block, Line, LineBlocks, without_mark};
use tabpo_ontology::Ontology;

use super::{
    json::{json_error, mend_surrogates, values},
    source::Source,
};
use crate::{CorpusError, Document, Loaded, Note, Notes, Place, Problem};

/// What can be wrong with a line.
pub(crate) enum LineError {
    /// Not JSON, or not of the right shape.
    Json(serde_json::Error),
    /// Impossible content of the document with this name.
    Invalid(Option<String>, Box<Problem>),
}

impl LineError {
    /// A problem of the document `key`, where that is known.
    pub(crate) fn of(key: Option<&str>) -> impl Fn(Problem) -> LineError + use<> {
        let key = key.map(str::to_owned);
        move |problem| LineError::Invalid(key.clone(), Box::new(problem))
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
    blocks: LineBlocks<Box<dyn Read + Send + 'a>>,
    part: DocumentLines<'a>,
    /// Read and not yet given out; blank lines are `None`.
    read: vec::IntoIter<Option<Result<LineDocument, CorpusError>>>,
    known: Known,
    done: bool,
}

/// What a file has to know of all its documents.
#[derive(Default)]
struct Known {
    /// The line of each document.
    keys: FxHashMap<Box<str>, usize>,
    notes: Notes,
}

impl Known {
    /// Takes note of the next document; fails if its key is not its own.
    fn enter(&mut self, path: &Path, Entry { key, line, notes }: Entry) -> Result<(), CorpusError> {
        let place = || Place { path: path.to_path_buf(), line, key: Some(key.to_string()) };
        self.notes.merge_at(notes, place);
        match self.keys.entry(key) {
            hash_map::Entry::Vacant(entry) => {
                entry.insert(line);
                Ok(())
            }
            hash_map::Entry::Occupied(entry) => {
                let (key, problem) = (entry.key().to_string(), Problem::DuplicateKey { first_line: *entry.get() });
                Err(CorpusError::invalid(path, line, Some(key), problem))
            }
        }
    }
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
        let text = match tabpo_files::utf8(line.bytes, line.number, line.offset) {
            // A byte order mark is not JSON, but editors write it.
            Ok(text) => without_mark(text),
            Err(source) => return Some(Err(CorpusError::read(self.path, source))),
        };
        if text.trim_start().is_empty() {
            return None;
        }
        // Without the line's end, an object that stops too early is reported on its own line.
        Some(self.read_object(line.number, text.trim_end_matches(['\n', '\r'])))
    }

    /// Reads the object that begins in a line of the file.
    fn read_object(&self, number: usize, content: &str) -> Result<LineDocument, CorpusError> {
        let mut notes = Notes::default();
        let mut document = (self.parse)(content, self.ontology, &mut notes);
        if let Err(LineError::Json(_)) = document
            && let Some((mended, count)) = mend_surrogates(content)
        {
            notes = Notes::default();
            document = (self.parse)(&mended, self.ontology, &mut notes);
            notes.add_many(Note::LoneSurrogate, count);
        }
        let document = document.map_err(|error| match error {
            LineError::Json(error) => json_error(self.path, number, content, &error),
            LineError::Invalid(key, problem) => CorpusError::invalid(self.path, number, key, *problem),
        })?;
        let entry = Entry { key: document.key.as_str().into(), line: number, notes };
        Ok(LineDocument { document, entry })
    }
}

/// Reads documents that do not stand one a line: those of a list, or such that go over several lines.
pub(crate) fn read_objects(source: &Source, ontology: &Ontology, parse: LineParser) -> Result<Loaded, CorpusError> {
    let (path, text) = (source.path, source.text()?);
    let reader = LineReader { path, ontology, parse };
    let mut known = Known::default();
    let mut documents = Vec::new();
    for (line, object) in values(path, &text)? {
        let LineDocument { document, entry } = reader.read_object(line, object)?;
        known.enter(path, entry)?;
        documents.push(document);
    }
    Ok(Loaded { documents, notes: known.notes })
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
    /// The documents that `source` has in its lines; `path` is what errors call it.
    pub(crate) fn new(
        path: &'a Path,
        source: Box<dyn Read + Send + 'a>,
        ontology: &'a Ontology,
        parse: LineParser,
    ) -> Self {
        Self {
            blocks: LineBlocks::new(source),
            part: DocumentLines { block: Block::default(), reader: LineReader { path, ontology, parse } },
            read: Vec::new().into_iter(),
            known: Known::default(),
            done: false,
        }
    }

    /// What was changed in the documents read so far.
    pub fn notes(&self) -> &Notes {
        &self.known.notes
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
    pub fn enter(&mut self, entry: Entry) -> Result<(), CorpusError> {
        self.known.enter(self.part.reader.path, entry)
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

/// Counts the fields of a JSON object that its reader does not know.
pub(crate) fn note_unknown_fields(object: &str, known: &[&str], notes: &mut Notes) -> Result<(), serde_json::Error> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(object)?;
    for (field, _) in fields.into_iter().filter(|(field, _)| !known.contains(&field.as_str())) {
        notes.add(Note::IgnoredField(field));
    }
    Ok(())
}

/// Counts the fields of an item that its reader does not know, under the name of its list.
pub(crate) fn note_other_fields(list: &str, others: &BTreeMap<String, Value>, notes: &mut Notes) {
    for field in others.keys() {
        notes.add(Note::IgnoredField(format!("{list}.{field}")));
    }
}
