//! What a path to be written stands for.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::WriteRefusal;

/// How many links systems follow.
const MOST_LINKS: usize = 40;

/// What a path to be written stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A file at the end of all links, which need not exist: to be replaced.
    File(PathBuf),
    /// A pipe, a terminal or another device: to be opened and written to.
    Stream(PathBuf),
    /// Standard output: `-`, `/dev/stdout`.
    Output,
    /// Standard error: `/dev/stderr`.
    Errors,
}

impl Target {
    /// Follows the links of a path. Fails for a folder, for a path without a file name and for links that
    /// point to each other.
    pub fn of(path: &Path) -> io::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::Output);
        }
        // `Path` drops a final separator, which means a folder.
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

    /// Whether this path is standard output, where what is written must not mix with anything else.
    pub fn is_output(path: &Path) -> bool {
        matches!(Self::of(path), Ok(Self::Output))
    }
}

/// The folder that contains a path.
pub(crate) fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The descriptor of this process that a path in `/dev/fd` or `/proc/self/fd` stands for. Such a path looks
/// like a link to a file, but whoever opened that file wants it written, not replaced.
fn descriptor(path: &Path) -> Option<u32> {
    let number = path.file_name()?.to_str()?.parse().ok()?;
    let folder = folder(path).canonicalize().ok()?;
    let own = Path::new("/proc/self/fd").canonicalize().unwrap_or_else(|_| PathBuf::from("/dev/fd"));
    (folder == own).then_some(number)
}
