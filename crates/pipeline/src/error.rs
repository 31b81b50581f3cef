//! The error type of runs, and conversions from the errors of libraries.

use std::error;

use tabpo_engine::{GenerateError, WorkerError};
use tabpo_files::WriteRefusal;
use tabpo_train::TrainError;

/// Why some work did not succeed.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    /// What went wrong, from the most general message to the most specific one.
    pub(crate) messages: Vec<String>,
    pub(crate) hint: Option<String>,
}

/// What an error means for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The input, or how the program was used, is at fault.
    Input,
    /// The work itself failed.
    Failed,
    /// The work was asked to stop.
    Interrupted,
    /// Whatever was reading standard output is gone (`tabpo ... | head`), which is not worth reporting.
    ClosedPipe,
}

impl Error {
    /// An error in the input or in how the program was used.
    pub fn input(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Input, messages: vec![message.into()], hint: None }
    }

    /// A failure of the work itself.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Failed, messages: vec![message.into()], hint: None }
    }

    /// The work was asked to stop; `message` says what was saved.
    pub fn interrupted(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Interrupted, messages: vec![message.into()], hint: None }
    }

    /// A failed write to standard output.
    pub fn stdout(error: &std::io::Error) -> Self {
        let kind =
            if error.kind() == std::io::ErrorKind::BrokenPipe { ErrorKind::ClosedPipe } else { ErrorKind::Failed };
        Self { kind, messages: vec![format!("cannot write to standard output: {error}")], hint: None }
    }

    /// The kind of error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What went wrong, from the most general message to the most specific one.
    pub fn messages(&self) -> &[String] {
        &self.messages
    }

    /// What would help, if that is known.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Adds what would help.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same error once more.
    pub(crate) fn again(&self) -> Self {
        Self { kind: self.kind, messages: self.messages.clone(), hint: self.hint.clone() }
    }

    /// Adds a more general message in front.
    #[must_use]
    pub fn context(mut self, message: impl Into<String>) -> Self {
        self.messages.insert(0, message.into());
        self
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.messages.join(": "))
    }
}

impl error::Error for Error {}

/// Converts errors of libraries: `read(path).or_input()?`.
pub trait ResultExt<T> {
    /// The input, or how the program was used, is at fault.
    fn or_input(self) -> Result<T, Error>;
    /// The work itself failed.
    fn or_failed(self) -> Result<T, Error>;
}

impl<T, E: error::Error + 'static> ResultExt<T> for Result<T, E> {
    fn or_input(self) -> Result<T, Error> {
        self.map_err(|error| from_chain(ErrorKind::Input, &error))
    }

    fn or_failed(self) -> Result<T, Error> {
        self.map_err(|error| from_chain(ErrorKind::Failed, &error))
    }
}

/// Collects the messages of an error and its sources, without those that an earlier message already contains.
fn from_chain(kind: ErrorKind, error: &(dyn error::Error + 'static)) -> Error {
    let mut messages = vec![error.to_string()];
    let mut refusal = refusal(error);
    let mut source = error.source();
    while let Some(cause) = source {
        refusal = refusal.or(self::refusal(cause));
        let text = cause.to_string();
        if !messages.iter().any(|message| message.contains(&text)) {
            messages.push(text);
        }
        source = cause.source();
    }
    let Some(refusal) = refusal else { return Error { kind, messages, hint: device_hint(error) } };
    let hint = match refusal {
        WriteRefusal::ClosedOutput => return Error { kind: ErrorKind::ClosedPipe, messages, hint: None },
        WriteRefusal::Busy => "wait until it is done, or write to another file",
        WriteRefusal::Folder | WriteRefusal::Nameless => "name a file, or `-` for standard output",
        WriteRefusal::NoFolder => "name a folder, or remove the file",
        WriteRefusal::FolderToOutput => "name a folder",
        WriteRefusal::EndlessLink => "remove the link, or write to another file",
    };
    Error { kind: ErrorKind::Input, messages, hint: Some(hint.to_owned()) }
}

/// What the user can do about a failed device, if that is what the error is about.
fn device_hint(error: &(dyn error::Error + 'static)) -> Option<String> {
    let worker = match (error.downcast_ref::<TrainError>(), error.downcast_ref::<GenerateError>()) {
        (Some(TrainError::Worker(worker)), _) | (_, Some(GenerateError::Worker(worker))) => Some(worker),
        _ => error.downcast_ref::<WorkerError>(),
    };
    worker.and_then(WorkerError::hint).map(str::to_owned)
}

/// Why a file was not written, if that is what the error is about.
fn refusal(error: &(dyn error::Error + 'static)) -> Option<WriteRefusal> {
    error.downcast_ref::<std::io::Error>().and_then(WriteRefusal::within)
}
