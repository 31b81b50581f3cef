//! `model.safetensors`, and behind a separator an index of several such files, beside the `config.json` of a
//! small model.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tabpo_fuzz::{Folder, check_model, parts};

static FOLDER: LazyLock<Folder> = LazyLock::new(|| {
    let folder = Folder::new("llama");
    folder.scratch().write("config.json", CONFIG);
    folder
});

/// As small as models can be, so that their weights fit into an input.
const CONFIG: &[u8] = br#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 8,
"hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2,
"num_key_value_heads": 1, "head_dim": 2, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
"max_position_embeddings": 16, "hidden_act": "silu", "tie_word_embeddings": true}"#;

fuzz_target!(|bytes: &[u8]| {
    let [weights, index] = parts(bytes);
    FOLDER.scratch().write_or_remove("model.safetensors", weights);
    FOLDER.scratch().write_or_remove("model.safetensors.index.json", index);
    check_model(FOLDER.path(), None);
});
