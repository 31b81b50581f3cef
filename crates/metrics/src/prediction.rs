//! Prediction files.
//!
//! Two kinds of lines, told apart by content: `{"doc_key", "sent": i or null, "output": "..."}` holds
//! what a model wrote for one unit; `{"doc_key", "predicted_ner", "predicted_relations"}` holds
//! predictions by inclusive token offset, one list a sentence, as `DyGIE` and its descendants write
//! them. A file holds lines of one kind. It is indexed once and then read document by document, so
//! that its size does not matter.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read, Seek};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use rayon::prelude::*;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::EvaluationError;

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

/// Predictions by offset for one sentence.
#[derive(Clone, Debug, Default)]
pub(crate) struct Offsets {
    /// (first token, last token, label).
    pub(crate) entities: Vec<(i64, i64, String)>,
    /// (head first, head last, tail first, tail last, type).
    pub(crate) relations: Vec<(i64, i64, i64, i64, String)>,
}

/// What was predicted for one unit.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// Items by offset.
    Offsets(Offsets),
    /// Raw text.
    Raw(String),
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
    /// The newest line of each document.
    documents: FxHashMap<Box<str>, u32>,
    lines: Vec<Line>,
    whole_documents: bool,
}

trait Source: Read + Seek + Send {}
impl<T: Read + Seek + Send> Source for T {}

struct Line {
    offset: u64,
    length: u32,
    number: u32,
    /// The line before this one of the same document.
    previous: Option<u32>,
}

/// One line of a document's predictions, as read.
pub(crate) struct PredictedLine {
    pub(crate) number: u32,
    pub(crate) text: String,
}

/// The fields that the index needs.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    doc_key: Option<Cow<'a, str>>,
    #[serde(default)]
    sent: Option<Value>,
    output: Option<serde::de::IgnoredAny>,
    predicted_ner: Option<serde::de::IgnoredAny>,
    predicted_relations: Option<serde::de::IgnoredAny>,
}

/// Lines that are indexed at a time, in parallel.
const BATCH: usize = 4096;

