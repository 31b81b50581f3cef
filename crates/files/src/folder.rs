//! Folders that are either the old ones or the new ones.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::WriteRefusal;

/// Locked for as long as a replacement is being written.
const LOCK: &str = ".lock";

/// A folder that is being replaced: what is written to [`FolderReplacement::path`] gets the final name with
/// [`FolderReplacement::finish`], all of it or nothing. If it is dropped before, it leaves nothing behind.
#[derive(Debug)]
pub struct FolderReplacement {
    target: PathBuf,
    temporary: PathBuf,
    _lock: File,
    finished: bool,
}

impl FolderReplacement {
    /// Starts to replace the folder `target`, which need not exist. Missing parents are created, and what a
    /// killed process left is removed.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if another process is writing this folder.
    pub fn create(target: &Path) -> io::Result<Self> {
        // Where the name is a link, the folder behind it.
        let target = target.canonicalize().unwrap_or_else(|_| target.to_path_buf());
        let (temporary, replaced) = (beside(&target, "new")?, beside(&target, "old")?);
        fs::create_dir_all(&temporary)?;
        let lock = File::options().create(true).truncate(false).write(true).open(temporary.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        for entry in fs::read_dir(&temporary)? {
            let entry = entry?;
            if entry.file_name() != LOCK {
                remove(&entry.path())?;
            }
        }
        // A process that was killed between the two renames left the old folder under its hidden name.
        match (target.exists(), replaced.exists()) {
            (false, true) => fs::rename(&replaced, &target)?,
            (true, true) => remove(&replaced)?,
            _ => {}
        }
        Ok(Self { target, temporary, _lock: lock, finished: false })
    }

    /// Where to write.
    pub fn path(&self) -> &Path {
        &self.temporary
    }

    /// Gives the folder its name and removes the one that had it.
    pub fn finish(mut self) -> io::Result<()> {
        fs::remove_file(self.temporary.join(LOCK))?;
        let replaced = beside(&self.target, "old")?;
        let replaces = self.target.exists();
        if replaces {
            fs::rename(&self.target, &replaced)?;
        }
        if let Err(error) = fs::rename(&self.temporary, &self.target) {
            if replaces {
                fs::rename(&replaced, &self.target)?;
            }
            return Err(error);
        }
        self.finished = true;
        #[cfg(unix)]
        if let Some(parent) = self.target.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(parent)?.sync_all()?;
        }
        if replaces { remove(&replaced) } else { Ok(()) }
    }
}

impl Drop for FolderReplacement {
    fn drop(&mut self) {
        if !self.finished {
            // Nothing is lost if it stays: the next replacement removes it.
            let _ = fs::remove_dir_all(&self.temporary);
        }
    }
}

/// A hidden name beside a folder.
fn beside(target: &Path, what: &str) -> io::Result<PathBuf> {
    let name = target.file_name().ok_or(WriteRefusal::Nameless)?;
    let mut hidden = OsString::from(".tmp-");
    hidden.push(name);
    hidden.push(format!("-{what}"));
    Ok(target.with_file_name(hidden))
}

fn remove(path: &Path) -> io::Result<()> {
    if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_folder_appears_as_one_and_takes_the_place_of_the_old_one() {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("deep/model");
        let write = |name: &str| {
            let new = FolderReplacement::create(&target).unwrap();
            fs::write(new.path().join(name), "content").unwrap();
            new
        };
        write("first").finish().unwrap();
        assert_eq!(names(&target), ["first"]);
        drop(write("dropped"));
        assert_eq!(names(&target), ["first"]);
        write("second").finish().unwrap();
        assert_eq!(names(&target), ["second"]);
        assert_eq!(names(target.parent().unwrap()), ["model"]);
    }

    #[test]
    fn what_a_killed_process_left_is_cleared_away_and_what_it_replaced_comes_back() {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("model");
        // Killed while it wrote.
        fs::create_dir_all(place.path().join(".tmp-model-new/part")).unwrap();
        fs::write(place.path().join(".tmp-model-new/half"), "").unwrap();
        // Killed between the two names.
        fs::create_dir_all(place.path().join(".tmp-model-old")).unwrap();
        fs::write(place.path().join(".tmp-model-old/whole"), "").unwrap();
        drop(FolderReplacement::create(&target).unwrap());
        assert_eq!((names(place.path()), names(&target)), (vec!["model".to_owned()], vec!["whole".to_owned()]));
    }

    #[test]
    fn a_second_writer_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("model");
        let first = FolderReplacement::create(&target).unwrap();
        let error = FolderReplacement::create(&target).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        fs::write(first.path().join("file"), "").unwrap();
        first.finish().unwrap();
        assert_eq!(names(&target), ["file"]);
    }
}
