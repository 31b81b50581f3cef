//! What can go wrong.

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
        /// Tokens that are allowed.
        limit: usize,
    },
    /// The record's texts cannot become tokens.
    #[error("record {id:?}: {source}")]
    Format {
        /// Id of the record.
        id: String,
        /// Why.
        source: Box<crate::FormatError>,
    },
    /// An answer is not as the canonical writer would write it, so that the roles of its tokens are
    /// not known.
    #[error("record {id:?}: not a canonical answer of this ontology: {answer}")]
    NotCanonical {
        /// Id of the record.
        id: String,
        /// How the answer begins.
        answer: String,
    },
    /// The objective compares answers and the record has none to compare with.
    #[error("record {id:?} has no rejected answer, which the objective needs")]
    NothingRejected {
        /// Id of the record.
        id: String,
    },
    /// The record has no prompt or an answer without tokens.
    #[error("record {id:?} has an empty {part}")]
    Empty {
        /// Id of the record.
        id: String,
        /// What is empty: `prompt`, `chosen answer` or `rejected answer`.
        part: &'static str,
    },
    /// A token is not in the model's vocabulary.
    #[error("record {id:?} has token {token}, but the model has only {vocabulary}: is the tokenizer the model's own?")]
    Token {
        /// Id of the record.
        id: String,
        /// The token.
        token: u32,
        /// Number of tokens that the model has.
        vocabulary: usize,
    },
}

/// Why a run did not go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A record is not fit for training.
    #[error(transparent)]
    Example(#[from] ExampleError),
    /// No record can be trained on.
    #[error("none of the {records} records can be trained on: all are too long, or there are none")]
    NoExamples {
        /// Number of records.
        records: usize,
    },
    /// A checkpoint cannot be read or does not fit the policy.
    #[error("{}: {message}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The policy at the start does not agree with the reference log-probs.
    #[error(
        "the policy at the start differs from the reference by {difference:.3e} nats in a token's log-prob; \
         the reference must be the policy that training starts from"
    )]
    ReferenceMismatch {
        /// The largest difference.
        difference: f64,
    },
    /// Loss or gradient is not a number any more.
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
    /// The worker could not go on.
    #[error(transparent)]
    Worker(#[from] tabpo_engine::WorkerError),
}
