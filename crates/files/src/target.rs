//! Where that goes which is written to a path.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::WriteRefusal;

/// As many links as systems follow.
const MOST_LINKS: usize = 40;

/// What stands behind a path that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A file, or none yet, at the end of all links: to be replaced whole.
    File(PathBuf),
    /// A pipe, a terminal or another device: to be opened and written into.
    Stream(PathBuf),
    /// Standard output: `-`, `/dev/stdout`.
    Output,
    /// Standard error: `/dev/stderr`.
    Errors,
}

impl Target {
    /// Follows the links of a path. Fails for a folder, for a path without a name and for links that
    /// lead to each other.
    pub fn of(path: &Path) -> io::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::Output);
        }
        // `Path` drops a final separator, by which a folder is meant.
        if path.as_os_str().as_encoded_bytes().ends_with(std::path::MAIN_SEPARATOR_STR.as_bytes()) {
            return Err(WriteRefusal::Folder.into());
        }
        let mut place = path.to_path_buf();
        for _ in 0..=MOST_LINKS {
            match descriptor(&place) {
                Some(1) => return Ok(Self::Output),
                Some(2) => return Ok(Self::Errors),
                Some(_) => return Ok(Self::Stream(place)),
                None => {}
            }
            let kind = match fs::symlink_metadata(&place) {
                Ok(metadata) => metadata.file_type(),
                Err(error) if error.kind() == ErrorKind::NotFound && place.file_name().is_some() => {
                    return Ok(Self::File(place));
                }
                Err(error) if error.kind() == ErrorKind::NotFound => return Err(WriteRefusal::Nameless.into()),
                Err(error) => return Err(error),
            };
            if kind.is_symlink() {
                place = folder(&place).join(fs::read_link(&place)?);
            } else if kind.is_dir() {
                return Err(WriteRefusal::Folder.into());
            } else if kind.is_file() {
                return Ok(Self::File(place));
            } else {
                return Ok(Self::Stream(place));
            }
        }
        Err(WriteRefusal::EndlessLink.into())
    }

    /// Checks that a path can become, or is, a folder to write files into.
    pub fn check_folder(path: &Path) -> io::Result<()> {
        match fs::metadata(path) {
            _ if path == Path::new("-") => Err(WriteRefusal::FolderToOutput.into()),
            Ok(metadata) if !metadata.is_dir() => Err(WriteRefusal::NoFolder.into()),
            _ => Ok(()),
        }
    }

    /// Whether what is written to this path comes out of standard output, where it must not mix with
    /// anything else.
    pub fn is_output(path: &Path) -> bool {
        matches!(Self::of(path), Ok(Self::Output))
    }
}

/// The folder that a path stands in.
pub(crate) fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The number of the open file of this process that a path in `/dev/fd` or `/proc/self/fd` stands for.
/// Such a path looks like a link to the file, but who opened the file wants it written, not replaced.
fn descriptor(path: &Path) -> Option<u32> {
    let number = path.file_name()?.to_str()?.parse().ok()?;
    let folder = folder(path).canonicalize().ok()?;
    let own = Path::new("/proc/self/fd").canonicalize().unwrap_or_else(|_| PathBuf::from("/dev/fd"));
    (folder == own).then_some(number)
}
