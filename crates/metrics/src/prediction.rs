//! Prediction files.
//!
//! Two kinds of lines, distinguished by content: `{"doc_key", "sent": i or null, "output": "..."}` holds
//! what a model wrote for one unit, with `"form": "marked"` if it was asked for the marked form; `{"doc_key", "predicted_ner", "predicted_relations"}` holds
//! predictions by inclusive token offset, one list a sentence, as `DyGIE` and its descendants write
//! them. A file holds lines of one kind. It may be larger than the memory: it is indexed once and then read
//! document by document, in any order.

mod content;
mod index;
mod outputs;

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tabpo_corpus::{Name, json_message, mend_surrogates};
use tabpo_files::NumberedLine;
use tabpo_ontology::AnswerForm;

use crate::error::EvaluationError;

pub(crate) use content::{Content, Item, Offsets, contents};
use index::Index;

/// What a model wrote for one unit: a line of a prediction file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitOutput {
    /// The document.
    pub doc_key: String,
    /// The sentence, counted from 0, or `None` for the whole document.
    pub sent: Option<u32>,
    /// The form in which the model was asked to write.
    #[serde(default, skip_serializing_if = "AnswerForm::is_list")]
    pub form: AnswerForm,
    /// The model's text, unchanged.
    pub output: String,
}

/// A model's text, and the form in which it is to be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawAnswer {
    /// The form.
    pub form: AnswerForm,
    /// The text, unchanged.
    pub text: String,
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
    index: Index,
}

trait Source: Read + Seek + Send {}
impl<T: Read + Seek + Send> Source for T {}

/// One line of a document's predictions.
#[derive(Clone, Debug)]
pub(crate) struct PredictedLine {
    pub(crate) number: usize,
    pub(crate) text: String,
}

/// What a line is about.
struct Head {
    kind: PredictionKind,
    doc_key: String,
    /// Whether it is about the whole document, not a sentence.
    whole: bool,
}

/// Reads JSON; lone surrogates in it become U+FFFD.
fn from_json<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, serde_json::Error> {
    let read = |text: &str| serde_json::from_str(text);
    read(text).or_else(|error| mend_surrogates(text).ok_or(error).and_then(|(text, _)| read(&text)))
}

/// What a line is about; `None` for a blank line.
fn head(line: &NumberedLine, path: &Path) -> Result<Option<Head>, EvaluationError> {
    #[derive(Deserialize)]
    struct Fields {
        doc_key: Option<Name>,
        sent: Option<Value>,
        output: Option<IgnoredAny>,
        predicted_ner: Option<IgnoredAny>,
        predicted_relations: Option<IgnoredAny>,
    }

    let invalid = |found: String| EvaluationError::invalid(path, line.number, found);
    let text = line.text().map_err(|error| invalid(error.to_string()))?;
    if text.trim_start().is_empty() {
        return Ok(None);
    }
    if text.trim_start().starts_with('[') {
        return Err(invalid(
            "a prediction file has an object on each line, not a list: `jq -c '.[]' FILE` makes one".into(),
        ));
    }
    let fields: Fields = from_json(text).map_err(|error| invalid(json_message(text, &error)))?;
    let kind = if fields.output.is_some() {
        PredictionKind::Raw
    } else if fields.predicted_ner.is_some() || fields.predicted_relations.is_some() {
        PredictionKind::Offsets
    } else {
        return Err(invalid("a prediction has either `output` or `predicted_ner` and `predicted_relations`".into()));
    };
    let Name(doc_key) = fields.doc_key.ok_or_else(|| invalid("the field `doc_key` is missing".into()))?;
    Ok(Some(Head { kind, doc_key, whole: kind == PredictionKind::Raw && fields.sent.is_none() }))
}

impl Predictions {
    /// Opens and indexes a prediction file; `.gz` files and pipes are held in memory.
    pub fn open(path: &Path) -> Result<Self, EvaluationError> {
        Self::index(source(path).map_err(EvaluationError::io(path))?, path)
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
        Ok(Self { path: path.to_path_buf(), kind, index })
    }

    /// Which kind of lines the file holds.
    pub fn kind(&self) -> PredictionKind {
        self.kind
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file predicts whole documents: then one without a prediction is a unit, not its sentences.
    pub(crate) fn whole_documents(&self) -> bool {
        self.index.whole_documents
    }

    /// To be called before a pass over gold.
    pub(crate) fn start(&mut self) {
        self.index.start();
    }

    /// The lines of a document of gold; `None` if it has no prediction.
    pub(crate) fn lines(&mut self, key: &str) -> Result<Option<Vec<PredictedLine>>, EvaluationError> {
        self.index.lines(key).map_err(EvaluationError::io(&self.path))
    }

    /// To be called after a pass over gold: fails if the file has other documents.
    pub(crate) fn check_unknown(&self) -> Result<(), EvaluationError> {
        self.index.check_unknown(&self.path)
    }
}

/// The bytes of a file, decompressed. What can be read only once, a pipe for example, is held in memory.
fn source(path: &Path) -> std::io::Result<Box<dyn Source>> {
    if path.extension().is_some_and(|extension| extension == "gz") {
        let mut bytes = Vec::new();
        MultiGzDecoder::new(BufReader::new(File::open(path)?)).read_to_end(&mut bytes)?;
        return Ok(Box::new(Cursor::new(bytes)));
    }
    if path.is_file() {
        return Ok(Box::new(File::open(path)?));
    }
    Ok(Box::new(Cursor::new(tabpo_files::read_bytes(path)?)))
}
