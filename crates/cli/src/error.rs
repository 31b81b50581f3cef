//! The one error type of the command line, and how library errors become it.

use std::{error::Error, process::ExitCode};

use tabpo_files::WriteRefusal;

/// Why a command did not succeed.
#[derive(Debug)]
pub struct CliError {
    kind: Kind,
    /// What went wrong, from the general to the particular.
    pub messages: Vec<String>,
    /// What would be right, where the program knows it.
    pub hint: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Wrong usage or input: exit code 2.
    Input,
    /// The run failed: exit code 1.
    Failed,
    /// Stopped by the user: exit code 130, as shells report an interrupt.
    Interrupted,
    /// The reader of stdout went away (`tabpo ... | head`): nothing to report.
    ClosedPipe,
}

impl CliError {
    /// Wrong usage or input.
    pub fn input(message: impl Into<String>) -> Self {
        Self { kind: Kind::Input, messages: vec![message.into()], hint: None }
    }

    /// The run failed.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { kind: Kind::Failed, messages: vec![message.into()], hint: None }
    }

    /// The user asked to stop; `message` says what was saved.
    pub fn interrupted(message: impl Into<String>) -> Self {
        Self { kind: Kind::Interrupted, messages: vec![message.into()], hint: None }
    }

    /// A write to stdout that failed.
    pub fn stdout(error: &std::io::Error) -> Self {
        let kind = if error.kind() == std::io::ErrorKind::BrokenPipe { Kind::ClosedPipe } else { Kind::Failed };
        Self { kind, messages: vec![format!("cannot write to standard output: {error}")], hint: None }
    }

    /// Adds what would be right.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Puts a more general message before the others.
    pub fn context(mut self, message: impl Into<String>) -> Self {
        self.messages.insert(0, message.into());
        self
    }

    /// Whether there is nothing to say (the reader of stdout went away).
    pub fn is_silent(&self) -> bool {
        self.kind == Kind::ClosedPipe
    }

    /// The exit code: 2 for wrong usage or input, 1 for a failed run, 130 for an interrupt.
    pub fn exit_code(&self) -> ExitCode {
        match self.kind {
            Kind::Input => ExitCode::from(2),
            Kind::Failed => ExitCode::from(1),
            Kind::Interrupted => ExitCode::from(130),
            Kind::ClosedPipe => ExitCode::SUCCESS,
        }
    }
}

/// Turns library errors into [`CliError`]s: `read(path).or_input()?`.
pub trait ResultExt<T> {
    /// The error is the user's input or usage.
    fn or_input(self) -> Result<T, CliError>;
    /// The error is a failed run.
    fn or_failed(self) -> Result<T, CliError>;
}

impl<T, E: Error + 'static> ResultExt<T> for Result<T, E> {
    fn or_input(self) -> Result<T, CliError> {
        self.map_err(|error| from_chain(Kind::Input, &error))
    }

    fn or_failed(self) -> Result<T, CliError> {
        self.map_err(|error| from_chain(Kind::Failed, &error))
    }
}

/// Keeps the messages of an error and of its sources, leaving out a source whose text its parent
/// already shows.
fn from_chain(kind: Kind, error: &(dyn Error + 'static)) -> CliError {
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
    let Some(refusal) = refusal else { return CliError { kind, messages, hint: None } };
    let kind = if refusal == WriteRefusal::ClosedOutput { Kind::ClosedPipe } else { Kind::Input };
    CliError { kind, messages, hint: refusal.hint().map(str::to_owned) }
}

/// Why a file is not written, where that is what an error is about.
fn refusal(error: &(dyn Error + 'static)) -> Option<WriteRefusal> {
    error.downcast_ref::<std::io::Error>().and_then(WriteRefusal::within)
}
