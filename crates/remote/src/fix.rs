//! Refusals that a setting can change.

use crate::Settings;
use crate::api_error::ApiError;

/// A change of a setting that removes what the endpoint refuses from the requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingFix {
    /// `max_tokens_name`: the endpoint has another name for the limit on the answer.
    LimitName(String),
    /// `max_tokens`: another limit on the answer.
    Limit,
    /// `temperature`: omit it.
    NoTemperature,
    /// `no_system_role`: put the instructions into the first user message.
    NoSystemRole,
    /// `extra`: omit this field.
    LessExtra(String),
}

const LIMIT_NAMES: [&str; 4] = ["max_completion_tokens", "max_tokens", "max_output_tokens", "max_new_tokens"];

impl SettingFix {
    /// The change that an error calls for, if any.
    pub(crate) fn of(settings: &Settings, error: &ApiError) -> Option<Self> {
        let about = |field: &str| {
            let param = error.param.as_deref().is_some_and(|param| param.split('.').any(|part| part == field));
            param || names(error.words(), field)
        };
        if !settings.no_system_role && about_system_role(error) {
            return Some(Self::NoSystemRole);
        }
        let refused = error.has(&["unsupported_parameter", "unsupported_value", "unknown_parameter"])
            || error.has(&["extra_forbidden", "invalid_value", "invalid_parameter"])
            || error.says(&REFUSALS);
        if !refused {
            return None;
        }
        let limit = settings.max_tokens_name.to_lowercase();
        if about(&limit) {
            let other = LIMIT_NAMES.iter().filter(|name| **name != limit);
            let named = other.clone().find(|name| names(error.words(), name));
            let of_size = error.says(&SIZES) && !error.says(&["unsupported", "not supported"]);
            return Some(match named {
                Some(name) if !of_size => Self::LimitName((*name).to_owned()),
                None if !of_size => Self::LimitName(other.clone().next()?.to_string()),
                _ => Self::Limit,
            });
        }
        if settings.temperature.is_some() && about("temperature") {
            return Some(Self::NoTemperature);
        }
        settings.extra.keys().find(|name| about(&name.to_lowercase())).cloned().map(Self::LessExtra)
    }

    /// The setting's key in `[predict.remote.NAME]`, with its value if there is one to suggest.
    pub fn setting(&self) -> String {
        match self {
            Self::LimitName(name) => format!("max_tokens_name = \"{name}\""),
            Self::Limit => "another max_tokens".to_owned(),
            Self::NoTemperature => "temperature = \"none\"".to_owned(),
            Self::NoSystemRole => "no_system_role = true".to_owned(),
            Self::LessExtra(name) => format!("extra without `{name}`"),
        }
    }

    /// The option of `tabpo predict`, with its value if there is one to suggest.
    pub fn option(&self) -> String {
        match self {
            Self::LimitName(name) => format!("--max-tokens-name {name}"),
            Self::Limit => "another --max-tokens".to_owned(),
            Self::NoTemperature => "--temperature none".to_owned(),
            Self::NoSystemRole => {
                "--no-system-role, which puts the instructions into the first user message".to_owned()
            }
            Self::LessExtra(name) => format!("--extra without `{name}`"),
        }
    }
}

const REFUSALS: [&str; 33] = [
    "unsupported",
    "not supported",
    "not support",
    "n't support",
    "no longer support",
    "not permitted",
    "not allowed",
    "unknown",
    "unrecognized",
    "unrecognised",
    "unexpected",
    "extra input",
    "extra field",
    "additional properties",
    "deprecated",
    "only the default",
    "may only",
    "can only",
    "must only",
    "only be set",
    "cannot",
    "must be",
    "should be",
    "invalid",
    "not valid",
    "not available",
    "not a recognized",
    "incompatible",
    "remove",
    "too large",
    "at most",
    "maximum allowed",
    "supported range",
];
const SIZES: [&str; 8] =
    ["too large", "at most", "at least", "maximum allowed", "supported range", "less than", "greater than", "must be"];

/// Whether a text contains this name as a separate word.
fn names(text: &str, name: &str) -> bool {
    let part = |character: char| character.is_alphanumeric() || character == '_';
    text.match_indices(name)
        .any(|(at, found)| !text[..at].ends_with(part) && !text[at + found.len()..].starts_with(part))
}

/// Whether the endpoint, or the model's chat template, refuses system messages.
fn about_system_role(error: &ApiError) -> bool {
    const SYSTEM: [&str; 13] = [
        "system role",
        "system message",
        "system prompt",
        "system instruction",
        "system turn",
        "role 'system'",
        "role \"system\"",
        "role `system`",
        "role: system",
        "'system'",
        "\"system\"",
        "`system`",
        "developer instruction",
    ];
    const ROLES: [&str; 7] = [
        "roles must alternate",
        "roles should alternate",
        "only user and assistant",
        "only user, assistant",
        "'user' or 'assistant'",
        "unexpected role",
        "must alternate between user and assistant",
    ];
    const REFUSED: [&str; 12] = [
        "not support",
        "n't support",
        "unsupported",
        "not enabled",
        "not allowed",
        "not permitted",
        "not one of",
        "not valid",
        "invalid",
        "unexpected",
        "cannot",
        "no longer",
    ];
    let of_role = error.param.as_deref().is_some_and(|param| param.contains("messages") && param.ends_with("role"));
    let roles = error.says(&ROLES) && !error.says(&["optional system message, conversation"]);
    roles || (of_role || error.says(&SYSTEM)) && error.says(&REFUSED)
}
