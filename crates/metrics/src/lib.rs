#![doc = include_str!("../README.md")]
//!
//! # Orientation
//!
//! [`count()`] compares predictions with gold and keeps one row of integer counts a document; every
//! score ([`Evaluation`], [`Metric`]) is a function of pooled rows, and [`compare`] resamples them.
//! [`modes`] says in which ways predictions are wrong.

#![forbid(unsafe_code)]

pub mod comparison;
mod count;
mod error;
mod evaluate;
mod evaluation;
mod items;
mod layout;
mod metric;
pub mod modes;
mod prediction;
mod relaxed;
mod scan;
mod significance;
mod table;

pub use comparison::{Comparison, Difference, Estimate, MetricName, PairDifferences, SystemScores, compare};
pub use error::EvaluationError;
pub use evaluate::{Counts, count};
pub use evaluation::{
    Accuracy, Evaluation, GroundingScores, LabelledScores, ListScores, RawScores, Reference, ReferenceScores, Scores,
    SetScores, Validity,
};
pub use layout::{Family, INVALID, Layout, Tally, Triple};
pub use metric::{Measure, Metric, Prf, Profile};
pub use modes::ErrorModes;
pub use prediction::{PredictionKind, Predictions, RawAnswer, UnitOutput};
pub use significance::Resampling;
pub use table::CountTable;
