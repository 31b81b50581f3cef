//! Writing the page.

use std::path::Path;

use crate::{ReportError, ReportInput, html};

/// Writes the report as one HTML file, whole or not at all.
pub fn write_report(path: &Path, input: &ReportInput) -> Result<(), ReportError> {
    replace_file(path, html::page(input).as_bytes())
}

/// Replaces a file as a whole, so that a reader never sees half of it.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> Result<(), ReportError> {
    tabpo_files::replace(path, |out| out.write_all(bytes)).map_err(ReportError::io(path, "write"))
}
