//! What came back.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How an endpoint dealt with a prompt. All of them are scored; what is no valid answer scores as an
/// empty or faulty one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The model ended its answer by itself.
    Answered,
    /// The answer reached the limit on its length.
    Truncated,
    /// The model declined.
    Refused,
    /// The provider's filter stopped prompt or answer.
    Filtered,
    /// The model said nothing.
    Empty,
    /// The prompt does not fit into the model's context.
    TooLong,
}

/// Tokens of one call or of many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Prompt tokens, the cached ones among them.
    pub prompt: u64,
    /// Prompt tokens that the provider had cached.
    pub cached: u64,
    /// Completion tokens, hidden reasoning among them.
    pub completion: u64,
}

/// A parsed reply.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Completion {
    pub(crate) outcome: Outcome,
    pub(crate) text: String,
    pub(crate) refusal: Option<String>,
    pub(crate) usage: Usage,
    pub(crate) served_model: Option<String>,
}

impl Outcome {
    /// All outcomes, the best first.
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

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.prompt += other.prompt;
        self.cached += other.cached;
        self.completion += other.completion;
    }
}

impl Completion {
    /// An outcome without text that the endpoint reported as an error, and did not charge for.
    pub(crate) fn without_text(outcome: Outcome, message: String) -> Self {
        Self { outcome, text: String::new(), refusal: Some(message), usage: Usage::default(), served_model: None }
    }

    /// Reads a chat completion; the error says what is missing.
    pub(crate) fn parse(body: &str) -> Result<Self, String> {
        let body: Value = serde_json::from_str(body).map_err(|error| format!("the reply is not JSON: {error}"))?;
        let choice = body.pointer("/choices/0").ok_or("the reply has no `choices[0]`")?;
        let message = choice.get("message").filter(|message| message.is_object());
        let message = message.ok_or("the reply has no `choices[0].message`")?;
        let text = message.get("content").map(content_text).unwrap_or_default();
        let refusal = message.get("refusal").and_then(Value::as_str).map(str::to_owned);
        let outcome = match choice.get("finish_reason").and_then(Value::as_str) {
            _ if refusal.is_some() => Outcome::Refused,
            Some("content_filter") => Outcome::Filtered,
            Some("length") => Outcome::Truncated,
            _ if text.trim().is_empty() => Outcome::Empty,
            _ => Outcome::Answered,
        };
        let tokens = |path| body.pointer(path).and_then(Value::as_u64).unwrap_or(0);
        let usage = Usage {
            prompt: tokens("/usage/prompt_tokens"),
            cached: tokens("/usage/prompt_tokens_details/cached_tokens"),
            completion: tokens("/usage/completion_tokens"),
        };
        let served_model = body.get("model").and_then(Value::as_str).map(str::to_owned);
        Ok(Self { outcome, text, refusal, usage, served_model })
    }
}

/// Content is a string, or a list of parts with texts.
fn content_text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect(),
        _ => String::new(),
    }
}

/// An answer without its null fields. Strict schemas have no optional fields, so models write null
/// where the answer format leaves a key out. What is not a JSON object stays as it is.
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
mod tests {
    use super::*;

    fn parse(choice: &str) -> Completion {
        Completion::parse(&format!(
            r#"{{"model":"m-1","choices":[{choice}],"usage":{{"prompt_tokens":9,"completion_tokens":2,"prompt_tokens_details":{{"cached_tokens":4}}}}}}"#
        ))
        .unwrap()
    }

    #[test]
    fn outcomes_follow_refusal_and_finish_reason() {
        let outcome = |choice| parse(choice).outcome;
        assert_eq!(outcome(r#"{"message":{"content":"{}"},"finish_reason":"stop"}"#), Outcome::Answered);
        assert_eq!(outcome(r#"{"message":{"content":"{\"en"},"finish_reason":"length"}"#), Outcome::Truncated);
        assert_eq!(outcome(r#"{"message":{"content":null,"refusal":"no"},"finish_reason":"stop"}"#), Outcome::Refused);
        assert_eq!(outcome(r#"{"message":{"content":"x"},"finish_reason":"content_filter"}"#), Outcome::Filtered);
        assert_eq!(outcome(r#"{"message":{"content":" "},"finish_reason":"stop"}"#), Outcome::Empty);
        let parts = parse(r#"{"message":{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}}"#);
        assert_eq!((parts.text.as_str(), parts.usage), ("ab", Usage { prompt: 9, cached: 4, completion: 2 }));
    }

    #[test]
    fn replies_without_a_message_are_named_as_such() {
        assert!(Completion::parse("{\"choices\":[]}").unwrap_err().contains("choices[0]"));
        assert!(Completion::parse("<html>").unwrap_err().contains("not JSON"));
    }

    #[test]
    fn nulls_of_strict_schemas_go() {
        let answer = r#"{"entities":[{"id":"e1","text":"null","type":"Task","occ":null}],"relations":[]}"#;
        let clean = r#"{"entities":[{"id":"e1","text":"null","type":"Task"}],"relations":[]}"#;
        assert_eq!(without_nulls(answer), clean);
        assert_eq!(without_nulls("null {"), "null {");
        assert_eq!(without_nulls("{\"a\": 1.0}"), "{\"a\": 1.0}");
    }
}
