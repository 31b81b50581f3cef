//! Prediction files.
//!
//! Two kinds of lines, told apart by content: `{"doc_key", "sent": i or null, "output": "..."}` holds
//! what a model wrote for one unit; `{"doc_key", "predicted_ner", "predicted_relations"}` holds
//! predictions by inclusive token offset, one list a sentence, as `DyGIE` and its descendants write
//! them. A file holds lines of one kind. Its size does not matter: it is indexed once and then read
//! document by document, or read once if its documents are in the order of gold.

mod content;
mod in_order;
mod index;
mod outputs;

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek};
use std::ops::Range;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use memchr::memchr_iter;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tabpo_corpus::{Name, json_message, mend_surrogates};
use tabpo_files::{Line, PlainJson, without_mark};

use crate::error::EvaluationError;

pub(crate) use content::{Content, Item, Offsets, contents};
use in_order::InOrder;
use index::Index;

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

/// A prediction file.
pub struct Predictions {
    path: PathBuf,
    kind: PredictionKind,
    access: Access,
}

enum Access {
    Indexed(Box<Index>),
    InOrder(InOrder),
}

trait Source: Read + Seek + Send {}
impl<T: Read + Seek + Send> Source for T {}

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

impl PredictedLine<'_> {
    /// Whether it is of the usual form, about this document, and of this kind.
    pub(crate) fn is_about(&self, key: &str, kind: PredictionKind) -> bool {
        let head = plain_head(self.text);
        head.is_some_and(|head| head.doc_key.as_deref() == Some(key) && head.kind() == Some(kind))
    }
}

impl RunText {
    /// How many runs there are.
    pub(crate) fn run_count(&self) -> usize {
        self.runs.len()
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.runs.clear();
    }

    /// The lines of a document whose runs are these; mostly, as many as `expected`.
    pub(crate) fn lines(
        &self,
        runs: Range<usize>,
        expected: usize,
        path: &Path,
    ) -> Result<Vec<PredictedLine<'_>>, EvaluationError> {
        let mut lines = Vec::with_capacity(if runs.is_empty() { 0 } else { expected });
        for (number, range) in &self.runs[runs] {
            let bytes = &self.bytes[range.clone()];
            let text = std::str::from_utf8(bytes)
                .map_err(|_| EvaluationError::invalid(path, *number, "the line is not UTF-8".into()))?;
            let mut start = 0;
            let ends = memchr_iter(b'\n', bytes).map(|newline| newline + 1).chain([bytes.len()]);
            for (number, end) in (*number..).zip(ends) {
                let text = without_mark(&text[start..end]);
                start = end;
                if !is_blank(text) {
                    lines.push(PredictedLine { number, text });
                }
            }
        }
        Ok(lines)
    }
}

fn is_blank(line: &str) -> bool {
    line.trim_start().is_empty()
}

/// The fields that say what a line is about.
#[derive(Default)]
struct Head<'a> {
    doc_key: Option<Cow<'a, str>>,
    sent: Option<Value>,
    output: Option<IgnoredAny>,
    predicted_ner: Option<IgnoredAny>,
    predicted_relations: Option<IgnoredAny>,
    /// Where the document's name, and what blanks follow it, end in a line that was read quickly.
    key_end: usize,
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
            "doc_key" if head.doc_key.is_none() => {
                head.doc_key = Some(json.string()?);
                head.key_end = json.position();
            }
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

/// The head of any line.
fn general_head(text: &str) -> Result<Head<'static>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Fields {
        doc_key: Option<Name>,
        sent: Option<Value>,
        output: Option<IgnoredAny>,
        predicted_ner: Option<IgnoredAny>,
        predicted_relations: Option<IgnoredAny>,
    }

    let Fields { doc_key, sent, output, predicted_ner, predicted_relations } =
        whole_characters(text, |text| serde_json::from_str(text))?;
    let doc_key = doc_key.map(|Name(key)| Cow::Owned(key));
    Ok(Head { doc_key, sent, output, predicted_ner, predicted_relations, key_end: 0 })
}

/// What `read` makes of a JSON text; where that fails, of the text with U+FFFD for halves of surrogate
/// pairs.
fn whole_characters<T>(
    text: &str,
    read: impl Fn(&str) -> Result<T, serde_json::Error>,
) -> Result<T, serde_json::Error> {
    read(text).or_else(|error| mend_surrogates(text).ok_or(error).and_then(|(text, _)| read(&text)))
}

/// What is wrong with a line that is no JSON of the form that it should have.
fn fault(text: &str, error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "the line ends in the middle of its object: the file was cut short, or the object stands on several \
                lines; `jq -c . FILE` puts every object on one line"
            .into();
    }
    let at = error.column().saturating_sub(1);
    let no_number = |name: &&&str| {
        (0..2).any(|back| text.get(at.saturating_sub(back)..).is_some_and(|rest| rest.starts_with(**name)))
    };
    match ["-Infinity", "Infinity", "NaN"].iter().find(no_number) {
        Some(name) if error.is_syntax() => format!("`{name}` is no value of JSON; write null or a number"),
        _ => json_message(text, error),
    }
}

