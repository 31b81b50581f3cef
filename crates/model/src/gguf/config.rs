//! Hyperparameters to [`ModelConfig`].

use std::path::Path;

use tabpo_gguf::names::ROPE_FREQUENCIES;
use tabpo_gguf::{Architecture as GgufArchitecture, Gguf, Hyperparameters, Llama3Scaling, RopeScaling as Scaling};

use crate::config::{Architecture, ModelConfig, RopeScaling};
use crate::folder::FolderError;

/// The constants of Llama 3.1's rotary scaling, besides its factor.
pub(super) const LLAMA_3_LOW: f32 = 1.0;
pub(super) const LLAMA_3_HIGH: f32 = 4.0;
pub(super) const LLAMA_3_CONTEXT: u32 = 8192;
/// Largest relative difference between two divisors of a rotary frequency that rounding explains.
const ROUNDING: f32 = 1e-4;

pub(super) fn read(model: &Gguf, found: &Hyperparameters, path: &Path) -> Result<ModelConfig, FolderError> {
    let architecture = match found.architecture {
        // Of the two families under this name, Mistral is the one with a window.
        GgufArchitecture::Llama if found.sliding_window.is_none() => Architecture::Llama,
        GgufArchitecture::Llama | GgufArchitecture::Mistral3 => Architecture::Mistral,
        GgufArchitecture::Qwen2 => Architecture::Qwen2,
        GgufArchitecture::Qwen3 => Architecture::Qwen3,
    };
    if found.rope_dimension_count != found.head_length {
        return Err(FolderError::setting(
            path,
            format!("{}.rope.dimension_count", found.architecture.name()),
            format!(
                "is {}, but a head has {} values: partial rotation is not supported",
                found.rope_dimension_count, found.head_length
            ),
        ));
    }
    let rope_theta = decimal(found.rope_base);
    let has = |tensor: &str| model.tensor(tensor).is_some();
    let window = found.sliding_window.map(|window| window as usize);
    Ok(ModelConfig {
        architecture,
        vocabulary: found.vocabulary_size as usize,
        hidden: found.embedding_length as usize,
        intermediate: found.feed_forward_length as usize,
        layers: found.block_count as usize,
        heads: found.head_count as usize,
        kv_heads: found.head_count_kv as usize,
        head_dim: found.head_length as usize,
        rms_epsilon: decimal(found.rms_epsilon),
        rope_theta,
        rope_scaling: rope_scaling(found, model, path)?,
        max_positions: found.context_length as usize,
        sliding_window: window.map_or_else(Vec::new, |window| vec![Some(window); found.block_count as usize]),
        query_key_value_bias: has("blk.0.attn_q.bias"),
        output_bias: has("blk.0.attn_output.bias"),
        mlp_bias: has("blk.0.ffn_down.bias"),
        query_key_norm: architecture == Architecture::Qwen3,
        tied_head: found.tied_embeddings,
    })
}

/// The number whose nearest f32 is `value` and that has the fewest digits, as a configuration in JSON states it.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().expect("a number that was just printed")
}

fn rope_scaling(found: &Hyperparameters, model: &Gguf, path: &Path) -> Result<RopeScaling, FolderError> {
    match found.rope_scaling {
        Scaling::None => Ok(RopeScaling::None),
        Scaling::Linear { factor } => Ok(RopeScaling::Linear { factor: decimal(factor) }),
        Scaling::Yarn(yarn) => {
            if let Some(mix) = yarn.extrapolation_factor.filter(|&mix| mix != 1.0) {
                let key = format!("{}.rope.scaling.yarn_ext_factor", found.architecture.name());
                return Err(FolderError::setting(path, key, format!("is {mix}; only 1 is supported")));
            }
            let factor = decimal(yarn.factor);
            Ok(RopeScaling::Yarn {
                factor,
                original_max_positions: yarn.original_context_length as usize,
                beta_fast: yarn.beta_fast.map_or(32.0, decimal),
                beta_slow: yarn.beta_slow.map_or(1.0, decimal),
                attention_factor: yarn.attention_factor.map_or(1.0, decimal) * (0.1 * factor.ln() + 1.0),
                truncate: true,
            })
        }
        Scaling::Factors => llama3(found, model).ok_or_else(|| {
            FolderError::setting(
                path,
                ROPE_FREQUENCIES,
                "does not hold the divisors of Llama 3.1's rotary scaling (factor 8 or 32, low 1, high 4, original \
                 length 8192), and no others are supported",
            )
        }),
    }
}

/// The scaling of Llama 3.1 whose divisors a file holds: the file has lost the numbers that they come from.
fn llama3(found: &Hyperparameters, model: &Gguf) -> Option<RopeScaling> {
    let divisors = model.tensor(ROPE_FREQUENCIES)?.dequantise();
    let factor = divisors.iter().copied().fold(1.0, f32::max);
    let scaling = Llama3Scaling {
        factor,
        low_frequency_factor: LLAMA_3_LOW,
        high_frequency_factor: LLAMA_3_HIGH,
        original_context_length: LLAMA_3_CONTEXT,
    };
    let expected = scaling.frequency_factors(found.rope_base, found.rope_dimension_count);
    let same = expected.len() == divisors.len()
        && expected.iter().zip(&divisors).all(|(a, b)| (a - b).abs() <= ROUNDING * a.abs());
    same.then_some(RopeScaling::Llama3 {
        factor: decimal(factor),
        low_frequency_factor: decimal(LLAMA_3_LOW),
        high_frequency_factor: decimal(LLAMA_3_HIGH),
        original_max_positions: LLAMA_3_CONTEXT as usize,
    })
}
