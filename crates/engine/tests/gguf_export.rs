//! Models and adapters that are written as GGUF and read again.

mod common;

use std::path::Path;

use common::{FAMILIES, all_logits, assert_close, expected, fixture};
use jiff::civil::date;
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use tabpo_engine::{Lora, Matrix, Model, TensorRef, verify_export};
use tabpo_gguf::{Gguf, TensorType};
use tabpo_model::{
    Architecture, FileType, FolderError, GenerationTokens, GgufHead, GgufSource, ModelConfig, RopeScaling, SaveOptions,
    StoredType,
};
use tempfile::TempDir;

/// Tokens of the test's tokenizer, fewer than any model's embeddings.
const TOKENS: usize = 30;

/// Writes a byte-level tokenizer of a few letters and one token that ends a turn.
fn write_tokenizer(folder: &Path) {
    let letters = ('a'..='z').map(String::from).chain(["Ġ", "ab", "Ġa"].map(str::to_owned));
    let vocabulary: serde_json::Map<_, _> = letters.enumerate().map(|(id, token)| (token, json!(id))).collect();
    let end = vocabulary.len();
    let words = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    let tokenizer = json!({
        "version": "1.0",
        "added_tokens": [{"id": end, "content": "<end>", "single_word": false, "lstrip": false, "rstrip": false,
                          "normalized": false, "special": true}],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": words}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false},
        ]},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
                  "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                  "vocab": vocabulary, "merges": [["a", "b"], ["Ġ", "a"]]},
    });
    let write = |name: &str, text: String| std::fs::write(folder.join(name), text).expect("writing");
    write("tokenizer.json", tokenizer.to_string());
    write("tokenizer_config.json", json!({"eos_token": "<end>"}).to_string());
}

/// A model of random weights of this type, in a folder with a tokenizer.
fn random_model(config: ModelConfig, stored: StoredType, seed: u64) -> (TempDir, Model<f32>) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let model = Model::from_tensors(config, |_, [rows, columns]| {
        let values = (0..rows * columns).map(|_| (random.next_u32() as f32 / u32::MAX as f32 - 0.5) * 0.8).collect();
        Ok::<_, std::convert::Infallible>(Matrix::owned(rows, columns, values))
    });
    let Ok(model) = model;
    let folder = tempfile::tempdir().expect("a folder");
    model.save(folder.path(), &SaveOptions::new(stored), &GenerationTokens::default()).expect("a model folder");
    write_tokenizer(folder.path());
    // As it was rounded.
    let model = Model::open(folder.path()).expect("the folder");
    (folder, model)
}

fn head(model: &Model<f32>, folder: &Path) -> Result<GgufHead, FolderError> {
    let date = date(2026, 1, 2).at(0, 0, 0, 0);
    GgufHead::new(&model.config, &GgufSource { model: folder, adapter: None, name: "test", date })
}

/// The bits of every element of every tensor, by name.
fn bits(model: &Model<f32>) -> Vec<(String, Vec<u32>)> {
    let values = |tensor| match tensor {
        TensorRef::Vector(values) => values.to_vec(),
        TensorRef::Matrix(matrix) => matrix.clone().make_owned().to_vec(),
    };
    let tensors = model.tensors().into_iter();
    tensors.map(|(name, tensor)| (name, values(tensor).into_iter().map(f32::to_bits).collect())).collect()
}

