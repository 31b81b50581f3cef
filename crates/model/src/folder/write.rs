//! Writes files whole or not at all.

use std::io::{self, Write};
use std::path::Path;

use super::FolderError;

/// Writes a file whole or not at all. The folder is created if it does not exist.
pub fn write_atomically(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), FolderError> {
    tabpo_files::replace(path, write).map_err(|source| FolderError::Write { path: path.into(), source })
}

/// Writes a value as indented JSON with a final line feed.
pub(crate) fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<(), FolderError> {
    write_atomically(path, |out| {
        serde_json::to_writer_pretty(&mut *out, value)?;
        out.write_all(b"\n")
    })
}

/// As [`write_atomically`], for writers that need a path: `write` creates the file at the given path.
pub(crate) fn replace_atomically(path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), FolderError> {
    tabpo_files::replace_by_path(path, write).map_err(|source| FolderError::Write { path: path.into(), source })
}
