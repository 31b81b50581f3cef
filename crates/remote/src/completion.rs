//! What came back.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api_error::ApiError;
use crate::{Usage, unwrap_json};

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

/// Where in a reply the answer stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// In the message's content, where it belongs.
    #[default]
    Content,
    /// In the arguments of a tool call.
    ToolCall,
    /// In the field for the model's reasoning.
    Reasoning,
    /// Nowhere: the reply holds reasoning and no answer.
    OnlyReasoning,
}

/// A parsed reply.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Completion {
    pub(crate) outcome: Outcome,
    pub(crate) text: String,
    pub(crate) place: Place,
    pub(crate) refusal: Option<String>,
    /// `None` where the reply does not say it.
    pub(crate) usage: Option<Usage>,
    pub(crate) served_model: Option<String>,
}

/// What a reply with status 200 is.
#[derive(Debug)]
pub(crate) enum Reading {
    /// A chat completion.
    Completion(Completion),
    /// What a gateway says about an error behind it.
    Error(ApiError),
    /// An answer that was broken off; the text says why.
    BrokenOff(String),
    /// Something else; the text says what is missing.
    Unreadable(String),
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

impl Place {
    /// Whether this is the usual place.
    pub fn is_content(&self) -> bool {
        *self == Self::Content
    }
}

impl Completion {
    /// An outcome without text that the endpoint reported as an error, and did not charge for.
    pub(crate) fn without_text(outcome: Outcome, message: String) -> Self {
        Self {
            outcome,
            text: String::new(),
            place: Place::Content,
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
        let reported = choice.and_then(|choice| told(choice.get("error"))).or_else(|| told(reply.get("error")));
        if reported.is_some() && (is_broken_off(&reason) || answer.is_empty()) {
            let of_choice = choice.filter(|choice| told(choice.get("error")).is_some());
            return Self::Error(ApiError::of(of_choice.unwrap_or(reply)));
        }
        if is_broken_off(&reason) {
            return Self::BrokenOff(format!("the endpoint broke the answer off: `finish_reason` is `{reason}`"));
        }
        if choice.is_none() && ApiError::is_in(reply) {
            return Self::Error(ApiError::of(reply));
        }
        let ended = Ended::of(&reason);
        if choice.is_none() {
            return Self::Unreadable("the reply has no `choices[0]`".to_owned());
        }
        // Some servers leave the message out where a filter or the limit left nothing of it.
        if message.is_none() && answer.is_empty() && matches!(ended, Ended::ByItself) {
            return Self::Unreadable("the reply has no `choices[0].message`".to_owned());
        }
        let outcome = match ended {
            _ if answer.refusal.is_some() => Outcome::Refused,
            Ended::ByFilter => Outcome::Filtered,
            Ended::ByModel => Outcome::Refused,
            Ended::AtLimit => Outcome::Truncated,
            Ended::ByItself if answer.text.trim().is_empty() => Outcome::Empty,
            Ended::ByItself => Outcome::Answered,
        };
        let usage = Usage::of(reply, !answer.text.trim().is_empty(), most);
        let served_model = reply.get("model").and_then(Value::as_str).map(str::to_owned);
        let Answer { text, place, refusal } = answer;
        Self::Completion(Completion { outcome, text, place, refusal, usage, served_model })
    }
}

/// What a message says, and where.
#[derive(Debug, Default)]
struct Answer {
    text: String,
    place: Place,
    refusal: Option<String>,
}

impl Answer {
    fn of(message: &Value) -> Self {
        let content = message.get("content").map(content_text).unwrap_or_default();
        let refusal = message.get("refusal").and_then(Value::as_str).map(str::to_owned);
        let refusal = refusal.or_else(|| message.get("content").and_then(refusing_part));
        let refusal = refusal.filter(|refusal| !refusal.trim().is_empty());
        let blank = content.trim().is_empty();
        if blank || !is_object(&content) {
            // A call with an answer in it goes before talk about the call.
            if let Some(arguments) = arguments(message).filter(|arguments| blank || is_object(arguments)) {
                return Self { text: arguments, place: Place::ToolCall, refusal };
            }
        }
        if !blank {
            return Self { text: content, place: Place::Content, refusal };
        }
        let Some(reasoning) = reasoning(message) else {
            return Self { text: content, place: Place::Content, refusal };
        };
        if is_object(&reasoning) || unwrap_json(&reasoning, "").is_some() {
            return Self { text: reasoning, place: Place::Reasoning, refusal };
        }
        Self { text: content, place: Place::OnlyReasoning, refusal }
    }

