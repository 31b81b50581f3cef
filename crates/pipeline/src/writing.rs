//! Files that commands write: whole or not at all, and an error says which one.

use std::{
    io::{self, Write},
    path::Path,
};

use tabpo_files::{Replacement, Target};

use crate::error::{Error, ResultExt};

/// Starts a file that gets its name when it is complete. What `path` may be, a link, a pipe, a device or
/// `-`, is the matter of [`Replacement`].
pub fn create(path: &Path) -> Result<Replacement, Error> {
    let plain = |error: io::Error| {
        // Errors about temporary files name these, which nobody asked for.
        let text = error.to_string();
        match text.split_once(" at path \"") {
            Some((cause, _)) => io::Error::new(error.kind(), cause.to_owned()),
            None => error,
        }
    };
    Replacement::create(path).map_err(plain).or_input().map_err(|error| error.context(cannot_write(path)))
}

/// Completes a file.
pub fn finish(file: Replacement, path: &Path) -> Result<(), Error> {
    file.finish().or_failed().map_err(|error| error.context(cannot_write(path)))
}

/// Adds bytes to a file.
pub fn add(file: &mut Replacement, bytes: &[u8], path: &Path) -> Result<(), Error> {
    file.write_all(bytes).or_failed().map_err(|error| error.context(cannot_write(path)))
}

/// Checks that a path can be a folder of files, before anything is computed for it.
pub fn check_folder(path: &Path) -> Result<(), Error> {
    Target::check_folder(path).or_input().map_err(|error| error.context(cannot_write(path)))
}

/// The general part of a message about a file that could not be written.
pub fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}
