//! Hosted models: documents answered by an OpenAI-compatible endpoint.

mod answers;
mod notes;

pub use self::{
    answers::{
        RemoteJob, answer_documents, check, check_remote_system, open_cache, price, prompts, remote_system,
        warn_of_damage,
    },
    notes::rows,
};
