//! The bytes of a corpus file.

use std::{borrow::Cow, fs::File, io::Read, path::Path};

use tabpo_files::without_mark;

use crate::CorpusError;

/// Where the bytes of a corpus come from. A file is opened each time it is read; what can be read only once, a
/// pipe for example, is held in memory.
pub(crate) struct Source<'a> {
    pub(crate) path: &'a Path,
    held: Option<Vec<u8>>,
}

impl<'a> Source<'a> {
    /// The source with this path. A pipe or device is read at once.
    pub(crate) fn of(path: &'a Path) -> Result<Self, CorpusError> {
        // What does not exist fails when it is opened.
        let is_piped = path.exists() && !path.is_file() && !path.is_dir();
        let held = is_piped.then(|| tabpo_files::read_bytes(path)).transpose();
        let held = held.map_err(|source| CorpusError::read(path, source))?;
        Ok(Self { path, held })
    }

    /// A source that is in memory already; `path` is what errors call it.
    pub(crate) fn held(path: &'a Path, bytes: Vec<u8>) -> Self {
        Self { path, held: Some(bytes) }
    }

    /// The bytes from the first one on.
    pub(crate) fn open(&self) -> Result<Box<dyn Read + Send + '_>, CorpusError> {
        Ok(match &self.held {
            Some(bytes) => Box::new(bytes.as_slice()),
            None => Box::new(File::open(self.path).map_err(|source| CorpusError::read(self.path, source))?),
        })
    }

    /// The whole text, without a byte order mark.
    pub(crate) fn text(&self) -> Result<Cow<'_, str>, CorpusError> {
        let text = match &self.held {
            Some(bytes) => tabpo_files::utf8(bytes, 1, 0).map(|text| Cow::Borrowed(without_mark(text))),
            None => tabpo_files::read_text(self.path).map(Cow::Owned),
        };
        text.map_err(|source| CorpusError::read(self.path, source))
    }
}
