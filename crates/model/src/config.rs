//! The shape of a decoder and its rotary position embedding.

use std::f64::consts::PI;

use crate::projection::Projection;

/// The supported model families. They share one decoder and differ only in the settings of
/// [`ModelConfig`]; the name is kept for writing `config.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Architecture {
    /// Llama 2 and 3.x (`LlamaForCausalLM`).
    Llama,
    /// Mistral (`MistralForCausalLM`).
    Mistral,
    /// Qwen2 and Qwen2.5 (`Qwen2ForCausalLM`).
    Qwen2,
    /// Qwen3, dense (`Qwen3ForCausalLM`).
    Qwen3,
}

/// How rotary frequencies are stretched beyond the length a model was pre-trained on, with the
/// parameters and formulas of transformers' `modeling_rope_utils.py`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RopeScaling {
    /// Plain rotary embeddings.
    None,
    /// All frequencies divided by `factor`.
    Linear {
        /// Ratio of the new to the pre-trained length, at least 1.
        factor: f64,
    },
    /// NTK-aware base that grows once a sequence is longer than `max_positions`.
    Dynamic {
        /// Growth of the base, at least 1.
        factor: f64,
    },
    /// Llama 3.1: low frequencies divided by `factor`, high ones kept, a smooth band between.
    Llama3 {
        /// Divisor of low frequencies.
        factor: f64,
        /// Wavelengths above `original_max_positions / low_frequency_factor` are divided.
        low_frequency_factor: f64,
        /// Wavelengths below `original_max_positions / high_frequency_factor` are kept.
        high_frequency_factor: f64,
        /// Pre-trained length.
        original_max_positions: usize,
    },
    /// `YaRN` (arXiv 2309.00071).
    Yarn {
        /// Ratio of the new to the pre-trained length.
        factor: f64,
        /// Pre-trained length.
        original_max_positions: usize,
        /// Rotations above which a dimension is extrapolated (32 by default).
        beta_fast: f64,
        /// Rotations below which a dimension is interpolated (1 by default).
        beta_slow: f64,
        /// Factor on cosine and sine; `0.1 ln(factor) + 1` unless the configuration sets another.
        attention_factor: f64,
        /// Whether the bounds of the ramp are rounded outwards to whole dimensions.
        truncate: bool,
    },
}

/// The shape and the settings of a decoder.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "independent settings, as config.json names them")]
pub struct ModelConfig {
    /// The family.
    pub architecture: Architecture,
    /// Number of token ids.
    pub vocabulary: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the feed-forward product.
    pub intermediate: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Number of query heads, a multiple of `kv_heads`.
    pub heads: usize,
    /// Number of key and value heads.
    pub kv_heads: usize,
    /// Width of one head; even.
    pub head_dim: usize,
    /// Epsilon under the square root of RMS normalisation.
    pub rms_epsilon: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Stretching of the rotary frequencies.
    pub rope_scaling: RopeScaling,
    /// Longest sequence the model was designed for.
    pub max_positions: usize,
    /// The attention window of every layer: a row attends to keys at most `window - 1` positions
    /// back. Empty if no layer has a window.
    pub sliding_window: Vec<Option<usize>>,
    /// Whether the query, key and value projections have a bias.
    pub query_key_value_bias: bool,
    /// Whether the attention's output projection has a bias.
    pub output_bias: bool,
    /// Whether the feed-forward projections have a bias.
    pub mlp_bias: bool,
    /// Whether queries and keys are RMS-normalised per head (Qwen3).
    pub query_key_norm: bool,
    /// Whether the head is the embedding matrix.
    pub tied_head: bool,
}

impl ModelConfig {
    /// A decoder of the given shape with settings for small models trained from scratch:
    /// Qwen2 architecture, rotary base 1000000 as Qwen2.5 has it, head width `hidden / heads`, tied head.
    pub fn small(vocabulary: usize, hidden: usize, layers: usize, heads: usize) -> Self {
        Self {
            architecture: Architecture::Qwen2,
            vocabulary,
            hidden,
            // Two thirds of 4 x hidden, rounded up to a multiple of 32.
            intermediate: (hidden * 8).div_ceil(96) * 32,
            layers,
            heads,
            kv_heads: heads,
            head_dim: hidden / heads,
            rms_epsilon: 1e-6,
            rope_theta: 1e6,
            rope_scaling: RopeScaling::None,
            max_positions: 4096,
            sliding_window: Vec::new(),
            query_key_value_bias: true,
            output_bias: false,
            mlp_bias: false,
            query_key_norm: false,
            tied_head: true,
        }
    }

    /// Width of all query heads together.
    pub fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of all key heads together.
    pub fn key_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// The attention window of a layer.
    pub fn window(&self, layer: usize) -> Option<usize> {
        self.sliding_window.get(layer).copied().flatten()
    }

