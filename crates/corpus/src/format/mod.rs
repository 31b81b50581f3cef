//! File formats.

pub mod brat;
mod conll;
mod detect;
pub mod doccano;
pub mod dygie;
mod json;
pub mod jsonl;
pub mod label_studio;
mod lines;
mod nearest;
mod others;
mod pubtator;
mod scier;
mod source;
mod spans;
mod token_document;
mod token_lists;

use std::{fmt, fs::File, path::Path, str::FromStr};

use serde::{Deserialize, Serialize};
use tabpo_ontology::Ontology;

use detect::Layout;
pub use json::{Name, json_message, mend_surrogates};
pub use lines::Documents;
use lines::LineParser;
use source::Source;

use crate::{CorpusError, Document, Notes};

/// A format of corpus files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// `DyGIE` JSONL, the form in which `SciERC` is distributed.
    Dygie,
    /// A directory of brat's `.txt` and `.ann` files.
    Brat,
    /// doccano JSONL.
    Doccano,
    /// Label Studio's JSON export.
    LabelStudio,
    /// `SpERT`'s JSON, the form in which `CoNLL04` and ADE are distributed. Only read.
    Spert,
    /// `CrossRE`'s JSONL. Only read.
    #[serde(rename = "crossre")]
    CrossRe,
    /// `SciER`'s JSONL of sentences with mentions and relations as strings. Only read.
    #[serde(rename = "scier")]
    SciEr,
    /// `PubTator`, the form in which `BioRED` and BC5CDR are distributed. Only read.
    #[serde(rename = "pubtator")]
    PubTator,
    /// `CoNLL` columns with IOB or BIOES tags. Only read.
    Conll,
    /// Prodigy's JSONL. Only read.
    Prodigy,
    /// spaCy's training data and documents as JSON. Only read.
    Spacy,
    /// `GLiNER`'s training data. Only read.
    Gliner,
    /// The plain JSONL of this program, which holds all that a document says.
    Jsonl,
}

impl Format {
    /// Every format.
    pub const ALL: [Format; 13] = [
        Format::Dygie,
        Format::Brat,
        Format::Doccano,
        Format::LabelStudio,
        Format::Spert,
        Format::CrossRe,
        Format::SciEr,
        Format::PubTator,
        Format::Conll,
        Format::Prodigy,
        Format::Spacy,
        Format::Gliner,
        Format::Jsonl,
    ];

    /// Whether documents can be written in it.
    pub fn is_written(self) -> bool {
        match self {
            Format::Dygie | Format::Brat | Format::Doccano | Format::LabelStudio | Format::Jsonl => true,
            Format::Spert
            | Format::CrossRe
            | Format::SciEr
            | Format::PubTator
            | Format::Conll
            | Format::Prodigy
            | Format::Spacy
            | Format::Gliner => false,
        }
    }

    /// The name used on the command line and in configuration files.
    pub fn name(self) -> &'static str {
        match self {
            Format::Dygie => "dygie",
            Format::Brat => "brat",
            Format::Doccano => "doccano",
            Format::LabelStudio => "label_studio",
            Format::Spert => "spert",
            Format::CrossRe => "crossre",
            Format::SciEr => "scier",
            Format::PubTator => "pubtator",
            Format::Conll => "conll",
            Format::Prodigy => "prodigy",
            Format::Spacy => "spacy",
            Format::Gliner => "gliner",
            Format::Jsonl => "jsonl",
        }
    }

    /// The names of the formats that documents can be written in.
    pub fn written_names() -> Vec<&'static str> {
        Self::ALL.into_iter().filter(|format| format.is_written()).map(Format::name).collect()
    }

    /// Recognises the format of a file or folder by its content. A format that is recognised but not supported
    /// is an error that says how to convert it.
    ///
    /// A pipe is consumed by this; [`read`] and [`stream`] recognise the format themselves.
    pub fn detect(path: &Path) -> Result<Format, CorpusError> {
        detect::detect(&Source::of(path)?)
    }

    /// The names of all formats.
    pub fn names() -> Vec<&'static str> {
        Self::ALL.iter().map(|format| format.name()).collect()
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|format| format.name() == name).ok_or_else(|| others::unknown_name(name))
    }
}

/// Documents that were read, and what reading changed.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Loaded {
    /// The documents, in the order of the file.
    pub documents: Vec<Document>,
    /// What was changed or left out.
    pub notes: Notes,
}

/// Reads all documents of a file, a pipe or, for brat, a folder. If no format is given it is recognised by
/// content. A file without documents is an error.
pub fn read(path: &Path, format: Option<Format>, ontology: &Ontology) -> Result<Loaded, CorpusError> {
    let source = Source::of(path)?;
    let format = format.map_or_else(|| detect::detect(&source), Ok)?;
    let loaded =
        if format == Format::Brat { brat::read(path, ontology)? } else { read_source(&source, format, ontology)? };
    if loaded.documents.is_empty() {
        let reason = "it is empty, or an empty list".to_owned();
        return Err(CorpusError::NoDocuments { path: path.to_path_buf(), reason });
    }
    Ok(loaded)
}

