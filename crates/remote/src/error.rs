//! Errors of a job. [`RemoteError::is_input`] says whether the input is at fault.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tabpo_ontology::Alternatives;

use crate::retry::in_words;
use crate::{SettingFix, StructureKind};

/// An error of this crate. No message contains the key: it is redacted in text from the endpoint before
/// that is stored or shown.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The address is not the base address of an API.
    #[error("endpoint `{url}`: {problem}; expected something like `https://host/v1` or `http://127.0.0.1:8000/v1`")]
    Address {
        /// The address as given, without credentials.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The environment variable for the key is unusable.
    #[error("environment variable `{variable}` {problem}")]
    Key {
        /// Its name.
        variable: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The endpoint rejects the key, or requires one.
    #[error("the endpoint answered {status}: {message}")]
    Unauthorised {
        /// HTTP status: 401 or 403.
        status: u16,
        /// What the endpoint said.
        message: String,
    },
    /// The endpoint does not know the model or the path.
    #[error("the endpoint does not know `{model}`: {message}{}", known(models))]
    UnknownModel {
        /// The requested model.
        model: String,
        /// What the endpoint said.
        message: String,
        /// The models that it lists.
        models: Vec<String>,
    },
    /// The endpoint does not support the requested structured output.
    #[error("the endpoint refuses structured output `{}`: {message}; it accepts: {}", asked.name(), names(accepted))]
    UnsupportedStructure {
        /// What was requested.
        asked: StructureKind,
        /// What the endpoint said.
        message: String,
        /// What it accepted in a trial.
        accepted: Vec<StructureKind>,
    },
    /// The endpoint refuses the request for another reason, which a retry does not change.
    #[error("the endpoint answered {status}: {message}")]
    Rejected {
        /// HTTP status.
        status: u16,
        /// What the endpoint said.
        message: String,
    },
    /// The endpoint refuses a field or a value that a setting can change.
    #[error("the endpoint answered {status}: {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// What the endpoint said.
        message: String,
        /// What can be changed.
        fix: SettingFix,
    },
    /// The account has no quota or credit left.
    #[error("the endpoint answered {status}: {message}")]
    Quota {
        /// HTTP status.
        status: u16,
        /// What the endpoint said.
        message: String,
    },
    /// The endpoint asks for a longer wait than any job waits.
    #[error("the endpoint asks to wait {}: giving up", in_words(*asked))]
    LongWait {
        /// The requested wait.
        asked: Duration,
        /// HTTP status of the reply.
        status: u16,
    },
    /// The user asked to stop.
    #[error("stopped while the endpoint was being asked")]
    Stopped,
    /// A setting has an invalid value.
    #[error("`{key}` is {value}: expected {expected}")]
    Setting {
        /// The setting's key in `[predict.remote.NAME]`.
        key: &'static str,
        /// Its value.
        value: String,
        /// The valid values.
        expected: String,
    },
    /// Many prompts in a row got no answer despite retries.
    #[error("{prompts} prompts in a row got no answer; the last failure: {last}")]
    EndpointDown {
        /// How many.
        prompts: usize,
        /// Why the last one failed.
        last: String,
    },
    /// A batch ended without results.
    #[error("batch {id} ended as `{status}`: {message}")]
    Batch {
        /// Its id at the endpoint.
        id: String,
        /// Its final status.
        status: String,
        /// What the endpoint said.
        message: String,
    },
    /// The model is not in the price table.
    #[error("{}: no price for model `{model}`{alternatives}", path.display())]
    NoPrice {
        /// The price table.
        path: PathBuf,
        /// The model.
        model: String,
        /// The models of the table.
        alternatives: Alternatives,
    },
    /// A price table that cannot be read.
    #[error("{}: {problem}", path.display())]
    Prices {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the line.
        problem: String,
    },
    /// Another process uses the same response cache.
    #[error("{}: in use by another process", path.display())]
    CacheInUse {
        /// The cache directory.
        path: PathBuf,
    },
    /// A record of the response cache was damaged while the cache was open.
    #[error("{}: the answer at byte {offset} is damaged: {found}; the same command asks for it again", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// The first byte of the record.
        offset: u64,
        /// What is wrong with it.
        found: String,
    },
    /// A file operation failed.
    #[error("{}: cannot {action}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was attempted, as a verb.
        action: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The HTTP client or the runtime could not be set up.
    #[error("cannot set up the HTTP client: {0}")]
    Setup(String),
}

impl RemoteError {
    /// Wraps an I/O error with the file and the attempted action.
    pub(crate) fn io<'a>(path: &'a Path, action: &'static str) -> impl FnOnce(io::Error) -> Self + use<'a> {
        move |source| Self::Io { path: path.to_path_buf(), action, source }
    }

    /// Whether the user's input is at fault, rather than the endpoint or the network.
    pub fn is_input(&self) -> bool {
        matches!(
            self,
            Self::Address { .. }
                | Self::Key { .. }
                | Self::Unauthorised { .. }
                | Self::UnknownModel { .. }
                | Self::UnsupportedStructure { .. }
                | Self::Refused { .. }
                | Self::Setting { .. }
                | Self::NoPrice { .. }
                | Self::Prices { .. }
                | Self::CacheInUse { .. }
        )
    }
}

fn known(models: &[String]) -> String {
    if models.is_empty() { String::new() } else { format!("; it lists: {}", models.join(", ")) }
}

fn names(kinds: &[StructureKind]) -> String {
    if kinds.is_empty() {
        return "none of the other kinds".to_owned();
    }
    kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ")
}
