//! The metadata that describes a model's architecture.

use std::fmt;
use std::num::NonZeroU32;

use crate::error::MetadataError;
use crate::metadata::Metadata;
use crate::names::ROPE_FREQUENCIES;
use crate::reader::Gguf;

const ARCHITECTURE_KEY: &str = "general.architecture";
const TOKENS_KEY: &str = "tokenizer.ggml.tokens";
/// The tensor of the output projection, which models with tied embeddings don't have.
const OUTPUT: &str = "output.weight";
/// llama.cpp's base of rotary frequencies for files that don't state one.
const DEFAULT_ROPE_BASE: f32 = 10000.0;

/// A supported architecture: dense decoders that follow Llama.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Architecture {
    /// Llama, and Mistral up to version 0.3.
    Llama,
    /// Ministral 3 and Mistral Small 3.
    Mistral3,
    /// Qwen2 and Qwen2.5.
    Qwen2,
    /// Qwen3.
    Qwen3,
}

impl Architecture {
    /// All architectures.
    pub const ALL: [Self; 4] = [Self::Llama, Self::Mistral3, Self::Qwen2, Self::Qwen3];

    /// The name in `general.architecture`, with which the keys of the architecture start.
    pub fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral3 => "mistral3",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
        }
    }

    /// Reads `general.architecture`. Fails for architectures that aren't supported.
    pub(crate) fn read(metadata: &Metadata) -> Result<Self, MetadataError> {
        let name: &str = metadata.required(ARCHITECTURE_KEY)?;
        Self::ALL.into_iter().find(|known| known.name() == name).ok_or_else(|| MetadataError::Unsupported {
            key: ARCHITECTURE_KEY.to_owned(),
            found: format!("{name:?}"),
            supported: "llama, mistral3, qwen2, qwen3",
        })
    }

    /// Adds `general.architecture`.
    pub(crate) fn write(self, metadata: &mut Metadata) {
        metadata.insert(ARCHITECTURE_KEY, self.name());
    }

    /// Whether the rows of query and key projections are in another order than in Hugging Face models.
    pub(crate) fn reorders_heads(self) -> bool {
        matches!(self, Self::Llama | Self::Mistral3)
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// The dimensions and constants of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Hyperparameters {
    /// The architecture.
    pub architecture: Architecture,
    /// The number of layers.
    pub block_count: u32,
    /// The number of positions that the model was trained for.
    pub context_length: u32,
    /// The width of the hidden states.
    pub embedding_length: u32,
    /// The width of the feed-forward layers.
    pub feed_forward_length: u32,
    /// The number of query heads.
    pub head_count: u32,
    /// The number of key and value heads, which divides `head_count`.
    pub head_count_kv: u32,
    /// The width of a head, of queries, keys and values alike.
    pub head_length: u32,
    /// The number of tokens.
    pub vocabulary_size: u32,
    /// What is added to the mean square in normalisations.
    pub rms_epsilon: f32,
    /// The base of rotary frequencies.
    pub rope_base: f32,
    /// The number of values of a head that are rotated: even, and at most `head_length`.
    pub rope_dimension_count: u32,
    /// How rotary frequencies are changed for long contexts.
    pub rope_scaling: RopeScaling,
    /// The number of positions that each position attends to, if limited.
    pub sliding_window: Option<u32>,
    /// Whether the embedding is also the output projection. In a file, this is the case if the tensor
    /// `output.weight` is missing.
    pub tied_embeddings: bool,
}

/// How rotary frequencies are changed for contexts longer than those of pre-training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All frequencies are divided by a factor.
    Linear {
        /// The factor.
        factor: f32,
    },
    /// YaRN.
    Yarn(YarnScaling),
    /// Each frequency is divided by its value of the tensor `rope_freqs.weight`, as in Llama 3.1 (see
    /// [`Llama3Scaling`]).
    Factors,
}

/// The constants of YaRN. `None` stands for the default of the program that runs the model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct YarnScaling {
    /// The factor by which the context grows.
    pub factor: f32,
    /// The context of pre-training.
    pub original_context_length: u32,
    /// How much extrapolated frequencies are mixed in.
    pub extrapolation_factor: Option<f32>,
    /// What attention scores are multiplied by.
    pub attention_factor: Option<f32>,
    /// Frequencies with at least this many rotations within the original context stay as they are.
    pub beta_fast: Option<f32>,
    /// Frequencies with at most this many rotations are divided by the whole factor.
    pub beta_slow: Option<f32>,
}

/// Metadata with the prefix of an architecture.
struct Prefixed<'a> {
    metadata: &'a Metadata,
    architecture: Architecture,
}

