//! Temporary files of killed processes.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::claim::{Discarded, FILE, WORK, discard, discard_folder, unprefixed};

/// Removes the temporary files that killed processes left in a folder and its subfolders, and returns their
/// paths. Files of running processes stay, and so does everything with another name: ours begin with
/// `.tmp-tabpo` (those of earlier versions are `.tmp-` and six letters or digits).
///
/// The caller must hold the lock of the folder. Links are not followed. What cannot be removed stays; a folder
/// that cannot be read is an error.
pub fn collect_leftovers(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut removed = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        // Working folders come first: the file beside one shows whether it is in use.
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

/// The name of the file that belongs to a working folder.
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
