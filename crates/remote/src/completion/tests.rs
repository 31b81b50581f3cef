//! Replies as servers write them.

use proptest::prelude::*;
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
    assert_eq!(outcome(r#"{"message":{"content":"{}"},"finish_reason":"stop"}"#), ReplyOutcome::Answered);
    assert_eq!(outcome(r#"{"message":{"content":"{\"en"},"finish_reason":"length"}"#), ReplyOutcome::Truncated);
    assert_eq!(outcome(r#"{"message":{"content":"{\"en"},"finish_reason":"MAX_TOKENS"}"#), ReplyOutcome::Truncated);
    assert_eq!(outcome(r#"{"index":0,"finish_reason":"length"}"#), ReplyOutcome::Truncated);
    assert_eq!(outcome(r#"{"message":{"content":null,"refusal":"no"},"finish_reason":"stop"}"#), ReplyOutcome::Refused);
    assert_eq!(outcome(r#"{"message":{"content":"{}","refusal":" "},"finish_reason":"stop"}"#), ReplyOutcome::Answered);
    assert_eq!(outcome(r#"{"message":{"content":"x"},"finish_reason":"content_filter"}"#), ReplyOutcome::Filtered);
    let gemini = r#"{"message":{"role":"assistant"},"finish_reason":"content_filter: PROHIBITED_CONTENT"}"#;
    assert_eq!(outcome(gemini), ReplyOutcome::Filtered);
    assert_eq!(outcome(r#"{"message":{"content":" "},"finish_reason":"stop"}"#), ReplyOutcome::Empty);
    assert_eq!(outcome(r#"{"index":0,"finish_reason":"stop"}"#), ReplyOutcome::Empty);
    assert_eq!(outcome(r#"{"message":null,"finish_reason":"MALFORMED_FUNCTION_CALL"}"#), ReplyOutcome::Empty);
    let parts = parse(r#"{"message":{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}}"#);
    let usage = Some(Usage { prompt: 9, cached: 4, completion: 2 });
    assert_eq!((parts.text.as_str(), parts.usage), ("ab", usage));
}

#[test]
fn the_answer_is_found_in_any_field() {
    let found = |message: &str| {
        let completion = parse(&format!(r#"{{"message":{message},"finish_reason":"stop"}}"#));
        (completion.text, completion.place, completion.outcome)
    };
    for (message, text, place) in [
        (r#"{"content":null,"reasoning_content":" {\"a\":1}"}"#, " {\"a\":1}", ReplyField::Reasoning),
        (r#"{"content":"","reasoning":"So: {\"a\":1}"}"#, "So: {\"a\":1}", ReplyField::Reasoning),
        (
            r#"{"content":null,"tool_calls":[{"function":{"name":"f","arguments":{"a":1}}}]}"#,
            "{\"a\":1}",
            ReplyField::ToolCall,
        ),
        (
            r#"{"content":"I call f.","tool_calls":[{"function":{"arguments":"{\"a\":1}"}}]}"#,
            "{\"a\":1}",
            ReplyField::ToolCall,
        ),
        (r#"{"content":null,"function_call":{"arguments":"{\"a\""}}"#, "{\"a\"", ReplyField::ToolCall),
        (r#"{"content":{"a":1}}"#, "{\"a\":1}", ReplyField::Content),
        (
            r#"{"content":[{"type":"thinking","thinking":[{"text":"x"}]},{"type":"reasoning","text":"y"},{"type":"output_text","text":"{}"}]}"#,
            "{}",
            ReplyField::Content,
        ),
        (r#"{"content":"{}","reasoning_content":"{\"a\":1}"}"#, "{}", ReplyField::Content),
    ] {
        assert_eq!(found(message), (text.to_owned(), place, ReplyOutcome::Answered), "{message}");
    }
    let only = found(r#"{"content":null,"reasoning_content":"The drill is a tool."}"#);
    assert_eq!(only, (String::new(), ReplyField::OnlyReasoning, ReplyOutcome::Empty));
    let part = parse(r#"{"message":{"content":[{"type":"refusal","refusal":"no"}]}}"#);
    assert_eq!((part.outcome, part.refusal.as_deref()), (ReplyOutcome::Refused, Some("no")));
}

#[test]
fn replies_without_an_answer_are_recognised() {
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
fn nulls_of_strict_schemas_are_removed() {
    let answer = r#"{"entities":[{"id":"e1","text":"null","type":"Task","occ":null}],"relations":[]}"#;
    let clean = r#"{"entities":[{"id":"e1","text":"null","type":"Task"}],"relations":[]}"#;
    assert_eq!(without_nulls(answer), clean);
    assert_eq!(without_nulls("null {"), "null {");
    assert_eq!(without_nulls("{\"a\": 1.0}"), "{\"a\": 1.0}");
}

const NAMES: [&str; 23] = [
    "choices",
    "message",
    "content",
    "text",
    "type",
    "error",
    "errors",
    "code",
    "usage",
    "prompt_tokens",
    "completion_tokens",
    "refusal",
    "tool_calls",
    "function",
    "arguments",
    "reasoning",
    "reasoning_content",
    "finish_reason",
    "detail",
    "metadata",
    "raw",
    "param",
    "loc",
];
const WORDS: [&str; 10] =
    ["", "stop", "length", "error", "{\"a\":1}", "x {\"a\":1} y", "429", "{\"error\":\"é\"}", "thinking", "<think>"];

/// JSON with the names and words that replies have, in whatever places.
fn any_reply() -> impl Strategy<Value = Value> {
    let names = prop::sample::select(NAMES.map(str::to_owned).to_vec());
    let words = prop::sample::select(WORDS.map(str::to_owned).to_vec());
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        words.prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((names.clone(), inner), 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_reply_is_read_or_refused(choice in any_reply(), error in any_reply(), usage in any_reply()) {
        for reply in [json!({"choices": [choice], "error": error, "usage": usage}), choice.clone(), error.clone()] {
            if let Reading::Completion(completion) = Reading::of(&reply, MOST) {
                let used = completion.usage.unwrap_or_default();
                prop_assert!(used.prompt <= 1_000_000 && used.completion <= 1_000_000);
                prop_assert!(completion.outcome != ReplyOutcome::Answered || !completion.text.trim().is_empty());
                let _ = crate::unwrap_json(&completion.text, "a");
            }
            prop_assert!(!ApiError::of(&reply).message.is_empty());
        }
    }
}