impl Prefixed<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    fn count(&self, name: &str) -> Result<u32, MetadataError> {
        self.metadata.required::<NonZeroU32>(&self.key(name)).map(NonZeroU32::get)
    }

    fn optional_count(&self, name: &str) -> Result<Option<u32>, MetadataError> {
        Ok(self.metadata.optional::<NonZeroU32>(&self.key(name))?.map(NonZeroU32::get))
    }

    fn number(&self, name: &str) -> Result<Option<f32>, MetadataError> {
        self.metadata.optional(&self.key(name))
    }

    /// A number above zero.
    fn positive(&self, name: &str) -> Result<Option<f32>, MetadataError> {
        match self.number(name)? {
            Some(number) if number <= 0.0 => Err(self.unexpected(name, number, "a number above 0")),
            number => Ok(number),
        }
    }

    fn unexpected(&self, name: &str, found: impl fmt::Display, expected: impl Into<String>) -> MetadataError {
        MetadataError::Unexpected { key: self.key(name), found: found.to_string(), expected: expected.into() }
    }

    fn unsupported(&self, name: &str, found: impl fmt::Display, supported: &'static str) -> MetadataError {
        MetadataError::Unsupported { key: self.key(name), found: found.to_string(), supported }
    }
}

impl Hyperparameters {
    /// Reads the metadata of a model. Missing optional keys get llama.cpp's defaults.
    ///
    /// Fails for other architectures, for mixtures of experts, and if numbers contradict each other.
    pub fn read(model: &Gguf) -> Result<Self, MetadataError> {
        let metadata = model.metadata();
        let architecture = Architecture::read(metadata)?;
        let keys = Prefixed { metadata, architecture };
        if let Some(experts) = metadata.optional::<u32>(&keys.key("expert_count"))?.filter(|&experts| experts > 0) {
            return Err(keys.unsupported("expert_count", experts, "0, that is, dense models"));
        }
        if let Some(scale) = keys.number("attention.temperature_scale")?.filter(|&scale| scale != 0.0) {
            return Err(keys.unsupported("attention.temperature_scale", scale, "0"));
        }

        let embedding_length = keys.count("embedding_length")?;
        let head_count = keys.count("attention.head_count")?;
        let head_count_kv = keys.optional_count("attention.head_count_kv")?.unwrap_or(head_count);
        if !head_count.is_multiple_of(head_count_kv) {
            let expected = format!("a divisor of {head_count}, the number of query heads");
            return Err(keys.unexpected("attention.head_count_kv", head_count_kv, expected));
        }
        let head_length = match keys.optional_count("attention.key_length")? {
            Some(length) => length,
            None if embedding_length.is_multiple_of(head_count) => embedding_length / head_count,
            None => {
                let expected = format!("a divisor of {embedding_length}, the embedding length");
                return Err(keys.unexpected("attention.head_count", head_count, expected));
            }
        };
        if let Some(length) = keys.optional_count("attention.value_length")?.filter(|&length| length != head_length) {
            return Err(keys.unsupported("attention.value_length", length, "the same as attention.key_length"));
        }
        let rope_dimension_count = keys.optional_count("rope.dimension_count")?.unwrap_or(head_length);
        if rope_dimension_count > head_length || !rope_dimension_count.is_multiple_of(2) {
            let expected = format!("an even number up to {head_length}, the length of a head");
            return Err(keys.unexpected("rope.dimension_count", rope_dimension_count, expected));
        }
        let rms_epsilon = keys.number("attention.layer_norm_rms_epsilon")?;
        let rms_epsilon =
            rms_epsilon.ok_or_else(|| MetadataError::Missing { key: keys.key("attention.layer_norm_rms_epsilon") })?;
        Ok(Self {
            architecture,
            block_count: keys.count("block_count")?,
            context_length: keys.count("context_length")?,
            embedding_length,
            feed_forward_length: keys.count("feed_forward_length")?,
            head_count,
            head_count_kv,
            head_length,
            vocabulary_size: vocabulary_size(&keys)?,
            rms_epsilon,
            rope_base: keys.positive("rope.freq_base")?.unwrap_or(DEFAULT_ROPE_BASE),
            rope_dimension_count,
            rope_scaling: RopeScaling::read(&keys, model.tensor(ROPE_FREQUENCIES).is_some())?,
            sliding_window: metadata.optional(&keys.key("attention.sliding_window"))?.filter(|&window| window > 0),
            tied_embeddings: model.tensor(OUTPUT).is_none(),
        })
    }

