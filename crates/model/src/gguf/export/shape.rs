//! The shape of a model as hyperparameters, or what keeps llama.cpp from computing the same model.

use std::path::Path;

use tabpo_gguf::{
    Architecture as GgufArchitecture, Hyperparameters, Llama3Scaling, RopeScaling as Scaling, YarnScaling,
};

use crate::config::{Architecture, ModelConfig, RopeScaling};
use crate::folder::FolderError;
use crate::gguf::config::{LLAMA_3_CONTEXT, LLAMA_3_HIGH, LLAMA_3_LOW};

/// The hyperparameters of a model, and the divisors of its rotary frequencies if a file holds them as a tensor.
///
/// Refuses what llama.cpp would compute differently or not at all. `path` is the model's, for messages.
pub(in crate::gguf) fn hyperparameters(
    config: &ModelConfig,
    path: &Path,
) -> Result<(Hyperparameters, Option<Vec<f32>>), FolderError> {
    let refuse = |key: &str, problem: String| FolderError::setting(path, key, problem);
    let architecture = match config.architecture {
        // llama.cpp has no architecture of its own for the models that Llama's code computes.
        Architecture::Llama | Architecture::Mistral => GgufArchitecture::Llama,
        Architecture::Qwen2 => GgufArchitecture::Qwen2,
        Architecture::Qwen3 => GgufArchitecture::Qwen3,
    };
    if let Some(window) = (0..config.layers).find_map(|layer| config.window(layer))
        && window < config.max_positions
    {
        return Err(refuse(
            "sliding_window",
            format!(
                "is {window}, but llama.cpp lets this architecture attend to all positions; up to {window} tokens make no \
                 difference: to serve such texts only, set `max_position_embeddings` to {window}"
            ),
        ));
    }
    if config.architecture == Architecture::Qwen2 && config.query_width() != config.hidden {
        return Err(refuse(
            "head_dim",
            format!(
                "makes the queries {} wide; in llama.cpp those of a Qwen2 model are as wide as its hidden states, {}",
                config.query_width(),
                config.hidden
            ),
        ));
    }
    if config.architecture == Architecture::Qwen3 && config.output_bias {
        return Err(refuse("attention_bias", "is true; llama.cpp knows Qwen3 without such biases only".into()));
    }
    let (rope_scaling, divisors) = rope_scaling(config, architecture, path)?;
    let count = |key: &str, value: usize| {
        u32::try_from(value).map_err(|_| refuse(key, format!("is {value}, more than a GGUF file can hold")))
    };
    let hyperparameters = Hyperparameters {
        architecture,
        block_count: count("num_hidden_layers", config.layers)?,
        context_length: count("max_position_embeddings", config.max_positions)?,
        embedding_length: count("hidden_size", config.hidden)?,
        feed_forward_length: count("intermediate_size", config.intermediate)?,
        head_count: count("num_attention_heads", config.heads)?,
        head_count_kv: count("num_key_value_heads", config.kv_heads)?,
        head_length: count("head_dim", config.head_dim)?,
        vocabulary_size: count("vocab_size", config.vocabulary)?,
        rms_epsilon: config.rms_epsilon as f32,
        rope_base: config.rope_theta as f32,
        rope_dimension_count: count("head_dim", config.head_dim)?,
        rope_scaling,
        sliding_window: None,
        tied_embeddings: config.tied_head,
    };
    Ok((hyperparameters, divisors))
}

fn rope_scaling(
    config: &ModelConfig,
    architecture: GgufArchitecture,
    path: &Path,
) -> Result<(Scaling, Option<Vec<f32>>), FolderError> {
    let refuse = |problem: String| Err(FolderError::setting(path, "rope_scaling", problem));
    match config.rope_scaling {
        RopeScaling::None => Ok((Scaling::None, None)),
        RopeScaling::Linear { factor } => Ok((Scaling::Linear { factor: factor as f32 }, None)),
        RopeScaling::Dynamic { .. } => refuse(format!(
            "is of type `dynamic`, which GGUF does not have; up to {} tokens make no difference: to serve such texts only, \
             set it to null",
            config.max_positions
        )),
        RopeScaling::Llama3 { factor, low_frequency_factor, high_frequency_factor, original_max_positions } => {
            if architecture != GgufArchitecture::Llama {
                return refuse("is of type `llama3`, which llama.cpp computes for Llama models only".into());
            }
            let [factor, low, high] = [factor, low_frequency_factor, high_frequency_factor].map(|value| value as f32);
            let usual =
                low == LLAMA_3_LOW && high == LLAMA_3_HIGH && original_max_positions == LLAMA_3_CONTEXT as usize;
            if !usual {
                return refuse(format!(
                    "has the factors {low} and {high} and the original length {original_max_positions}; only those of Llama \
                     3.1 ({LLAMA_3_LOW}, {LLAMA_3_HIGH}, {LLAMA_3_CONTEXT}) can be read from a GGUF file again"
                ));
            }
            let scaling = Llama3Scaling {
                factor,
                low_frequency_factor: low,
                high_frequency_factor: high,
                original_context_length: LLAMA_3_CONTEXT,
            };
            let divisors = scaling.frequency_factors(config.rope_theta as f32, config.head_dim as u32);
            Ok((Scaling::Factors, Some(divisors)))
        }
        RopeScaling::Yarn { factor, original_max_positions, beta_fast, beta_slow, attention_factor, truncate } => {
            let usual = 0.1 * factor.ln() + 1.0;
            if !truncate || (attention_factor - usual).abs() > 1e-6 * usual {
                return refuse(format!(
                    "has `truncate` {truncate} and `attention_factor` {attention_factor}; llama.cpp computes YaRN with true \
                     and {usual} only"
                ));
            }
            let Ok(original_context_length) = u32::try_from(original_max_positions) else {
                return refuse(format!("has the original length {original_max_positions}, more than GGUF can hold"));
            };
            Ok((
                Scaling::Yarn(YarnScaling {
                    factor: factor as f32,
                    original_context_length,
                    extrapolation_factor: None,
                    attention_factor: None,
                    beta_fast: Some(beta_fast as f32),
                    beta_slow: Some(beta_slow as f32),
                }),
                None,
            ))
        }
    }
}
