//! A JSON object inside other text: code fences, prose, reasoning.

use serde_json::Value;

/// Marks that end a model's reasoning, by the families of models that write it into the answer.
const ENDS_OF_THINKING: [&str; 6] =
    ["</think>", "</thinking>", "</reasoning>", "</thought>", "[/THINK]", "<|channel|>final<|message|>"];
/// Marks that begin it.
const STARTS_OF_THINKING: [&str; 6] =
    ["<think>", "<thinking>", "<reasoning>", "<thought>", "[THINK]", "<|channel|>analysis<|message|>"];

/// The JSON object that an answer contains inside other text: in a code fence, between sentences, after
/// reasoning or a byte order mark, or in the quotes of a JSON string.
///
/// `None` if the answer is already JSON, and if it contains no object or several different ones. Objects
/// with the field `key` take precedence, so that an example in the prose does no harm. Reasoning before
/// the answer is ignored. Takes time linear in the length.
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

/// The text after the reasoning; `None` if the reasoning does not end.
fn after_thinking(answer: &str) -> Option<&str> {
    let end = ENDS_OF_THINKING.iter().filter_map(|mark| answer.rfind(mark).map(|at| at + mark.len())).max();
    let rest = &answer[end.unwrap_or(0)..];
    let start = rest.trim_start();
    // Reasoning without an end leaves no answer.
    (!STARTS_OF_THINKING.iter().any(|mark| start.starts_with(mark))).then_some(rest)
}

/// The outermost JSON objects of a text.
fn objects(text: &str) -> Vec<(&str, Value)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(next) = text[at..].find('{') {
        let start = at + next;
        at = start + 1;
        if !matches!(text[at..].trim_start().as_bytes().first(), Some(b'"' | b'}')) {
            continue;
        }
        // The rest of the text belongs to an object without an end; what is inside it is not an answer.
        let Some(length) = length_of_object(&text[start..]) else { break };
        at = start + length;
        if let Ok(value) = serde_json::from_str(&text[start..at]) {
            found.push((&text[start..at], value));
        }
    }
    found
}

/// The length up to the brace that closes the first one, ignoring braces in strings.
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
    fn the_object_is_extracted_from_what_models_write_around_it() {
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
    fn answers_without_a_wrapped_object_are_unchanged() {
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
