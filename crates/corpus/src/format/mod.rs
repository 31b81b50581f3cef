//! File formats.

pub mod brat;
pub mod doccano;
pub mod dygie;
pub mod jsonl;
pub mod label_studio;
mod lines;
mod lists;

use std::{
    fmt, fs,
    io::{BufRead, BufReader},
    path::Path,
    str::FromStr,
};

use serde::{Deserialize, Serialize};
use tabpo_ontology::Ontology;

pub use lines::{DocumentLines, Documents, Entry, LineDocument, without_position};
use lines::{LineParser, field_names, json_error};

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

    /// Recognises the format of a file or directory by its content.
    pub fn detect(path: &Path) -> Result<Format, CorpusError> {
        if path.is_dir() {
            return Ok(Format::Brat);
        }
        let unknown = |reason: String| CorpusError::UnknownFormat { path: path.to_path_buf(), reason };
        let file = fs::File::open(path).map_err(|source| CorpusError::read(path, source))?;
        for (number, line) in (1..).zip(BufReader::new(file).lines()) {
            let line = line.map_err(|source| CorpusError::read(path, source))?;
            let line = line.trim_start_matches('\u{feff}').trim();
            match line.bytes().next() {
                None => {}
                Some(b'[') => return Ok(Format::LabelStudio),
                Some(b'{') => {
                    return Self::of_object(line)
                        .map_err(|error| json_error(path, number, &error))?
                        .ok_or_else(|| unknown("its first object has neither `sentences` nor `text`".into()));
                }
                Some(_) => {
                    return Err(unknown(format!("it begins with `{}`", line.chars().take(20).collect::<String>())));
                }
            }
        }
        Err(unknown("it is empty".into()))
    }

    /// The format that has such objects.
    fn of_object(line: &str) -> Result<Option<Format>, serde_json::Error> {
        let fields = field_names(line)?;
        let has = |field: &str| fields.iter().any(|name| name == field);
        Ok(if !has("text") {
            has("sentences").then_some(Format::Dygie)
        } else if has("id") || has("label") || has("labels") {
            Some(Format::Doccano)
        } else {
            Some(Format::Jsonl)
        })
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
        Self::ALL.into_iter().find(|format| format.name() == name).ok_or_else(|| {
            let hint = tabpo_ontology::nearest(name, Self::names()).map_or_else(
                || format!("valid: {}", Self::names().join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            format!("unknown format `{name}`; {hint}")
        })
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
/// content. An empty file holds no documents in any line format, but must have its format named.
pub fn read(path: &Path, format: Option<Format>, ontology: &Ontology) -> Result<Loaded, CorpusError> {
    let format = format.map_or_else(|| Format::detect(path), Ok)?;
    match format {
        Format::Brat => brat::read(path, ontology),
        Format::LabelStudio => label_studio::read(path, ontology),
        Format::Dygie | Format::Doccano | Format::Jsonl => {
            let mut stream = stream(path, format, ontology)?.expect("these formats have one document a line");
            let documents = stream.by_ref().collect::<Result<Vec<_>, _>>()?;
            Ok(Loaded { documents, notes: stream.notes().clone() })
        }
    }
}

/// Reads documents one at a time, without holding the file in memory; `None` for formats that do
/// not have one document a line.
pub fn stream<'a>(
    path: &'a Path,
    format: Format,
    ontology: &'a Ontology,
) -> Result<Option<Documents<'a>>, CorpusError> {
    let parse: LineParser = match format {
        Format::Dygie => dygie::parse,
        Format::Doccano => doccano::parse,
        Format::Jsonl => jsonl::parse,
        Format::Brat | Format::LabelStudio => return Ok(None),
    };
    Documents::open(path, ontology, parse).map(Some)
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