/// Reads all documents of a text in any format but brat's, which is a folder of files. Errors call it `text`.
pub fn read_str(text: &str, format: Format, ontology: &Ontology) -> Result<Loaded, CorpusError> {
    if format == Format::Brat {
        let reason = "a document in brat's format is two files in a folder".to_owned();
        return Err(CorpusError::NoDocuments { path: "text".into(), reason });
    }
    read_source(&Source::held(Path::new("text"), text.as_bytes().to_vec()), format, ontology)
}

/// Reads all documents of a source in any format but brat's.
fn read_source(source: &Source, format: Format, ontology: &Ontology) -> Result<Loaded, CorpusError> {
    Ok(match line_parser(format) {
        None => match format {
            Format::Conll => conll::read(source, ontology)?,
            Format::SciEr => scier::read(source, ontology)?,
            Format::PubTator => pubtator::read(source, ontology)?,
            _ => label_studio::read(source, ontology)?,
        },
        Some(parse) if detect::layout(source)? == Layout::Objects => lines::read_objects(source, ontology, parse)?,
        Some(parse) => {
            let mut lines = Documents::new(source.path, source.open()?, ontology, parse);
            let documents = lines.by_ref().collect::<Result<Vec<_>, _>>()?;
            Loaded { documents, notes: lines.notes().clone() }
        }
    })
}

/// The parser of a format with one document on each line.
fn line_parser(format: Format) -> Option<LineParser> {
    match format {
        Format::Dygie => Some(dygie::parse),
        Format::Doccano => Some(doccano::parse),
        Format::Jsonl => Some(jsonl::parse),
        Format::Spert => Some(token_lists::parse_spert),
        Format::CrossRe => Some(token_lists::parse_crossre),
        Format::Prodigy => Some(spans::parse_prodigy),
        Format::Spacy => Some(spans::parse_spacy),
        Format::Gliner => Some(token_lists::parse_gliner),
        Format::Brat | Format::LabelStudio | Format::SciEr | Format::PubTator | Format::Conll => None,
    }
}

/// Reads documents one at a time, without holding the file in memory; `None` for what [`read`] must read
/// whole: formats that do not have one document on each line, files whose documents are in a list or span
/// several lines, and pipes. If no format is given it is recognised by content.
pub fn stream<'a>(
    path: &'a Path,
    format: Option<Format>,
    ontology: &'a Ontology,
) -> Result<Option<Documents<'a>>, CorpusError> {
    if !path.is_file() {
        return Ok(None);
    }
    let source = Source::of(path)?;
    let format = format.map_or_else(|| detect::detect(&source), Ok)?;
    match line_parser(format) {
        Some(parse) if detect::layout(&source)? == Layout::Lines => {
            let file = File::open(path).map_err(|source| CorpusError::read(path, source))?;
            Ok(Some(Documents::new(path, Box::new(file), ontology, parse)))
        }
        _ => Ok(None),
    }
}

/// Writes documents to a file or, for brat, into a folder. Returns what the format cannot express. The file
/// appears only when it is complete. Formats that are only read are an error.
pub fn write(path: &Path, format: Format, documents: &[Document], ontology: &Ontology) -> Result<Notes, CorpusError> {
    if !format.is_written() {
        return Err(CorpusError::OnlyRead { format });
    }
    let mut notes = Notes::default();
    if format == Format::Brat {
        brat::write(path, documents, ontology, &mut notes)?;
        return Ok(notes);
    }
    let mut text = String::new();
    if format == Format::LabelStudio {
        let tasks = (1..)
            .zip(documents)
            .map(|(number, document)| label_studio::to_task(document, number, ontology, &mut notes));
        text = serde_json::to_string_pretty(&tasks.collect::<Vec<_>>()).expect("JSON values are valid JSON");
        text.push('\n');
    } else {
        for (number, document) in (1..).zip(documents) {
            text.push_str(&match format {
                Format::Dygie => dygie::to_line(document, ontology, &mut notes),
                Format::Doccano => doccano::to_line(document, number, ontology, &mut notes),
                _ => jsonl::to_line(document, ontology),
            });
            text.push('\n');
        }
    }
    write_file(path, text.as_bytes())?;
    Ok(notes)
}

/// Writes a file whole or not at all. Missing folders are created.
pub fn write_file(path: &Path, content: &[u8]) -> Result<(), CorpusError> {
    tabpo_files::replace(path, |out| out.write_all(content)).map_err(|source| CorpusError::write(path, source))
}
