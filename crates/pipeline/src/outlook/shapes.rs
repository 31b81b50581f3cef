//! Shapes of well-known models, as their published `config.json` has them.

use tabpo_model::{Architecture, ModelConfig};

/// The names of the shapes.
pub const SHAPES: [&str; 8] =
    ["qwen2.5-0.5b", "qwen2.5-1.5b", "qwen2.5-7b", "mistral-7b", "llama-8b", "qwen3-14b", "qwen2.5-32b", "llama-70b"];

/// The shape of this name, with its full name.
pub fn shape(name: &str) -> Option<(&'static str, ModelConfig)> {
    use Architecture::{Llama, Mistral, Qwen2, Qwen3};
    // Layers, hidden size, feed-forward width, heads, key heads, tokens.
    let (full, architecture, numbers, tied) = match name {
        "qwen2.5-0.5b" => ("Qwen2.5-0.5B", Qwen2, [24, 896, 4864, 14, 2, 151_936], true),
        "qwen2.5-1.5b" => ("Qwen2.5-1.5B", Qwen2, [28, 1536, 8960, 12, 2, 151_936], true),
        "qwen2.5-7b" => ("Qwen2.5-7B", Qwen2, [28, 3584, 18_944, 28, 4, 152_064], false),
        "mistral-7b" => ("Mistral-7B-v0.3", Mistral, [32, 4096, 14_336, 32, 8, 32_768], false),
        "llama-8b" => ("Llama-3.1-8B", Llama, [32, 4096, 14_336, 32, 8, 128_256], false),
        "qwen3-14b" => ("Qwen3-14B", Qwen3, [40, 5120, 17_408, 40, 8, 151_936], false),
        "qwen2.5-32b" => ("Qwen2.5-32B", Qwen2, [64, 5120, 27_648, 40, 8, 152_064], false),
        "llama-70b" => ("Llama-3.3-70B", Llama, [80, 8192, 28_672, 64, 8, 128_256], false),
        _ => return None,
    };
    let [layers, hidden, intermediate, heads, kv_heads, vocabulary] = numbers;
    let head_dim = if name == "qwen2.5-0.5b" { 64 } else { 128 };
    let config = ModelConfig {
        architecture,
        intermediate,
        kv_heads,
        head_dim,
        query_key_value_bias: architecture == Qwen2,
        query_key_norm: architecture == Qwen3,
        tied_head: tied,
        ..ModelConfig::small(vocabulary, hidden, layers, heads)
    };
    Some((full, config))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of parameters are those of the published weights.
    #[test]
    fn every_shape_has_its_parameters() {
        let published = [
            494_032_768_usize,
            1_543_714_304,
            7_615_616_512,
            7_248_023_552,
            8_030_261_248,
            14_768_307_200,
            32_763_876_352,
            70_553_706_496,
        ];
        for (name, parameters) in SHAPES.into_iter().zip(published) {
            let (_, config) = shape(name).expect("it is listed");
            assert_eq!(config.parameters(), parameters, "{name}");
        }
        assert!(shape("llama-9b").is_none());
    }
}
