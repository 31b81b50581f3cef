//! File formats.

pub mod brat;
mod detect;
pub mod doccano;
pub mod dygie;
mod json;
pub mod jsonl;
pub mod label_studio;
mod lines;
mod lists;
mod others;

use std::{fmt, path::Path, str::FromStr};

use serde::{Deserialize, Serialize};
use tabpo_ontology::Ontology;

use detect::Layout;
pub use json::{Name, json_message, mend_surrogates};
use lines::LineParser;
pub use lines::{DocumentLines, Documents, Entry, LineDocument};

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
    /// The plain JSONL of this program, which holds all that a document says.
    Jsonl,
}

impl Format {
    /// Every format.
    pub const ALL: [Format; 5] = [Format::Dygie, Format::Brat, Format::Doccano, Format::LabelStudio, Format::Jsonl];

    /// The name used on the command line and in configuration files.
    pub fn name(self) -> &'static str {
        match self {
            Format::Dygie => "dygie",
            Format::Brat => "brat",
            Format::Doccano => "doccano",
            Format::LabelStudio => "label_studio",
            Format::Jsonl => "jsonl",
        }
    }

    /// Recognises the format of a file or directory by its content. A format that is known but not read is
    /// an error that says how to get from it to one that is.
    pub fn detect(path: &Path) -> Result<Format, CorpusError> {
        detect::detect(path)
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

/// Reads all documents of a file or, for brat, a directory. Without a format it is recognised by
/// content. An empty file holds no documents in any line format, but must have its format named; a
/// directory without documents is an error.
pub fn read(path: &Path, format: Option<Format>, ontology: &Ontology) -> Result<Loaded, CorpusError> {
    let format = format.map_or_else(|| Format::detect(path), Ok)?;
    let Some(parse) = line_parser(format) else {
        return match format {
            Format::Brat => brat::read(path, ontology),
            _ => label_studio::read(path, ontology),
        };
    };
    match stream(path, format, ontology)? {
        None => lines::read_objects(path, ontology, parse),
        Some(mut stream) => {
            let documents = stream.by_ref().collect::<Result<Vec<_>, _>>()?;
            Ok(Loaded { documents, notes: stream.notes().clone() })
        }
    }
}

/// The reader of a document of a format that has one document a line.
fn line_parser(format: Format) -> Option<LineParser> {
    match format {
        Format::Dygie => Some(dygie::parse),
        Format::Doccano => Some(doccano::parse),
        Format::Jsonl => Some(jsonl::parse),
        Format::Brat | Format::LabelStudio => None,
    }
}

/// Reads documents one at a time, without holding the file in memory; `None` for formats that do
/// not have one document a line, and for files whose documents stand in a list or over several lines.
pub fn stream<'a>(
    path: &'a Path,
    format: Format,
    ontology: &'a Ontology,
) -> Result<Option<Documents<'a>>, CorpusError> {
    match line_parser(format) {
        Some(parse) if detect::layout(path)? == Layout::Lines => Documents::open(path, ontology, parse).map(Some),
        _ => Ok(None),
    }
}

/// Writes documents to a file or, for brat, into a directory. Returns what the format could not
/// say. The file appears only when it is complete.
pub fn write(path: &Path, format: Format, documents: &[Document], ontology: &Ontology) -> Result<Notes, CorpusError> {
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

/// Writes a file whole or not at all. Missing directories are made.
pub fn write_file(path: &Path, content: &[u8]) -> Result<(), CorpusError> {
    tabpo_files::replace(path, |out| out.write_all(content)).map_err(|source| CorpusError::write(path, source))
}
