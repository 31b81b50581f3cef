//! A tokenizer as metadata, or what keeps llama.cpp from splitting texts as it does.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};
use tabpo_gguf::{SpecialTokens, TokenType, TokenizerMetadata, TokenizerModel};

use super::probes;
use crate::folder::FolderError;
use crate::gguf::pre_tokenizer::{self, KNOWN};
use crate::gguf::tokenizer::{BLANK, merges_from_scores, placeholder, read};
use crate::tokenizer::Tokenizer;

/// The most tokens that can end an answer: a file names the end of a text, of a turn and of a message.
const MOST_STOPS: usize = 3;

/// The metadata of a tokenizer for a model with `vocabulary` rows of embeddings, whose answers end with `stops`.
///
/// What is written is read again, and must turn a number of difficult texts into the same tokens.
pub(super) fn metadata(
    tokenizer: &Tokenizer,
    vocabulary: usize,
    stops: &[u32],
) -> Result<TokenizerMetadata, FolderError> {
    let json = tokenizer.to_json()?;
    let refuse = |problem: String| tokenizer.refused(&problem);
    let model = json["model"].as_object().ok_or_else(|| refuse("has no model".into()))?;
    if model.get("type").and_then(Value::as_str) != Some("BPE") {
        let found = model.get("type").unwrap_or(&Value::Null);
        return Err(refuse(format!("has a model of type {found}; only byte-pair encoding can be written as GGUF")));
    }
    for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
        if model.get(key).and_then(Value::as_str).is_some_and(|text| !text.is_empty()) {
            return Err(refuse(format!("has a `{key}`, which GGUF does not have")));
        }
    }
    let (tokens, mut token_types) = tokens(tokenizer, &json, vocabulary)?;
    let merges = merges(model).ok_or_else(|| refuse("has merges that are not pairs of texts".into()))?;
    let bytes = model.get("byte_fallback") == Some(&Value::Bool(true));
    let mut metadata = TokenizerMetadata {
        model: if bytes { TokenizerModel::Llama } else { TokenizerModel::Gpt2 },
        pre: None,
        tokens,
        token_types: Vec::new(),
        scores: None,
        merges: Vec::new(),
        special: special_tokens(tokenizer, model, stops)?,
        add_bos: None,
        add_eos: None,
        add_space_prefix: None,
        chat_template: None,
    };
    if bytes {
        sentence_piece(tokenizer, &json, &mut metadata, &mut token_types, &merges)?;
    } else {
        byte_level(tokenizer, &json, &mut metadata, merges)?;
    }
    metadata.token_types = token_types;
    frame(tokenizer, &mut metadata)?;
    let again = read(&metadata, tokenizer.path())?;
    match probes::first_difference(tokenizer, &again)? {
        None => Ok(metadata),
        Some(text) => Err(refuse(format!(
            "turns {text:?} into other tokens than llama.cpp would: this tokenizer cannot be written as GGUF"
        ))),
    }
}

/// Brings the metadata of another file to `vocabulary` tokens, for a model whose embedding was resized.
pub(super) fn resize(metadata: &mut TokenizerMetadata, vocabulary: usize) -> Result<(), usize> {
    let tokens = metadata.tokens.len();
    if tokens > vocabulary {
        return Err(tokens);
    }
    metadata.tokens.extend((tokens..vocabulary).map(placeholder));
    metadata.token_types.resize(vocabulary, TokenType::Unused);
    if let Some(scores) = &mut metadata.scores {
        scores.resize(vocabulary, 0.0);
    }
    Ok(())
}

