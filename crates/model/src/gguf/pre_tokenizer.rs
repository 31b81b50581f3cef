//! Pre-tokenizers by their names in GGUF files, as `tokenizer.json` describes them.

use serde_json::{Value, json};

/// Words of Llama 3.
const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Words of Qwen2: those of Llama 3 with one digit each.
const QWEN_2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Words of Mistral's Tekken.
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The names that are understood, for messages.
pub(super) const KNOWN: &str = "gpt-2, llama-bpe, qwen2, smollm, tekken";

/// What splits texts into words before byte pairs are merged.
pub(super) struct PreTokenizer {
    pub(super) splitter: Value,
    pub(super) normalizer: Value,
    /// Whether a word that is itself a token is never built from merges.
    pub(super) ignore_merges: bool,
}

/// The name of the pre-tokenizer that a `tokenizer.json` describes; `None` if llama.cpp has none like it.
pub(super) fn name_of(normalizer: &Value, splitter: &Value, ignore_merges: bool) -> Option<&'static str> {
    KNOWN.split(", ").find(|name| {
        named(name).is_some_and(|known| {
            known.ignore_merges == ignore_merges
                && known.normalizer == *normalizer
                && without_offsets(known.splitter) == without_offsets(splitter.clone())
        })
    })
}

/// The settings of a pre-tokenizer without the one that only moves offsets.
fn without_offsets(mut splitter: Value) -> Value {
    if let Some(object) = splitter.as_object_mut() {
        object.remove("trim_offsets");
        if let Some(Value::Array(parts)) = object.get_mut("pretokenizers") {
            for part in parts {
                *part = without_offsets(part.take());
            }
        }
    }
    splitter
}

/// The pre-tokenizer of this name; `None` if it is not known.
pub(super) fn named(name: &str) -> Option<PreTokenizer> {
    let byte_level = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
    let sequence = |first: Value, second: Value| json!({"type": "Sequence", "pretokenizers": [first, second]});
    let split = |pattern: &str| {
        let words = json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
        sequence(words, byte_level(false))
    };
    let plain = |splitter| PreTokenizer { splitter, normalizer: Value::Null, ignore_merges: false };
    Some(match name {
        "gpt-2" | "gpt2" => plain(byte_level(true)),
        "smollm" => plain(sequence(json!({"type": "Digits", "individual_digits": true}), byte_level(true))),
        "llama-bpe" | "llama3" | "llama-v3" => PreTokenizer { ignore_merges: true, ..plain(split(LLAMA_3)) },
        "qwen2" | "deepseek-r1-qwen" => PreTokenizer { normalizer: json!({"type": "NFC"}), ..plain(split(QWEN_2)) },
        "tekken" => PreTokenizer { ignore_merges: true, ..plain(split(TEKKEN)) },
        _ => return None,
    })
}
