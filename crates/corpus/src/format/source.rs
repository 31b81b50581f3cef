//! A corpus file as readers open it.

use std::{borrow::Cow, fs::File, io::Read, path::Path};

use tabpo_files::without_mark;

use crate::CorpusError;

/// Where the bytes of a corpus come from. A file is opened whenever it is looked at; what is no file, a
/// pipe for example, can be read only once and is held in memory.
pub(crate) struct Source<'a> {
    pub(crate) path: &'a Path,
    held: Option<Vec<u8>>,
}

impl<'a> Source<'a> {
    /// The source of this name. Reads it if it is no file.
    pub(crate) fn of(path: &'a Path) -> Result<Self, CorpusError> {
        // What is not there fails when it is opened.
        let is_piped = path.exists() && !path.is_file() && !path.is_dir();
        let held = is_piped.then(|| tabpo_files::read_bytes(path)).transpose();
        let held = held.map_err(|source| CorpusError::read(path, source))?;
        Ok(Self { path, held })
    }

    /// The bytes from the first one on.
    pub(crate) fn open(&self) -> Result<Box<dyn Read + Send + '_>, CorpusError> {
        Ok(match &self.held {
            Some(bytes) => Box::new(bytes.as_slice()),
            None => Box::new(File::open(self.path).map_err(|source| CorpusError::read(self.path, source))?),
        })
    }

    /// The whole text, without the byte order mark that it may begin with.
    pub(crate) fn text(&self) -> Result<Cow<'_, str>, CorpusError> {
        let text = match &self.held {
            Some(bytes) => tabpo_files::utf8(bytes, 1, 0).map(|text| Cow::Borrowed(without_mark(text))),
            None => tabpo_files::read_text(self.path).map(Cow::Owned),
        };
        text.map_err(|source| CorpusError::read(self.path, source))
    }
}
