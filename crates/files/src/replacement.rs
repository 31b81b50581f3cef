//! Files that get their name when they are complete.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::claim::{Claim, discard_folder};
use crate::{Target, WriteRefusal};

/// Bytes that are buffered between writes to the system.
const BUFFER: usize = 1 << 20;

/// A file that is being replaced: what is written to it gets the final name with [`Replacement::finish`].
///
/// Where the path leads to a pipe, a terminal or another device, or is `-`, what is written goes there
/// directly.
pub struct Replacement(Sink);

enum Sink {
    File { writer: BufWriter<File>, claim: Claim, path: PathBuf },
    Stream(BufWriter<Box<dyn Write + Send>>),
}

impl Replacement {
    /// Starts to replace the file `path`, which need not exist. Missing folders are created.
    ///
    /// Fails for a folder, and while another process writes the same file ([`WriteRefusal`] inside the
    /// error).
    pub fn create(path: &Path) -> io::Result<Self> {
        let path = match Target::of(path)? {
            Target::File(path) => path,
            stream => return Ok(Self(Sink::Stream(BufWriter::with_capacity(BUFFER, open_stream(&stream)?)))),
        };
        let claim = Claim::of(&path)?;
        let writer = BufWriter::with_capacity(BUFFER, claim.file().try_clone()?);
        Ok(Self(Sink::File { writer, claim, path }))
    }

    /// Syncs the file and gives it its name.
    pub fn finish(self) -> io::Result<()> {
        match self.0 {
            Sink::Stream(mut writer) => writer.flush(),
            Sink::File { writer, claim, path } => {
                let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
                if let Some(permissions) = permissions(&path) {
                    file.set_permissions(permissions)?;
                }
                file.sync_all()?;
                put_in_place(claim.path(), &path)
            }
        }
    }
}

impl Write for Replacement {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Sink::File { writer, .. } => writer.write(bytes),
            Sink::Stream(writer) => writer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Sink::File { writer, .. } => writer.flush(),
            Sink::Stream(writer) => writer.flush(),
        }
    }
}

/// Writes a file whole or not at all. Missing folders are created.
pub fn replace(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut file = Replacement::create(path)?;
    write(&mut file)?;
    file.finish()
}

/// As [`replace`], for writers that need a path: `write` creates the file at the path that it is given.
pub fn replace_by_path(path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let path = match Target::of(path)? {
        Target::File(path) => path,
        stream => {
            let folder = tempfile::tempdir()?;
            let made = folder.path().join("content");
            write(&made)?;
            let mut out = open_stream(&stream)?;
            io::copy(&mut File::open(made)?, &mut out)?;
            return out.flush();
        }
    };
    let claim = Claim::of(&path)?;
    // In its own folder, because some writers put temporary files beside their output.
    let work = WorkFolder::create(claim.work_folder())?;
    let made = work.0.join(path.file_name().ok_or(WriteRefusal::Nameless)?);
    write(&made)?;
    let file = File::options().write(true).open(&made)?;
    file.set_permissions(
        permissions(&path).map_or_else(|| Ok(claim.file().metadata()?.permissions()), io::Result::Ok)?,
    )?;
    file.sync_all()?;
    put_in_place(&made, &path)
}

/// A folder that is removed with all that is in it.
struct WorkFolder(PathBuf);

impl WorkFolder {
    fn create(path: PathBuf) -> io::Result<Self> {
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for WorkFolder {
    fn drop(&mut self) {
        let _ = discard_folder(&self.0);
    }
}

/// The permissions of the file that is replaced, which the new one inherits.
fn permissions(path: &Path) -> Option<Permissions> {
    fs::metadata(path).ok().map(|metadata| metadata.permissions())
}

/// Gives a complete file its name.
fn put_in_place(made: &Path, path: &Path) -> io::Result<()> {
    match fs::rename(made, path) {
        // A single file that is mounted, as containers do, can be written but not replaced.
        Err(error) if matches!(error.kind(), ErrorKind::ResourceBusy | ErrorKind::CrossesDevices) => {
            let mut out = OpenOptions::new().write(true).truncate(true).open(path)?;
            io::copy(&mut File::open(made)?, &mut out)?;
            out.sync_all()
        }
        result => result,
    }
}

fn open_stream(target: &Target) -> io::Result<Box<dyn Write + Send>> {
    Ok(match target {
        Target::Output => Box::new(Output),
        Target::Errors => Box::new(io::stderr()),
        // Append, where the system distinguishes it: others may have written there before.
        Target::File(path) | Target::Stream(path) => Box::new(OpenOptions::new().append(true).open(path)?),
    })
}

/// Standard output, with an error of its own for a reader that went away.
struct Output;

impl Output {
    fn named(error: io::Error) -> io::Error {
        if error.kind() == ErrorKind::BrokenPipe { WriteRefusal::ClosedOutput.into() } else { error }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stdout().write(bytes).map_err(Self::named)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush().map_err(Self::named)
    }
}