/// The texts of all ids and their kinds. Ids without a token get a name that no text is split into.
fn tokens(
    tokenizer: &Tokenizer,
    json: &Value,
    vocabulary: usize,
) -> Result<(Vec<String>, Vec<TokenType>), FolderError> {
    let refuse = |problem: String| tokenizer.refused(&problem);
    let mut tokens: Vec<Option<String>> = vec![None; vocabulary];
    let mut types = vec![TokenType::Unused; vocabulary];
    let mut place = |token: &str, id: Option<u64>, kind: TokenType| {
        let slot = id.and_then(|id| usize::try_from(id).ok()).filter(|&id| id < vocabulary).ok_or_else(|| {
            refuse(format!(
                "gives the token `{token}` the id {}, but the model has embeddings for {vocabulary} ids only: its embedding \
                 must be resized to the tokenizer first",
                id.unwrap_or_default()
            ))
        })?;
        tokens[slot] = Some(token.to_owned());
        types[slot] = kind;
        Ok(())
    };
    for (token, id) in json["model"]["vocab"].as_object().into_iter().flatten() {
        place(token, id.as_u64(), TokenType::Normal)?;
    }
    for added in json["added_tokens"].as_array().into_iter().flatten() {
        let token = added["content"].as_str().unwrap_or_default();
        for key in ["lstrip", "rstrip", "single_word"] {
            if added[key] == true {
                return Err(refuse(format!("has `{key}` for the token `{token}`, which GGUF cannot say")));
            }
        }
        let kind = if added["special"] == true { TokenType::Control } else { TokenType::UserDefined };
        place(token, added["id"].as_u64(), kind)?;
    }
    let taken: HashSet<String> = tokens.iter().flatten().cloned().collect();
    let named = tokens.into_iter().enumerate().map(|(id, token)| match token {
        Some(token) => Ok(token),
        None if taken.contains(&placeholder(id)) => Err(refuse(format!(
            "has the token `{}`, which is the name that GGUF gives the id {id} without a token",
            placeholder(id)
        ))),
        None => Ok(placeholder(id)),
    });
    Ok((named.collect::<Result<_, _>>()?, types))
}

fn merges(model: &Map<String, Value>) -> Option<Vec<(String, String)>> {
    let pair = |merge: &Value| match merge {
        Value::Array(pair) => match &pair[..] {
            [Value::String(left), Value::String(right)] => Some((left.clone(), right.clone())),
            _ => None,
        },
        Value::String(pair) => pair.split_once(' ').map(|(left, right)| (left.to_owned(), right.to_owned())),
        _ => None,
    };
    model.get("merges").and_then(Value::as_array).map_or(Some(Vec::new()), |merges| merges.iter().map(pair).collect())
}

fn special_tokens(
    tokenizer: &Tokenizer,
    model: &Map<String, Value>,
    stops: &[u32],
) -> Result<SpecialTokens, FolderError> {
    let named = tokenizer.special();
    let id = |token: &Option<String>| token.as_deref().and_then(|token| tokenizer.token_id(token));
    let unknown = model.get("unk_token").and_then(Value::as_str).and_then(|token| tokenizer.token_id(token));
    let mut special = SpecialTokens {
        bos: id(&named.bos),
        unknown: id(&named.unknown).or(unknown),
        separator: id(&named.separator),
        padding: id(&named.pad),
        ..SpecialTokens::default()
    };
    // llama.cpp would take a token of its own choice for the end of texts.
    special.eos = id(&named.eos).or_else(|| stops.first().copied());
    if special.eos.is_none() {
        return Err(tokenizer.refused(
            "has no token that ends an answer: name it as `eos_token` in tokenizer_config.json or as `eos_token_id` in \
             generation_config.json",
        ));
    }
    let mut others: Vec<u32> = stops.iter().copied().filter(|&stop| Some(stop) != special.eos).collect();
    if let Some(at) = others.iter().position(|&stop| tokenizer.token(stop).as_deref() == Some("<|eom_id|>")) {
        special.eom = Some(others.remove(at));
    }
    for stop in others {
        let slot = [&mut special.eot, &mut special.eom].into_iter().find(|slot| slot.is_none());
        *slot.ok_or_else(|| {
            let names: Vec<String> = stops.iter().filter_map(|&stop| tokenizer.token(stop)).collect();
            tokenizer.refused(&format!(
                "answers end with any of {} tokens ({}); GGUF has room for {MOST_STOPS}: name fewer in \
                 generation_config.json",
                stops.len(),
                names.join(", ")
            ))
        })? = Some(stop);
    }
    Ok(special)
}

/// Completes the metadata of a byte-level tokenizer.
fn byte_level(
    tokenizer: &Tokenizer,
    json: &Value,
    metadata: &mut TokenizerMetadata,
    merges: Vec<(String, String)>,
) -> Result<(), FolderError> {
    let ignore_merges = json["model"]["ignore_merges"] == true;
    let pre = pre_tokenizer::name_of(&json["normalizer"], &json["pre_tokenizer"], ignore_merges).ok_or_else(|| {
        tokenizer.refused(&format!(
            "splits texts into words in a way that llama.cpp has no name for, so only a folder can hold this model; GGUF \
             has names for the ways of {KNOWN}"
        ))
    })?;
    if let Some((left, right)) = merges.iter().find(|(left, right)| [left, right].iter().any(|text| text.contains(' ')))
    {
        return Err(tokenizer.refused(&format!("merges {left:?} with {right:?}; a merge in GGUF has no spaces")));
    }
    metadata.pre = Some(pre.to_owned());
    metadata.merges = merges;
    Ok(())
}

