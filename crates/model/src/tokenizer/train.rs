//! Trains a byte-level BPE for small models.

use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, Result,
    SplitDelimiterBehavior, TokenizerBuilder,
};

/// How a byte-level BPE is trained.
///
/// Texts are split into pieces that are never merged with each other:
/// - runs of JSON structure, from the end of one value to the start of the next (`","type":"`), so
///   that a decision such as "another entity or none" is one token, and so that no token mixes
///   structure with the value beside it;
/// - escape sequences inside JSON strings;
/// - words without the spaces around them, so that every token of a span is the same in running text
///   and in a JSON string, wherever the span starts and ends: copying then works alike for every word,
///   and the end of a span is decided at one token, a space or a quote. Hyphenated words (and labels) are
///   one piece;
/// - punctuation, and white space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BpeOptions {
    /// Number of tokens, including the 256 bytes and the special tokens.
    pub vocabulary_size: usize,
    /// A pair of tokens is merged only if it occurs at least this often.
    pub min_frequency: u64,
    /// Special tokens in the order of their ids, which begin at 0. Must include `end` and `pad`.
    pub special: Vec<String>,
    /// The token that ends a turn.
    pub end: String,
    /// The padding token.
    pub pad: String,
}

impl Default for BpeOptions {
    fn default() -> Self {
        Self {
            vocabulary_size: 1024,
            min_frequency: 2,
            special: ["<|pad|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"].map(String::from).into(),
            end: "<|end|>".into(),
            pad: "<|pad|>".into(),
        }
    }
}

/// Alternatives are tried from left to right, so that structure wins over punctuation. Structure
/// is recognised by its keys (`"key":`), which text inside a JSON string cannot imitate because
/// its quotes are escaped there.
const PIECES: &str = concat!(
    // An escape sequence.
    r#"\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})"#,
    // The end of a value, if any, one or more keys, and the start of a value.
    r#"|(?:\{|",|,|"?\},\{|"?\}\],)?(?:"[\w -]+":(?:"|\[\{|\[\]\}|\[\],|))+"#,
    // The end of an item, a list or the answer.
    r#"|"\}(?:\]\}?)?|\}\]\}"#,
    r#"|\w+(?:-\w+)*"#,
    r#"|["\\]"#,
    r#"|[^\w\s"\\]+"#,
    r#"|\s+"#,
);

pub(super) fn train<S: AsRef<str> + Send>(
    texts: impl Iterator<Item = S> + Send,
    options: &BpeOptions,
) -> Result<tokenizers::Tokenizer> {
    let split = Split::new(SplitPattern::Regex(PIECES.into()), SplitDelimiterBehavior::Isolated, false)?;
    let bytes = ByteLevel::new(false, false, false);
    let pieces = Sequence::new(vec![split.into(), bytes.into()]);
    let mut tokenizer =
        TokenizerBuilder::<BPE, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>::new()
            .with_model(BPE::default())
            .with_normalizer(None)
            .with_pre_tokenizer(Some(pieces.into()))
            .with_post_processor(None)
            .with_decoder(Some(bytes.into()))
            .build()?;
    let special = options.special.iter().map(|token| AddedToken::from(token.as_str(), true).normalized(false));
    let mut trainer = BpeTrainer::builder()
        .show_progress(false)
        .vocab_size(options.vocabulary_size)
        .min_frequency(options.min_frequency)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(special.collect())
        .build();
    tokenizer.train(&mut trainer, texts)?;
    // Through JSON, so that a trained tokenizer is identical to a reloaded one.
    tokenizers::Tokenizer::from_bytes(tokenizer.to_string(false)?.as_bytes())
}
