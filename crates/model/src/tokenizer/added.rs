//! Tokens that a folder defines outside `tokenizer.json`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value};
use tokenizers::AddedToken;

use super::SpecialTokens;
use super::guard::guarded;
use crate::folder::{FolderError, read_json_if_present};

/// Adds the tokens of `added_tokens_decoder` in `tokenizer_config.json`, or else those of `added_tokens.json`, to
/// the tokens of `tokenizer.json`, and makes the special tokens that the folder names unsplittable, all as
/// transformers does.
pub(super) fn add(
    tokenizer: &mut tokenizers::Tokenizer,
    folder: &Path,
    special: &SpecialTokens,
) -> Result<(), FolderError> {
    let named: BTreeSet<&str> = special.named().into_iter().filter_map(|(_, token)| token.as_deref()).collect();
    let config_path = folder.join("tokenizer_config.json");
    let config = read_json_if_present(&config_path)?.unwrap_or_default();
    let older_path = folder.join("added_tokens.json");
    let (path, listed) = match config.get("added_tokens_decoder") {
        Some(Value::Object(decoder)) => (config_path, listed_by_id(&folder.join("tokenizer_config.json"), decoder)?),
        Some(Value::Null) | None => {
            let listed = read_json_if_present(&older_path)?.unwrap_or_default();
            (older_path.clone(), listed_by_token(&older_path, &listed, &named)?)
        }
        Some(other) => {
            return Err(FolderError::setting(
                config_path,
                "added_tokens_decoder",
                format!("is {other}; an object of tokens by id is expected"),
            ));
        }
    };
    for (id, token) in listed {
        let content = token.content.clone();
        let known = tokenizer.get_added_tokens_decoder().get(&id).is_some_and(|there| *there == token);
        if known || content.is_empty() {
            continue;
        }
        let new = tokenizer.token_to_id(&content).is_none();
        append(tokenizer, token).map_err(|problem| FolderError::Tokenizer { path: path.clone(), problem })?;
        let given = tokenizer.token_to_id(&content);
        if new && given != Some(id) {
            return Err(FolderError::setting(
                path,
                format!("`{content}`"),
                format!(
                    "has the id {id}, but the next id after those of tokenizer.json is {}: the two files do not belong \
                     together",
                    given.unwrap_or_default()
                ),
            ));
        }
    }
    for token in named {
        let added = tokenizer.get_added_vocabulary().get_vocab().contains_key(token);
        if !added && tokenizer.token_to_id(token).is_some() {
            let token = AddedToken::from(token, true).normalized(false);
            append(tokenizer, token).map_err(|problem| FolderError::Tokenizer { path: path.clone(), problem })?;
        }
    }
    Ok(())
}

fn append(tokenizer: &mut tokenizers::Tokenizer, token: AddedToken) -> Result<(), String> {
    guarded(|| {
        tokenizer.add_tokens(&[token]);
        Ok(())
    })
}

/// `{"260": {"content": "<note>", "special": true, ...}}`
fn listed_by_id(path: &Path, decoder: &Map<String, Value>) -> Result<BTreeMap<u32, AddedToken>, FolderError> {
    let read = |(id, entry): (&String, &Value)| {
        let wrong = |problem: String| FolderError::setting(path, format!("added_tokens_decoder.{id}"), problem);
        let number = id.parse().map_err(|_| wrong("is not a token id".into()))?;
        let content = match entry {
            Value::String(content) => content,
            _ => entry.get("content").and_then(Value::as_str).ok_or_else(|| wrong("has no `content`".into()))?,
        };
        let flag = |key: &str, default: bool| entry.get(key).and_then(Value::as_bool).unwrap_or(default);
        let special = flag("special", false);
        let token = AddedToken::from(content, special)
            .single_word(flag("single_word", false))
            .lstrip(flag("lstrip", false))
            .rstrip(flag("rstrip", false))
            .normalized(flag("normalized", !special));
        Ok((number, token))
    };
    decoder.iter().map(read).collect()
}

/// `{"<note>": 260}`; those that the folder names as special tokens are special.
fn listed_by_token(
    path: &Path,
    listed: &Map<String, Value>,
    named: &BTreeSet<&str>,
) -> Result<BTreeMap<u32, AddedToken>, FolderError> {
    let read = |(content, id): (&String, &Value)| {
        let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
        let id = id.ok_or_else(|| FolderError::setting(path, content, "has no token id"))?;
        Ok((id, AddedToken::from(content, named.contains(content.as_str()))))
    };
    listed.iter().map(read).collect()
}
