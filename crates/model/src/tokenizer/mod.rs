//! Text to token ids and back.
//!
//! A tokenizer is a Hugging Face `tokenizer.json`, read from a model folder or trained by
//! [`Tokenizer::train`]. It gives the byte range of every token, from which the token's role follows, and the
//! ids that end a turn.

mod added;
mod guard;
mod normalizers;
mod special;
mod text;
mod train;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use tokenizers::DecoderWrapper;

use crate::folder::{FolderError, remedy, write_atomically, write_json};
use crate::gguf::{self, is_gguf_file};

pub(crate) use guard::guarded;
use text::Controls;

pub use special::SpecialTokens;
pub use train::BpeOptions;

/// A text as tokens.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Encoding {
    /// Token ids.
    pub ids: Vec<u32>,
    /// For every token its byte range in the text, in order. Tokens that share one
    /// multi-byte character all have the range of the whole character.
    pub ranges: Vec<Range<usize>>,
}

/// A tokenizer with its special tokens. Cheap to share, immutable after loading.
#[derive(Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    special: SpecialTokens,
    stop_ids: Vec<u32>,
    controls: Controls,
    /// Whether the tokens of a text do not depend on what precedes it: true for byte-level tokenizers after
    /// special tokens, false for those that prepend a space to every text.
    position_free: bool,
    /// The file of the tokenizer, for error messages.
    path: PathBuf,
}

impl Tokenizer {
    /// Reads `tokenizer.json`, `tokenizer_config.json` (or `special_tokens_map.json`) and
    /// `generation_config.json` of a model folder; only the first must exist.
    ///
    /// The tokenizer of a GGUF file comes from its metadata.
    pub fn open(folder: &Path) -> Result<Self, FolderError> {
        if is_gguf_file(folder) {
            return gguf::tokenizer(folder);
        }
        let path = folder.join("tokenizer.json");
        if !path.exists() && ["tokenizer.model", "vocab.json"].iter().any(|name| folder.join(name).exists()) {
            return Err(FolderError::other_content(
                path,
                "is missing, and there is only a tokenizer in an older format: load it with AutoTokenizer.from_pretrained of \
                 transformers and save it with save_pretrained, which writes tokenizer.json",
            ));
        }
        let bytes = std::fs::read(&path).map_err(|source| FolderError::Read { path: path.clone(), source })?;
        if let Some(problem) = remedy::instead_of_text(&bytes) {
            return Err(FolderError::other_content(path, problem));
        }
        normalizers::check(&bytes).map_err(|problem| FolderError::Tokenizer { path: path.clone(), problem })?;
        let mut inner = guarded(|| tokenizers::Tokenizer::from_bytes(&bytes)).map_err(|problem| {
            match serde_json::from_slice::<serde::de::IgnoredAny>(&bytes) {
                Err(source) => FolderError::Json { path: path.clone(), source },
                Ok(_) => FolderError::Tokenizer { path: path.clone(), problem },
            }
        })?;
        let special = SpecialTokens::read(folder)?;
        added::add(&mut inner, folder, &special)?;
        Self::assemble(inner, special, path, &special::generation_stop_ids(folder)?)
    }

    /// A tokenizer from the text of a `tokenizer.json`; `path` is for error messages.
    pub(crate) fn from_json(
        json: &[u8],
        special: SpecialTokens,
        path: &Path,
        stop_ids: &[u32],
    ) -> Result<Self, FolderError> {
        let refused = |problem| FolderError::Tokenizer { path: path.into(), problem };
        let inner = guarded(|| tokenizers::Tokenizer::from_bytes(json)).map_err(refused)?;
        Self::assemble(inner, special, path.into(), stop_ids)
    }

