#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod checkpoint;
mod choices;
mod error;
mod example;
mod format;
mod groups;
mod importance;
mod items;
mod judged;
mod log_probs;
mod loss;
mod packing;
mod record;
mod reference;
mod schedule;
mod settings;
mod stream;
mod text_source;
mod trainer;
mod trie;

#[cfg(fuzzing)]
pub use checkpoint::fuzzing;
pub use choices::Choice;
pub use error::{ExampleError, TrainError};
pub use example::{RejectedAnswer, TokenisedAnswer, TokenisedExample};
pub use format::{AnswerText, ExampleFormat, FormatError, PromptFormat};
pub use importance::{ScoreTransform, set_importance_weights};
pub use log_probs::{ExampleLogProbs, log_probs};
pub use loss::Differences;
pub use packing::MicroBatch;
pub use record::{Observer, StepProgress, StepRecord, Timing, TrainOutcome, TrainSummary, UnusedCheckpoint};
pub use reference::{ReferenceCache, ReferenceIdentity, ReferenceKey};
pub use schedule::{Decay, Schedule, TrainBudget};
pub use settings::{TokenCount, TrainSettings};
pub use stream::{BatchPlan, Cursor, ExampleSource, PreparedStep, StepPlanner, largest_micro_batch};
pub use text_source::{ExampleRecord, RejectedRecord, TextSource, group_pairs, rendered};
pub use trainer::{Session, train};
pub use trie::{ExampleTargets, TokenTrie, gather, scatter_add};
