//! The right to write a file, held by one process at a time.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::WriteRefusal;
use crate::target::folder;

/// Precedes the name of the file that is being written.
pub(crate) const FILE: &str = ".tmp-tabpo.";
/// The same for the working folder of a writer that needs a path.
pub(crate) const WORK: &str = ".tmp-tabpo-work.";

/// The longest name that a temporary file repeats; systems allow names of 255 bytes.
const LONGEST_NAME: usize = 200;
/// How often a claim is tried: another process holds the lock for a moment while it checks whether the file
/// was abandoned.
const ATTEMPTS: usize = 6;
const PAUSE: Duration = Duration::from_millis(10);

/// The right to write a file: a locked temporary file beside it. The lock ends with the process, so a temporary
/// file that is not locked was left by a killed process, and the next claim replaces it.
pub(crate) struct Claim {
    file: File,
    path: PathBuf,
}

impl Claim {
    /// Claims a file, which need not exist. Missing folders are created, and the temporary file of a killed
    /// process is removed.
    ///
    /// Fails with [`WriteRefusal::Busy`] inside the error while the file is claimed. On a file system without
    /// locks every claim is granted.
    pub(crate) fn of(target: &Path) -> io::Result<Self> {
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

    /// Tries once to create and lock the file. It must be new: an existing one may belong to another process.
    fn attempt(path: &Path) -> io::Result<Attempt> {
        match OpenOptions::new().read(true).write(true).create_new(true).open(path) {
            Ok(file) => Ok(match file.try_lock() {
                Ok(()) if is_at(&file, path) => Attempt::Claimed(file),
                // Another process took it for an abandoned one before it was locked.
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

    /// A claim under a random name, where the usual one is not available: without a lock, but no one else
    /// writes to it.
    fn unlocked(folder: &Path, name: &OsStr) -> io::Result<Self> {
        let mut prefix = temporary(FILE, name);
        prefix.push(".");
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix);
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let (file, path) = builder.tempfile_in(folder)?.keep()?;
        // Locking may work here: perhaps only the name was taken.
        let _ = file.try_lock();
        Ok(Self { file, path })
    }

    /// The temporary file, empty at first, to be written and renamed to the claimed one.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Where that file is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A folder beside it, which does not exist yet. Whoever creates it removes it.
    pub(crate) fn work_folder(&self) -> PathBuf {
        let name = self.path.file_name().unwrap_or_default().as_encoded_bytes();
        // The name was made from this prefix.
        let rest = unprefixed(name, FILE).unwrap_or_default();
        folder(&self.path).join(temporary(WORK, &rest))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // If the file already has its final name, this name is free or belongs to another claim.
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
    /// There are no locks here, or what is in the way is not ours.
    Impossible,
}

/// What became of a temporary file that may be abandoned.
pub(crate) enum Discarded {
    /// It is no longer there.
    Gone,
    /// It belongs to a running process.
    InUse,
    /// It cannot be removed, or is not a file.
    Kept,
}

/// Removes a temporary file unless a running process holds it.
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

/// Whether a path still names an open file itself, not a link to it.
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
