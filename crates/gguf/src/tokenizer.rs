//! The metadata that describes a tokenizer.

use crate::error::MetadataError;
use crate::metadata::Metadata;

const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";
const TOKENS: &str = "tokenizer.ggml.tokens";
const TOKEN_TYPES: &str = "tokenizer.ggml.token_type";
const SCORES: &str = "tokenizer.ggml.scores";
const MERGES: &str = "tokenizer.ggml.merges";
const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";
const ADD_EOS: &str = "tokenizer.ggml.add_eos_token";
const ADD_SPACE_PREFIX: &str = "tokenizer.ggml.add_space_prefix";
const CHAT_TEMPLATE: &str = "tokenizer.chat_template";

/// The vocabulary of a model, and how text is turned into its tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenizerMetadata {
    /// The kind of tokenizer.
    pub model: TokenizerModel,
    /// The name of the pre-tokenizer, which splits text into words (`qwen2`, `llama-bpe`).
    pub pre: Option<String>,
    /// The text of every token. At least one.
    pub tokens: Vec<String>,
    /// The kind of every token. All are normal if the file doesn't say.
    pub token_types: Vec<TokenType>,
    /// The score of every token. Always present for [`TokenizerModel::Llama`].
    pub scores: Option<Vec<f32>>,
    /// Pairs of texts that are merged, in the order of their priority. Empty for
    /// [`TokenizerModel::Llama`].
    pub merges: Vec<(String, String)>,
    /// Tokens with a special meaning.
    pub special: SpecialTokens,
    /// Whether the beginning-of-text token is put before a text.
    pub add_bos: Option<bool>,
    /// Whether the end-of-text token is put after a text.
    pub add_eos: Option<bool>,
    /// Whether a space is put before a text.
    pub add_space_prefix: Option<bool>,
    /// The chat template, in Jinja.
    pub chat_template: Option<String>,
}

/// The kind of a tokenizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenizerModel {
    /// Byte-level byte-pair encoding (`gpt2`).
    Gpt2,
    /// SentencePiece's byte-pair encoding with scores (`llama`).
    Llama,
}

impl TokenizerModel {
    /// The name in `tokenizer.ggml.model`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gpt2 => "gpt2",
            Self::Llama => "llama",
        }
    }
}

/// The kind of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenType {
    /// Text.
    Normal,
    /// Stands for text that isn't in the vocabulary.
    Unknown,
    /// A control token, which ordinary text never produces.
    Control,
    /// A token that was added to the vocabulary and is matched as a whole.
    UserDefined,
    /// An unused entry of the vocabulary.
    Unused,
    /// A single byte.
    Byte,
}

impl TokenType {
    fn from_code(code: i32) -> Option<Self> {
        Some(match code {
            1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => return None,
        })
    }

    fn code(self) -> i32 {
        match self {
            Self::Normal => 1,
            Self::Unknown => 2,
            Self::Control => 3,
            Self::UserDefined => 4,
            Self::Unused => 5,
            Self::Byte => 6,
        }
    }
}

/// The ids of tokens with a special meaning. Each is below the number of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Beginning of a text.
    pub bos: Option<u32>,
    /// End of a text.
    pub eos: Option<u32>,
    /// End of a turn of a chat.
    pub eot: Option<u32>,
    /// End of a message that continues.
    pub eom: Option<u32>,
    /// Text that isn't in the vocabulary.
    pub unknown: Option<u32>,
    /// Separator of texts.
    pub separator: Option<u32>,
    /// Padding.
    pub padding: Option<u32>,
}

