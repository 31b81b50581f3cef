//! Commands use the error type of runs.

pub(crate) use tabpo_pipeline::{Error as CliError, ErrorKind, error::ResultExt};
