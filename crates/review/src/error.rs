//! Why a review cannot begin, and why a decision is refused.

use std::{io, path::PathBuf};

use tabpo_corpus::Problem;
use tabpo_metrics::EvaluationError;
use thiserror::Error;

/// A review that cannot begin or go on.
#[derive(Debug, Error)]
pub enum ReviewError {
    /// The predictions cannot be read, or are of other documents.
    #[error(transparent)]
    Predictions(#[from] EvaluationError),
    /// There is nothing to review.
    #[error("there is no text to review: the documents hold no words")]
    Empty,
    /// The folder of the review cannot be written to.
    #[error("cannot write to the review folder {folder}")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Another process reviews in the same folder.
    #[error("another review is open in {folder}")]
    Busy {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder holds decisions on other predictions.
    #[error("{journal} holds a review of other predictions, documents or labels")]
    OtherReview {
        /// The journal.
        journal: PathBuf,
    },
    /// The journal was written by a later version of this program, or is not a journal.
    #[error("{journal} is not a review journal of this version")]
    NotAJournal {
        /// The file.
        journal: PathBuf,
    },
    /// Confirmed annotation that is not valid. Decisions are checked before they are taken, so this is a fault of the
    /// program.
    #[error("the confirmed annotation of `{place}` is not valid: {problem}")]
    Confirmed {
        /// The document or sentence.
        place: String,
        /// What is wrong.
        problem: Box<Problem>,
    },
}

impl ReviewError {
    /// What would help, if that is known.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Folder { .. } => Some("name another folder with --out"),
            Self::Busy { .. } => Some("go on in its window, or name another folder with --out"),
            Self::OtherReview { .. } | Self::NotAJournal { .. } => {
                Some("name another folder with --out, or move this one away; its curated documents stay as they are")
            }
            Self::Predictions(_) | Self::Empty | Self::Confirmed { .. } => None,
        }
    }
}

/// A decision that is not taken.
#[derive(Debug, Error)]
pub enum Refusal {
    /// There is no such text.
    #[error("there is no text {0}")]
    NoUnit(usize),
    /// The text was changed in the meantime, in another window.
    #[error("this text was changed in another window; it is shown as it is now")]
    Outdated,
    /// The decision is not valid.
    #[error("{0}")]
    Invalid(String),
    /// There is nothing to undo.
    #[error("there is nothing to undo")]
    NothingToUndo,
    /// It could not be saved.
    #[error("not saved: {0}")]
    NotSaved(io::Error),
    /// The decision is saved, but a file that is made from all of them could not be written.
    #[error("the decision is saved, but the curated documents could not be written: {0}")]
    NotWritten(String),
}

impl Refusal {
    /// The status code of HTTP.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::NoUnit(_) => 404,
            Self::Outdated | Self::NothingToUndo => 409,
            Self::Invalid(_) => 400,
            Self::NotSaved(_) | Self::NotWritten(_) => 500,
        }
    }
}
