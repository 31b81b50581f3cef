//! Metadata of tokenizers and architectures, and names of tensors.

use tabpo_gguf::names::{self, RowOrder};
use tabpo_gguf::{
    Architecture, FileType, Gguf, Hyperparameters, Metadata, MetadataError, RopeScaling, SpecialTokens,
    TensorDeclaration, TensorType, TokenType, TokenizerMetadata, TokenizerModel, Value, Writer, YarnScaling,
};

fn model(metadata: &Metadata, tensors: &[&str]) -> Gguf {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.gguf");
    let declared = tensors.iter().map(|&name| TensorDeclaration::new(name, &[1], TensorType::F32)).collect();
    let mut writer = Writer::create(&path, metadata, declared).expect("valid");
    for name in tensors {
        writer.write_values(name, &[1.0]).expect("the next tensor");
    }
    writer.finish().expect("complete");
    Gguf::open(&path).expect("valid")
}

fn hyperparameters() -> Hyperparameters {
    Hyperparameters {
        architecture: Architecture::Qwen3,
        block_count: 2,
        context_length: 4096,
        embedding_length: 64,
        feed_forward_length: 160,
        head_count: 6,
        head_count_kv: 2,
        head_length: 16,
        vocabulary_size: 300,
        rms_epsilon: 1e-6,
        rope_base: 1e6,
        rope_dimension_count: 16,
        rope_scaling: RopeScaling::None,
        sliding_window: None,
        tied_embeddings: true,
    }
}

#[test]
fn hyperparameters_are_read_as_they_were_written() {
    let yarn = YarnScaling {
        factor: 4.0,
        original_context_length: 2048,
        extrapolation_factor: None,
        attention_factor: Some(1.25),
        beta_fast: Some(32.0),
        beta_slow: Some(1.0),
    };
    for architecture in Architecture::ALL {
        for rope_scaling in
            [RopeScaling::None, RopeScaling::Linear { factor: 2.0 }, RopeScaling::Yarn(yarn), RopeScaling::Factors]
        {
            for (tied_embeddings, sliding_window) in [(true, None), (false, Some(512))] {
                let written = Hyperparameters {
                    architecture,
                    rope_scaling,
                    tied_embeddings,
                    sliding_window,
                    ..hyperparameters()
                };
                let mut metadata = Metadata::new();
                written.write(&mut metadata);
                let mut tensors = vec!["token_embd.weight"];
                if !tied_embeddings {
                    tensors.push("output.weight");
                }
                if rope_scaling == RopeScaling::Factors {
                    tensors.push(names::ROPE_FREQUENCIES);
                }
                assert_eq!(Hyperparameters::read(&model(&metadata, &tensors)), Ok(written));
            }
        }
    }
}

/// Metadata with the least that hyperparameters need.
fn least() -> Metadata {
    let mut metadata = Metadata::new();
    metadata.insert("general.architecture", "qwen2");
    metadata.insert("qwen2.block_count", 24_u32);
    metadata.insert("qwen2.context_length", 32768_u32);
    metadata.insert("qwen2.embedding_length", 896_u32);
    metadata.insert("qwen2.feed_forward_length", 4864_u32);
    metadata.insert("qwen2.attention.head_count", 14_u32);
    metadata.insert("qwen2.attention.layer_norm_rms_epsilon", 1e-6_f32);
    metadata.insert("tokenizer.ggml.tokens", vec![String::new(); 7]);
    metadata
}

#[test]
fn missing_hyperparameters_have_the_defaults_of_llama_cpp() {
    let read = Hyperparameters::read(&model(&least(), &[])).expect("nothing needed is missing");
    assert_eq!((read.head_count_kv, read.head_length, read.rope_dimension_count), (14, 64, 64));
    assert_eq!((read.vocabulary_size, read.rope_base, read.rope_scaling), (7, 10000.0, RopeScaling::None));
    let mut metadata = least();
    metadata.insert("qwen2.rope.scale_linear", 8.0_f32);
    let read = Hyperparameters::read(&model(&metadata, &[])).expect("the old name of the key");
    assert_eq!(read.rope_scaling, RopeScaling::Linear { factor: 8.0 });
}

