//! File formats.

pub mod dygie;
mod lines;

use std::{fmt, fs, io::Write, path::Path, str::FromStr};

use serde::{Deserialize, Serialize};
use tabpo_ontology::Ontology;

pub use lines::Documents;

use crate::{CorpusError, Document, Notes};

/// A format of corpus files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// `DyGIE` JSONL, the form in which `SciERC` is distributed.
    Dygie,
}

impl Format {
    /// Every format.
    pub const ALL: [Format; 1] = [Format::Dygie];

    /// The name used on the command line and in configuration files.
    pub fn name(self) -> &'static str {
        match self {
            Format::Dygie => "dygie",
        }
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
/// content.
pub fn read(path: &Path, format: Option<Format>, ontology: &Ontology) -> Result<Loaded, CorpusError> {
    let _ = format;
    collect(Documents::open(path, ontology, dygie::parse)?)
}

fn collect(mut documents: Documents) -> Result<Loaded, CorpusError> {
    let list = documents.by_ref().collect::<Result<Vec<_>, _>>()?;
    Ok(Loaded { documents: list, notes: documents.notes().clone() })
}

/// Writes documents.
pub fn write(path: &Path, format: Format, documents: &[Document], ontology: &Ontology) -> Result<Notes, CorpusError> {
    let mut notes = Notes::default();
    let mut text = String::new();
    for document in documents {
        match format {
            Format::Dygie => text.push_str(&dygie::to_line(document, ontology, &mut notes)),
        }
        text.push('\n');
    }
    write_file(path, text.as_bytes())?;
    Ok(notes)
}

/// Writes to a temporary file in the same directory, syncs it, and gives it its name.
fn write_file(path: &Path, content: &[u8]) -> Result<(), CorpusError> {
    let failed = |source| CorpusError::write(path, source);
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(directory).map_err(failed)?;
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
    file.write_all(content).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}