    /// The text of a choice in the older form, without a message.
    fn of_text(choice: &Value) -> Option<Self> {
        let text = choice.get("text")?.as_str()?.to_owned();
        Some(Self { text, ..Self::default() })
    }

    fn is_empty(&self) -> bool {
        self.text.trim().is_empty() && self.refusal.is_none()
    }
}

/// How an answer ended, from the words of many servers.
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

/// Why a choice ended, in lower case; empty where nothing is said.
fn finish_reason(choice: &Value) -> String {
    choice.get("finish_reason").and_then(Value::as_str).unwrap_or_default().to_lowercase()
}

/// Whether an answer ended because something went wrong at the endpoint.
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

/// A field that says something: neither null nor false nor empty.
fn told(field: Option<&Value>) -> Option<&Value> {
    field.filter(|field| match field {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.trim().is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    })
}

fn is_object(text: &str) -> bool {
    matches!(serde_json::from_str(text), Ok(Value::Object(_)))
}

/// Content is a string, or a list of parts with texts. Some servers give it as the JSON that it is.
fn content_text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().map(part_text).collect(),
        Value::Object(fields) if fields.contains_key("type") && fields.contains_key("text") => part_text(content),
        Value::Object(_) => content.to_string(),
        _ => String::new(),
    }
}

/// The text of a part that is no thought and no refusal.
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

