//! Completions and their outcomes.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Usage;
use crate::api_error::ApiError;
use crate::message::Answer;

/// How an endpoint handled a prompt. Every outcome is scored; without a valid answer, as an empty or
/// faulty one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReplyOutcome {
    /// The model finished its answer.
    Answered,
    /// The answer reached its length limit.
    Truncated,
    /// The model declined.
    Refused,
    /// The provider's filter blocked the prompt or the answer.
    Filtered,
    /// The model said nothing.
    Empty,
    /// The prompt exceeds the model's context.
    TooLong,
}

/// The field of a reply in which the answer was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReplyField {
    /// The content of the message, where it belongs.
    #[default]
    Content,
    /// The arguments of a tool call.
    ToolCall,
    /// The model's reasoning.
    Reasoning,
    /// None: the reply contains reasoning but no answer.
    OnlyReasoning,
}

/// A parsed reply.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Completion {
    pub(crate) outcome: ReplyOutcome,
    pub(crate) text: String,
    pub(crate) place: ReplyField,
    pub(crate) refusal: Option<String>,
    /// `None` if the reply does not say.
    pub(crate) usage: Option<Usage>,
    pub(crate) served_model: Option<String>,
}

/// What a reply with status 200 is.
#[derive(Debug)]
pub(crate) enum Reading {
    /// A chat completion.
    Completion(Completion),
    /// An error that a gateway passes on.
    Error(ApiError),
    /// An answer that was cut off by a failure; the text says why.
    BrokenOff(String),
    /// Something else; the text says what is missing.
    Unreadable(String),
}

impl ReplyOutcome {
    /// All outcomes, best first.
    pub const ALL: [Self; 6] =
        [Self::Answered, Self::Truncated, Self::Refused, Self::Filtered, Self::Empty, Self::TooLong];

    /// The name in files and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Truncated => "truncated",
            Self::Refused => "refused",
            Self::Filtered => "filtered",
            Self::Empty => "empty",
            Self::TooLong => "too-long",
        }
    }
}

impl ReplyField {
    /// Whether this is the usual field.
    pub fn is_content(&self) -> bool {
        *self == Self::Content
    }
}

impl Completion {
    /// An outcome without text that the endpoint reported as an error and did not charge.
    pub(crate) fn without_text(outcome: ReplyOutcome, message: String) -> Self {
        Self {
            outcome,
            text: String::new(),
            place: ReplyField::Content,
            refusal: Some(message),
            usage: Some(Usage::default()),
            served_model: None,
        }
    }
}

impl Reading {
    /// Reads a reply with status 200 to a request that can use at most `most`.
    pub(crate) fn of(reply: &Value, most: Usage) -> Self {
        let choice = reply.pointer("/choices/0").filter(|choice| choice.is_object());
        let message = choice.and_then(|choice| choice.get("message")).filter(|message| message.is_object());
        let reason = choice.map(finish_reason).unwrap_or_default();
        let answer = message.map(Answer::of).or_else(|| choice.and_then(Answer::of_text)).unwrap_or_default();
        let reported = choice.and_then(|choice| stated(choice.get("error"))).or_else(|| stated(reply.get("error")));
        if reported.is_some() && (is_broken_off(&reason) || answer.is_empty()) {
            let of_choice = choice.filter(|choice| stated(choice.get("error")).is_some());
            return Self::Error(ApiError::of(of_choice.unwrap_or(reply)));
        }
        if is_broken_off(&reason) {
            return Self::BrokenOff(format!("the endpoint cut the answer off: `finish_reason` is `{reason}`"));
        }
        if choice.is_none() && ApiError::is_in(reply) {
            return Self::Error(ApiError::of(reply));
        }
        let ended = Ended::of(&reason);
        if choice.is_none() {
            return Self::Unreadable("the reply has no `choices[0]`".to_owned());
        }
        // Some servers omit the message if the model said nothing, or if a filter or the limit left
        // nothing of it.
        if message.is_none() && answer.is_empty() && reason.is_empty() {
            return Self::Unreadable("the reply has no `choices[0].message`".to_owned());
        }
        let outcome = match ended {
            _ if answer.refusal.is_some() => ReplyOutcome::Refused,
            Ended::ByFilter => ReplyOutcome::Filtered,
            Ended::ByModel => ReplyOutcome::Refused,
            Ended::AtLimit => ReplyOutcome::Truncated,
            Ended::ByItself if answer.text.trim().is_empty() => ReplyOutcome::Empty,
            Ended::ByItself => ReplyOutcome::Answered,
        };
        let usage = Usage::of(reply, !answer.text.trim().is_empty(), most);
        let served_model = reply.get("model").and_then(Value::as_str).map(str::to_owned);
        let Answer { text, place, refusal } = answer;
        Self::Completion(Completion { outcome, text, place, refusal, usage, served_model })
    }
}

/// How an answer ended, in the vocabulary of many servers.
enum Ended {
    ByItself,
    AtLimit,
    ByFilter,
    ByModel,
}

impl Ended {
    fn of(reason: &str) -> Self {
        const LIMITS: [&str; 5] = ["length", "max_tokens", "model_length", "max_output_tokens", "max_length"];
        const FILTERS: [&str; 10] = [
            "content_filter",
            "content-filter",
            "safety",
            "prohibited_content",
            "blocklist",
            "recitation",
            "sensitive",
            "spii",
            "guardrail",
            "image_safety",
        ];
        if LIMITS.contains(&reason) {
            Self::AtLimit
        } else if FILTERS.iter().any(|filter| reason.starts_with(filter)) {
            Self::ByFilter
        } else if reason == "refusal" {
            Self::ByModel
        } else {
            Self::ByItself
        }
    }
}

/// The `finish_reason` in lower case; empty if there is none.
fn finish_reason(choice: &Value) -> String {
    choice.get("finish_reason").and_then(Value::as_str).unwrap_or_default().to_lowercase()
}

/// Whether an answer ended because of a failure at the endpoint.
fn is_broken_off(reason: &str) -> bool {
    const REASONS: [&str; 10] = [
        "error",
        "abort",
        "aborted",
        "cancelled",
        "canceled",
        "interrupted",
        "network_error",
        "insufficient_system_resource",
        "timeout",
        "unload",
    ];
    REASONS.contains(&reason)
}

/// The field, unless it is null, false or empty.
fn stated(field: Option<&Value>) -> Option<&Value> {
    field.filter(|field| match field {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.trim().is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    })
}

/// An answer without its null fields. Strict schemas have no optional fields, so models write null where
/// the answer format omits a key. Text that is not a JSON object is returned unchanged.
pub fn without_nulls(answer: &str) -> String {
    match serde_json::from_str::<Value>(answer) {
        Ok(mut value @ Value::Object(_)) if answer.contains("null") => {
            drop_nulls(&mut value);
            value.to_string()
        }
        _ => answer.to_owned(),
    }
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
