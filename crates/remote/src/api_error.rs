//! The error in a reply, in the many forms that servers use.

use serde_json::Value;

/// Longest message, in characters; longer ones are cut.
const LONGEST: usize = 400;
/// How many levels of errors inside errors, passed on as text by gateways, are read.
const DEPTH: usize = 3;
/// Bytes of text that are searched for words.
const SEARCHED: usize = 16 << 10;

/// An error as an endpoint describes it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ApiError {
    /// The message to show.
    pub(crate) message: String,
    /// Machine-readable codes (`code`, `type`, `status`, `reason`) in lower case, without numbers.
    codes: Vec<String>,
    /// The HTTP status given in the body, 400 to 599.
    pub(crate) status: Option<u16>,
    /// The field of the request at fault.
    pub(crate) param: Option<String>,
    /// The wait in seconds that the body asks for.
    pub(crate) seconds: Option<f64>,
    /// The model's text, if the endpoint reports an answer without the requested form as an error.
    pub(crate) failed_generation: Option<String>,
    /// All texts in lower case, for searching.
    words: String,
}

impl ApiError {
    /// Reads the body of a reply.
    pub(crate) fn of(body: &Value) -> Self {
        let mut error = Self::default();
        error.collect(body, 0);
        if error.message.is_empty() {
            error.message = match body {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let text = error.message.clone();
            error.add_words(&text);
        }
        error.finished()
    }

    /// From a body that is not JSON: a proxy's page, or a line of text.
    pub(crate) fn of_text(text: &str) -> Self {
        let mut error = Self { message: text.trim().to_owned(), ..Self::default() };
        error.add_words(text);
        error.finished()
    }

    /// Whether a body contains an error message.
    pub(crate) fn is_in(body: &Value) -> bool {
        let mut error = Self::default();
        error.collect(body, 0);
        !error.message.is_empty()
    }

    /// Whether a code, or a part of one between dots, colons and the like, is one of these.
    pub(crate) fn has(&self, codes: &[&str]) -> bool {
        self.codes.iter().any(|own| {
            codes.contains(&own.as_str()) || own.split(['.', ':', '#', '/']).any(|part| codes.contains(&part))
        })
    }

    /// Whether there are any machine-readable codes.
    pub(crate) fn has_codes(&self) -> bool {
        !self.codes.is_empty()
    }

    /// Whether a text contains one of these words (in lower case).
    pub(crate) fn says(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.words.contains(word))
    }

    /// All texts in lower case.
    pub(crate) fn words(&self) -> &str {
        &self.words
    }

    fn collect(&mut self, body: &Value, depth: usize) {
        match body {
            Value::Array(items) => items.iter().take(1).for_each(|item| self.collect(item, depth)),
            Value::Object(_) => {
                // The innermost error is the most specific.
                for name in
                    ["error", "errors", "innererror", "metadata", "base_resp", "details", "detail", "violations"]
                {
                    match body.get(name) {
                        Some(Value::Array(items)) => items.iter().take(20).for_each(|item| self.collect(item, depth)),
                        Some(inner @ Value::Object(_)) => self.collect(inner, depth),
                        _ => {}
                    }
                }
                self.collect_fields(body, depth);
            }
            _ => {}
        }
    }

    fn collect_fields(&mut self, body: &Value, depth: usize) {
        for name in ["code", "type", "status", "status_code", "error_type", "error_code", "reason", "__type"] {
            match body.get(name) {
                Some(Value::Number(number)) => self.number(number.as_u64()),
                Some(Value::String(text)) => match text.trim().parse() {
                    Ok(number) => self.number(Some(number)),
                    Err(_) => self.codes.push(text.trim().to_lowercase()),
                },
                _ => {}
            }
        }
        for name in ["param", "loc"] {
            if self.param.is_none() {
                self.param = match body.get(name) {
                    Some(Value::String(text)) => Some(text.to_lowercase()),
                    Some(Value::Array(parts)) => Some(path(parts)),
                    _ => None,
                };
            }
        }
        if let Some(text) = body.get("failed_generation").and_then(Value::as_str) {
            self.failed_generation.get_or_insert_with(|| text.to_owned());
        }
        // Google writes waits as `34.07s`.
        let delay = body.get("retryDelay").and_then(Value::as_str).and_then(|text| text.strip_suffix('s'));
        self.seconds = self.seconds.or_else(|| delay.and_then(|text| text.parse().ok()));
        for name in ["quotaId", "quotaMetric", "param"] {
            if let Some(text) = body.get(name).and_then(Value::as_str) {
                self.add_words(text);
            }
        }
        // Gateways pass on the error of the server behind them, mostly as JSON in a string.
        if let Some(raw) = body.get("raw").filter(|_| depth < DEPTH) {
            let inner = raw.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
            match inner.as_ref().unwrap_or(raw) {
                Value::String(text) => self.take_message(text),
                inner => self.collect(inner, depth + 1),
            }
        }
        for name in ["message", "error", "detail", "msg", "error_description", "status_msg", "title"] {
            if let Some(text) = body.get(name).and_then(Value::as_str) {
                self.take_message(text);
            }
        }
    }

