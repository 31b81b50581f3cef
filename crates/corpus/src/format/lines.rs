//! Reading files with one document on each line, without holding them in memory.

use std::{
    collections::{BTreeMap, hash_map},
    io::{BufReader, Read},
    path::Path,
    vec,
};

use rayon::prelude::*;
use rustc_hash::FxHashMap;
use serde_json::{Value, value::RawValue};
use tabpo_files::{NumberedLine, NumberedLines};
use tabpo_ontology::Ontology;

use super::{
    json::{json_error, mend_surrogates, values},
    source::Source,
};
use crate::{CorpusError, Document, FilePlace, Loaded, Note, Notes, Problem};

/// What can be wrong with a line.
pub(crate) enum LineError {
    /// Not JSON, or not of the right shape.
    Json(serde_json::Error),
    /// Impossible content of the document with this name.
    Invalid(Option<String>, Box<Problem>),
    /// A document that is not to be read, which is counted: why.
    LeftOut(&'static str),
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

/// A document of a file as text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    pub(crate) text: &'a str,
    path: &'a Path,
    /// Its line or, in a list, its position, counted from 1.
    number: usize,
}

impl Line<'_> {
    /// A name for a document that has none: the file's, without its extension, and the number.
    pub(crate) fn name(self) -> String {
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy();
        format!("{stem}-{}", self.number)
    }
}

/// Turns one line into a document.
pub(crate) type LineParser = fn(Line<'_>, &Ontology, &mut Notes) -> Result<Document, LineError>;

/// Bytes that are parsed at a time, in parallel; memory grows with it, results do not depend on it.
const CHUNK: usize = 1 << 18;

/// Lines that one thread takes at a time.
const LINES: usize = 16;

/// Documents of a JSONL file, one at a time; many lines are parsed at once, in parallel. After an error the
/// iterator ends.
pub struct Documents<'a> {
    lines: NumberedLines<BufReader<Box<dyn Read + Send + 'a>>>,
    parser: Parser<'a>,
    /// Parsed but not yet returned.
    parsed: vec::IntoIter<Result<Parsed, CorpusError>>,
    known: Known,
    done: bool,
}

/// A document with what was noticed while it was read.
struct Parsed {
    /// `None` if it is left out, which is counted.
    document: Option<Document>,
    line: usize,
    notes: Notes,
}

/// What is known of all documents of a file.
#[derive(Default)]
struct Known {
    /// The line of each document.
    keys: FxHashMap<Box<str>, usize>,
    notes: Notes,
}

impl Known {
    /// Takes in the next document, if it is one; fails if its key is already taken.
    fn enter(&mut self, path: &Path, parsed: Parsed) -> Result<Option<Document>, CorpusError> {
        let Parsed { document, line, notes } = parsed;
        let key = document.as_ref().map(|document| document.key.clone());
        self.notes.merge_at(notes, || FilePlace { path: path.to_path_buf(), line, key });
        let Some(document) = document else { return Ok(None) };
        match self.keys.entry(document.key.as_str().into()) {
            hash_map::Entry::Vacant(entry) => {
                entry.insert(line);
                Ok(Some(document))
            }
            hash_map::Entry::Occupied(entry) => {
                let problem = Problem::DuplicateKey { first_line: *entry.get() };
                Err(CorpusError::invalid(path, line, Some(document.key), problem))
            }
        }
    }
}

/// How the lines of a file are parsed.
struct Parser<'a> {
    path: &'a Path,
    ontology: &'a Ontology,
    parse: LineParser,
}

