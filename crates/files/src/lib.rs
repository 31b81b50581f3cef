//! Files that are either the old ones or the new ones, never half of each.
//!
//! Everything is written under a temporary name in the same folder, synced and renamed, so that a
//! file that exists is whole. A file that is dropped before it is finished leaves nothing behind.
//!
//! [`LineBlocks`] reads big files of lines, [`PlainJson`] what stands in such lines.

mod folder;
mod lines;
mod plain_json;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

pub use folder::FolderReplacement;
pub use lines::{Block, Line, LineBlocks, read_more};
pub use plain_json::{PlainJson, plain_length};

/// A file on its way: what is written to it appears under its name with [`Replacement::finish`].
#[derive(Debug)]
pub struct Replacement {
    writer: BufWriter<NamedTempFile>,
    path: PathBuf,
}

impl Replacement {
    /// Starts a file that will stand at `path`. Missing folders are made.
    pub fn create(path: &Path) -> io::Result<Self> {
        let writer = BufWriter::with_capacity(1 << 20, temporary(path)?);
        Ok(Self { writer, path: path.to_path_buf() })
    }

    /// Syncs the file and gives it its name.
    pub fn finish(self) -> io::Result<()> {
        let file = self.writer.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.as_file().sync_all()?;
        file.persist(&self.path)?;
        Ok(())
    }
}

impl Write for Replacement {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// Writes a file whole. Missing folders are made.
pub fn replace(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut file = Replacement::create(path)?;
    write(&mut file)?;
    file.finish()
}

/// As [`replace`], for writers that want a path: `write` makes the file at the path that it is given,
/// in whatever way.
pub fn replace_by_path(path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let temporary = temporary(path)?;
    let permissions = temporary.as_file().metadata()?.permissions();
    let temporary = temporary.into_temp_path();
    write(&temporary)?;
    // The writer may have put another file in the place of ours.
    let file = File::options().write(true).open(&temporary)?;
    file.set_permissions(permissions)?;
    file.sync_all()?;
    temporary.persist(path)?;
    Ok(())
}

/// A new file beside `path`. Temporary files are private by default; these get the permissions of
/// any other new file.
fn temporary(path: &Path) -> io::Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".tmp-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/file");
        replace(&path, |out| out.write_all(b"old")).unwrap();
        let failed = replace(&path, |out| {
            out.write_all(b"half of the new one")?;
            Err(io::Error::other("stopped"))
        });
        assert!(failed.is_err());
        assert!(replace_by_path(&path, |_| Err(io::Error::other("stopped"))).is_err());
        drop(Replacement::create(&path).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(path.parent().unwrap()), ["file"]);

        replace(&path, |out| out.write_all(b"new")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    #[cfg(unix)]
    #[test]
    fn files_are_as_readable_as_any_other_new_file() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        fs::write(folder.path().join("ordinary"), "").unwrap();
        replace(&folder.path().join("written"), |_| Ok(())).unwrap();
        // As some libraries do: a private file of their own, renamed over the one that was there.
        replace_by_path(&folder.path().join("made"), |temporary| {
            let own = NamedTempFile::new_in(folder.path())?;
            own.persist(temporary)?;
            Ok(())
        })
        .unwrap();
        assert_eq!((mode("written"), mode("made")), (mode("ordinary"), mode("ordinary")));
        assert_eq!(names(folder.path()), ["made", "ordinary", "written"]);
    }
}