    fn number(&mut self, number: Option<u64>) {
        let status = number.and_then(|number| u16::try_from(number).ok()).filter(|status| (400..600).contains(status));
        self.status = self.status.or(status);
    }

    /// The first message is shown; all are searched.
    fn take_message(&mut self, text: &str) {
        if self.message.is_empty() {
            text.trim().clone_into(&mut self.message);
        }
        self.add_words(text);
    }

    fn add_words(&mut self, text: &str) {
        let end = text.len().min(SEARCHED.saturating_sub(self.words.len()));
        self.words.push_str(&String::from_utf8_lossy(&text.as_bytes()[..end]).to_lowercase());
        self.words.push('\n');
    }

    fn finished(mut self) -> Self {
        if self.message.is_empty() {
            "no message".clone_into(&mut self.message);
        } else if let Some((end, _)) = self.message.char_indices().nth(LONGEST) {
            self.message.truncate(end);
            self.message.push('…');
        }
        self
    }
}

/// A location as FastAPI gives it: `["body", "messages", 0, "role"]` becomes `body.messages.0.role`.
fn path(parts: &[Value]) -> String {
    let parts = parts.iter().map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned));
    parts.collect::<Vec<_>>().join(".").to_lowercase()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_message_is_found_in_every_form() {
        for (body, message) in [
            (json!({"error": {"message": "of OpenAI", "code": null}}), "of OpenAI"),
            (json!({"object": "error", "message": "of vLLM", "type": "BadRequestError", "code": 400}), "of vLLM"),
            (json!({"error": "of TGI", "error_type": "validation"}), "of TGI"),
            (
                json!({"type": "error", "error": {"type": "overloaded_error", "message": "of Anthropic"}}),
                "of Anthropic",
            ),
            (json!([{"error": {"code": 400, "message": "of Gemini", "status": "INVALID_ARGUMENT"}}]), "of Gemini"),
            (json!({"detail": [{"loc": ["body", "temperature"], "msg": "of FastAPI", "type": "x"}]}), "of FastAPI"),
            (json!({"success": false, "errors": [{"code": 7000, "message": "of Cloudflare"}]}), "of Cloudflare"),
            (json!({"base_resp": {"status_code": 1008, "status_msg": "of MiniMax"}}), "of MiniMax"),
            (
                json!({"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": "{\"error\":{\"message\":\"behind OpenRouter\"}}"}}}),
                "behind OpenRouter",
            ),
            (json!({"error": {}}), "{\"error\":{}}"),
            (json!(null), "no message"),
        ] {
            assert_eq!(ApiError::of(&body).message, message, "{body}");
        }
        assert_eq!(ApiError::of_text("\n").message, "no message");
        assert_eq!(ApiError::of_text(&"ä".repeat(500)).message.chars().count(), LONGEST + 1);
    }

    #[test]
    fn codes_numbers_and_fields_are_kept_apart() {
        let error = ApiError::of(&json!({"error": {"message": "m", "code": "429", "type": "Requests", "param": "n"}}));
        assert_eq!((error.status, error.param.as_deref(), error.has(&["requests"])), (Some(429), Some("n"), true));
        let error = ApiError::of(&json!({"detail": [{"loc": ["body", "messages", 0, "role"], "msg": "m"}]}));
        assert_eq!(error.param.as_deref(), Some("body.messages.0.role"));
        let google = json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": [
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}]}});
        assert_eq!(ApiError::of(&google).seconds, Some(34.5));
    }
}