/// The kind of a line, its document, and whether it is about the whole document; `None` for a blank
/// line.
fn head<'a>(
    bytes: &'a [u8],
    number: u32,
    path: &Path,
) -> Result<Option<(PredictionKind, Cow<'a, str>, bool)>, EvaluationError> {
    let invalid = |found: String| EvaluationError::invalid(path, number, found);
    let text = std::str::from_utf8(bytes).map_err(|_| invalid("the line is not UTF-8".into()))?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    let head: Head = serde_json::from_str(text).map_err(|error| invalid(error.to_string()))?;
    let kind = head.kind().ok_or_else(|| {
        invalid("a prediction has either `output` or `predicted_ner` and `predicted_relations`".into())
    })?;
    let whole = kind == PredictionKind::Raw && head.sent.is_none();
    let key = head.doc_key.ok_or_else(|| invalid("the field `doc_key` is missing".into()))?;
    Ok(Some((kind, key, whole)))
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

    fn index(source: Box<dyn Source>, path: &Path) -> Result<Self, EvaluationError> {
        let io = |source| EvaluationError::Io { path: path.to_path_buf(), source };
        let mut reader = BufReader::with_capacity(1 << 18, source);
        let mut kind = None;
        let mut documents: FxHashMap<Box<str>, u32> = FxHashMap::default();
        let mut lines = Vec::new();
        let mut whole_documents = false;
        let (mut offset, mut number) = (0_u64, 0_u32);
        loop {
            let mut batch: Vec<(u32, u64, Vec<u8>)> = Vec::with_capacity(BATCH);
            while batch.len() < BATCH {
                let mut bytes = Vec::new();
                let length = reader.read_until(b'\n', &mut bytes).map_err(io)?;
                if length == 0 {
                    break;
                }
                number += 1;
                batch.push((number, offset, bytes));
                offset += length as u64;
            }
            if batch.is_empty() {
                break;
            }
            let heads: Vec<_> = batch.par_iter().map(|(number, _, bytes)| head(bytes, *number, path)).collect();
            for ((number, offset, bytes), head) in batch.iter().zip(heads) {
                let Some((line_kind, key, whole)) = head? else { continue };
                if *kind.get_or_insert(line_kind) != line_kind {
                    let found = "the file holds raw output and predictions by offset; use one kind";
                    return Err(EvaluationError::invalid(path, *number, found.into()));
                }
                whole_documents |= whole;
                let position = lines.len() as u32;
                let previous = match documents.get_mut(key.as_ref()) {
                    Some(newest) => Some(std::mem::replace(newest, position)),
                    None => documents.insert(key.into(), position),
                };
                lines.push(Line { offset: *offset, length: bytes.len() as u32, number: *number, previous });
            }
        }
        let kind = kind.ok_or_else(|| EvaluationError::invalid(path, 1, "the file holds no prediction".into()))?;
        let path = path.to_path_buf();
        Ok(Self { reader, position: offset, path, kind, documents, lines, whole_documents })
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

    /// The lines of a document in file order; none if it has no prediction.
    pub(crate) fn lines_of(&mut self, key: &str) -> Result<Vec<PredictedLine>, EvaluationError> {
        let mut chain = Vec::new();
        let mut next = self.documents.get(key).copied();
        while let Some(position) = next {
            chain.push(position);
            next = self.lines[position as usize].previous;
        }
        let mut found = Vec::with_capacity(chain.len());
        for position in chain.into_iter().rev() {
            let line = &self.lines[position as usize];
            let mut bytes = vec![0; line.length as usize];
            // A relative seek keeps what is buffered: files in the order of gold are read once.
            self.reader
                .seek_relative(line.offset as i64 - self.position as i64)
                .and_then(|()| self.reader.read_exact(&mut bytes))
                .map_err(|source| EvaluationError::Io { path: self.path.clone(), source })?;
            self.position = line.offset + u64::from(line.length);
            let text = String::from_utf8(bytes)
                .map_err(|_| EvaluationError::invalid(&self.path, line.number, "the line is not UTF-8".into()))?;
            found.push(PredictedLine { number: line.number, text });
        }
        Ok(found)
    }

    /// The first line whose document is not among those that `known` accepts.
    pub(crate) fn first_unknown(&self, known: impl Fn(&str) -> bool) -> Option<(&str, u32)> {
        let unknown = self.documents.iter().filter(|(key, _)| !known(key)).map(|(key, &newest)| {
            let mut first = newest;
            while let Some(previous) = self.lines[first as usize].previous {
                first = previous;
            }
            (&**key, self.lines[first as usize].number)
        });
        unknown.min_by_key(|&(_, number)| number)
    }

    /// How many documents have predictions.
    pub(crate) fn document_count(&self) -> usize {
        self.documents.len()
    }
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

#[derive(Deserialize)]
struct OffsetLine {
    #[serde(default)]
    predicted_ner: Option<Vec<Vec<Vec<Value>>>>,
    #[serde(default)]
    predicted_relations: Option<Vec<Vec<Vec<Value>>>>,
}

/// What the lines of one document predict, unit by unit, sorted by unit.
pub(crate) fn parse_lines(
    lines: &[PredictedLine],
    kind: PredictionKind,
    sentences: usize,
    path: &Path,
) -> Result<Vec<(Option<u32>, Content)>, EvaluationError> {
    match kind {
        PredictionKind::Raw => raw_units(lines, sentences, path),
        PredictionKind::Offsets => offset_units(lines, sentences, path),
    }
}

fn raw_units(
    lines: &[PredictedLine],
    sentences: usize,
    path: &Path,
) -> Result<Vec<(Option<u32>, Content)>, EvaluationError> {
    let mut units = Vec::with_capacity(lines.len());
    for line in lines {
        let invalid = |found: String| EvaluationError::invalid(path, line.number, found);
        let output: UnitOutput = serde_json::from_str(&line.text).map_err(|error| invalid(error.to_string()))?;
        if let Some(sent) = output.sent.filter(|&sent| sent as usize >= sentences) {
            return Err(invalid(format!(
                "`sent` is {sent}, but the document `{}` has the sentences 0 to {}",
                output.doc_key,
                sentences.saturating_sub(1)
            )));
        }
        units.push((output.sent, line.number, Content::Raw(output.output)));
    }
    units.sort_by_key(|&(sent, number, _)| (sent, number));
    for pair in units.windows(2) {
        let ((first, first_line, _), (second, line, _)) = (&pair[0], &pair[1]);
        if first == second {
            let unit = second.map_or("the document".to_owned(), |sent| format!("sentence {sent}"));
            let found = format!("{unit} was already predicted in line {first_line}");
            return Err(EvaluationError::invalid(path, *line, found));
        }
        if first.is_none() {
            let found = format!("the whole document was already predicted in line {first_line}");
            return Err(EvaluationError::invalid(path, *line, found));
        }
    }
    Ok(units.into_iter().map(|(sent, _, content)| (sent, content)).collect())
}

fn offset_units(
    lines: &[PredictedLine],
    sentences: usize,
    path: &Path,
) -> Result<Vec<(Option<u32>, Content)>, EvaluationError> {
    let Some(line) = lines.first() else { return Ok(Vec::new()) };
    if let Some(second) = lines.get(1) {
        let found = format!("the document was already predicted in line {}", line.number);
        return Err(EvaluationError::invalid(path, second.number, found));
    }
    let invalid = |found: String| EvaluationError::invalid(path, line.number, found);
    let parsed: OffsetLine = serde_json::from_str(&line.text).map_err(|error| invalid(error.to_string()))?;
    let lists = |name: &str, lists: Option<Vec<Vec<Vec<Value>>>>| {
        let lists = lists.filter(|lists| !lists.is_empty()).unwrap_or_else(|| vec![Vec::new(); sentences]);
        if lists.len() == sentences {
            Ok(lists)
        } else {
            Err(invalid(format!("`{name}` has {} lists for {sentences} sentences", lists.len())))
        }
    };
    let ner = lists("predicted_ner", parsed.predicted_ner)?;
    let relations = lists("predicted_relations", parsed.predicted_relations)?;
    let number = |item: &[Value], index: usize| item.get(index).and_then(Value::as_i64);
    let name = |item: &[Value], index: usize| item.get(index).and_then(Value::as_str).map(str::to_owned);
    let mut units = Vec::with_capacity(sentences);
    for (index, (ner, relations)) in ner.iter().zip(&relations).enumerate() {
        let mut offsets = Offsets::default();
        for item in ner {
            let entity = (|| Some((number(item, 0)?, number(item, 1)?, name(item, 2)?)))();
            offsets.entities.push(entity.ok_or_else(|| {
                invalid(format!("{} is no entity; an entity is [start, end, label]", Value::from(item.clone())))
            })?);
        }
        for item in relations {
            let relation =
                (|| Some((number(item, 0)?, number(item, 1)?, number(item, 2)?, number(item, 3)?, name(item, 4)?)))();
            offsets.relations.push(relation.ok_or_else(|| {
                let item = Value::from(item.clone());
                invalid(format!("{item} is no relation; a relation is [start, end, start, end, type]"))
            })?);
        }
        units.push((Some(index as u32), Content::Offsets(offsets)));
    }
    Ok(units)
}