#[test]
fn errors_of_hyperparameters_name_the_key() {
    let message = |key: &str, value: Value| {
        let mut metadata = least();
        metadata.insert(key, value);
        let error = Hyperparameters::read(&model(&metadata, &[])).expect_err("broken");
        assert!(error.to_string().contains(error.key()));
        error.to_string()
    };
    for (key, value, expected) in [
        (
            "general.architecture",
            "bert".into(),
            "metadata key \"general.architecture\" is \"bert\", which is not supported (supported: llama, \
             mistral3, qwen2, qwen3)",
        ),
        (
            "qwen2.block_count",
            0_u32.into(),
            "metadata key \"qwen2.block_count\" is 0 (u32), expected an integer from 1 to 4294967295",
        ),
        (
            "qwen2.context_length",
            "long".into(),
            "metadata key \"qwen2.context_length\" is a string, expected an integer from 1 to 4294967295",
        ),
        (
            "qwen2.attention.head_count",
            vec![14_u32].into(),
            "metadata key \"qwen2.attention.head_count\" is an array of 1 u32 values, expected an integer from 1 to \
             4294967295",
        ),
        (
            "qwen2.attention.head_count",
            15_u32.into(),
            "metadata key \"qwen2.attention.head_count\" is 15, expected a divisor of 896, the embedding length",
        ),
        (
            "qwen2.attention.head_count_kv",
            4_i64.into(),
            "metadata key \"qwen2.attention.head_count_kv\" is 4, expected a divisor of 14, the number of query heads",
        ),
        (
            "qwen2.attention.value_length",
            32_u32.into(),
            "metadata key \"qwen2.attention.value_length\" is 32, which is not supported (supported: the same as attention.key_length)",
        ),
        (
            "qwen2.rope.dimension_count",
            65_u32.into(),
            "metadata key \"qwen2.rope.dimension_count\" is 65, expected an even number up to 64, the length of a head",
        ),
        (
            "qwen2.rope.freq_base",
            0.0_f32.into(),
            "metadata key \"qwen2.rope.freq_base\" is 0, expected a number above 0",
        ),
        (
            "qwen2.rope.scaling.type",
            "longrope".into(),
            "metadata key \"qwen2.rope.scaling.type\" is \"longrope\", which is not supported (supported: none, \
             linear, yarn)",
        ),
        ("qwen2.rope.scaling.type", "yarn".into(), "metadata key \"qwen2.rope.scaling.factor\" is missing"),
        (
            "qwen2.expert_count",
            8_u32.into(),
            "metadata key \"qwen2.expert_count\" is 8, which is not supported (supported: 0, that is, dense models)",
        ),
        (
            "qwen2.attention.layer_norm_rms_epsilon",
            f32::NAN.into(),
            "metadata key \"qwen2.attention.layer_norm_rms_epsilon\" is NaN (f32), expected a finite number",
        ),
    ] {
        assert_eq!(message(key, value), expected);
    }
}

fn tokenizer(kind: TokenizerModel) -> TokenizerMetadata {
    let llama = kind == TokenizerModel::Llama;
    TokenizerMetadata {
        model: kind,
        pre: (!llama).then(|| "qwen2".to_owned()),
        tokens: ["<unk>", "a", "b", "ab", " ", " a", "<|end|>"].map(str::to_owned).to_vec(),
        token_types: vec![
            TokenType::Unknown,
            TokenType::Normal,
            TokenType::Byte,
            TokenType::Unused,
            TokenType::UserDefined,
            TokenType::Normal,
            TokenType::Control,
        ],
        scores: llama.then(|| vec![0.0, -1.0, -2.0, -3.0, -4.0, -5.0, 0.0]),
        merges: if llama {
            Vec::new()
        } else {
            [("a", "b"), (" ", "a")].map(|(a, b)| (a.to_owned(), b.to_owned())).to_vec()
        },
        special: SpecialTokens { eos: Some(6), unknown: Some(0), ..SpecialTokens::default() },
        add_bos: Some(false),
        add_eos: None,
        add_space_prefix: Some(true),
        chat_template: Some("{{ messages }}".to_owned()),
    }
}

#[test]
fn tokenizers_are_read_as_they_were_written() {
    for kind in [TokenizerModel::Gpt2, TokenizerModel::Llama] {
        let written = tokenizer(kind);
        let mut metadata = Metadata::new();
        written.write(&mut metadata);
        assert_eq!(TokenizerMetadata::read(model(&metadata, &[]).metadata()), Ok(written));
    }
}

#[test]
fn errors_of_tokenizers_name_the_key() {
    let message = |kind, key: &str, value: Option<Value>| {
        let mut metadata = Metadata::new();
        let mut written = Metadata::new();
        tokenizer(kind).write(&mut written);
        for (known, known_value) in written.iter().filter(|&(known, _)| known != key) {
            metadata.insert(known, known_value.clone());
        }
        if let Some(value) = value {
            metadata.insert(key, value);
        }
        TokenizerMetadata::read(&metadata).expect_err("broken").to_string()
    };
    for (kind, key, value, expected) in [
        (
            TokenizerModel::Gpt2,
            "tokenizer.ggml.model",
            Some("bert".into()),
            "metadata key \"tokenizer.ggml.model\" is \"bert\", which is not supported (supported: gpt2, llama)",
        ),
        (TokenizerModel::Gpt2, "tokenizer.ggml.tokens", None, "metadata key \"tokenizer.ggml.tokens\" is missing"),
        (
            TokenizerModel::Gpt2,
            "tokenizer.ggml.tokens",
            Some(Vec::<String>::new().into()),
            "metadata key \"tokenizer.ggml.tokens\" is empty, expected at least one token",
        ),
        (TokenizerModel::Gpt2, "tokenizer.ggml.merges", None, "metadata key \"tokenizer.ggml.merges\" is missing"),
        (TokenizerModel::Llama, "tokenizer.ggml.scores", None, "metadata key \"tokenizer.ggml.scores\" is missing"),
        (
            TokenizerModel::Llama,
            "tokenizer.ggml.scores",
            Some(vec![0.5_f32].into()),
            "metadata key \"tokenizer.ggml.scores\" is an array of 1, expected 7, one for each token",
        ),
        (
            TokenizerModel::Gpt2,
            "tokenizer.ggml.token_type",
            Some(vec![1, 1, 7, 1, 1, 1, 1].into()),
            "metadata key \"tokenizer.ggml.token_type\" is 7 for token 2, expected a type from 1 to 6",
        ),
        (
            TokenizerModel::Gpt2,
            "tokenizer.ggml.merges",
            Some(vec!["a b".to_owned(), "ab".to_owned()].into()),
            "metadata key \"tokenizer.ggml.merges\" is \"ab\" at 1, expected two texts separated by a space",
        ),
        (
            TokenizerModel::Gpt2,
            "tokenizer.ggml.eos_token_id",
            Some(7_u32.into()),
            "metadata key \"tokenizer.ggml.eos_token_id\" is 7, expected an id below 7, the number of tokens",
        ),
    ] {
        assert_eq!(message(kind, key, value), expected);
    }
}

