//! What killed processes left.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::claim::{Discarded, FILE, WORK, discard, discard_folder, unprefixed};

/// Removes the temporary files that killed processes left in a folder and the folders in it, and says
/// which. Files of living processes stay, and so does everything whose name is not one of ours: those
/// begin with `.tmp-tabpo` (or, of earlier versions, are `.tmp-` and six letters or digits).
///
/// To be called by whoever holds the lock of the folder. Links are not followed. What cannot be removed
/// is left; a folder that cannot be read is an error.
pub fn collect_leftovers(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut removed = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        // Work folders come first: whether one is in use is told by the file beside it.
        let (mut works, mut files) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let (kind, name) = (entry.file_type()?, entry.file_name());
            if kind.is_dir() {
                match unprefixed(name.as_encoded_bytes(), WORK) {
                    Some(rest) => works.push((entry.path(), folder.join(file_for(&rest)))),
                    None => open.push(entry.path()),
                }
            } else if kind.is_file() && is_temporary(&name) {
                files.push(entry.path());
            }
        }
        for (work, file) in works {
            match discard(&file) {
                Discarded::Gone if discard_folder(&work).is_ok() => removed.push(work),
                _ => {}
            }
        }
        for file in files {
            if matches!(discard(&file), Discarded::Gone) {
                removed.push(file);
            }
        }
    }
    removed.sort();
    Ok(removed)
}

/// The file that belongs to the work folder of this name.
fn file_for(rest: &OsStr) -> std::ffi::OsString {
    let mut name = std::ffi::OsString::from(FILE);
    name.push(rest);
    name
}

fn is_temporary(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    let of_earlier_versions =
        name.strip_prefix(b".tmp-").is_some_and(|rest| rest.len() == 6 && rest.iter().all(u8::is_ascii_alphanumeric));
    of_earlier_versions || name.strip_prefix(FILE.as_bytes()).is_some_and(|rest| !rest.is_empty())
}
