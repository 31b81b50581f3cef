//! Prediction files.
//!
//! Two kinds of lines, told apart by content: `{"doc_key", "sent": i or null, "output": "..."}` holds
//! what a model wrote for one unit; `{"doc_key", "predicted_ner", "predicted_relations"}` holds
//! predictions by inclusive token offset, one list a sentence, as `DyGIE` and its descendants write
//! them. A file holds lines of one kind. It is indexed once and then read document by document, so
//! that its size does not matter.

mod content;

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek};
use std::ops::Range;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use rayon::prelude::*;
use rustc_hash::FxHashMap;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tabpo_corpus::without_position;
use tabpo_files::{Block, Line, LineBlocks, PlainJson};

use crate::error::EvaluationError;

pub(crate) use content::{Content, Item, Offsets, contents};

/// What a model wrote for one unit: a line of a prediction file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitOutput {
    /// The document.
    pub doc_key: String,
    /// The sentence, counted from 0, or `None` for the whole document.
    pub sent: Option<u32>,
    /// The model's text, as it came.
    pub output: String,
}

/// A kind of prediction file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PredictionKind {
    /// Raw model output.
    Raw,
    /// Items by token offset.
    Offsets,
}

/// An indexed prediction file.
pub struct Predictions {
    reader: BufReader<Box<dyn Source>>,
    /// Where `reader` stands in the file.
    position: u64,
    path: PathBuf,
    kind: PredictionKind,
    /// The number of each document, in the order of their first lines.
    documents: FxHashMap<Box<str>, u32>,
    /// The last run of each document.
    last_runs: Vec<u32>,
    runs: Vec<Run>,
    whole_documents: bool,
}

trait Source: Read + Seek + Send {}
impl<T: Read + Seek + Send> Source for T {}

/// Lines of one document that follow each other in the file, blank ones between them included.
struct Run {
    offset: u64,
    length: u32,
    /// Number of the first line.
    number: u32,
    /// The run before this one of the same document.
    previous: Option<u32>,
}

/// Runs of lines as read from the file, of many documents behind each other.
#[derive(Debug, Default)]
pub(crate) struct RunText {
    bytes: Vec<u8>,
    /// Number of the first line, and where the run stands in `bytes`.
    runs: Vec<(u32, Range<usize>)>,
}

/// One line of a document's predictions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PredictedLine<'a> {
    pub(crate) number: u32,
    pub(crate) text: &'a str,
}

impl RunText {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.runs.clear();
    }

    /// The lines of a document whose runs are these.
    pub(crate) fn lines(&self, runs: Range<usize>, path: &Path) -> Result<Vec<PredictedLine<'_>>, EvaluationError> {
        let mut lines = Vec::new();
        for (number, range) in &self.runs[runs] {
            let text = std::str::from_utf8(&self.bytes[range.clone()])
                .map_err(|_| EvaluationError::invalid(path, *number, "the line is not UTF-8".into()))?;
            let numbered = (*number..).zip(text.split_inclusive('\n')).filter(|(_, line)| !is_blank(line));
            lines.extend(numbered.map(|(number, text)| PredictedLine { number, text }));
        }
        Ok(lines)
    }
}

fn is_blank(line: &str) -> bool {
    line.trim_start().is_empty()
}

/// The fields that the index needs.
#[derive(Default, Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    doc_key: Option<Cow<'a, str>>,
    #[serde(default)]
    sent: Option<Value>,
    output: Option<IgnoredAny>,
    predicted_ner: Option<IgnoredAny>,
    predicted_relations: Option<IgnoredAny>,
}

impl Head<'_> {
    fn kind(&self) -> Option<PredictionKind> {
        if self.output.is_some() {
            Some(PredictionKind::Raw)
        } else if self.predicted_ner.is_some() || self.predicted_relations.is_some() {
            Some(PredictionKind::Offsets)
        } else {
            None
        }
    }
}

