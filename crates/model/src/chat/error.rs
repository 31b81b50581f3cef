//! What can be wrong with a chat template.

use std::path::PathBuf;

use minijinja::ErrorKind;
use thiserror::Error;

use super::template::{BYTES_PER_STEP, FUEL, MOST_BYTES};
use crate::folder::FolderError;

/// What can be wrong with a chat template or with a conversation.
#[derive(Debug, Error)]
pub enum ChatError {
    /// A file of the folder is wrong.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The folder has no chat template.
    #[error("{}: no chat template: neither chat_template.jinja nor `chat_template` in tokenizer_config.json", path.display())]
    None {
        /// The folder.
        path: PathBuf,
    },
    /// There are several templates, but none with the requested name.
    #[error("{}: no chat template named `{name}`; available: {}", path.display(), names.join(", "))]
    NoSuchName {
        /// The folder.
        path: PathBuf,
        /// The requested name.
        name: String,
        /// The available names.
        names: Vec<String>,
    },
    /// The template does not compile, or rejects the conversation.
    #[error("{}: {}", path.display(), explain(source))]
    Template {
        /// The folder or file of the template.
        path: PathBuf,
        /// The error of the template engine.
        source: minijinja::Error,
    },
    /// The rendered prompt is not a prefix of the rendered conversation, so that training and generation
    /// would see different texts.
    #[error(
        "{}: the chat template is not prefix-preserving: with the answer the conversation reads `…{with_answer}`, \
without it the prompt reads `…{prompt}`; a model would be trained on one and prompted with the other",
        path.display()
    )]
    NotPrefixPreserving {
        /// The folder or file of the template.
        path: PathBuf,
        /// The rendering with the answer, from a little before the difference.
        with_answer: String,
        /// The prompt, from a little before the difference.
        prompt: String,
    },
    /// The template drops the content of a message.
    #[error("{}: the chat template drops the content of the {role} message", path.display())]
    Dropped {
        /// The folder or file of the template.
        path: PathBuf,
        /// The role of the message.
        role: String,
    },
    /// The template is too large.
    #[error("{}: the chat template has {bytes} bytes; at most {MOST_BYTES} are read", path.display())]
    TooLarge {
        /// The folder or file of the template.
        path: PathBuf,
        /// Its size.
        bytes: usize,
    },
    /// The template takes too long to compile or render.
    #[error("{}: the chat template took more than {seconds} s; usual ones take a few milliseconds", path.display())]
    TooSlow {
        /// The folder or file of the template.
        path: PathBuf,
        /// The time limit.
        seconds: f64,
    },
    /// The template does not reproduce the answer.
    #[error("{}: the chat template writes `{found}` in place of the answer `{answer}`", path.display())]
    AnswerChanged {
        /// The folder or file of the template.
        path: PathBuf,
        /// What follows the prompt.
        found: String,
        /// The answer.
        answer: String,
    },
    /// Nothing ends the answer's turn.
    #[error(
"{}: the chat template ends an answer with `{found}`, which is not a special token of the tokenizer, and \
         there is no `eos_token` either",
        path.display()
    )]
    NoEnd {
        /// The folder or file of the template.
        path: PathBuf,
        /// What follows the answer.
        found: String,
    },
}

/// The message of a template's own `raise_exception`, or what is wrong with the template and where.
fn explain(error: &minijinja::Error) -> String {
    if error.kind() == ErrorKind::OutOfFuel {
        return format!(
            "the chat template takes more than {FUEL} steps or writes more than {} MB",
            FUEL * BYTES_PER_STEP / 1_000_000
        );
    }
    let location = error.line().map_or_else(String::new, |line| format!(" (line {line} of the chat template)"));
    format!("{}{location}", error.detail().map_or_else(|| error.kind().to_string(), str::to_owned))
}
