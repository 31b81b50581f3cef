//! The run directory, in which every stage writes its files.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use crate::error::{Error, ResultExt};

/// The file in a run directory with the record of finished stages.
pub(crate) const RECORD_OF_STAGES: &str = "stages.json";

/// A run directory, which is locked while this value lives.
pub(crate) struct RunDirectory {
    root: PathBuf,
    _lock: File,
}

impl RunDirectory {
    /// Creates the directory if it does not exist, locks it against other runs, and removes temporary files that a
    /// killed run left.
    pub(crate) fn open(root: &Path) -> Result<Self, Error> {
        fs::create_dir_all(root)
            .map_err(|error| Error::input(format!("cannot create the run directory {}: {error}", root.display())))?;
        let lock = File::options().create(true).truncate(false).write(true).open(root.join("run.lock")).or_failed()?;
        match lock.try_lock() {
            Ok(()) => {
                tabpo_files::collect_leftovers(root).or_failed()?;
                Ok(Self { root: root.to_owned(), _lock: lock })
            }
            Err(TryLockError::WouldBlock) => Err(Error::input(format!("another run is writing to {}", root.display()))
                .with_hint("wait for it, or name another directory with --set run.directory=...")),
            Err(TryLockError::Error(error)) => {
                Err(Error::input(format!("cannot lock the run directory {}: {error}", root.display())))
            }
        }
    }

    /// The directory itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The path of a file or folder in the directory, whose parent folder is created.
    pub(crate) fn path(&self, relative: impl AsRef<Path>) -> Result<PathBuf, Error> {
        let path = self.root.join(relative);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)
                .or_failed()
                .map_err(|error| error.context(format!("cannot create {}", folder.display())))?;
        }
        Ok(path)
    }
}

/// Writes a file whole or not at all.
pub(crate) fn write_atomically(path: &Path, content: &[u8]) -> Result<(), Error> {
    tabpo_corpus::write_file(path, content).or_failed()
}

/// Removes a file or a folder if it exists.
pub(crate) fn remove_if_there(path: &Path) -> Result<(), Error> {
    let result = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).or_failed(),
        _ => Ok(()),
    }
}