/// The shapes of small models of all families that llama.cpp computes.
fn shapes() -> impl Strategy<Value = ModelConfig> {
    let families = prop::sample::select(vec![
        Architecture::Llama,
        Architecture::Mistral,
        Architecture::Qwen2,
        Architecture::Qwen3,
    ]);
    let heads = (1_usize..4, 1_usize..3, 1_usize..9);
    let sizes = (1_usize..4, 1_usize..7, TOKENS..80);
    let rotary = prop::sample::select(vec![
        RopeScaling::None,
        RopeScaling::Linear { factor: 2.5 },
        RopeScaling::Yarn {
            factor: 4.0,
            original_max_positions: 128,
            beta_fast: 32.0,
            beta_slow: 1.0,
            attention_factor: 0.1 * 4.0_f64.ln() + 1.0,
            truncate: true,
        },
        RopeScaling::Llama3 {
            factor: 8.0,
            low_frequency_factor: 1.0,
            high_frequency_factor: 4.0,
            original_max_positions: 8192,
        },
    ]);
    (families, heads, sizes, rotary, any::<[bool; 3]>()).prop_map(
        |(
            architecture,
            (kv_heads, group, half),
            (layers, width, vocabulary),
            rope_scaling,
            [tied_head, first, second],
        )| {
            let is_llama = architecture == Architecture::Llama;
            let heads = kv_heads * group;
            let head_dim = 2 * half;
            // Only Llama's code has the scaling of Llama 3, and only Qwen2's queries must be as wide as the model. A file
            // states that scaling by its divisors, of which the largest is the factor where heads have low frequencies.
            let plain = matches!(rope_scaling, RopeScaling::Llama3 { .. }) && !(is_llama && half >= 3);
            let hidden = if architecture == Architecture::Qwen2 { heads * head_dim } else { 4 * width };
            ModelConfig {
                architecture,
                vocabulary,
                hidden,
                intermediate: 3 * width,
                layers,
                heads,
                kv_heads,
                head_dim,
                rms_epsilon: 1e-5,
                rope_theta: 500_000.0,
                rope_scaling: if plain { RopeScaling::None } else { rope_scaling },
                max_positions: 512,
                sliding_window: Vec::new(),
                query_key_value_bias: architecture == Architecture::Qwen2 || (is_llama && first),
                output_bias: is_llama && first,
                mlp_bias: is_llama && second,
                query_key_norm: architecture == Architecture::Qwen3,
                tied_head,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Folder to GGUF and back: every element and every setting stays what it was, in every type that holds it.
    #[test]
    fn a_round_trip_changes_no_bit(config in shapes(), seed in any::<u64>(), kind in 0_usize..3) {
        let (stored, file_type) = [
            (StoredType::F32, FileType::F32),
            (StoredType::Bf16, FileType::BF16),
            (StoredType::F16, FileType::F16),
        ][kind];
        let (folder, model) = random_model(config, stored, seed);
        let place = tempfile::tempdir().expect("a folder");
        let (file, again) = (place.path().join("model.gguf"), place.path().join("again"));
        model.save_gguf(&file, &head(&model, folder.path()).expect("a model that GGUF holds"), file_type).expect("a file");
        let from_file = Model::<f32>::open(&file).expect("the file");
        from_file.save_like(&file, &again, &SaveOptions::new(stored)).expect("a folder");
        let read = Model::<f32>::open(&again).expect("the folder");
        prop_assert_eq!(bits(&from_file), bits(&model));
        prop_assert_eq!(bits(&read), bits(&model));
        // Under the name of a family that computes the same.
        let mut expected = model.config.clone();
        if expected.architecture == Architecture::Mistral {
            expected.architecture = Architecture::Llama;
        }
        prop_assert_eq!(&read.config, &expected);
        verify_export((&model, None), (&read, None), StoredType::F32).expect("the same logits");
    }
}

#[test]
fn quantised_exports_stay_close_and_are_copied_as_they_are() {
    let place = tempfile::tempdir().expect("a folder");
    let config = ModelConfig { tied_head: false, ..ModelConfig::small(64, 256, 3, 4) };
    let (folder, model) = random_model(config, StoredType::F32, 5);
    let path = |name: &str| place.path().join(name);
    for (file_type, types) in [
        (FileType::Q8_0, &[TensorType::F32, TensorType::Q8_0][..]),
        (FileType::Q4_K_M, &[TensorType::F32, TensorType::Q4_K, TensorType::Q6_K, TensorType::Q5_0, TensorType::Q8_0]),
    ] {
        let (first, second) = (path("first.gguf"), path("second.gguf"));
        model.save_gguf(&first, &head(&model, folder.path()).expect("a head"), file_type).expect("a file");
        let quantised = Model::<f32>::open(&first).expect("the file");
        let difference = verify_export((&model, None), (&quantised, None), file_type).expect("close");
        assert!(difference.divergence > 0.0 && difference.largest > 0.0, "{difference}");
        let tensors = Gguf::open(&first).expect("the file");
        assert!(tensors.tensors().iter().all(|tensor| types.contains(&tensor.tensor_type())), "{tensors:?}");
        // From one file to another of the same type nothing is rounded again.
        quantised.save_gguf(&second, &head(&quantised, &first).expect("a head"), file_type).expect("a file");
        let copied = Gguf::open(&second).expect("the file");
        for tensor in tensors.tensors() {
            assert_eq!(copied.tensor(tensor.name()).expect("the same tensors").bytes(), tensor.bytes(), "{tensor:?}");
        }
    }
    // A file of another model is found out.
    let (other, different) = random_model(model.config.clone(), StoredType::F32, 6);
    let file = path("other.gguf");
    different.save_gguf(&file, &head(&different, other.path()).expect("a head"), FileType::Q8_0).expect("a file");
    let error = verify_export((&model, None), (&Model::open(&file).expect("a file"), None), FileType::Q8_0);
    let message = error.expect_err("another model").to_string();
    assert!(message.contains("nats, at most a divergence of 0.05 nats"), "{message}");
}

#[test]
fn an_adapter_computes_the_same_from_a_file() {
    let place = tempfile::tempdir().expect("a folder");
    let adapters = FAMILIES
        .map(|family| (family, "adapter"))
        .into_iter()
        .chain(["adapter-all-linear", "adapter-layers", "adapter-patterns"].map(|name| ("llama", name)));
    for (family, name) in adapters {
        let folder = fixture(family);
        let model = Model::<f32>::open(&folder).expect("a model");
        let lora = Lora::open(&folder.join(name), &model.config).expect("an adapter");
        let file = place.path().join(format!("{family}-{name}.gguf"));
        lora.save_gguf(&file, (&model.config, &folder), &folder.join(name), "test", FileType::F32).expect("a file");
        let read = Lora::open(&file, &model.config).expect("the file");
        let record = expected(&folder);
        let [from_folder, from_file] =
            [&lora, &read].map(|lora| all_logits(&model, Some(lora), &record.input_ids).concat());
        // The scale of a projection with its own alpha moves into its matrix.
        assert_close(&from_file, &from_folder, 1e-5, &format!("{family}, {name}"));
        assert_ne!(all_logits(&model, None, &record.input_ids).concat(), from_folder);

        // Nor is it a model, or an adapter of another one.
        let message = Model::<f32>::open(&file).map(|_| ()).expect_err("an adapter").to_string();
        assert!(message.contains("is an adapter, not a model"), "{message}");
        let other = if family == "qwen3" { "qwen2" } else { "qwen3" };
        let other = ModelConfig::open(&fixture(other)).expect("a model");
        let message = Lora::<f32>::open(&file, &other).map(|_| ()).expect_err("another family").to_string();
        assert!(message.contains("is an adapter of a"), "{message}");
    }
}

#[test]
fn what_llama_cpp_would_compute_otherwise_is_refused() {
    let base = ModelConfig::small(64, 32, 1, 2);
    let llama = ModelConfig { architecture: Architecture::Llama, query_key_value_bias: false, ..base.clone() };
    let yarn = RopeScaling::Yarn {
        factor: 4.0,
        original_max_positions: 128,
        beta_fast: 32.0,
        beta_slow: 1.0,
        attention_factor: 1.0,
        truncate: true,
    };
    let llama_3 = |original_max_positions| RopeScaling::Llama3 {
        factor: 8.0,
        low_frequency_factor: 1.0,
        high_frequency_factor: 4.0,
        original_max_positions,
    };
    let cases = [
        (ModelConfig { rope_scaling: RopeScaling::Dynamic { factor: 2.0 }, ..llama.clone() }, "`dynamic`"),
        (ModelConfig { rope_scaling: yarn, ..llama.clone() }, "attention_factor"),
        (ModelConfig { rope_scaling: llama_3(64), ..llama.clone() }, "original length 64"),
        (ModelConfig { rope_scaling: llama_3(8192), ..base.clone() }, "Llama models only"),
        (ModelConfig { head_dim: 24, ..base.clone() }, "48 wide"),
        (
            ModelConfig { architecture: Architecture::Mistral, sliding_window: vec![Some(9)], ..llama },
            "`max_position_embeddings` to 9",
        ),
        (ModelConfig { vocabulary: TOKENS - 1, ..base }, "embeddings for 29 ids only"),
    ];
    for (config, expected) in cases {
        let (folder, model) = random_model(config, StoredType::F32, 1);
        let message = head(&model, folder.path()).expect_err("not in GGUF").to_string();
        assert!(message.contains(expected), "{message}");
    }
}
