//! Extraction with any OpenAI-compatible endpoint: hosted models, and servers such as vLLM.
//!
//! [`Endpoint`] says where to ask, [`Prompt`] what, [`Settings`] how. [`extract`] asks within limits
//! on concurrency, rate and cost and keeps every answer in a [`ResponseCache`], so that a job that
//! was stopped goes on without asking again. [`extract_in_batches`] does the same over the batch
//! API. A refusal or a truncated answer is an [`Outcome`] to be scored, not an error.
//!
//! The crate owns its asynchronous runtime; all public functions are synchronous.

mod api_error;
mod batch;
mod body;
mod budget;
mod cache;
mod call;
mod classify;
mod completion;
mod cure;
mod demonstrations;
mod endpoint;
mod error;
mod estimate;
mod extract;
mod job;
mod limits;
mod message;
mod prices;
mod prompt;
mod ranges;
mod received;
mod records;
mod retry;
mod secret;
mod serve;
mod settings;
mod statistics;
mod stream;
mod usage;
mod words;
mod wrapped;

pub use batch::extract_in_batches;
pub use cache::{Channel, ResponseCache, StoredAnswer};
#[cfg(fuzzing)]
pub use call::fuzzing;
pub use completion::{Outcome, Place, without_nulls};
pub use cure::Cure;
pub use demonstrations::{Demonstration, Demonstrations};
pub use endpoint::{ApiKey, Endpoint};
pub use error::RemoteError;
pub use estimate::{JobEstimate, estimate};
pub use extract::{Ending, Extraction, Progress, extract};
pub use prices::{ModelPrice, PriceTable};
pub use prompt::{Message, Prompt, PromptBuilder, Speaker, Structure};
pub use records::Damage;
pub use retry::in_words;
pub use serve::{ServeCommand, Served, plain_template, serve_commands};
pub use settings::{Selection, Settings, StructureKind};
pub use statistics::Statistics;
pub use usage::Usage;
pub use wrapped::unwrap_json;