    /// Trains a byte-level BPE; see [`BpeOptions`] for how texts are split into words.
    pub fn train<S: AsRef<str> + Send>(
        texts: impl IntoIterator<Item = S, IntoIter: Send>,
        options: &BpeOptions,
    ) -> Result<Self, FolderError> {
        let inner = train::train(texts.into_iter(), options)
            .map_err(|error| FolderError::Tokenizer { path: "new tokenizer".into(), problem: error.to_string() })?;
        let special = SpecialTokens {
            eos: Some(options.end.clone()),
            pad: Some(options.pad.clone()),
            ..SpecialTokens::default()
        };
        Self::assemble(inner, special, "tokenizer.json".into(), &[])
    }

    fn assemble(
        mut inner: tokenizers::Tokenizer,
        special: SpecialTokens,
        path: PathBuf,
        stop_ids: &[u32],
    ) -> Result<Self, FolderError> {
        // Truncation and padding saved with a tokenizer are settings of its training; here every token
        // counts.
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|error| FolderError::Tokenizer { path: path.clone(), problem: error.to_string() })?;
        let mut stop_ids = stop_ids.to_vec();
        if let Some(eos) = &special.eos {
            let id = inner.token_to_id(eos).ok_or_else(|| {
                FolderError::setting(&path, "eos_token", format!("is `{eos}`, which is not in the vocabulary"))
            })?;
            if !stop_ids.contains(&id) {
                stop_ids.push(id);
            }
        }
        let position_free = inner.get_decoder().is_some_and(is_byte_level);
        let mut named: Vec<String> = special.named().into_iter().filter_map(|(_, token)| token.clone()).collect();
        named.extend(stop_ids.iter().filter_map(|&id| inner.id_to_token(id)));
        let controls = Controls::of(&inner, &named.iter().map(String::as_str).collect::<Vec<_>>());
        Ok(Self { inner, special, stop_ids, controls, position_free, path })
    }

    /// Tokens of a text with their byte ranges. Special tokens that the text spells out become single
    /// tokens; none are added.
    pub fn encode_with_offsets(&self, text: &str) -> Result<Encoding, FolderError> {
        let encoding = guarded(|| self.inner.encode(text, false)).map_err(|problem| self.refused(&problem))?;
        let mut ranges = Vec::with_capacity(encoding.len());
        let mut end = 0;
        for &(token_start, token_end) in encoding.get_offsets() {
            // Some tokenizers exclude the white space around a word from its range; include it.
            let start = token_start.min(end);
            end = token_end.max(end);
            ranges.push(start..end);
        }
        Ok(Encoding { ids: encoding.get_ids().to_vec(), ranges })
    }

    /// Token ids of a text; special tokens are not added.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, FolderError> {
        let encoding = guarded(|| self.inner.encode_fast(text, false)).map_err(|problem| self.refused(&problem))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Token ids of a bare text with the special tokens that the tokenizer itself adds (a
    /// beginning-of-sequence token for the Llama family). Rendered chat templates already contain theirs:
    /// use [`Tokenizer::encode`] for them.
    pub fn encode_bare(&self, text: &str) -> Result<Vec<u32>, FolderError> {
        let encoding = guarded(|| self.inner.encode_fast(text, true)).map_err(|problem| self.refused(&problem))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Tokens of `continuation`, as plain text that follows `prompt`; ranges are relative to the start of the
    /// continuation. The prompt may contain marks; see [`Tokenizer::mark`].
    ///
    /// The prompt's tokens must not depend on the continuation, because at generation time there is none;
    /// a tokenizer that merges across the boundary is an error.
    pub fn encode_continuation(&self, prompt: &str, continuation: &str) -> Result<Encoding, FolderError> {
        let marked = self.mark(continuation);
        if self.position_free {
            return self.encode_marked(&marked);
        }
        let before = self.encode_marked(prompt)?.ids;
        let whole = self.encode_marked(&format!("{prompt}{marked}"))?;
        if !whole.ids.starts_with(&before) {
            return Err(FolderError::Tokenizer {
                path: self.path.clone(),
                problem: format!("merges the end of the prompt with the answer `{}`", head(continuation)),
            });
        }
        let length = Self::unmark(prompt).len();
        Ok(Encoding {
            ids: whole.ids[before.len()..].to_vec(),
            ranges: whole.ranges[before.len()..]
                .iter()
                .map(|range| range.start.saturating_sub(length)..range.end.saturating_sub(length))
                .collect(),
        })
    }

    /// Whether a token is markup rather than text: a special token, or an added one in brackets.
    pub fn is_control(&self, id: u32) -> bool {
        self.controls.contains(id)
    }

    /// The text of some tokens. Bytes that are not valid UTF-8 become replacement characters.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, FolderError> {
        guarded(|| self.inner.decode(ids, skip_special)).map_err(|problem| self.refused(&problem))
    }

    /// Number of tokens, including added ones. A model's embedding may have more rows.
    pub fn vocabulary_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The id of a token.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The spelling of a token in the vocabulary (for a byte-level tokenizer in its byte alphabet).
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The special tokens that the folder names.
    pub fn special(&self) -> &SpecialTokens {
        &self.special
    }

    /// Digest of the vocabulary and of the tokens that stop generation, which log-probabilities of texts depend on.
    pub fn digest(&self) -> [u8; 32] {
        // Sorted, because the vocabulary is a map without a fixed order.
        let mut vocabulary: Vec<_> = self.inner.get_vocab(true).into_iter().collect();
        vocabulary.sort_unstable();
        let mut hasher = blake3::Hasher::new();
        for (token, id) in vocabulary {
            hasher.update(&id.to_le_bytes());
            hasher.update(&(token.len() as u32).to_le_bytes());
            hasher.update(token.as_bytes());
        }
        for id in self.stop_ids() {
            hasher.update(&id.to_le_bytes());
        }
        *hasher.finalize().as_bytes()
    }

    /// Ids that end a turn: those of `generation_config.json`, and the tokenizer's end of sequence.
    pub fn stop_ids(&self) -> &[u32] {
        &self.stop_ids
    }

    /// Writes `tokenizer.json` and `tokenizer_config.json` so that `AutoTokenizer` loads them.
    pub fn save(&self, folder: &Path) -> Result<(), FolderError> {
        let text = self.inner.to_string(true).map_err(|error| self.refused(&error.to_string()))?;
        write_atomically(&folder.join("tokenizer.json"), |out| out.write_all(text.as_bytes()))?;
        write_json(&folder.join("tokenizer_config.json"), &self.special.to_config())
    }

    /// The text of its `tokenizer.json`, with all tokens that were added.
    pub(crate) fn to_json(&self) -> Result<serde_json::Value, FolderError> {
        let text = self.inner.to_string(false).map_err(|error| self.refused(&error.to_string()))?;
        serde_json::from_str(&text).map_err(|error| self.refused(&error.to_string()))
    }

    /// The spellings of all added tokens, which texts are searched for as a whole, in the order of their ids.
    pub(crate) fn added_spellings(&self) -> Vec<String> {
        let added: BTreeMap<_, _> = self.inner.get_added_tokens_decoder().into_iter().collect();
        added.into_values().map(|token| token.content).collect()
    }

    /// The file of the tokenizer.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn refused(&self, problem: &str) -> FolderError {
        FolderError::Tokenizer { path: self.path.clone(), problem: problem.to_owned() }
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Tokenizer")
            .field("path", &self.path)
            .field("vocabulary_size", &self.vocabulary_size())
            .finish_non_exhaustive()
    }
}

fn is_byte_level(decoder: &DecoderWrapper) -> bool {
    match decoder {
        DecoderWrapper::ByteLevel(_) => true,
        DecoderWrapper::Sequence(sequence) => sequence.get_decoders().iter().any(is_byte_level),
        _ => false,
    }
}

/// The first characters of a text, for a message.
fn head(text: &str) -> String {
    text.chars().take(40).collect()
}
