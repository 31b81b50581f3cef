//! Replies that arrive as a stream of events although none was requested.

use serde_json::{Map, Value, json};

/// Whether a text is a stream of server-sent events rather than JSON.
pub(crate) fn is_stream(text: &str) -> bool {
    let first = text.lines().map(str::trim_start).find(|line| !line.is_empty() && !line.starts_with(':'));
    first.is_some_and(|line| ["data:", "event:", "id:", "retry:"].iter().any(|field| line.starts_with(field)))
}

/// The chat completion that a stream of events adds up to, or the error that it ends with. Fails if the
/// stream ends before the answer does. `parse` reads the JSON of an event.
pub(crate) fn joined(text: &str, parse: impl Fn(&str) -> Result<Value, String>) -> Result<Value, String> {
    let mut whole = Whole::default();
    for line in text.lines() {
        let Some(data) = line.trim_start().strip_prefix("data:").map(str::trim) else { continue };
        if data == "[DONE]" {
            whole.ended = true;
            break;
        }
        if data.is_empty() {
            continue;
        }
        let event = parse(data).map_err(|problem| format!("an event of the stream is not JSON: {problem}"))?;
        if event.get("choices").is_none() && event.get("error").is_some_and(|error| !error.is_null()) {
            return Ok(event);
        }
        whole.add(&event);
    }
    if !whole.ended {
        return Err("the stream of events ends before the answer does".to_owned());
    }
    Ok(whole.completion())
}

/// The completion so far.
#[derive(Default)]
struct Whole {
    message: Map<String, Value>,
    calls: Vec<(u64, String)>,
    reason: Value,
    model: Value,
    usage: Value,
    ended: bool,
}

impl Whole {
    fn add(&mut self, event: &Value) {
        for (name, place) in [("model", &mut self.model), ("usage", &mut self.usage)] {
            if let Some(value) = event.get(name).filter(|value| !value.is_null()) {
                *place = value.clone();
            }
        }
        let choices = event.get("choices").and_then(Value::as_array).into_iter().flatten();
        let first = |choice: &&Value| choice.get("index").and_then(Value::as_u64).unwrap_or(0) == 0;
        for choice in choices.filter(first) {
            if let Some(reason) = choice.get("finish_reason").filter(|reason| reason.is_string()) {
                self.reason = reason.clone();
                self.ended = true;
            }
            match (choice.get("delta"), choice.get("message"), choice.get("text")) {
                (Some(Value::Object(delta)), _, _) => self.add_delta(delta),
                (_, Some(Value::Object(message)), _) => self.message.clone_from(message),
                (_, _, Some(Value::String(text))) => self.append("content", text),
                _ => {}
            }
        }
    }

    fn add_delta(&mut self, delta: &Map<String, Value>) {
        for (name, value) in delta {
            match value {
                Value::String(text) if name != "role" => self.append(name, text),
                Value::Array(calls) if name == "tool_calls" => calls.iter().for_each(|call| self.add_call(call)),
                _ => {}
            }
        }
    }

    fn append(&mut self, name: &str, text: &str) {
        match self.message.entry(name).or_insert_with(|| Value::String(String::new())) {
            Value::String(whole) => whole.push_str(text),
            other => *other = text.into(),
        }
    }

    fn add_call(&mut self, call: &Value) {
        let index = call.get("index").and_then(Value::as_u64).unwrap_or(0);
        let Some(piece) = call.pointer("/function/arguments").and_then(Value::as_str) else { return };
        match self.calls.iter_mut().find(|(own, _)| *own == index) {
            Some((_, arguments)) => arguments.push_str(piece),
            None => self.calls.push((index, piece.to_owned())),
        }
    }

    fn completion(mut self) -> Value {
        if !self.calls.is_empty() {
            let call = |(_, arguments): (u64, String)| json!({"function": {"arguments": arguments}});
            self.message.insert("tool_calls".to_owned(), self.calls.into_iter().map(call).collect());
        }
        let choice = json!({"index": 0, "message": self.message, "finish_reason": self.reason});
        json!({"model": self.model, "choices": [choice], "usage": self.usage})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Value, String> {
        assert!(is_stream(text), "{text}");
        joined(text, |data| serde_json::from_str(data).map_err(|error| error.to_string()))
    }

    #[test]
    fn pieces_become_one_completion() {
        let text = ": ping\n\ndata: {\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"{\\\"a\"}}]}\r\n\r\n\
            data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"other\"}}]}\n\n\
            data: {\"choices\":[{\"delta\":{\"content\":\"\\\":1}\"},\"finish_reason\":\"length\"}]}\n\n\
            data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}\n\ndata: [DONE]\n";
        let whole = read(text).unwrap();
        assert_eq!(whole["choices"][0]["message"]["content"], "{\"a\":1}");
        assert_eq!(whole["choices"][0]["finish_reason"], "length");
        assert_eq!((&whole["model"], &whole["usage"]["completion_tokens"]), (&json!("m"), &json!(4)));
        let calls = "event: x\ndata:{\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"name\":\"f\",\"arguments\":\"{\"}}]}}]}\n\
            data:{\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"}\"}}]},\"finish_reason\":\"tool_calls\"}]}\n";
        let whole = read(calls).unwrap();
        assert_eq!(whole["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"], "{}");
    }

    #[test]
    fn errors_in_a_stream_and_truncated_streams_are_reported() {
        let error = "data: {\"error\":{\"message\":\"late\",\"code\":429}}\n\n";
        assert_eq!(read(error).unwrap()["error"]["message"], "late");
        let cut = "data: {\"choices\":[{\"delta\":{\"content\":\"{\"}}]}\n\n";
        assert!(read(cut).unwrap_err().contains("ends before"));
        assert!(read("data: {\"choi").unwrap_err().contains("not JSON"));
        assert!(!is_stream("{\"data:\": 1}") && !is_stream("<html>data:") && !is_stream(""));
    }
}
