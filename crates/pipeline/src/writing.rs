//! Writes files whole or not at all; errors name the file.

use std::{
    io::{self, Write},
    path::Path,
};

use tabpo_files::{Replacement, Target, WriteRefusal};

use crate::error::{Error, ResultExt};

/// Starts a file that appears under its name once it is complete. See [`Replacement`] for what `path` may be: a file, a
/// link, a pipe, a device, or `-` for standard output.
pub fn create(path: &Path) -> Result<Replacement, Error> {
    // An error that wraps another one names a temporary file, which means nothing to the user. Only its kind is kept.
    let plain = |error: io::Error| {
        let wraps = error.get_ref().is_some() && WriteRefusal::within(&error).is_none();
        if wraps { io::Error::from(error.kind()) } else { error }
    };
    Replacement::create(path).map_err(plain).or_input().map_err(|error| error.context(cannot_write(path)))
}

/// Completes a file.
pub fn finish(file: Replacement, path: &Path) -> Result<(), Error> {
    file.finish().or_failed().map_err(|error| error.context(cannot_write(path)))
}

/// Appends bytes to a file.
pub fn add(file: &mut Replacement, bytes: &[u8], path: &Path) -> Result<(), Error> {
    file.write_all(bytes).or_failed().map_err(|error| error.context(cannot_write(path)))
}

/// Checks that a folder can be written at a path, before any work is done for it.
pub fn check_folder(path: &Path) -> Result<(), Error> {
    Target::check_folder(path).or_input().map_err(|error| error.context(cannot_write(path)))
}

/// The first part of a message about a file that could not be written.
pub fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}
