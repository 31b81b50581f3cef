//! Special tokens, from `tokenizer_config.json` and `generation_config.json`.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::folder::{FolderError, read_json_if_present};

/// The spelling of the special tokens.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct SpecialTokens {
    /// Beginning of sequence.
    pub bos: Option<String>,
    /// End of sequence, or of a turn.
    pub eos: Option<String>,
    /// Padding.
    pub pad: Option<String>,
    /// Replaces text outside the vocabulary.
    pub unknown: Option<String>,
    /// Separator of texts.
    pub separator: Option<String>,
    /// Represents a whole text.
    pub class: Option<String>,
    /// Replaces a hidden token.
    pub mask: Option<String>,
}

impl SpecialTokens {
    pub(super) fn read(folder: &Path) -> Result<Self, FolderError> {
        let mut tokens = Self::default();
        let mut files = Vec::new();
        for name in ["tokenizer_config.json", "special_tokens_map.json"] {
            let path = folder.join(name);
            files.extend(read_json_if_present(&path)?.map(|config| (path, config)));
        }
        // The first file that names a token takes precedence. As in transformers the older file, the map, is
        // read first unless the newer one lists the added tokens.
        if files.first().is_some_and(|(_, config)| !config.contains_key("added_tokens_decoder")) {
            files.reverse();
        }
        for (path, config) in &files {
            for (key, slot) in tokens.named_mut() {
                if slot.is_none() {
                    *slot = spelling(path, key, config.get(key))?;
                }
            }
        }
        Ok(tokens)
    }

    /// Every token with its name in `tokenizer_config.json` and in chat templates.
    pub(crate) fn named(&self) -> [(&'static str, &Option<String>); 7] {
        [
            ("bos_token", &self.bos),
            ("eos_token", &self.eos),
            ("pad_token", &self.pad),
            ("unk_token", &self.unknown),
            ("sep_token", &self.separator),
            ("cls_token", &self.class),
            ("mask_token", &self.mask),
        ]
    }

    fn named_mut(&mut self) -> [(&'static str, &mut Option<String>); 7] {
        [
            ("bos_token", &mut self.bos),
            ("eos_token", &mut self.eos),
            ("pad_token", &mut self.pad),
            ("unk_token", &mut self.unknown),
            ("sep_token", &mut self.separator),
            ("cls_token", &mut self.class),
            ("mask_token", &mut self.mask),
        ]
    }

    pub(super) fn to_config(&self) -> Value {
        let mut config = Map::new();
        config.insert("tokenizer_class".into(), json!("PreTrainedTokenizerFast"));
        config.insert("clean_up_tokenization_spaces".into(), json!(false));
        for (key, token) in self.named() {
            if let Some(token) = token {
                config.insert(key.into(), json!(token));
            }
        }
        Value::Object(config)
    }
}

/// Reads a token, which is a string or an object with its `content`.
fn spelling(path: &Path, key: &str, value: Option<&Value>) -> Result<Option<String>, FolderError> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(token)) => Ok(Some(token.clone())),
        Some(Value::Object(token)) => match token.get("content") {
            Some(Value::String(content)) => Ok(Some(content.clone())),
            _ => Err(FolderError::setting(path, key, "has no `content`")),
        },
        Some(other) => Err(FolderError::setting(path, key, format!("is {other}; a string is expected"))),
    }
}

/// `eos_token_id` of `generation_config.json`, or else of `config.json`.
pub(super) fn generation_stop_ids(folder: &Path) -> Result<Vec<u32>, FolderError> {
    for name in ["generation_config.json", "config.json"] {
        let path = folder.join(name);
        let Some(config) = read_json_if_present(&path)? else { continue };
        let wrong = |value: &Value| {
            FolderError::setting(&path, "eos_token_id", format!("is {value}; a token id or a list of them is expected"))
        };
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or_else(|| wrong(value));
        return match config.get("eos_token_id") {
            None | Some(Value::Null) => continue,
            Some(Value::Array(ids)) => ids.iter().map(id).collect(),
            Some(value) => Ok(vec![id(value)?]),
        };
    }
    Ok(Vec::new())
}