impl SpecialTokens {
    /// Each id with its key. The spelling `seperator` is the format's.
    fn with_keys(&mut self) -> [(&'static str, &mut Option<u32>); 7] {
        [
            ("tokenizer.ggml.bos_token_id", &mut self.bos),
            ("tokenizer.ggml.eos_token_id", &mut self.eos),
            ("tokenizer.ggml.eot_token_id", &mut self.eot),
            ("tokenizer.ggml.eom_token_id", &mut self.eom),
            ("tokenizer.ggml.unknown_token_id", &mut self.unknown),
            ("tokenizer.ggml.seperator_token_id", &mut self.separator),
            ("tokenizer.ggml.padding_token_id", &mut self.padding),
        ]
    }
}

fn unexpected(key: &str, found: String, expected: impl Into<String>) -> MetadataError {
    MetadataError::Unexpected { key: key.to_owned(), found, expected: expected.into() }
}

impl TokenizerMetadata {
    /// Reads the metadata of a model.
    ///
    /// Fails for other kinds of tokenizers, and if arrays or ids don't match the number of tokens.
    pub fn read(metadata: &Metadata) -> Result<Self, MetadataError> {
        let model = match metadata.required::<&str>(MODEL)? {
            "gpt2" => TokenizerModel::Gpt2,
            "llama" => TokenizerModel::Llama,
            other => {
                return Err(MetadataError::Unsupported {
                    key: MODEL.to_owned(),
                    found: format!("{other:?}"),
                    supported: "gpt2, llama",
                });
            }
        };
        let tokens = metadata.required::<&[String]>(TOKENS)?.to_vec();
        if tokens.is_empty() {
            return Err(unexpected(TOKENS, "empty".to_owned(), "at least one token"));
        }
        let scores: Option<&[f32]> = match model {
            TokenizerModel::Gpt2 => metadata.optional(SCORES)?,
            TokenizerModel::Llama => Some(metadata.required(SCORES)?),
        };
        if let Some(scores) = scores {
            expect_one_each(SCORES, scores.len(), tokens.len())?;
        }
        let merges = match model {
            TokenizerModel::Gpt2 => merges(metadata.required(MERGES)?)?,
            TokenizerModel::Llama => Vec::new(),
        };
        let mut special = SpecialTokens::default();
        for (key, id) in special.with_keys() {
            *id = metadata.optional(key)?;
            if let Some(id) = id.filter(|&id| id as usize >= tokens.len()) {
                return Err(unexpected(
                    key,
                    id.to_string(),
                    format!("an id below {}, the number of tokens", tokens.len()),
                ));
            }
        }
        let text = |key| Ok(metadata.optional::<&str>(key)?.map(str::to_owned));
        Ok(Self {
            model,
            pre: text(PRE)?,
            token_types: token_types(metadata, tokens.len())?,
            scores: scores.map(<[f32]>::to_vec),
            merges,
            special,
            add_bos: metadata.optional(ADD_BOS)?,
            add_eos: metadata.optional(ADD_EOS)?,
            add_space_prefix: metadata.optional(ADD_SPACE_PREFIX)?,
            chat_template: text(CHAT_TEMPLATE)?,
            tokens,
        })
    }

    /// Adds the keys that describe the tokenizer.
    pub fn write(&self, metadata: &mut Metadata) {
        metadata.insert(MODEL, self.model.name());
        metadata.insert_some(PRE, self.pre.clone());
        metadata.insert(TOKENS, self.tokens.clone());
        metadata.insert_some(SCORES, self.scores.clone());
        metadata.insert(TOKEN_TYPES, self.token_types.iter().map(|token_type| token_type.code()).collect::<Vec<i32>>());
        if self.model == TokenizerModel::Gpt2 {
            let merges: Vec<String> = self.merges.iter().map(|(left, right)| format!("{left} {right}")).collect();
            metadata.insert(MERGES, merges);
        }
        let mut special = self.special;
        for (key, id) in special.with_keys() {
            metadata.insert_some(key, *id);
        }
        metadata.insert_some(ADD_BOS, self.add_bos);
        metadata.insert_some(ADD_EOS, self.add_eos);
        metadata.insert_some(ADD_SPACE_PREFIX, self.add_space_prefix);
        metadata.insert_some(CHAT_TEMPLATE, self.chat_template.clone());
    }
}

fn expect_one_each(key: &str, found: usize, tokens: usize) -> Result<(), MetadataError> {
    if found == tokens {
        return Ok(());
    }
    Err(unexpected(key, format!("an array of {found}"), format!("{tokens}, one for each token")))
}

fn token_types(metadata: &Metadata, tokens: usize) -> Result<Vec<TokenType>, MetadataError> {
    let Some(codes) = metadata.optional::<&[i32]>(TOKEN_TYPES)? else {
        return Ok(vec![TokenType::Normal; tokens]);
    };
    expect_one_each(TOKEN_TYPES, codes.len(), tokens)?;
    let types = codes.iter().enumerate().map(|(index, &code)| {
        TokenType::from_code(code)
            .ok_or_else(|| unexpected(TOKEN_TYPES, format!("{code} for token {index}"), "a type from 1 to 6"))
    });
    types.collect()
}

/// Splits merges at their space. The first text has at least one character, which may be a space.
fn merges(merges: &[String]) -> Result<Vec<(String, String)>, MetadataError> {
    let split = |(index, merge): (usize, &String)| {
        let first = merge.chars().next().map_or(0, char::len_utf8);
        let (left, right) = merge[first..]
            .find(' ')
            .map(|space| (&merge[..first + space], &merge[first + space + 1..]))
            .filter(|(_, right)| !right.is_empty())
            .ok_or_else(|| unexpected(MERGES, format!("{merge:?} at {index}"), "two texts separated by a space"))?;
        Ok((left.to_owned(), right.to_owned()))
    };
    merges.iter().enumerate().map(split).collect()
}