impl Parser<'_> {
    /// Parses a line; `None` if it is blank.
    fn line(&self, line: &NumberedLine) -> Option<Result<Parsed, CorpusError>> {
        match line.text() {
            Ok(text) if text.trim_start().is_empty() => None,
            Ok(text) => Some(self.object(line.number, line.number, text)),
            Err(source) => Some(Err(CorpusError::read(self.path, source))),
        }
    }

    /// Parses the object that begins in a line of the file; `number` is its [`Line::number`].
    fn object(&self, line: usize, number: usize, content: &str) -> Result<Parsed, CorpusError> {
        let as_line = |text| Line { text, path: self.path, number };
        let mut notes = Notes::default();
        let mut document = (self.parse)(as_line(content), self.ontology, &mut notes);
        if let Err(LineError::Json(_)) = document
            && let Some((mended, count)) = mend_surrogates(content)
        {
            notes = Notes::default();
            document = (self.parse)(as_line(&mended), self.ontology, &mut notes);
            notes.add_many(Note::LoneSurrogate, count);
        }
        let document = match document {
            Ok(document) => Some(document),
            Err(LineError::LeftOut(what)) => {
                notes = Notes::default();
                notes.ignore(what);
                None
            }
            Err(LineError::Json(error)) => return Err(json_error(self.path, line, content, &error)),
            Err(LineError::Invalid(key, problem)) => {
                return Err(CorpusError::invalid(self.path, line, key, *problem));
            }
        };
        Ok(Parsed { document, line, notes })
    }
}

/// Reads documents that are not one on each line: those of a list, or objects that span several lines.
pub(crate) fn read_objects(source: &Source, ontology: &Ontology, parse: LineParser) -> Result<Loaded, CorpusError> {
    let (path, text) = (source.path, source.text()?);
    let parser = Parser { path, ontology, parse };
    let mut known = Known::default();
    let mut documents = Vec::new();
    for (number, (line, object)) in (1..).zip(values(path, &text)?) {
        documents.extend(known.enter(path, parser.object(line, number, object)?)?);
    }
    Ok(Loaded { documents, notes: known.notes })
}

impl<'a> Documents<'a> {
    /// The documents in the lines of `source`; `path` is what errors call it.
    pub(crate) fn new(
        path: &'a Path,
        source: Box<dyn Read + Send + 'a>,
        ontology: &'a Ontology,
        parse: LineParser,
    ) -> Self {
        Self {
            lines: NumberedLines::new(BufReader::with_capacity(CHUNK, source)),
            parser: Parser { path, ontology, parse },
            parsed: Vec::new().into_iter(),
            known: Known::default(),
            done: false,
        }
    }

    /// What was changed in the documents read so far.
    pub fn notes(&self) -> &Notes {
        &self.known.notes
    }

    fn next_document(&mut self) -> Result<Option<Document>, CorpusError> {
        let path = self.parser.path;
        loop {
            if let Some(parsed) = self.parsed.next() {
                match self.known.enter(path, parsed?)? {
                    Some(document) => return Ok(Some(document)),
                    None => continue,
                }
            }
            let lines = self.lines.chunk(CHUNK).map_err(|source| CorpusError::read(path, source))?;
            if lines.is_empty() {
                return Ok(None);
            }
            let parsed = lines.par_iter().with_min_len(LINES).filter_map(|line| self.parser.line(line));
            self.parsed = parsed.collect::<Vec<_>>().into_iter();
        }
    }
}

impl Iterator for Documents<'_> {
    type Item = Result<Document, CorpusError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = self.next_document().transpose();
        self.done = !matches!(next, Some(Ok(_)));
        next
    }
}

/// Counts the fields of a JSON object that are not read.
pub(crate) fn note_unknown_fields(object: &str, known: &[&str], notes: &mut Notes) -> Result<(), serde_json::Error> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(object)?;
    for (field, _) in fields.into_iter().filter(|(field, _)| !known.contains(&field.as_str())) {
        notes.add(Note::IgnoredField(field));
    }
    Ok(())
}

/// Counts the fields of an item that are not read, under the name of its list.
pub(crate) fn note_other_fields(list: &str, others: &BTreeMap<String, Value>, notes: &mut Notes) {
    for field in others.keys() {
        notes.add(Note::IgnoredField(format!("{list}.{field}")));
    }
}
