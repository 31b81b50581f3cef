//! An index of a prediction file: where the lines of each document are.

use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::Path;

use rayon::prelude::*;
use rustc_hash::FxHashMap;
use tabpo_files::{NumberedLine, NumberedLines, without_mark};
use tabpo_ontology::{canonical_name, nearest};

use super::{Head, PredictedLine, PredictionKind, Source, head};
use crate::error::EvaluationError;

/// An indexed prediction file, read document by document in any order.
pub(super) struct Index {
    reader: BufReader<Box<dyn Source>>,
    documents: FxHashMap<Box<str>, Predicted>,
    /// The keys that are not ASCII, by their composed form.
    composed: FxHashMap<String, Box<str>>,
    /// Whether units are whole documents.
    pub(super) whole_documents: bool,
    /// The keys of the documents that were looked up.
    asked: Vec<Box<str>>,
}

/// What the file has of one document.
#[derive(Default)]
struct Predicted {
    runs: Vec<Run>,
    /// Whether it was looked up.
    seen: bool,
}

/// Lines of one document that follow each other in the file, with the blank ones between them.
struct Run {
    /// Number of the first line.
    number: usize,
    offset: u64,
    length: u64,
}

/// Bytes that are read at a time.
const CHUNK: usize = 1 << 18;

/// Lines that one thread takes at a time.
const LINES: usize = 64;

impl Index {
    /// Reads a file from its start to its end.
    pub(super) fn build(source: Box<dyn Source>, path: &Path) -> Result<(Self, PredictionKind), EvaluationError> {
        let io = EvaluationError::io(path);
        let mut index = Self {
            reader: BufReader::with_capacity(CHUNK, source),
            documents: FxHashMap::default(),
            composed: FxHashMap::default(),
            whole_documents: false,
            asked: Vec::new(),
        };
        let mut file_kind = None;
        let mut last: Option<String> = None;
        let mut source = NumberedLines::new(&mut index.reader);
        loop {
            let lines = source.chunk(CHUNK).map_err(&io)?;
            if lines.is_empty() {
                break;
            }
            let heads: Vec<_> = lines.par_iter().with_min_len(LINES).map(|line| head(line, path)).collect();
            for (line, head) in lines.iter().zip(heads) {
                let Some(Head { kind, doc_key, whole }) = head? else { continue };
                if *file_kind.get_or_insert(kind) != kind {
                    let found = "the file holds raw output and predictions by offset; use one kind";
                    return Err(EvaluationError::invalid(path, line.number, found.into()));
                }
                index.whole_documents |= whole;
                let goes_on = last.as_ref() == Some(&doc_key);
                let key = last.insert(doc_key).as_str();
                match index.documents.get_mut(key) {
                    Some(document) => document.add(line, goes_on),
                    None => index.documents.entry(key.into()).or_default().add(line, false),
                }
            }
        }
        let kind = file_kind.ok_or_else(|| EvaluationError::invalid(path, 1, "the file holds no prediction".into()))?;
        let keys = index.documents.keys().filter(|key| !key.is_ascii());
        index.composed = keys.map(|key| (canonical_name(key).into_owned(), key.clone())).collect();
        Ok((index, kind))
    }

    /// Forgets which documents were looked up.
    pub(super) fn start(&mut self) {
        self.documents.values_mut().for_each(|document| document.seen = false);
        self.asked.clear();
    }

    /// The lines of a document that are not blank; `None` if it has no prediction.
    pub(super) fn lines(&mut self, key: &str) -> io::Result<Option<Vec<PredictedLine>>> {
        self.asked.push(key.into());
        let own = if self.documents.contains_key(key) || key.is_ascii() {
            key
        } else {
            self.composed.get(&*canonical_name(key)).map_or(key, |own| own)
        };
        let Some(document) = self.documents.get_mut(own) else { return Ok(None) };
        document.seen = true;
        let mut lines = Vec::new();
        for run in &document.runs {
            let position = self.reader.stream_position()?;
            // This keeps what is buffered: a file in the order of gold is read once.
            self.reader.seek_relative(run.offset as i64 - position as i64)?;
            for (number, line) in (run.number..).zip(self.reader.by_ref().take(run.length).split(b'\n')) {
                let text = String::from_utf8(line?).map_err(|_| io::Error::other("the file was changed meanwhile"))?;
                if !text.trim_start().is_empty() {
                    lines.push(PredictedLine { number, text: without_mark(&text).to_owned() });
                }
            }
        }
        Ok(Some(lines))
    }

    /// Fails if the file has a document that was not looked up.
    pub(super) fn check_unknown(&self, path: &Path) -> Result<(), EvaluationError> {
        let unseen = self.documents.iter().filter(|(_, document)| !document.seen);
        let first = unseen.min_by_key(|(_, document)| document.runs[0].number);
        let Some((key, document)) = first else { return Ok(()) };
        // Of equally near keys the first in alphabetical order is named.
        let mut asked: Vec<&str> = self.asked.iter().map(|key| &**key).collect();
        asked.sort_unstable();
        let hint = nearest(key, asked).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
        let found = format!("the gold corpus has no document `{key}`{hint}");
        Err(EvaluationError::invalid(path, document.runs[0].number, found))
    }
}

impl Predicted {
    /// Adds a line, which may go on with the last run.
    fn add(&mut self, line: &NumberedLine, goes_on: bool) {
        match self.runs.last_mut().filter(|_| goes_on) {
            Some(run) => run.length = line.offset + line.bytes.len() as u64 - run.offset,
            None => self.runs.push(Run { number: line.number, offset: line.offset, length: line.bytes.len() as u64 }),
        }
    }
}
