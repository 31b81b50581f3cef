//! Commands use the error type of runs.

pub(crate) use tabpo_pipeline::{Error as CliError, ErrorKind, error::ResultExt};

/// A fault of the input, with what would help if that is known.
pub(crate) fn input_error(error: impl std::error::Error + 'static, hint: Option<&str>) -> CliError {
    let error = Err::<(), _>(error).or_input().expect_err("it is an error");
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}
