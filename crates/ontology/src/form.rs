//! The forms in which an answer can be written.

use serde::{Deserialize, Serialize};

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AnswerForm {
    /// As canonical JSON.
    #[default]
    List,
    /// As the source text with its mentions in brackets, a line for each pair of neighbouring mentions, and canonical
    /// JSON as a copy of both.
    Marked,
}

impl AnswerForm {
    /// Both.
    pub const ALL: [Self; 2] = [Self::List, Self::Marked];

    /// Its name in configuration files and options.
    pub fn name(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Marked => "marked",
        }
    }

    /// The form with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|form| form.name() == name)
    }

    /// Whether it is the list form, the default.
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
    pub fn is_list(&self) -> bool {
        *self == Self::List
    }
}
