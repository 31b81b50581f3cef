//! `config.json` to [`ModelConfig`] and back.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{FolderError, nf4, rope};
use crate::config::{Architecture, ModelConfig, RopeScaling};
use crate::stored::StoredType;

/// The largest sizes that are accepted from a configuration, about ten times those of the largest known models.
const MOST_LAYERS: usize = 4096;
const MOST_HEADS: usize = 1 << 14;
const WIDEST: usize = 1 << 20;
const LARGEST_VOCABULARY: usize = 1 << 24;

const ARCHITECTURES: [(&str, &str, Architecture); 4] = [
    ("LlamaForCausalLM", "llama", Architecture::Llama),
    ("MistralForCausalLM", "mistral", Architecture::Mistral),
    ("Qwen2ForCausalLM", "qwen2", Architecture::Qwen2),
    ("Qwen3ForCausalLM", "qwen3", Architecture::Qwen3),
];

/// The class name that transformers gives an architecture.
pub(super) fn class_name(architecture: Architecture) -> &'static str {
    names(architecture).0
}

fn names(architecture: Architecture) -> (&'static str, &'static str) {
    ARCHITECTURES
        .iter()
        .find(|(_, _, candidate)| *candidate == architecture)
        .map(|(class, model_type, _)| (*class, *model_type))
        .expect("every architecture is in the table")
}

/// The keys of one JSON object, with errors that name them.
#[derive(Clone, Copy)]
pub(super) struct Keys<'a> {
    pub(super) path: &'a Path,
    /// What precedes the object's keys in messages: nothing, or a key and a dot.
    pub(super) prefix: &'static str,
    pub(super) object: &'a Map<String, Value>,
}

