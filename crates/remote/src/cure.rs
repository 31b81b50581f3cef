//! What the endpoint refuses and a setting can change.

use crate::Settings;
use crate::api_error::ApiError;

/// The setting that takes what an endpoint refuses out of the requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cure {
    /// `max_tokens_name`: the name under which the endpoint wants the limit on the answer.
    LimitsName(String),
    /// `max_tokens`: another limit on the answer.
    Limit,
    /// `temperature`: none.
    NoTemperature,
    /// `no_system_role`: the instructions in the first message of the user.
    NoSystemRole,
    /// `extra`: without this field.
    LessExtra(String),
}

const LIMITS_NAMES: [&str; 4] = ["max_completion_tokens", "max_tokens", "max_output_tokens", "max_new_tokens"];

impl Cure {
    /// The setting that an error is about, if there is one.
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
            let other = LIMITS_NAMES.iter().filter(|name| **name != limit);
            let named = other.clone().find(|name| names(error.words(), name));
            let of_size = error.says(&SIZES) && !error.says(&["unsupported", "not supported"]);
            return Some(match named {
                Some(name) if !of_size => Self::LimitsName((*name).to_owned()),
                None if !of_size => Self::LimitsName(other.clone().next()?.to_string()),
                _ => Self::Limit,
            });
        }
        if settings.temperature.is_some() && about("temperature") {
            return Some(Self::NoTemperature);
        }
        settings.extra.keys().find(|name| about(&name.to_lowercase())).cloned().map(Self::LessExtra)
    }

    /// The setting's key in `[predict.remote.NAME]`, with its value where there is one to give.
    pub fn setting(&self) -> String {
        match self {
            Self::LimitsName(name) => format!("max_tokens_name = \"{name}\""),
            Self::Limit => "another max_tokens".to_owned(),
            Self::NoTemperature => "temperature = \"none\"".to_owned(),
            Self::NoSystemRole => "no_system_role = true".to_owned(),
            Self::LessExtra(name) => format!("extra without `{name}`"),
        }
    }

    /// The option of `tabpo predict`, with its value where there is one to give.
    pub fn option(&self) -> String {
        match self {
            Self::LimitsName(name) => format!("--max-tokens-name {name}"),
            Self::Limit => "another --max-tokens".to_owned(),
            Self::NoTemperature => "--temperature none".to_owned(),
            Self::NoSystemRole => {
                "--no-system-role, which puts the instructions into the first message of the user".to_owned()
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

/// Whether a text has this name as a word of its own.
fn names(text: &str, name: &str) -> bool {
    let part = |character: char| character.is_alphanumeric() || character == '_';
    text.match_indices(name)
        .any(|(at, found)| !text[..at].ends_with(part) && !text[at + found.len()..].starts_with(part))
}

/// Whether the endpoint, or the model's chat template, refuses a message of the system.
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
