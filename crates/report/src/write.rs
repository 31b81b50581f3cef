//! Writing the page.

use std::io::Write;
use std::path::Path;

use crate::{ReportError, ReportInput, html};

/// Writes the report as one HTML file: to a temporary name in the same directory, synced, renamed.
pub fn write_report(path: &Path, input: &ReportInput) -> Result<(), ReportError> {
    replace_file(path, html::page(input).as_bytes())
}

/// Replaces a file as a whole, so that a reader never sees half of it.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> Result<(), ReportError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(ReportError::io(path, "write"))?;
    file.write_all(bytes).map_err(ReportError::io(path, "write"))?;
    file.as_file().sync_all().map_err(ReportError::io(path, "write"))?;
    file.persist(path).map_err(|failure| ReportError::io(path, "rename to")(failure.error))?;
    Ok(())
}
