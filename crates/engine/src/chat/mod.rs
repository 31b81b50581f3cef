//! Chat templates: how a conversation becomes the text that a model was trained on.

mod exchange;
mod python;
mod template;

pub use exchange::{EncodedExchange, Exchange};
pub use template::{ChatError, ChatTemplate, Message};