/// The head of a line as programs write them, the document first; `None` for any other line. What
/// comes behind the head is looked at when the document is read.
fn plain_head(text: &str) -> Option<Head<'_>> {
    let mut head = Head::default();
    let mut json = PlainJson::new(text);
    json.object(|json, name| {
        match name {
            "doc_key" if head.doc_key.is_none() => head.doc_key = Some(json.string()?),
            "sent" if head.sent.is_none() => head.sent = Some(json.nullable(PlainJson::integer)?.into()),
            "output" if head.doc_key.is_some() && head.sent.is_some() => {
                head.output = Some(IgnoredAny);
                json.skip_rest()?;
            }
            "predicted_ner" if head.doc_key.is_some() && !text.contains("\"output\"") => {
                head.predicted_ner = Some(IgnoredAny);
                json.skip_rest()?;
            }
            _ => return None,
        }
        Some(())
    })?;
    head.sent = head.sent.filter(|sent| !sent.is_null());
    json.is_at_end().then_some(head)
}

/// The kind of a line, its document, and whether it is about the whole document; `None` for a blank
/// line.
fn head<'a>(line: &Line<'a>, path: &Path) -> Result<Option<(PredictionKind, Cow<'a, str>, bool)>, EvaluationError> {
    let invalid = |found: String| EvaluationError::invalid(path, line.number as u32, found);
    let text = std::str::from_utf8(line.bytes).map_err(|_| invalid("the line is not UTF-8".into()))?;
    if is_blank(text) {
        return Ok(None);
    }
    let head = match plain_head(text) {
        Some(head) => head,
        None => serde_json::from_str(text).map_err(|error| invalid(without_position(&error)))?,
    };
    let kind = head.kind().ok_or_else(|| {
        invalid("a prediction has either `output` or `predicted_ner` and `predicted_relations`".into())
    })?;
    let whole = kind == PredictionKind::Raw && head.sent.is_none();
    let key = head.doc_key.ok_or_else(|| invalid("the field `doc_key` is missing".into()))?;
    Ok(Some((kind, key, whole)))
}

/// Bytes that are read at a time for the index.
const BLOCK: usize = 1 << 18;

/// Lines that one thread takes at a time.
const LINES: usize = 64;

/// What indexing gathers.
#[derive(Default)]
struct Index {
    kind: Option<PredictionKind>,
    documents: FxHashMap<Box<str>, u32>,
    last_runs: Vec<u32>,
    runs: Vec<Run>,
    whole_documents: bool,
    /// The document of the last line.
    key: String,
}

impl Index {
    fn add(&mut self, line: &Line, kind: PredictionKind, key: &str, path: &Path) -> Result<(), EvaluationError> {
        if *self.kind.get_or_insert(kind) != kind {
            let found = "the file holds raw output and predictions by offset; use one kind";
            return Err(EvaluationError::invalid(path, line.number as u32, found.into()));
        }
        let end = line.offset + line.bytes.len() as u64;
        if let Some(run) = self.runs.last_mut().filter(|_| self.key == key)
            && let Ok(length) = u32::try_from(end - run.offset)
        {
            run.length = length;
            return Ok(());
        }
        let number = self.runs.len() as u32;
        let previous = match self.documents.get(key) {
            Some(&document) => Some(std::mem::replace(&mut self.last_runs[document as usize], number)),
            None => {
                self.documents.insert(key.into(), self.last_runs.len() as u32);
                self.last_runs.push(number);
                None
            }
        };
        self.runs.push(Run {
            offset: line.offset,
            length: line.bytes.len() as u32,
            number: line.number as u32,
            previous,
        });
        key.clone_into(&mut self.key);
        Ok(())
    }
}

impl Predictions {
    /// Opens and indexes a prediction file; `.gz` files are unpacked in memory.
    pub fn open(path: &Path) -> Result<Self, EvaluationError> {
        let io = |source| EvaluationError::Io { path: path.to_path_buf(), source };
        let file = File::open(path).map_err(io)?;
        if path.extension().is_some_and(|extension| extension == "gz") {
            let mut bytes = Vec::new();
            MultiGzDecoder::new(BufReader::new(file)).read_to_end(&mut bytes).map_err(io)?;
            return Self::index(Box::new(Cursor::new(bytes)), path);
        }
        Self::index(Box::new(file), path)
    }

