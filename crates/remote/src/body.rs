//! The body of a chat completion request, and its digest.

use serde_json::{Map, Value, json};

use crate::{Endpoint, Prompt, Settings, Structure};

/// The digest of endpoint and body: the key of the answer in the cache.
pub(crate) type Digest = blake3::Hash;

/// The request body of a prompt.
pub(crate) fn body(endpoint: &Endpoint, prompt: &Prompt, settings: &Settings) -> Value {
    let mut body = Map::new();
    body.insert("model".into(), endpoint.model.as_str().into());
    body.insert("messages".into(), json!(prompt.messages));
    body.insert("stream".into(), false.into());
    body.insert(settings.max_tokens_name.clone(), settings.max_tokens.into());
    if let Some(temperature) = settings.temperature {
        body.insert("temperature".into(), temperature.into());
    }
    match &prompt.structure {
        Structure::None => {}
        Structure::JsonObject => {
            body.insert("response_format".into(), json!({"type": "json_object"}));
        }
        Structure::JsonSchema(schema) => {
            let named = json!({"name": "extraction", "strict": true, "schema": schema});
            body.insert("response_format".into(), json!({"type": "json_schema", "json_schema": named}));
        }
        Structure::Grammar(grammar) => {
            body.insert("structured_outputs".into(), json!({"grammar": grammar}));
        }
        Structure::Gbnf(grammar) => {
            body.insert("grammar".into(), grammar.as_str().into());
        }
    }
    for (name, value) in &settings.extra {
        body.insert(name.clone(), value.clone());
    }
    Value::Object(body)
}

/// The digest of a body at an endpoint.
pub(crate) fn digest(endpoint: &Endpoint, body: &Value) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(endpoint.base().as_bytes());
    hasher.update(b"\n");
    hasher.update(body.to_string().as_bytes());
    hasher.finalize()
}
