//! Errors.

use std::path::PathBuf;

/// Why a record did not become an example.
#[derive(Debug, thiserror::Error)]
pub enum ExampleError {
    /// The prompt and its longest answer do not fit. Nothing is ever cut: such records are skipped
    /// and counted.
    #[error("record {id:?} takes {tokens} tokens, more than the limit of {limit}")]
    TooLong {
        /// Id of the record.
        id: String,
        /// Tokens of the prompt and the longest answer.
        tokens: usize,
        /// The limit.
        limit: usize,
    },
    /// The record's texts cannot be tokenised.
    #[error("record {id:?} cannot become tokens")]
    Format {
        /// Id of the record.
        id: String,
        /// Why.
        source: Box<crate::FormatError>,
    },
    /// An answer is not in canonical form, so that the roles of its tokens are unknown.
    #[error("record {id:?}: not a canonical answer of this ontology: {answer}")]
    NotCanonical {
        /// Id of the record.
        id: String,
        /// How the answer begins.
        answer: String,
    },
    /// The objective compares answers, but the record has no rejected one.
    #[error("record {id:?} has no rejected answer, which the objective needs")]
    NothingRejected {
        /// Id of the record.
        id: String,
    },
    /// The objective weighs the decisions between a further record and the end of a list, but they are not marked.
    #[error("record {id:?} has no marks of where its lists go on or end, which the objective needs")]
    NoDecisions {
        /// Id of the record.
        id: String,
    },
    /// A choice names a place beyond its answer, or no token.
    #[error("record {id:?} has a choice of right tokens that is empty or beyond its answer")]
    Choice {
        /// Id of the record.
        id: String,
    },
    /// An item of a sampled answer names a token beyond it.
    #[error("record {id:?} has an item with a token beyond its answer")]
    ItemBeyond {
        /// Id of the record.
        id: String,
    },
    /// The record has an empty prompt or answer.
    #[error("record {id:?} has an empty {part}")]
    Empty {
        /// Id of the record.
        id: String,
        /// What is empty: `prompt`, `chosen answer` or `rejected answer`.
        part: &'static str,
    },
    /// A token is not in the model's vocabulary.
    #[error(
        "record {id:?} has token {token}, but the model has only {vocabulary} tokens: does the tokenizer belong to it?"
    )]
    Token {
        /// Id of the record.
        id: String,
        /// The token.
        token: u32,
        /// Number of the model's tokens.
        vocabulary: usize,
    },
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A file could not be read or written.
    #[error("cannot read or write {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// A record cannot be used for training.
    #[error(transparent)]
    Example(#[from] ExampleError),
    /// No record can be trained on.
    #[error("none of the {records} records can be trained on: all are too long, or there are none")]
    NoExamples {
        /// Number of records.
        records: usize,
    },
    /// A checkpoint cannot be written.
    #[error("{}: {message}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The initial policy does not agree with the reference log-probs.
    #[error(
        "the initial policy differs from the reference by {difference:.3e} nats in a token's log-prob; \
         training must start from the reference"
    )]
    ReferenceMismatch {
        /// The largest difference.
        difference: f64,
    },
    /// The loss or the gradient is no longer finite.
    #[error("training diverged at step {step}: the {what} is not finite; a lower learning rate may help")]
    Diverged {
        /// Number of the step, from 1.
        step: u64,
        /// `loss` or `gradient`.
        what: &'static str,
    },
    /// The objective needs log-probs of a guide model and none was given.
    #[error("objective `{objective}` needs the log-probs of a guide model")]
    NoGuideModel {
        /// Name of the objective.
        objective: String,
    },
    /// The worker failed.
    #[error(transparent)]
    Worker(#[from] tabpo_engine::WorkerError),
}
