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

/// The name of a label as the marked form writes it: a backslash stands before what could be taken for a mark, and before
/// the whole of a name that is `-`, which means that there is no relation.
pub fn marked_name(name: &str) -> String {
    let mut written = String::with_capacity(name.len());
    if name == "-" {
        written.push('\\');
    }
    for character in name.chars() {
        match character {
            '\n' => written.push_str("\\n"),
            '\r' => written.push_str("\\r"),
            '\\' | '[' | ']' | '|' | '&' => written.extend(['\\', character]),
            other => written.push(other),
        }
    }
    written
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