/// What the model thought, by the names that servers have for it.
fn reasoning(message: &Value) -> Option<String> {
    let named = ["reasoning_content", "reasoning", "thinking", "thought"];
    let mut found = named.iter().filter_map(|name| message.get(name)).map(|field| match field {
        Value::Object(fields) if fields.contains_key("content") => content_text(&fields["content"]),
        other => content_text(other),
    });
    found.find(|text| !text.trim().is_empty())
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
    use serde_json::json;

    use super::*;

    const MOST: Usage = Usage { prompt: 1000, cached: 0, completion: 100 };

    fn reading(choice: &str) -> Reading {
        let choice: Value = serde_json::from_str(choice).unwrap();
        let usage = json!({"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}});
        Reading::of(&json!({"model": "m-1", "choices": [choice], "usage": usage}), MOST)
    }

    fn parse(choice: &str) -> Completion {
        match reading(choice) {
            Reading::Completion(completion) => completion,
            other => panic!("{choice}: {other:?}"),
        }
    }

    #[test]
    fn outcomes_follow_refusal_and_finish_reason() {
        let outcome = |choice| parse(choice).outcome;
        assert_eq!(outcome(r#"{"message":{"content":"{}"},"finish_reason":"stop"}"#), Outcome::Answered);
        assert_eq!(outcome(r#"{"message":{"content":"{\"en"},"finish_reason":"length"}"#), Outcome::Truncated);
        assert_eq!(outcome(r#"{"message":{"content":"{\"en"},"finish_reason":"MAX_TOKENS"}"#), Outcome::Truncated);
        assert_eq!(outcome(r#"{"index":0,"finish_reason":"length"}"#), Outcome::Truncated);
        assert_eq!(outcome(r#"{"message":{"content":null,"refusal":"no"},"finish_reason":"stop"}"#), Outcome::Refused);
        assert_eq!(outcome(r#"{"message":{"content":"{}","refusal":" "},"finish_reason":"stop"}"#), Outcome::Answered);
        assert_eq!(outcome(r#"{"message":{"content":"x"},"finish_reason":"content_filter"}"#), Outcome::Filtered);
        let gemini = r#"{"message":{"role":"assistant"},"finish_reason":"content_filter: PROHIBITED_CONTENT"}"#;
        assert_eq!(outcome(gemini), Outcome::Filtered);
        assert_eq!(outcome(r#"{"message":{"content":" "},"finish_reason":"stop"}"#), Outcome::Empty);
        let parts = parse(r#"{"message":{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}}"#);
        let usage = Some(Usage { prompt: 9, cached: 4, completion: 2 });
        assert_eq!((parts.text.as_str(), parts.usage), ("ab", usage));
    }

    #[test]
    fn the_answer_is_found_where_it_stands() {
        let found = |message: &str| {
            let completion = parse(&format!(r#"{{"message":{message},"finish_reason":"stop"}}"#));
            (completion.text, completion.place, completion.outcome)
        };
        for (message, text, place) in [
            (r#"{"content":null,"reasoning_content":" {\"a\":1}"}"#, " {\"a\":1}", Place::Reasoning),
            (r#"{"content":"","reasoning":"So: {\"a\":1}"}"#, "So: {\"a\":1}", Place::Reasoning),
            (
                r#"{"content":null,"tool_calls":[{"function":{"name":"f","arguments":{"a":1}}}]}"#,
                "{\"a\":1}",
                Place::ToolCall,
            ),
            (
                r#"{"content":"I call f.","tool_calls":[{"function":{"arguments":"{\"a\":1}"}}]}"#,
                "{\"a\":1}",
                Place::ToolCall,
            ),
            (r#"{"content":null,"function_call":{"arguments":"{\"a\""}}"#, "{\"a\"", Place::ToolCall),
            (r#"{"content":{"a":1}}"#, "{\"a\":1}", Place::Content),
            (
                r#"{"content":[{"type":"thinking","thinking":[{"text":"x"}]},{"type":"reasoning","text":"y"},{"type":"output_text","text":"{}"}]}"#,
                "{}",
                Place::Content,
            ),
            (r#"{"content":"{}","reasoning_content":"{\"a\":1}"}"#, "{}", Place::Content),
        ] {
            assert_eq!(found(message), (text.to_owned(), place, Outcome::Answered), "{message}");
        }
        let only = found(r#"{"content":null,"reasoning_content":"The drill is a tool."}"#);
        assert_eq!(only, (String::new(), Place::OnlyReasoning, Outcome::Empty));
        let part = parse(r#"{"message":{"content":[{"type":"refusal","refusal":"no"}]}}"#);
        assert_eq!((part.outcome, part.refusal.as_deref()), (Outcome::Refused, Some("no")));
    }

    #[test]
    fn what_is_no_answer_is_named_as_such() {
        let read = |reply: Value| Reading::of(&reply, MOST);
        assert!(matches!(read(json!({"choices": []})), Reading::Unreadable(why) if why.contains("choices[0]")));
        assert!(matches!(read(json!({"choices": [{}]})), Reading::Unreadable(why) if why.contains("message")));
        let Reading::BrokenOff(why) = reading(r#"{"message":{"content":"{\"en"},"finish_reason":"error"}"#) else {
            panic!("not broken off")
        };
        assert!(why.contains("`error`"), "{why}");
        for (reply, message) in [
            (json!({"error": {"message": "slow down", "code": 429}}), "slow down"),
            (json!({"error": "no credit", "choices": null}), "no credit"),
            (json!([{"error": {"message": "in a list", "code": 400}}]), "in a list"),
            (json!({"object": "error", "message": "of vLLM", "code": 400}), "of vLLM"),
            (json!({"detail": "of FastAPI"}), "of FastAPI"),
            (
                json!({"choices": [{"finish_reason": "error", "message": {"content": "{\"en"}, "error": {"message": "lost", "code": 502}}]}),
                "lost",
            ),
            (json!({"choices": [{"message": {"content": ""}}], "error": {"message": "late", "code": 524}}), "late"),
        ] {
            let Reading::Error(error) = read(reply.clone()) else { panic!("no error: {reply}") };
            assert_eq!(error.message, message);
        }
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
