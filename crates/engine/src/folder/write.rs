//! Files that are either the old ones or the new ones, never half of each.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::FolderError;

/// Writes a file under a temporary name in the same folder, syncs it and renames it into place.
///
/// The folder is created if it does not exist.
pub fn write_atomically(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), FolderError> {
    replace_atomically(path, |temporary| {
        let mut out = BufWriter::with_capacity(1 << 20, File::create(temporary)?);
        write(&mut out)?;
        out.flush()
    })
}

/// Writes a value as indented JSON with a final line feed.
pub fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<(), FolderError> {
    write_atomically(path, |out| {
        serde_json::to_writer_pretty(&mut *out, value)?;
        out.write_all(b"\n")
    })
}

/// [`write_atomically`] for writers that want a path: `write` makes the file that it is given.
pub(crate) fn replace_atomically(path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), FolderError> {
    let attempt = || {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let temporary = tempfile::Builder::new().prefix(".tmp-").tempfile_in(folder)?.into_temp_path();
        write(&temporary)?;
        let file = File::options().write(true).open(&temporary)?;
        make_readable(&file)?;
        file.sync_all()?;
        temporary.persist(path)?;
        Ok(())
    };
    attempt().map_err(|source: io::Error| FolderError::Write { path: path.into(), source })
}

/// Temporary files are private to their owner; what replaces an ordinary file should be as readable
/// as one.
#[cfg(unix)]
fn make_readable(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn make_readable(_: &File) -> io::Result<()> {
    Ok(())
}
