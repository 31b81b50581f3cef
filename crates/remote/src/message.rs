//! The answer in a message of a reply.

use serde_json::Value;

use crate::{ReplyField, unwrap_json};

/// The answer in a message, and the field it was found in.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) place: ReplyField,
    /// What the model said instead of an answer.
    pub(crate) refusal: Option<String>,
}

impl Answer {
    /// Reads a message: the answer is its content, or another field that contains one.
    pub(crate) fn of(message: &Value) -> Self {
        let content = message.get("content").map(content_text).unwrap_or_default();
        let refusal = message.get("refusal").and_then(Value::as_str).map(str::to_owned);
        let refusal = refusal.or_else(|| message.get("content").and_then(refusing_part));
        let refusal = refusal.filter(|refusal| !refusal.trim().is_empty());
        let blank = content.trim().is_empty();
        if blank || !is_object(&content) {
            // The arguments of a call take precedence over prose about the call.
            if let Some(arguments) = arguments(message).filter(|arguments| blank || is_object(arguments)) {
                return Self { text: arguments, place: ReplyField::ToolCall, refusal };
            }
        }
        if !blank {
            return Self { text: content, place: ReplyField::Content, refusal };
        }
        let Some(reasoning) = reasoning(message) else {
            return Self { text: content, place: ReplyField::Content, refusal };
        };
        if is_object(&reasoning) || unwrap_json(&reasoning, "").is_some() {
            return Self { text: reasoning, place: ReplyField::Reasoning, refusal };
        }
        Self { text: content, place: ReplyField::OnlyReasoning, refusal }
    }

    /// The text of a choice in the older form, without a message.
    pub(crate) fn of_text(choice: &Value) -> Option<Self> {
        let text = choice.get("text")?.as_str()?.to_owned();
        Some(Self { text, ..Self::default() })
    }

    /// Whether there is neither text nor a refusal.
    pub(crate) fn is_empty(&self) -> bool {
        self.text.trim().is_empty() && self.refusal.is_none()
    }
}

fn is_object(text: &str) -> bool {
    matches!(serde_json::from_str(text), Ok(Value::Object(_)))
}

/// Content is a string or a list of parts. Some servers send JSON content as an object.
fn content_text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().map(part_text).collect(),
        Value::Object(fields) if fields.contains_key("type") && fields.contains_key("text") => part_text(content),
        Value::Object(_) => content.to_string(),
        _ => String::new(),
    }
}

/// The text of a part that is neither reasoning nor a refusal.
fn part_text(part: &Value) -> String {
    let kind = part.get("type").and_then(Value::as_str).unwrap_or_default();
    let text = part.as_str().or_else(|| part.get("text").and_then(Value::as_str));
    let aside = ["thinking", "reasoning", "thought", "refusal"].contains(&kind);
    text.filter(|_| !aside).unwrap_or_default().to_owned()
}

fn refusing_part(content: &Value) -> Option<String> {
    content.as_array()?.iter().find_map(|part| part.get("refusal")?.as_str()).map(str::to_owned)
}

/// The arguments of the first tool call whose arguments are a JSON object, or else of the first.
fn arguments(message: &Value) -> Option<String> {
    let calls = message.get("tool_calls").and_then(Value::as_array).into_iter().flatten();
    let functions = calls.filter_map(|call| call.get("function")).chain(message.get("function_call"));
    let arguments = functions.filter_map(|function| match function.get("arguments")? {
        Value::String(text) => Some(text.clone()),
        object @ Value::Object(_) => Some(object.to_string()),
        _ => None,
    });
    let all: Vec<String> = arguments.filter(|text| !text.trim().is_empty()).collect();
    all.iter().find(|text| is_object(text)).or(all.first()).cloned()
}

/// The model's reasoning, under any of the names that servers use.
fn reasoning(message: &Value) -> Option<String> {
    let named = ["reasoning_content", "reasoning", "thinking", "thought"];
    let mut found = named.iter().filter_map(|name| message.get(name)).map(|field| match field {
        Value::Object(fields) if fields.contains_key("content") => content_text(&fields["content"]),
        other => content_text(other),
    });
    found.find(|text| !text.trim().is_empty())
}