    /// Adds the keys that describe the model, as llama.cpp's converter names them.
    pub fn write(&self, metadata: &mut Metadata) {
        self.architecture.write(metadata);
        let key = |name: &str| format!("{}.{name}", self.architecture);
        metadata.insert(key("block_count"), self.block_count);
        metadata.insert(key("context_length"), self.context_length);
        metadata.insert(key("embedding_length"), self.embedding_length);
        metadata.insert(key("feed_forward_length"), self.feed_forward_length);
        metadata.insert(key("attention.head_count"), self.head_count);
        metadata.insert(key("attention.head_count_kv"), self.head_count_kv);
        metadata.insert(key("attention.key_length"), self.head_length);
        metadata.insert(key("attention.value_length"), self.head_length);
        metadata.insert(key("attention.layer_norm_rms_epsilon"), self.rms_epsilon);
        metadata.insert_some(key("attention.sliding_window"), self.sliding_window);
        metadata.insert(key("rope.freq_base"), self.rope_base);
        metadata.insert(key("rope.dimension_count"), self.rope_dimension_count);
        match self.rope_scaling {
            RopeScaling::None | RopeScaling::Factors => {}
            RopeScaling::Linear { factor } => {
                metadata.insert(key("rope.scaling.type"), "linear");
                metadata.insert(key("rope.scaling.factor"), factor);
            }
            RopeScaling::Yarn(yarn) => {
                metadata.insert(key("rope.scaling.type"), "yarn");
                metadata.insert(key("rope.scaling.factor"), yarn.factor);
                metadata.insert(key("rope.scaling.original_context_length"), yarn.original_context_length);
                metadata.insert_some(key("rope.scaling.yarn_ext_factor"), yarn.extrapolation_factor);
                metadata.insert_some(key("rope.scaling.yarn_attn_factor"), yarn.attention_factor);
                metadata.insert_some(key("rope.scaling.yarn_beta_fast"), yarn.beta_fast);
                metadata.insert_some(key("rope.scaling.yarn_beta_slow"), yarn.beta_slow);
            }
        }
        metadata.insert(key("vocab_size"), self.vocabulary_size);
    }
}

fn vocabulary_size(keys: &Prefixed<'_>) -> Result<u32, MetadataError> {
    if let Some(size) = keys.optional_count("vocab_size")? {
        return Ok(size);
    }
    let tokens: Option<&[String]> = keys.metadata.optional(TOKENS_KEY)?;
    tokens
        .and_then(|tokens| u32::try_from(tokens.len()).ok())
        .filter(|&size| size > 0)
        .ok_or_else(|| MetadataError::Missing { key: keys.key("vocab_size") })
}

impl RopeScaling {
    fn read(keys: &Prefixed<'_>, has_factors: bool) -> Result<Self, MetadataError> {
        if has_factors {
            return Ok(Self::Factors);
        }
        let factor = || match keys.positive("rope.scaling.factor")? {
            Some(factor) => Ok(Some(factor)),
            // The key's name in old files.
            None => keys.positive("rope.scale_linear"),
        };
        let required_factor =
            || factor()?.ok_or_else(|| MetadataError::Missing { key: keys.key("rope.scaling.factor") });
        Ok(match keys.metadata.optional::<&str>(&keys.key("rope.scaling.type"))? {
            Some("none") => Self::None,
            // llama.cpp also assumes linear scaling if there is a factor without a type.
            None => factor()?.filter(|&factor| factor != 1.0).map_or(Self::None, |factor| Self::Linear { factor }),
            Some("linear") => Self::Linear { factor: required_factor()? },
            Some("yarn") => {
                let log_multiplier = keys.number("rope.scaling.yarn_log_multiplier")?;
                if let Some(multiplier) = log_multiplier.filter(|&multiplier| multiplier != 0.0) {
                    return Err(keys.unsupported("rope.scaling.yarn_log_multiplier", multiplier, "0"));
                }
                Self::Yarn(YarnScaling {
                    factor: required_factor()?,
                    original_context_length: keys.count("rope.scaling.original_context_length")?,
                    extrapolation_factor: keys.number("rope.scaling.yarn_ext_factor")?,
                    attention_factor: keys.number("rope.scaling.yarn_attn_factor")?,
                    beta_fast: keys.number("rope.scaling.yarn_beta_fast")?,
                    beta_slow: keys.number("rope.scaling.yarn_beta_slow")?,
                })
            }
            Some(other) => {
                let found = format!("{other:?}");
                return Err(keys.unsupported("rope.scaling.type", found, "none, linear, yarn"));
            }
        })
    }
}

/// The rotary scaling of Llama 3.1, as `rope_scaling` of a Hugging Face model's configuration states it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Llama3Scaling {
    /// The divisor of low frequencies.
    pub factor: f32,
    /// The rotations within the original context up to which a frequency counts as low.
    pub low_frequency_factor: f32,
    /// The rotations within the original context from which a frequency counts as high, and stays as it is.
    pub high_frequency_factor: f32,
    /// The context of pre-training.
    pub original_context_length: u32,
}

impl Llama3Scaling {
    /// The values of the tensor `rope_freqs.weight`: the divisor of each of the `dimension_count / 2`
    /// frequencies.
    pub fn frequency_factors(&self, rope_base: f32, dimension_count: u32) -> Vec<f32> {
        let context = self.original_context_length as f32;
        let (low, high) = (self.low_frequency_factor, self.high_frequency_factor);
        let factor = |dimension: u32| {
            let frequency = 1.0 / rope_base.powf(dimension as f32 / dimension_count as f32);
            let wavelength = std::f32::consts::TAU / frequency;
            if wavelength < context / high {
                1.0
            } else if wavelength > context / low {
                self.factor
            } else {
                let smooth = (context / wavelength - low) / (high - low);
                1.0 / ((1.0 - smooth) / self.factor + smooth)
            }
        };
        (0..dimension_count).step_by(2).map(factor).collect()
    }
}
