//! Tokenizer metadata as a `tokenizer.json`, in the way of transformers' converters.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Value, json};
use tabpo_gguf::{TokenType, TokenizerMetadata, TokenizerModel};

use super::pre_tokenizer::{self, KNOWN};
use crate::folder::FolderError;
use crate::tokenizer::{SpecialTokens, Tokenizer};

pub(super) fn read(metadata: &TokenizerMetadata, path: &Path) -> Result<Tokenizer, FolderError> {
    let mut json = match metadata.model {
        TokenizerModel::Gpt2 => byte_level(metadata, path)?,
        TokenizerModel::Llama => sentence_piece(metadata),
    };
    json["version"] = json!("1.0");
    json["added_tokens"] = added_tokens(metadata);
    let added = |add: bool, id: Option<u32>| id.filter(|_| add).map(|id| (metadata.tokens[id as usize].as_str(), id));
    let first = added(adds_bos(metadata), metadata.special.bos);
    let last = added(metadata.add_eos == Some(true), metadata.special.eos);
    if first.is_some() || last.is_some() {
        json["post_processor"] = framed(first, last);
    }
    let text = |id: Option<u32>| id.map(|id| metadata.tokens[id as usize].clone());
    let special = SpecialTokens {
        bos: text(metadata.special.bos),
        eos: text(metadata.special.eos),
        pad: text(metadata.special.padding),
        unknown: text(metadata.special.unknown),
        separator: text(metadata.special.separator),
        ..SpecialTokens::default()
    };
    // Whatever ends a text, a turn or a message ends an answer.
    let stop = [metadata.special.eos, metadata.special.eot, metadata.special.eom];
    let stop: Vec<u32> = stop.into_iter().flatten().collect();
    Tokenizer::from_json(json.to_string().as_bytes(), special, path, &stop)
}

/// Whether texts begin with the token for their beginning. Where the file doesn't say, as llama.cpp decides: with
/// SentencePiece they do, and with those byte-level tokenizers that look up whole words before they merge (Llama 3,
/// Tekken).
fn adds_bos(metadata: &TokenizerMetadata) -> bool {
    metadata.add_bos.unwrap_or_else(|| match metadata.model {
        TokenizerModel::Llama => true,
        TokenizerModel::Gpt2 => {
            let words = metadata.pre.as_deref().and_then(pre_tokenizer::named);
            words.is_some_and(|words| words.ignore_merges)
        }
    })
}

/// Byte-level byte-pair encoding.
fn byte_level(metadata: &TokenizerMetadata, path: &Path) -> Result<Value, FolderError> {
    let name = metadata.pre.as_deref().unwrap_or("gpt-2");
    let words = pre_tokenizer::named(name).ok_or_else(|| {
        let problem = format!("is `{name}`, a way to split texts into words that is not supported; supported: {KNOWN}");
        FolderError::setting(path, "tokenizer.ggml.pre", problem)
    })?;
    let merges: Vec<[&str; 2]> = metadata.merges.iter().map(|(left, right)| [left.as_str(), right]).collect();
    Ok(json!({
        "normalizer": words.normalizer,
        "pre_tokenizer": words.splitter,
        "post_processor": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": words.ignore_merges, "vocab": vocabulary(metadata), "merges": merges,
        },
    }))
}

/// What stands for a blank.
pub(super) const BLANK: &str = "\u{2581}";

/// SentencePiece's byte-pair encoding: blanks are `▁`, one is put before a text, what is not in the vocabulary
/// becomes bytes, and the merges follow from the scores.
fn sentence_piece(metadata: &TokenizerMetadata) -> Value {
    let mut normalizers = vec![json!({"type": "Replace", "pattern": {"String": " "}, "content": BLANK})];
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": BLANK}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if metadata.add_space_prefix.unwrap_or(true) {
        normalizers.insert(0, json!({"type": "Prepend", "prepend": BLANK}));
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    let unknown = metadata.special.unknown.map(|id| metadata.tokens[id as usize].as_str());
    json!({
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "pre_tokenizer": null,
        "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": vocabulary(metadata), "merges": merges_from_scores(metadata),
        },
    })
}

/// The name of an id without a token: the row of an embedding that is longer than its vocabulary.
pub(super) fn placeholder(id: usize) -> String {
    format!("[PAD{id}]")
}

fn vocabulary(metadata: &TokenizerMetadata) -> Value {
    let is_token =
        |&(id, token): &(usize, &String)| metadata.token_types[id] != TokenType::Unused || *token != placeholder(id);
    metadata
        .tokens
        .iter()
        .enumerate()
        .filter(is_token)
        .map(|(id, token)| (token.clone(), json!(id)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// Every way to build a token from two others, the tokens with the highest scores first; among the ways for one
/// token, and among tokens of one score, in the order of transformers' `generate_merges`.
pub(super) fn merges_from_scores(metadata: &TokenizerMetadata) -> Vec<[&str; 2]> {
    let scores = metadata.scores.as_deref().unwrap_or_default();
    let ids: HashMap<&str, usize> =
        metadata.tokens.iter().enumerate().map(|(id, token)| (token.as_str(), id)).collect();
    let mut merges = Vec::new();
    for (token, &score) in metadata.tokens.iter().zip(scores) {
        let mut of_token: Vec<(usize, usize, [&str; 2])> = token
            .char_indices()
            .skip(1)
            .filter_map(|(at, _)| {
                let (left, right) = token.split_at(at);
                Some((*ids.get(left)?, *ids.get(right)?, [left, right]))
            })
            .collect();
        of_token.sort_unstable_by_key(|&(left, right, _)| (left, right));
        merges.extend(of_token.into_iter().map(|(_, _, pair)| (score, pair)));
    }
    let length = |text: &str| text.chars().count();
    merges.sort_by(|(score, pair), (other, others)| {
        let key = |pair: &[&str; 2]| pair.map(length);
        other.total_cmp(score).then_with(|| key(others).cmp(&key(pair)))
    });
    merges.into_iter().map(|(_, pair)| pair).collect()
}

/// Tokens that texts are searched for as a whole: control tokens, and those that were added by a user.
fn added_tokens(metadata: &TokenizerMetadata) -> Value {
    let added = metadata.tokens.iter().zip(&metadata.token_types).enumerate();
    let added =
        added.filter(|(_, (_, kind))| matches!(kind, TokenType::Control | TokenType::UserDefined | TokenType::Unknown));
    added
        .map(|(id, (token, kind))| {
            json!({
                "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": *kind != TokenType::UserDefined,
            })
        })
        .collect()
}

/// A post-processor that puts one token before a text and one after it.
fn framed(first: Option<(&str, u32)>, last: Option<(&str, u32)>) -> Value {
    let special = |token: Option<(&str, u32)>, text: u32| {
        token.map(|(token, _)| json!({"SpecialToken": {"id": token, "type_id": text}}))
    };
    let texts = |names: &[&str]| -> Value {
        let sequences = (0..).zip(names).map(|(text, name)| json!({"Sequence": {"id": name, "type_id": text}}));
        let end = special(last, names.len() as u32 - 1);
        special(first, 0).into_iter().chain(sequences).chain(end).collect()
    };
    let tokens = [first, last].into_iter().flatten();
    let tokens: serde_json::Map<String, Value> =
        tokens.map(|(token, id)| (token.to_owned(), json!({"id": token, "ids": [id], "tokens": [token]}))).collect();
    json!({"type": "TemplateProcessing", "single": texts(&["A"]), "pair": texts(&["A", "B"]), "special_tokens": tokens})
}