impl<'a> Keys<'a> {
    /// The value of a key; `None` if it is missing or null.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn error(&self, key: &str, problem: impl Into<String>) -> FolderError {
        FolderError::setting(self.path, format!("{}{key}", self.prefix), problem)
    }

    fn typed<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, FolderError> {
        self.get(key)
            .map(|value| read(value).ok_or_else(|| self.error(key, format!("is {value}; {expected} is expected"))))
            .transpose()
    }

    /// A whole number of at least 1.
    pub(super) fn count(&self, key: &str) -> Result<Option<usize>, FolderError> {
        self.typed(key, "a whole number above 0", |value| {
            value.as_u64().filter(|&number| number > 0).and_then(|number| usize::try_from(number).ok())
        })
    }

    /// A whole number from 1 to `most`, the bound that keeps products of several sizes from overflowing.
    fn size(&self, key: &str, most: usize) -> Result<Option<usize>, FolderError> {
        match self.count(key)? {
            Some(number) if number > most => {
                Err(self.error(key, format!("is {number}; at most {most} is supported: the file is damaged")))
            }
            size => Ok(size),
        }
    }

    /// A number above 0 (or at least 0 with `or_zero`) that single precision can hold.
    pub(super) fn positive(&self, key: &str, or_zero: bool) -> Result<Option<f64>, FolderError> {
        let number = self.number(key)?;
        match number {
            Some(value) if value < 0.0 || (value == 0.0 && !or_zero) || value > f64::from(f32::MAX) => {
                let expected = if or_zero { "a number of at least 0" } else { "a number above 0" };
                Err(self.error(key, format!("is {value}; {expected} is expected")))
            }
            _ => Ok(number),
        }
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<f64>, FolderError> {
        self.typed(key, "a number", Value::as_f64)
    }

    pub(super) fn flag(&self, key: &str, default: bool) -> Result<bool, FolderError> {
        Ok(self.typed(key, "true or false", Value::as_bool)?.unwrap_or(default))
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, FolderError> {
        self.typed(key, "a string", Value::as_str)
    }

    fn needed<T>(&self, key: &str, value: Option<T>) -> Result<T, FolderError> {
        value.ok_or_else(|| self.error(key, "is missing"))
    }
}

/// The decoder that a `config.json` describes. `path` is the path of the file, for error messages.
///
/// Both layouts of the rotary settings are understood: `rope_theta` with `rope_scaling`, and
/// `rope_parameters`. Missing keys take the defaults of transformers.
pub fn config_from_json(path: &Path, object: &Map<String, Value>) -> Result<ModelConfig, FolderError> {
    let keys = Keys { path, prefix: "", object };
    let architecture = architecture(&keys)?;
    refuse_unsupported(&keys)?;

    let heads = keys.needed("num_attention_heads", keys.size("num_attention_heads", MOST_HEADS)?)?;
    let hidden = keys.needed("hidden_size", keys.size("hidden_size", WIDEST)?)?;
    let kv_heads = match (keys.size("num_key_value_heads", MOST_HEADS)?, architecture) {
        (Some(count), _) => count,
        // In all families null means one for every query head; only a missing key has a default.
        (None, _) if object.contains_key("num_key_value_heads") => heads,
        (None, Architecture::Llama) => heads,
        (None, Architecture::Mistral) => 8,
        (None, Architecture::Qwen2 | Architecture::Qwen3) => 32,
    };
    if heads % kv_heads != 0 {
        return Err(keys.error("num_key_value_heads", format!("is {kv_heads}, which does not divide {heads} heads")));
    }
    let head_dim = match (keys.size("head_dim", WIDEST)?, architecture) {
        (Some(width), _) => width,
        (None, Architecture::Qwen3) => 128,
        (None, _) if hidden % heads == 0 => hidden / heads,
        (None, _) => {
            return Err(
                keys.error("head_dim", format!("is missing, and {heads} heads do not divide a width of {hidden}"))
            );
        }
    };
    if head_dim % 2 != 0 {
        return Err(keys.error("head_dim", format!("is {head_dim}; rotary embeddings need an even width")));
    }
    let layers = keys.needed("num_hidden_layers", keys.size("num_hidden_layers", MOST_LAYERS)?)?;
    let max_positions = keys.count("max_position_embeddings")?.unwrap_or(match architecture {
        Architecture::Llama => 2048,
        Architecture::Mistral => 131_072,
        Architecture::Qwen2 | Architecture::Qwen3 => 32_768,
    });
    let attention_bias =
        matches!(architecture, Architecture::Llama | Architecture::Qwen3) && keys.flag("attention_bias", false)?;
    let (rope_theta, rope_scaling) = rope::read(&keys, max_positions)?;
    let config = ModelConfig {
        architecture,
        vocabulary: keys.needed("vocab_size", keys.size("vocab_size", LARGEST_VOCABULARY)?)?,
        hidden,
        intermediate: keys.needed("intermediate_size", keys.size("intermediate_size", WIDEST * 16)?)?,
        layers,
        heads,
        kv_heads,
        head_dim,
        rms_epsilon: keys.positive("rms_norm_eps", true)?.unwrap_or(1e-6),
        rope_theta,
        rope_scaling,
        max_positions,
        sliding_window: sliding_window(&keys, architecture, layers)?,
        query_key_value_bias: attention_bias || architecture == Architecture::Qwen2,
        output_bias: attention_bias,
        mlp_bias: architecture == Architecture::Llama && keys.flag("mlp_bias", false)?,
        query_key_norm: architecture == Architecture::Qwen3,
        tied_head: keys.flag("tie_word_embeddings", false)?,
    };
    let (frequencies, factor) = config.rope_frequencies(max_positions);
    if !(factor.is_finite() && frequencies.iter().all(|frequency| frequency.is_finite())) {
        let key = if config.rope_scaling == RopeScaling::None { "rope_theta" } else { "rope_scaling" };
        return Err(keys.error(key, "gives rotary frequencies that are not finite numbers"));
    }
    Ok(config)
}

fn architecture(keys: &Keys<'_>) -> Result<Architecture, FolderError> {
    let (key, name) = match keys.get("architectures").and_then(Value::as_array).and_then(|list| list.first()) {
        Some(Value::String(name)) => ("architectures", name.as_str()),
        Some(other) => return Err(keys.error("architectures", format!("holds {other}; a name is expected"))),
        None => ("model_type", keys.needed("model_type", keys.text("model_type")?)?),
    };
    let found = ARCHITECTURES
        .iter()
        .find(|(class, model_type, _)| *class == name || (key == "model_type" && *model_type == name));
    found.map(|(_, _, architecture)| *architecture).ok_or_else(|| {
        let supported = ARCHITECTURES.map(|(class, _, _)| class);
        // The names of different architectures are similar, so only a near miss counts as a misspelling.
        let slip = |near: &&str| strsim::damerau_levenshtein(near, name) <= 2;
        let hint =
            supported.iter().find(|near| slip(near)).map_or_else(String::new, |near| format!("; did you mean {near}?"));
        keys.error(key, format!("names `{name}`; supported are {}{hint}", supported.join(", ")))
    })
}

/// Refuses settings that change the arithmetic in unsupported ways.
fn refuse_unsupported(keys: &Keys<'_>) -> Result<(), FolderError> {
    if let Some(activation) = keys.text("hidden_act")?.filter(|name| !matches!(*name, "silu" | "swish")) {
        return Err(keys.error("hidden_act", format!("is `{activation}`; only `silu` is supported")));
    }
    nf4::check_config(keys)?;
    if keys.get("compression_config").is_some() {
        return Err(keys.error(
            "compression_config",
            "is set: weights that are compressed in this way are not supported; use the bf16 or f16 original",
        ));
    }
    for key in ["num_experts", "num_local_experts", "n_routed_experts"] {
        if keys.get(key).is_some() {
            return Err(keys.error(key, "is set: mixtures of experts are not supported"));
        }
    }
    if let Some(share) = keys.number("partial_rotary_factor")?.filter(|&share| share != 1.0) {
        return Err(keys.error("partial_rotary_factor", format!("is {share}; only 1 is supported")));
    }
    Ok(())
}

/// The attention window of every layer; each family interprets the keys in its own way.
fn sliding_window(
    keys: &Keys<'_>,
    architecture: Architecture,
    layers: usize,
) -> Result<Vec<Option<usize>>, FolderError> {
    match architecture {
        Architecture::Llama => Ok(Vec::new()),
        Architecture::Mistral => {
            // A missing key means 4096, a null means no window.
            let window =
                if keys.object.contains_key("sliding_window") { keys.count("sliding_window")? } else { Some(4096) };
            Ok(window.map_or_else(Vec::new, |window| vec![Some(window); layers]))
        }
        Architecture::Qwen2 | Architecture::Qwen3 => {
            if !keys.flag("use_sliding_window", false)? {
                return match keys.get("layer_types") {
                    Some(Value::Array(types)) if types.iter().any(|kind| kind == "sliding_attention") => Err(keys
                        .error("layer_types", "has a sliding_attention layer although `use_sliding_window` is false")),
                    _ => Ok(Vec::new()),
                };
            }
            let window =
                if keys.object.contains_key("sliding_window") { keys.count("sliding_window")? } else { Some(4096) };
            let Some(window) = window else { return Ok(Vec::new()) };
            let Some(types) = keys.get("layer_types") else {
                let first = match keys.get("max_window_layers") {
                    Some(Value::Number(number)) if number.as_u64() == Some(0) => 0,
                    _ => keys.count("max_window_layers")?.unwrap_or(28),
                };
                return Ok((0..layers).map(|layer| (layer >= first).then_some(window)).collect());
            };
            let types = types
                .as_array()
                .filter(|types| types.len() == layers)
                .ok_or_else(|| keys.error("layer_types", format!("is not a list of {layers} names, one a layer")))?;
            let kind = |kind: &Value| match kind.as_str() {
                Some("full_attention") => Ok(None),
                Some("sliding_attention") => Ok(Some(window)),
                _ => Err(keys
                    .error("layer_types", format!("holds {kind}; full_attention and sliding_attention are supported"))),
            };
            types.iter().map(kind).collect()
        }
    }
}

/// A `config.json` that transformers reads as this decoder with weights of this type.
///
/// The rotary settings are written in the older layout (`rope_theta`, `rope_scaling`), which every
/// version of transformers understands.
pub fn config_to_json(config: &ModelConfig, stored: StoredType) -> Map<String, Value> {
    let (class, model_type) = names(config.architecture);
    let mut object = Map::new();
    let mut set = |key: &str, value: Value| object.insert(key.to_owned(), value);
    set("architectures", json!([class]));
    set("model_type", json!(model_type));
    set("vocab_size", json!(config.vocabulary));
    set("hidden_size", json!(config.hidden));
    set("intermediate_size", json!(config.intermediate));
    set("num_hidden_layers", json!(config.layers));
    set("num_attention_heads", json!(config.heads));
    set("num_key_value_heads", json!(config.kv_heads));
    set("head_dim", json!(config.head_dim));
    set("hidden_act", json!("silu"));
    set("max_position_embeddings", json!(config.max_positions));
    set("rms_norm_eps", json!(config.rms_epsilon));
    set("rope_theta", json!(config.rope_theta));
    set("rope_scaling", rope::to_json(&config.rope_scaling));
    set("attention_dropout", json!(0.0));
    set("initializer_range", json!(0.02));
    set("use_cache", json!(true));
    set("tie_word_embeddings", json!(config.tied_head));
    set("torch_dtype", json!(dtype_name(stored)));
    match config.architecture {
        Architecture::Llama => {
            set("attention_bias", json!(config.query_key_value_bias));
            set("mlp_bias", json!(config.mlp_bias));
        }
        Architecture::Mistral => {
            set("sliding_window", json!(config.window(0)));
        }
        Architecture::Qwen2 | Architecture::Qwen3 => {
            let window = (0..config.layers).find_map(|layer| config.window(layer));
            let kind = |layer| if config.window(layer).is_some() { "sliding_attention" } else { "full_attention" };
            set("use_sliding_window", json!(window.is_some()));
            set("sliding_window", json!(window));
            set(
                "max_window_layers",
                json!((0..config.layers).find(|&layer| config.window(layer).is_some()).unwrap_or(config.layers)),
            );
            set("layer_types", (0..config.layers).map(kind).collect());
            if config.architecture == Architecture::Qwen3 {
                set("attention_bias", json!(config.query_key_value_bias));
            }
        }
    }
    object
}

/// The name that `config.json` has for an element type.
pub(super) fn dtype_name(stored: StoredType) -> &'static str {
    match stored {
        StoredType::F32 => "float32",
        StoredType::F16 => "float16",
        StoredType::Bf16 => "bfloat16",
    }
}