/// The kind of a line, its document, and whether it is about the whole document; `None` for a blank
/// line.
fn head<'a>(line: &Line<'a>, path: &Path) -> Result<Option<(PredictionKind, Cow<'a, str>, bool)>, EvaluationError> {
    let invalid = |found: String| EvaluationError::invalid(path, line.number as u32, found);
    let text = std::str::from_utf8(line.bytes).map_err(|_| {
        let error = tabpo_files::utf8(line.bytes, line.number, line.offset).err();
        invalid(error.map_or(String::new(), |error| error.to_string()))
    })?;
    // Without the line's end, which the parser would take for a part of a string that has none.
    let text = without_mark(text).trim_end_matches(['\n', '\r']);
    if is_blank(text) {
        return Ok(None);
    }
    if text.trim_start().starts_with('[') {
        return Err(invalid(
            "a prediction file has an object on each line, not a list: `jq -c '.[]' FILE` makes one".into(),
        ));
    }
    let head = match plain_head(text) {
        Some(head) => head,
        None => general_head(text).map_err(|error| invalid(fault(text, &error)))?,
    };
    let kind = head.kind().ok_or_else(|| {
        invalid("a prediction has either `output` or `predicted_ner` and `predicted_relations`".into())
    })?;
    let whole = kind == PredictionKind::Raw && head.sent.is_none();
    let key = head.doc_key.ok_or_else(|| invalid("the field `doc_key` is missing".into()))?;
    Ok(Some((kind, key, whole)))
}

impl Predictions {
    /// Opens and indexes a prediction file; `.gz` files and pipes are held in memory.
    pub fn open(path: &Path) -> Result<Self, EvaluationError> {
        Self::index(source(path)?, path)
    }

    /// Opens a prediction file that has its documents in the order of gold, as files mostly have: it is
    /// not indexed, and read once. If it turns out to have another order, not to have every document of
    /// gold, or to have a fault, what goes through it fails with [`EvaluationError::NotInOrder`]; opened
    /// by [`Predictions::open`], it is then read in any order, and faults are explained.
    pub fn open_in_order(path: &Path) -> Result<Self, EvaluationError> {
        // What is no file may be there to be read only once.
        if path.is_file()
            && let Some(file) = InOrder::open(source(path)?).map_err(EvaluationError::io(path))?
        {
            return Ok(Self { path: path.to_path_buf(), kind: file.kind(), access: Access::InOrder(file) });
        }
        Self::open(path)
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
        let (index, kind) = Index::build(source, path)?;
        Ok(Self { path: path.to_path_buf(), kind, access: Access::Indexed(Box::new(index)) })
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
        match &self.access {
            Access::Indexed(index) => index.whole_documents,
            // It has predictions for every document.
            Access::InOrder(_) => false,
        }
    }

    /// Whether the file is read in its own order.
    pub(crate) fn is_in_order(&self) -> bool {
        matches!(self.access, Access::InOrder(_))
    }

    /// To be called before the documents of gold are gone through.
    pub(crate) fn start(&mut self) -> Result<(), EvaluationError> {
        match &mut self.access {
            Access::Indexed(index) => index.start(),
            Access::InOrder(file) => file.start().map_err(EvaluationError::io(&self.path))?,
        }
        Ok(())
    }

    /// Replaces `text` by the lines of the next documents, as many as gold has next, a run for each; by
    /// nothing if the file is indexed.
    pub(crate) fn read_next(&mut self, documents: usize, text: &mut RunText) -> Result<(), EvaluationError> {
        match &mut self.access {
            Access::Indexed(_) => text.clear(),
            Access::InOrder(file) => file.read(documents, text, &self.path)?,
        }
        Ok(())
    }

    /// Reads the lines of a document of gold behind those that `text` holds already; returns its runs,
    /// `None` if it has no prediction. For a file that is indexed.
    pub(crate) fn read(&mut self, key: &str, text: &mut RunText) -> Result<Option<Range<usize>>, EvaluationError> {
        match &mut self.access {
            Access::Indexed(index) => index.read(key, text, &self.path),
            Access::InOrder(_) => Err(EvaluationError::NotInOrder),
        }
    }

    /// To be called when all documents of gold were read: fails if the file has others.
    pub(crate) fn check_unknown(&self) -> Result<(), EvaluationError> {
        match &self.access {
            Access::Indexed(index) => index.check_unknown(&self.path),
            Access::InOrder(file) => file.check_end(),
        }
    }
}

/// The bytes of a file, unpacked. What can be read only once, a pipe for example, is held in memory.
fn source(path: &Path) -> Result<Box<dyn Source>, EvaluationError> {
    let mut file = File::open(path).map_err(EvaluationError::io(path))?;
    let mut bytes = Vec::new();
    let read = if path.extension().is_some_and(|extension| extension == "gz") {
        MultiGzDecoder::new(BufReader::new(file)).read_to_end(&mut bytes)
    } else if path.is_file() {
        return Ok(Box::new(file));
    } else {
        file.read_to_end(&mut bytes)
    };
    read.map_err(EvaluationError::io(path))?;
    Ok(Box::new(Cursor::new(bytes)))
}