    /// Predictions in memory; `origin` is what errors call them.
    pub fn from_outputs(outputs: &[UnitOutput], origin: &str) -> Result<Self, EvaluationError> {
        let mut bytes = Vec::new();
        for output in outputs {
            serde_json::to_writer(&mut bytes, output).expect("strings and numbers can always be written");
            bytes.push(b'\n');
        }
        Self::index(Box::new(Cursor::new(bytes)), Path::new(origin))
    }

    fn index(mut source: Box<dyn Source>, path: &Path) -> Result<Self, EvaluationError> {
        let io = |source| EvaluationError::Io { path: path.to_path_buf(), source };
        let mut index = Index::default();
        let mut blocks = LineBlocks::new(&mut source, BLOCK);
        let (mut block, mut next) = (Block::default(), Block::default());
        blocks.fill(&mut block).map_err(io)?;
        while !block.is_empty() {
            let lines: Vec<Line> = block.lines().collect();
            let heads = || lines.par_iter().with_min_len(LINES).map(|line| head(line, path)).collect::<Vec<_>>();
            // The next block is read meanwhile.
            let (read, heads) = rayon::join(|| blocks.fill(&mut next), heads);
            for (line, head) in lines.iter().zip(heads) {
                let Some((kind, key, whole)) = head? else { continue };
                index.add(line, kind, &key, path)?;
                index.whole_documents |= whole;
            }
            read.map_err(io)?;
            std::mem::swap(&mut block, &mut next);
        }
        let position = source.stream_position().map_err(io)?;
        let Index { kind, documents, last_runs, runs, whole_documents, .. } = index;
        let kind = kind.ok_or_else(|| EvaluationError::invalid(path, 1, "the file holds no prediction".into()))?;
        let reader = BufReader::with_capacity(1 << 18, source);
        let path = path.to_path_buf();
        Ok(Self { reader, position, path, kind, documents, last_runs, runs, whole_documents })
    }

    /// Which kind of lines the file holds.
    pub fn kind(&self) -> PredictionKind {
        self.kind
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether units are whole documents: the form of a document without any prediction.
    pub(crate) fn whole_documents(&self) -> bool {
        self.whole_documents
    }

    /// The number of a document, if it has predictions.
    pub(crate) fn document(&self, key: &str) -> Option<u32> {
        self.documents.get(key).copied()
    }

    /// Reads the lines of a document behind those that `text` holds already; returns its runs.
    pub(crate) fn read(&mut self, document: u32, text: &mut RunText) -> Result<Range<usize>, EvaluationError> {
        let first = text.runs.len();
        let mut next = Some(self.last_runs[document as usize]);
        let mut chain = Vec::new();
        while let Some(run) = next {
            chain.push(run);
            next = self.runs[run as usize].previous;
        }
        for run in chain.into_iter().rev() {
            let run = &self.runs[run as usize];
            let start = text.bytes.len();
            let end = start + run.length as usize;
            text.bytes.resize(end, 0);
            // A relative seek keeps what is buffered: files in the order of gold are read once.
            self.reader
                .seek_relative(run.offset as i64 - self.position as i64)
                .and_then(|()| self.reader.read_exact(&mut text.bytes[start..end]))
                .map_err(|source| EvaluationError::Io { path: self.path.clone(), source })?;
            self.position = run.offset + u64::from(run.length);
            text.runs.push((run.number, start..end));
        }
        Ok(first..text.runs.len())
    }

    /// The first line whose document is not among those that were `seen`, by number.
    pub(crate) fn first_unseen(&self, seen: &[bool]) -> Option<(&str, u32)> {
        let unseen = self.documents.iter().filter(|&(_, &document)| !seen[document as usize]);
        unseen.map(|(key, &document)| (&**key, self.first_line(document))).min_by_key(|&(_, number)| number)
    }

    fn first_line(&self, document: u32) -> u32 {
        let mut run = &self.runs[self.last_runs[document as usize] as usize];
        while let Some(previous) = run.previous {
            run = &self.runs[previous as usize];
        }
        run.number
    }

    /// How many documents have predictions.
    pub(crate) fn document_count(&self) -> usize {
        self.documents.len()
    }
}
