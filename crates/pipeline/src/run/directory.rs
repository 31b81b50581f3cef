//! The run directory: where every stage puts its files, and who may write there.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use crate::error::{CliError, ResultExt};

/// A run directory, locked for as long as this value lives.
pub struct RunDirectory {
    root: PathBuf,
    _lock: File,
}

impl RunDirectory {
    /// Creates the directory if needed and locks it, so that two runs never write to one place.
    /// What a killed run left there half-written is removed.
    pub fn open(root: &Path) -> Result<Self, CliError> {
        fs::create_dir_all(root)
            .map_err(|error| CliError::input(format!("cannot create the run directory {}: {error}", root.display())))?;
        let lock = File::options().create(true).truncate(false).write(true).open(root.join("run.lock")).or_failed()?;
        match lock.try_lock() {
            Ok(()) => {
                tabpo_files::collect_leftovers(root).or_failed()?;
                Ok(Self { root: root.to_owned(), _lock: lock })
            }
            Err(TryLockError::WouldBlock) => {
                Err(CliError::input(format!("another run is writing to {}", root.display()))
                    .with_hint("wait for it, or name another directory with --set run.directory=..."))
            }
            Err(TryLockError::Error(error)) => {
                Err(CliError::input(format!("cannot lock the run directory {}: {error}", root.display())))
            }
        }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A file or folder in it; the folder above it exists afterwards.
    pub fn path(&self, relative: impl AsRef<Path>) -> Result<PathBuf, CliError> {
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
pub fn write_atomically(path: &Path, content: &[u8]) -> Result<(), CliError> {
    tabpo_corpus::write_file(path, content).or_failed()
}

/// Removes a file or a folder that may not be there.
pub fn remove_if_there(path: &Path) -> Result<(), CliError> {
    let result = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).or_failed(),
        _ => Ok(()),
    }
}
