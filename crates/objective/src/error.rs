//! What can be wrong with the choice of an objective.

use thiserror::Error;

/// A faulty choice of objective or hyper-parameters.
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
        /// All names there are, separated by commas.
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
    #[error("objective `{objective}`, hyper-parameter `{parameter}`: {value} should be {expected}")]
    OutOfRange {
        /// The objective.
        objective: String,
        /// The hyper-parameter.
        parameter: &'static str,
        /// The value that was given.
        value: f64,
        /// What it should be.
        expected: &'static str,
    },
    /// An objective was given as something else than a name or a table with a name.
    #[error("an objective is a name or a table with the key `name`, such as {{name = \"dpo\", beta = 0.1}}")]
    NoName,
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}
