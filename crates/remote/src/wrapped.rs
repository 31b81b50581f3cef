//! One JSON object inside other text: code fences, talk, thinking.

use serde_json::Value;

/// What ends a model's thinking, in the words of the families of models that write it into the answer.
const ENDS_OF_THINKING: [&str; 6] =
    ["</think>", "</thinking>", "</reasoning>", "</thought>", "[/THINK]", "<|channel|>final<|message|>"];
/// What begins it.
const STARTS_OF_THINKING: [&str; 6] =
    ["<think>", "<thinking>", "<reasoning>", "<thought>", "[THINK]", "<|channel|>analysis<|message|>"];

/// The JSON object that an answer holds inside other text: a code fence, sentences around it, what the
/// model thought before, a byte order mark, or the quotes of a JSON string.
///
/// `None` where the answer is JSON as it stands, and where it holds no object or several different
/// ones. Objects with the field `key` go before others, so that an example in the talk does no harm.
/// What a model thought before its answer is no part of it. Takes time linear in the length.
pub fn unwrap_json(answer: &str, key: &str) -> Option<String> {
    match serde_json::from_str::<Value>(answer) {
        Ok(Value::String(inner)) => {
            let object = matches!(serde_json::from_str(&inner), Ok(Value::Object(_)));
            return if object { Some(inner.trim().to_owned()) } else { unwrap_json(&inner, key) };
        }
        Ok(_) => return None,
        Err(_) => {}
    }
    let objects = objects(after_thinking(answer)?);
    let with_key: Vec<&(&str, Value)> = objects.iter().filter(|(_, value)| value.get(key).is_some()).collect();
    let chosen = if with_key.is_empty() { objects.iter().collect() } else { with_key };
    let (first, others) = chosen.split_first()?;
    others.iter().all(|other| other.1 == first.1).then(|| first.0.to_owned())
}

/// What comes after the thinking; `None` if the thinking does not end.
fn after_thinking(answer: &str) -> Option<&str> {
    let end = ENDS_OF_THINKING.iter().filter_map(|mark| answer.rfind(mark).map(|at| at + mark.len())).max();
    let rest = &answer[end.unwrap_or(0)..];
    let start = rest.trim_start();
    // Without an end, an answer that starts with thinking is nothing but that.
    (!STARTS_OF_THINKING.iter().any(|mark| start.starts_with(mark))).then_some(rest)
}

/// The JSON objects that stand in a text, none inside another.
fn objects(text: &str) -> Vec<(&str, Value)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(next) = text[at..].find('{') {
        let start = at + next;
        at = start + 1;
        if !matches!(text[at..].trim_start().as_bytes().first(), Some(b'"' | b'}')) {
            continue;
        }
        // An object that does not end takes the rest of the text with it: what is inside it is no answer.
        let Some(length) = length_of_object(&text[start..]) else { break };
        at = start + length;
        if let Ok(value) = serde_json::from_str(&text[start..at]) {
            found.push((&text[start..at], value));
        }
    }
    found
}

/// Up to the brace that closes the first one, strings left out of account.
fn length_of_object(text: &str) -> Option<usize> {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' if !quoted => depth += 1,
            b'}' if !quoted => {
                depth -= 1;
                if depth == 0 {
                    return Some(index + 1);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = r#"{"entities":[{"id":"e1","text":"a } \" {","type":"Tool"}],"relations":[]}"#;

    fn unwrapped(answer: &str) -> Option<String> {
        unwrap_json(answer, "entities")
    }

    #[test]
    fn the_object_is_taken_out_of_what_models_write_around_it() {
        let quoted = serde_json::to_string(ANSWER).unwrap();
        for text in [
            format!("```json\n{ANSWER}\n```"),
            format!("~~~\n{ANSWER}\n~~~"),
            format!("Here is the JSON:\n\n{ANSWER}\n\nAnything else?"),
            format!("<think>\nMaybe {{\"entities\": []}}?\n</think>\n\n{ANSWER}"),
            format!("Maybe {{\"entities\": []}}?</think>{ANSWER}"),
            format!("<|channel|>analysis<|message|>{{\"a\":1}}<|end|><|channel|>final<|message|>{ANSWER}"),
            format!("The set {{a, b}} and the form {{\"type\": \"Tool\"}}; so: {ANSWER}<|im_end|>"),
            format!("{ANSWER}\n\nOnce more:\n```\n{ANSWER}\n```"),
            format!("\u{feff}{ANSWER}"),
            format!("<answer>{ANSWER}</answer>"),
            quoted,
        ] {
            assert_eq!(unwrapped(&text).as_deref(), Some(ANSWER), "{text}");
        }
        assert_eq!(unwrap_json("It is {\"x\": 1}.", "entities").as_deref(), Some("{\"x\": 1}"));
    }

    #[test]
    fn what_is_no_wrapped_object_stays() {
        for text in [
            ANSWER,
            " {} ",
            "[1]",
            "\"text\"",
            "",
            "I cannot do that.",
            "<think>{\"entities\":[]}",
            "```json\n{\"entities\":[{\"id\":\"e1\",\"text\":\"a\"},",
            "{\"entities\":[]} or {\"entities\":[1]}",
            "{\"entities\":[{\"id\":\"e1\"},]} done",
            "{\"a\":1} {\"b\":2}",
        ] {
            assert_eq!(unwrapped(text), None, "{text}");
        }
        let many = "{\"a\":".repeat(200_000);
        assert_eq!(unwrapped(&many), None);
        assert_eq!(unwrapped(&"{a ".repeat(200_000)), None);
    }
}
