//! The settings of a job.

use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// How a job asks, which is also the section of a remote system in a configuration file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Base address of the API, such as `https://host/v1`.
    pub endpoint: String,
    /// The model's name at the endpoint.
    pub model: String,
    /// Name of the environment variable that holds the key.
    pub key_variable: String,
    /// How the form of the answer is enforced.
    pub structure: StructureKind,
    /// Demonstrations before each prompt.
    pub shots: usize,
    /// How demonstrations are chosen.
    pub selection: Selection,
    /// Seed of the demonstrations chosen at random, and of the jitter between retries.
    pub seed: u64,
    /// Sampling temperature; with `"none"` in a file it is not sent, because some models refuse it.
    #[serde(with = "number_or_none")]
    #[schemars(schema_with = "number_or_none_schema")]
    pub temperature: Option<f64>,
    /// Largest number of tokens of an answer.
    pub max_tokens: u32,
    /// The name under which `max_tokens` is sent; newer models require `max_completion_tokens`.
    pub max_tokens_name: String,
    /// Put the instructions into the first user message, for models without a system role.
    pub no_system_role: bool,
    /// Extract the JSON object of an answer from surrounding text (code fences, prose, reasoning).
    pub unwrap: bool,
    /// Additional fields of the request body, sent unchanged.
    pub extra: Map<String, Value>,
    /// Number of concurrent requests.
    pub concurrency: usize,
    /// Most requests per minute; by default, any number.
    pub requests_per_minute: Option<f64>,
    /// Most tokens per minute, prompt and answer together; by default, any number.
    pub tokens_per_minute: Option<f64>,
    /// Seconds after which a request is abandoned and retried.
    pub timeout_seconds: f64,
    /// Attempts for each prompt.
    pub attempts: u32,
    /// Shortest upper bound of the delay before a retry, in seconds; it doubles with every attempt.
    pub backoff_seconds: f64,
    /// The price table.
    pub prices: Option<PathBuf>,
    /// The most that the answers of the job may cost, in the currency of the price table.
    pub budget: Option<f64>,
    /// Use the batch API.
    pub batch: bool,
    /// Seconds between polls of a batch.
    pub poll_seconds: f64,
}

/// How the endpoint enforces the form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StructureKind {
    /// `response_format` with a strict JSON Schema.
    #[default]
    JsonSchema,
    /// `response_format` for any JSON object.
    JsonObject,
    /// A Lark grammar through vLLM's `structured_outputs`.
    Grammar,
    /// A GBNF grammar in the field `grammar`, as llama.cpp's servers take it.
    Gbnf,
    /// Not at all.
    None,
}

/// How demonstrations are chosen from the training documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Selection {
    /// The same for every prompt, chosen greedily: each time the first unit with the most labels not
    /// shown yet.
    #[default]
    Fixed,
    /// The same for every prompt: drawn without replacement with the seed.
    Random,
    /// For each prompt the units with the most similar words (cosine of tf-idf vectors), the most
    /// similar last.
    Nearest,
}

impl StructureKind {
    /// All kinds, strictest first.
    pub const ALL: [Self; 5] = [Self::JsonSchema, Self::Grammar, Self::Gbnf, Self::JsonObject, Self::None];

    /// The name in configuration files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::JsonSchema => "json-schema",
            Self::JsonObject => "json-object",
            Self::Grammar => "grammar",
            Self::Gbnf => "gbnf",
            Self::None => "none",
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            model: String::new(),
            key_variable: "OPENAI_API_KEY".into(),
            structure: StructureKind::default(),
            shots: 0,
            selection: Selection::default(),
            seed: 1,
            temperature: Some(0.0),
            max_tokens: 1024,
            max_tokens_name: "max_tokens".into(),
            no_system_role: false,
            unwrap: false,
            extra: Map::new(),
            concurrency: 8,
            requests_per_minute: None,
            tokens_per_minute: None,
            timeout_seconds: 120.0,
            attempts: 6,
            backoff_seconds: 0.5,
            prices: None,
            budget: None,
            batch: false,
            poll_seconds: 10.0,
        }
    }
}

/// The schema of what [`number_or_none`] reads.
fn number_or_none_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"anyOf": [{"type": "number"}, {"const": "none"}]})
}

/// A number or `"none"`: TOML has no null, and a missing key means the default.
mod number_or_none {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(f64),
        Word(String),
    }

    #[expect(clippy::ref_option, reason = "serde passes the field by reference")]
    pub(super) fn serialize<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
        value.map_or_else(|| Written::Word("none".into()), Written::Number).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
        let wrong = || D::Error::custom("`temperature` is a number from 0 to 2, or \"none\"");
        match Option::<Written>::deserialize(deserializer).map_err(|_| wrong())? {
            None => Ok(None),
            Some(Written::Number(number)) => Ok(Some(number)),
            Some(Written::Word(word)) if word == "none" => Ok(None),
            Some(Written::Word(_)) => Err(wrong()),
        }
    }
}
