//! The right to write a file, held by one process at a time.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::WriteRefusal;
use crate::target::folder;

/// Before the name of the file that will stand in the place of the rest of the name.
pub(crate) const FILE: &str = ".tmp-tabpo.";
/// The same for the folder in which a writer that wants a path works.
pub(crate) const WORK: &str = ".tmp-tabpo-work.";

/// Longest name that a temporary file takes over; systems allow names of 255 bytes.
const LONGEST_NAME: usize = 200;
/// How often a claim is tried while others look whether a file was left behind, which takes them a
/// moment.
const ATTEMPTS: usize = 6;
const PAUSE: Duration = Duration::from_millis(10);

/// The right to write a file: a locked file beside it. The lock ends with the process, so that a file
/// whose lock is free was left by a killed one, and the next claim takes its place.
pub struct Claim {
    file: File,
    path: PathBuf,
}

impl Claim {
    /// Claims a file, which need not exist. Missing folders are made. What a killed process left of the
    /// same file is removed.
    ///
    /// Fails with [`WriteRefusal::Busy`] inside the error while another claim of the file lives. On a
    /// file system without locks every claim is granted.
    pub fn of(target: &Path) -> io::Result<Self> {
        let name = target.file_name().ok_or(WriteRefusal::Nameless)?;
        let folder = folder(target);
        fs::create_dir_all(folder)?;
        let path = folder.join(temporary(FILE, name));
        let mut refusals = 0;
        while refusals < ATTEMPTS {
            match Self::attempt(&path)? {
                Attempt::Claimed(file) => {
                    let claim = Self { file, path };
                    discard_folder(&claim.work_folder())?;
                    return Ok(claim);
                }
                Attempt::Again => {}
                Attempt::Busy => {
                    refusals += 1;
                    std::thread::sleep(PAUSE);
                }
                Attempt::Impossible => return Self::unlocked(folder, name),
            }
        }
        Err(WriteRefusal::Busy.into())
    }

    /// One try to make the file and to lock it. The file is always a new one of this process: one that
    /// is there may be someone else's.
    fn attempt(path: &Path) -> io::Result<Attempt> {
        match OpenOptions::new().read(true).write(true).create_new(true).open(path) {
            Ok(file) => Ok(match file.try_lock() {
                Ok(()) if is_at(&file, path) => Attempt::Claimed(file),
                // Another process took it for one that was left behind, before it was locked.
                Ok(()) | Err(TryLockError::WouldBlock) => Attempt::Again,
                Err(TryLockError::Error(_)) => {
                    fs::remove_file(path)?;
                    Attempt::Impossible
                }
            }),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(match discard(path) {
                Discarded::Gone => Attempt::Again,
                Discarded::InUse => Attempt::Busy,
                Discarded::Kept => Attempt::Impossible,
            }),
            Err(error) => Err(error),
        }
    }

    /// A claim under a name of its own, where the usual one cannot be had: without a lock, but nobody
    /// else writes to it.
    fn unlocked(folder: &Path, name: &OsStr) -> io::Result<Self> {
        let mut prefix = temporary(FILE, name);
        prefix.push(".");
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix);
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let (file, path) = builder.tempfile_in(folder)?.keep()?;
        // It may be that only the name was taken.
        let _ = file.try_lock();
        Ok(Self { file, path })
    }

    /// The file of the claim, empty at first, which may be written and get the name of the claimed one.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Where that file is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A folder beside it, which does not exist yet. Whoever makes it removes it.
    pub(crate) fn work_folder(&self) -> PathBuf {
        let name = self.path.file_name().unwrap_or_default().as_encoded_bytes();
        // The name was put together from the constant and a name, at this very place.
        let rest = unprefixed(name, FILE).unwrap_or_default();
        folder(&self.path).join(temporary(WORK, &rest))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // The file may have got its final name by now; then this name is free, or another claim's.
        if is_at(&self.file, &self.path) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

enum Attempt {
    Claimed(File),
    /// The file that was in the way is gone.
    Again,
    Busy,
    /// There are no locks here, or what is in the way is nothing of ours.
    Impossible,
}

/// What became of a temporary file that may have been left behind.
pub(crate) enum Discarded {
    /// It is no longer there.
    Gone,
    /// It belongs to a living process.
    InUse,
    /// It cannot be removed, or is no file.
    Kept,
}

/// Removes a temporary file unless a living process holds it.
pub(crate) fn discard(path: &Path) -> Discarded {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Discarded::Gone,
        _ => return Discarded::Kept,
    }
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Discarded::Gone,
        Err(_) => return Discarded::Kept,
    };
    match file.try_lock() {
        Ok(()) if !is_at(&file, path) => Discarded::Gone,
        Ok(()) if fs::remove_file(path).is_ok() => Discarded::Gone,
        Err(TryLockError::WouldBlock) => Discarded::InUse,
        Ok(()) | Err(TryLockError::Error(_)) => Discarded::Kept,
    }
}

/// Removes a work folder, if it is there.
pub(crate) fn discard_folder(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether an open file still stands at a path itself, not behind a link.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;

    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(own), Ok(there)) => (own.dev(), own.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_at(_file: &File, path: &Path) -> bool {
    path.exists()
}

/// The name of a temporary file or folder for a file of this name.
fn temporary(prefix: &str, name: &OsStr) -> OsString {
    let mut temporary = OsString::from(prefix);
    if name.len() <= LONGEST_NAME {
        temporary.push(name);
    } else {
        temporary.push(format!("{:016x}", fnv1a(name.as_encoded_bytes())));
    }
    temporary
}

/// What follows a prefix, as a name.
pub(crate) fn unprefixed(name: &[u8], prefix: &str) -> Option<OsString> {
    let rest = name.strip_prefix(prefix.as_bytes())?;
    #[cfg(unix)]
    let rest: &OsStr = std::os::unix::ffi::OsStrExt::from_bytes(rest);
    #[cfg(not(unix))]
    let rest: &OsStr = OsStr::new(std::str::from_utf8(rest).ok()?);
    Some(rest.to_owned())
}

/// The hash of Fowler, Noll and Vo: short, and the same for every version of this program.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
