//! Chat templates: how a conversation becomes the text that a model was trained on.

mod builtin;
mod error;
mod exchange;
mod filters;
mod methods;
mod printf;
mod python;
mod source;
mod template;

pub use error::ChatError;
pub use exchange::{EncodedExchange, Exchange};
pub use template::{ChatTemplate, Message};

pub(crate) use template::templates;