    /// The longest sequence the model supports: `max_positions`, extended by its rotary scaling.
    /// Dynamic scaling has no limit.
    pub fn longest(&self) -> usize {
        let stretched = |length: usize, factor: f64| (length as f64 * factor) as usize;
        match self.rope_scaling {
            RopeScaling::None | RopeScaling::Llama3 { .. } => self.max_positions,
            RopeScaling::Linear { factor } => stretched(self.max_positions, factor),
            RopeScaling::Yarn { factor, original_max_positions, .. } => {
                self.max_positions.max(stretched(original_max_positions, factor))
            }
            RopeScaling::Dynamic { .. } => usize::MAX,
        }
    }

    /// Whether the rotary frequencies of a sequence of `length` tokens differ from those of shorter sequences.
    pub fn rope_depends_on(&self, length: usize) -> bool {
        matches!(self.rope_scaling, RopeScaling::Dynamic { .. }) && length > self.max_positions
    }

    /// The names and shapes of all tensors of the model, in the order of its parts: embedding, blocks, final
    /// norm, head.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let mut tensors = vec![("model.embed_tokens.weight".to_owned(), vec![self.vocabulary, self.hidden])];
        for layer in 0..self.layers {
            let prefix = format!("model.layers.{layer}");
            tensors.push((format!("{prefix}.input_layernorm.weight"), vec![self.hidden]));
            tensors.push((format!("{prefix}.post_attention_layernorm.weight"), vec![self.hidden]));
            if self.query_key_norm {
                tensors.push((format!("{prefix}.self_attn.q_norm.weight"), vec![self.head_dim]));
                tensors.push((format!("{prefix}.self_attn.k_norm.weight"), vec![self.head_dim]));
            }
            for projection in Projection::ALL {
                let shape = projection.shape(self);
                let path = projection.path(layer);
                tensors.push((format!("{path}.weight"), shape.to_vec()));
                if projection.has_bias(self) {
                    tensors.push((format!("{path}.bias"), vec![shape[0]]));
                }
            }
        }
        tensors.push(("model.norm.weight".to_owned(), vec![self.hidden]));
        if !self.tied_head {
            tensors.push(("lm_head.weight".to_owned(), vec![self.vocabulary, self.hidden]));
        }
        tensors
    }

    /// Number of parameters.
    pub fn parameters(&self) -> usize {
        self.tensors().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }

    /// The rotary frequencies, `head_dim / 2` of them in radians per position, and the factor on
    /// cosine and sine, for sequences of up to `length` tokens (which only matters for dynamic scaling).
    pub fn rope_frequencies(&self, length: usize) -> (Vec<f64>, f64) {
        let width = self.head_dim as f64;
        let plain = |theta: f64| -> Vec<f64> {
            (0..self.head_dim / 2).map(|i| theta.powf(-((2 * i) as f64) / width)).collect()
        };
        match self.rope_scaling {
            RopeScaling::None => (plain(self.rope_theta), 1.0),
            RopeScaling::Linear { factor } => (plain(self.rope_theta).into_iter().map(|f| f / factor).collect(), 1.0),
            RopeScaling::Dynamic { factor } => {
                let ratio = length.max(self.max_positions) as f64 / self.max_positions as f64;
                let growth = (factor * ratio - (factor - 1.0)).powf(width / (width - 2.0));
                (plain(self.rope_theta * growth), 1.0)
            }
            RopeScaling::Llama3 { factor, low_frequency_factor, high_frequency_factor, original_max_positions } => {
                let original = original_max_positions as f64;
                let scale = |frequency: f64| {
                    let wavelength = 2.0 * PI / frequency;
                    if wavelength < original / high_frequency_factor {
                        frequency
                    } else if wavelength > original / low_frequency_factor {
                        frequency / factor
                    } else {
                        let smooth = (original / wavelength - low_frequency_factor)
                            / (high_frequency_factor - low_frequency_factor);
                        (1.0 - smooth) * frequency / factor + smooth * frequency
                    }
                };
                (plain(self.rope_theta).into_iter().map(scale).collect(), 1.0)
            }
            RopeScaling::Yarn { factor, original_max_positions, beta_fast, beta_slow, attention_factor, truncate } => {
                // The dimension that makes `rotations` rotations over the pre-trained length.
                let dimension = |rotations: f64| {
                    width * (original_max_positions as f64 / (rotations * 2.0 * PI)).ln() / (2.0 * self.rope_theta.ln())
                };
                let (mut low, mut high) = (dimension(beta_fast), dimension(beta_slow));
                if truncate {
                    (low, high) = (low.floor(), high.ceil());
                }
                let (low, mut high) = (low.max(0.0), high.min(width - 1.0));
                if low == high {
                    high += 0.001;
                }
                let blend = |(i, frequency): (usize, f64)| {
                    let interpolated = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
                    frequency / factor * interpolated + frequency * (1.0 - interpolated)
                };
                (plain(self.rope_theta).into_iter().enumerate().map(blend).collect(), attention_factor)
            }
        }
    }
}
