//! Why a choice of objective is refused.

use thiserror::Error;

use crate::RangeViolation;

/// A faulty choice of objective or hyper-parameters. It is always the input that is at fault, and the
/// message says what would be valid.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum ObjectiveError {
    /// No objective has this name.
    #[error("unknown objective `{found}`{}", suggestion(nearest.as_deref()))]
    UnknownObjective {
        /// The name that was given.
        found: String,
        /// The most similar name.
        nearest: Option<String>,
    },
    /// The objective has no hyper-parameter of this name.
    #[error("objective `{objective}` has no hyper-parameter `{found}`{}; it has: {known}", suggestion(nearest.as_deref()))]
    UnknownParameter {
        /// The objective.
        objective: String,
        /// The name that was given, nested names joined by dots.
        found: String,
        /// The most similar name.
        nearest: Option<String>,
        /// All valid names, separated by commas.
        known: String,
    },
    /// The hyper-parameter has a value of the wrong kind.
    #[error("objective `{objective}`, hyper-parameter `{parameter}`: {message}")]
    WrongType {
        /// The objective.
        objective: String,
        /// The hyper-parameter.
        parameter: String,
        /// What was expected and what was found.
        message: String,
    },
    /// The hyper-parameter is outside its range.
    #[error(
        "objective `{objective}`, hyper-parameter `{}`: {} should be {}",
        violation.parameter, violation.value, violation.expected
    )]
    OutOfRange {
        /// The objective.
        objective: String,
        /// Which value is out of which range.
        violation: RangeViolation,
    },
    /// The objective and a threshold at decoding would both move the decision between a further record and the end of
    /// a list.
    #[error(
        "objective `{objective}` trains where lists end by what F1 pays for; a threshold at decoding would shift it twice"
    )]
    ThresholdTwice {
        /// The objective.
        objective: String,
    },
    /// An objective was given as something other than a name or a table with a name.
    #[error("an objective is a name or a table with the key `name`, such as {{name = \"dpo\", beta = 0.1}}")]
    NoName,
}

/// The candidate that is most like `name`, if any is alike enough to be worth suggesting.
pub(crate) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let similar = candidates.map(|candidate| (strsim::jaro_winkler(&name, candidate), candidate));
    let (_, nearest) = similar.filter(|(similarity, _)| *similarity >= 0.7).max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    Some(nearest)
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}