/// Completes the metadata of a tokenizer in SentencePiece's way, whose merges become scores.
fn sentence_piece(
    tokenizer: &Tokenizer,
    json: &Value,
    metadata: &mut TokenizerMetadata,
    types: &mut [TokenType],
    merges: &[(String, String)],
) -> Result<(), FolderError> {
    metadata.pre = Some("default".to_owned());
    metadata.add_space_prefix = Some(space_prefix(json).ok_or_else(|| {
        tokenizer.refused(
            "treats the spaces of texts in a way that llama.cpp does not know; known are a blank before every text and after \
             every special token, and none",
        )
    })?);
    for (token, kind) in metadata.tokens.iter().zip(types.iter_mut()).filter(|(_, kind)| **kind == TokenType::Normal) {
        let digits = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
        if digits.is_some_and(|digits| digits.len() == 2 && u8::from_str_radix(digits, 16).is_ok()) {
            *kind = TokenType::Byte;
        }
    }
    if let Some(unknown) = metadata.special.unknown {
        types[unknown as usize] = TokenType::Unknown;
    }
    // A token that is merged earlier has a higher score; what is never merged has the lowest.
    let mut scores: HashMap<String, f32> = HashMap::new();
    for (left, right) in merges {
        let next = -(scores.len() as f32) - 1.0;
        scores.entry(format!("{left}{right}")).or_insert(next);
    }
    let lowest = -(scores.len() as f32) - 1.0;
    let score = |(token, kind): (&String, &TokenType)| match kind {
        TokenType::Normal => scores.get(token).copied().unwrap_or(lowest),
        _ => 0.0,
    };
    metadata.scores = Some(metadata.tokens.iter().zip(types.iter()).map(score).collect());
    let again = merges_from_scores(metadata);
    if again.len() != merges.len() || again.iter().zip(merges).any(|(a, (left, right))| *a != [left, right]) {
        return Err(tokenizer.refused(
            "merges its tokens in an order that does not follow from one score a token, which is all that GGUF has for \
             tokenizers with a fallback to bytes",
        ));
    }
    Ok(())
}

/// Whether a blank is put before every piece of text; `None` if blanks are treated in another way.
fn space_prefix(json: &Value) -> Option<bool> {
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": BLANK});
    let prepend = json!({"type": "Prepend", "prepend": BLANK});
    let (normalizer, splitter) = (&json["normalizer"], &json["pre_tokenizer"]);
    if splitter.is_null() {
        return match normalizer["normalizers"].as_array().map(Vec::as_slice) {
            Some([first, second]) if *first == prepend && *second == replace => Some(true),
            Some([only]) if *only == replace => Some(false),
            None if *normalizer == replace => Some(false),
            _ => None,
        };
    }
    let is_metaspace =
        splitter["type"] == "Metaspace" && splitter["replacement"] == BLANK && splitter["split"] == false;
    match splitter["prepend_scheme"].as_str() {
        Some("always") if is_metaspace && normalizer.is_null() => Some(true),
        Some("never") if is_metaspace && normalizer.is_null() => Some(false),
        _ => None,
    }
}

/// Finds out which tokens the tokenizer itself puts around a text.
fn frame(tokenizer: &Tokenizer, metadata: &mut TokenizerMetadata) -> Result<(), FolderError> {
    let (bare, framed) = (tokenizer.encode("a")?, tokenizer.encode_bare("a")?);
    let special = &mut metadata.special;
    let at = framed.windows(bare.len()).position(|window| window == bare);
    let around = at.map(|at| (&framed[..at], &framed[at + bare.len()..]));
    let (first, last) = match around {
        Some(([], last)) => (None, last),
        Some(([first], last)) if special.bos.is_none_or(|bos| bos == *first) => (Some(*first), last),
        _ => return Err(tokenizer.refused("puts tokens before a text that are not its `bos_token`")),
    };
    if !(last.is_empty() || Some(last) == special.eos.as_ref().map(std::slice::from_ref)) {
        return Err(tokenizer.refused("puts tokens after a text that are not its `eos_token`"));
    }
    special.bos = special.bos.or(first);
    metadata.add_bos = Some(first.is_some());
    metadata.add_eos = Some(!last.is_empty());
    Ok(())
}
