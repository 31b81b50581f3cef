//! A small GGUF file, and what tests of models in files do with it.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tabpo_gguf::{
    Architecture, Hyperparameters, Metadata, RopeScaling, SpecialTokens, TensorDeclaration, TensorType, TokenType,
    TokenizerMetadata, TokenizerModel, Writer, names,
};

use super::Place;

const WIDTH: u32 = 32;

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("paths of the tests are UTF-8")
}

/// The tokens with which a model goes on.
pub(crate) fn continued(place: &Place, model: &[&str]) -> Value {
    let arguments =
        [&["generate", "--prompt", "a text", "--max-new-tokens", "12", "--json", "--model"], model].concat();
    serde_json::from_str(&place.run(&arguments, 0).0).expect("the output is JSON")
}

/// Writes the configuration of a tiny run that trains an adapter on a model.
pub(crate) fn adapter_run(place: &Place, model: &Path) -> PathBuf {
    place.write(
        "run.toml",
        &format!(
            "run = {{ name = \"tiny\", directory = \"run\" }}\n\
             data.synthetic = {{ sft = 6, curated = 4, validation = 2, test = 2 }}\n\
             model.folder = \"{}\"\n\
             adapter = {{ rank = 2, alpha = 4.0 }}\n\
             sft = {{ steps = 1, batch_size = 2, max_length = 8000 }}\n\
             preference = {{ objectives = [\"dpo\"] }}\n",
            text(model)
        ),
    )
}

/// Writes a model of one block with a tokenizer of bytes, some weights quantised.
pub(crate) fn model(path: &Path) {
    let letters = ('!'..='~').map(String::from).chain(["Ġ".to_owned(), "Ċ".to_owned()]);
    let tokens: Vec<String> = letters.chain(["<end>", "<|assistant|>", "<|user|>"].map(str::to_owned)).collect();
    let hyperparameters = Hyperparameters {
        architecture: Architecture::Llama,
        block_count: 1,
        context_length: 8192,
        embedding_length: WIDTH,
        feed_forward_length: 64,
        head_count: 4,
        head_count_kv: 2,
        head_length: 8,
        vocabulary_size: tokens.len() as u32,
        rms_epsilon: 1e-5,
        rope_base: 10_000.0,
        rope_dimension_count: 8,
        rope_scaling: RopeScaling::None,
        sliding_window: None,
        tied_embeddings: true,
    };
    let end = tokens.iter().position(|token| token == "<end>").expect("a token that ends") as u32;
    let kind = |token: &String| if token.len() > 2 { TokenType::Control } else { TokenType::Normal };
    let tokenizer = TokenizerMetadata {
        model: TokenizerModel::Gpt2,
        pre: Some("llama-bpe".into()),
        token_types: tokens.iter().map(kind).collect(),
        scores: None,
        merges: Vec::new(),
        special: SpecialTokens { eos: Some(end), ..SpecialTokens::default() },
        add_bos: None,
        add_eos: None,
        add_space_prefix: None,
        chat_template: Some(tabpo_model::ChatTemplate::PLAIN.into()),
        tokens,
    };
    let mut metadata = Metadata::new();
    hyperparameters.write(&mut metadata);
    tokenizer.write(&mut metadata);
    let (width, keys, wide) = (WIDTH as usize, 16, 64);
    let block = |name: &str| names::gguf(&format!("model.layers.0.{name}.weight")).expect("a tensor of a block");
    let q8 = TensorType::Q8_0;
    let tensors = vec![
        TensorDeclaration::new(
            "token_embd.weight",
            &[hyperparameters.vocabulary_size as usize, width],
            TensorType::F16,
        ),
        TensorDeclaration::new("output_norm.weight", &[width], TensorType::F32),
        TensorDeclaration::new(block("input_layernorm"), &[width], TensorType::F32),
        TensorDeclaration::new(block("post_attention_layernorm"), &[width], TensorType::F32),
        TensorDeclaration::new(block("self_attn.q_proj"), &[width, width], q8),
        TensorDeclaration::new(block("self_attn.k_proj"), &[keys, width], q8),
        TensorDeclaration::new(block("self_attn.v_proj"), &[keys, width], q8),
        TensorDeclaration::new(block("self_attn.o_proj"), &[width, width], TensorType::BF16),
        TensorDeclaration::new(block("mlp.gate_proj"), &[wide, width], TensorType::Q4_0),
        TensorDeclaration::new(block("mlp.up_proj"), &[wide, width], TensorType::Q5_1),
        TensorDeclaration::new(block("mlp.down_proj"), &[width, wide], q8),
    ];
    let mut writer = Writer::create(path, &metadata, tensors.clone()).expect("a file");
    for (number, tensor) in tensors.iter().enumerate() {
        let value = |index: usize| (((index * 7919 + number * 104_729) % 1009) as f32 / 1009.0 - 0.5) * 0.8;
        let values: Vec<f32> = (0..tensor.shape.iter().product()).map(value).collect();
        writer.write_values(&tensor.name, &values).expect("values");
    }
    writer.finish().expect("a whole file");
}
