//! The error type of all commands is that of runs.

pub(crate) use tabpo_pipeline::{Error as CliError, ErrorKind, error::ResultExt};
