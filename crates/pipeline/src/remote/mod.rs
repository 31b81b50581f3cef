//! Hosted models: documents answered by an OpenAI-compatible endpoint.

mod answers;
mod notes;

pub(crate) use self::answers::{check_remote_system, remote_system};
pub use self::{
    answers::{RemoteJob, answer_documents, check, open_cache, price, prompts, warn_of_damage},
    notes::rows,
};