#[test]
fn names_are_translated_both_ways() {
    for (gguf, hugging_face) in [
        ("token_embd.weight", "model.embed_tokens.weight"),
        ("output_norm.weight", "model.norm.weight"),
        ("output.weight", "lm_head.weight"),
        ("blk.0.attn_norm.weight", "model.layers.0.input_layernorm.weight"),
        ("blk.11.attn_q.bias", "model.layers.11.self_attn.q_proj.bias"),
        ("blk.11.attn_k.weight", "model.layers.11.self_attn.k_proj.weight"),
        ("blk.11.attn_v.weight", "model.layers.11.self_attn.v_proj.weight"),
        ("blk.2.attn_output.weight", "model.layers.2.self_attn.o_proj.weight"),
        ("blk.2.attn_q_norm.weight", "model.layers.2.self_attn.q_norm.weight"),
        ("blk.2.attn_k_norm.weight", "model.layers.2.self_attn.k_norm.weight"),
        ("blk.2.ffn_norm.weight", "model.layers.2.post_attention_layernorm.weight"),
        ("blk.2.ffn_gate.weight", "model.layers.2.mlp.gate_proj.weight"),
        ("blk.2.ffn_up.weight", "model.layers.2.mlp.up_proj.weight"),
        ("blk.2.ffn_down.weight", "model.layers.2.mlp.down_proj.weight"),
    ] {
        assert_eq!(names::hugging_face(gguf).as_deref(), Some(hugging_face));
        assert_eq!(names::gguf(hugging_face).as_deref(), Some(gguf));
    }
    for unknown in ["rope_freqs.weight", "blk.x.attn_q.weight", "blk.01.attn_q.weight", "blk.0.weight", "weight", ""] {
        assert_eq!(names::hugging_face(unknown), None, "{unknown}");
    }
    assert_eq!(names::gguf("model.layers.0.self_attn.rotary_emb.inv_freq"), None);
}

#[test]
fn only_queries_and_keys_of_llama_are_reordered() {
    let heads =
        |architecture, name| names::heads_to_reorder(name, &Hyperparameters { architecture, ..hyperparameters() });
    for architecture in [Architecture::Llama, Architecture::Mistral3] {
        assert_eq!(heads(architecture, "blk.1.attn_q.weight"), Some(6));
        assert_eq!(heads(architecture, "blk.1.attn_k.bias"), Some(2));
        assert_eq!(heads(architecture, "blk.1.attn_v.weight"), None);
        assert_eq!(heads(architecture, "blk.1.attn_q_norm.weight"), None);
    }
    assert_eq!(heads(Architecture::Qwen2, "blk.1.attn_q.weight"), None);
    for row in 0..96 {
        assert_eq!(RowOrder::ToGguf.source(RowOrder::ToHuggingFace.source(row, 16), 16), row);
    }
    assert!(RowOrder::ToGguf.reorder(&[0; 12], 3, 1).is_err(), "an odd number of rows in a head");
    assert!(RowOrder::ToGguf.reorder(&[0; 12], 4, 0).is_err());
    assert!(RowOrder::ToGguf.reorder(&[0; 13], 4, 1).is_err());
}

#[test]
fn numbers_of_any_width_are_read_where_they_fit() {
    let mut metadata = Metadata::new();
    metadata.insert("number", -1_i8);
    assert!(matches!(metadata.required::<u32>("number"), Err(MetadataError::Unexpected { .. })));
    metadata.insert("number", 7_u64);
    assert_eq!(metadata.required::<u32>("number"), Ok(7));
    metadata.insert("number", 0.5_f64);
    assert_eq!(metadata.required::<f32>("number"), Ok(0.5));
    assert_eq!(metadata.optional::<bool>("other"), Ok(None));
    FileType::Q4_K_M.write(&mut metadata);
    assert_eq!(metadata.required::<u32>("general.file_type"), Ok(15));
}
