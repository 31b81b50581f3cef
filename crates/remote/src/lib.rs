#![doc = include_str!("../README.md")]
//!
//! # Modules
//! [`PromptBuilder`] makes prompts from units, [`Endpoint`] says where to send them and [`Settings`] how;
//! [`extract`] runs a [`Job`], with single requests (`live`) or the batch API (`batch`). A reply passes
//! through `call` (HTTP), `received` and `stream` (JSON), `completion` and `message` (the answer), or
//! `api_error`, `classify`, `words` and `fix` (what an error means). `records` and `cache` store answers,
//! `secret` redacts the key, `budget`, `limits` and `retry` pace the requests.

#![forbid(unsafe_code)]

mod api_error;
mod batch;
mod body;
mod budget;
mod cache;
mod call;
mod classify;
mod completion;
mod demonstrations;
mod endpoint;
mod error;
mod estimate;
mod extract;
mod fix;
mod limits;
mod live;
mod message;
mod prices;
mod prompt;
mod ranges;
mod received;
mod records;
mod requests;
mod retry;
mod secret;
mod serve;
mod settings;
mod statistics;
mod stream;
mod usage;
mod words;
mod wrapped;

pub use cache::{Channel, ResponseCache, StoredAnswer};
#[cfg(fuzzing)]
pub use call::fuzzing;
pub use completion::{ReplyField, ReplyOutcome, without_nulls};
pub use demonstrations::{Demonstration, Demonstrations};
pub use endpoint::{ApiKey, Endpoint};
pub use error::RemoteError;
pub use estimate::{JobEstimate, estimate};
pub use extract::{Ending, Extraction, Job, Progress, extract};
pub use fix::SettingFix;
pub use prices::{ModelPrice, PriceTable};
pub use prompt::{ChatRole, Message, Prompt, PromptBuilder, Structure};
pub use records::Damage;
pub use retry::in_words;
pub use serve::{ServeCommand, Served, serve_commands};
pub use settings::{Selection, Settings, StructureKind};
pub use statistics::Statistics;
pub use usage::Usage;
pub use wrapped::unwrap_json;
