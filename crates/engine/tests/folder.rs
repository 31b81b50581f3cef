//! Folders: written models are read back, and errors name what is wrong.

mod common;

use common::{FAMILIES, all_logits, change, copy, expected, fixture, json_file, refusal, with_causes};
use serde_json::{Value, json};
use tabpo_engine::{Lora, Model, verify_export};
use tabpo_model::{
    FolderError, GenerationTokens, LoraConfig, ModelConfig, SaveOptions, StoredType, config_from_json, config_to_json,
};
use tempfile::TempDir;

#[test]
fn every_configuration_survives_being_written() {
    let variants =
        std::fs::read_dir(fixture("variants")).expect("variants").map(|entry| entry.expect("an entry").path());
    for folder in FAMILIES.map(fixture).into_iter().chain(variants) {
        let path = folder.join("config.json");
        let config = ModelConfig::open(&folder).expect("a configuration");
        let written = config_to_json(&config, StoredType::Bf16);
        assert_eq!(config_from_json(&path, &written).expect("what was written"), config, "{}", folder.display());
    }
}

/// Both layouts of the rotary settings, and the defaults of missing keys.
#[test]
fn layouts_of_the_rotary_settings_agree() {
    let folder = copy("llama");
    let path = folder.path().join("config.json");
    let old = ModelConfig::open(folder.path()).expect("the old layout");
    let mut parameters = json_file(&path)["rope_scaling"].clone();
    parameters["rope_theta"] = json!(10000.0);
    change(&path, &json!({"rope_scaling": null, "rope_theta": null, "rope_parameters": parameters}));
    assert_eq!(ModelConfig::open(folder.path()).expect("the new layout"), old);
}

#[test]
fn models_survive_being_written_in_every_type_and_in_shards() {
    for family in FAMILIES {
        let folder = fixture(family);
        let model = Model::<f32>::open(&folder).expect(family);
        let ids = &expected(&folder).input_ids;
        for stored in [StoredType::F32, StoredType::F16, StoredType::Bf16] {
            let out = tempfile::tempdir().expect("temporary folder");
            let options =
                SaveOptions { stored, shard_bytes: if stored == StoredType::F16 { 20_000 } else { usize::MAX } };
            let tokens = GenerationTokens { bos: Some(0), stop: vec![1, 2], pad: None };
            model.save(out.path(), &options, &tokens).expect("saving");
            assert_eq!(out.path().join("model.safetensors").exists(), stored != StoredType::F16);
            let written = Model::<f32>::open(out.path()).expect("reopening");
            assert_eq!(written.config, model.config);
            let difference = verify_export((&model, None), (&written, None), stored).expect("the same model");
            if stored == StoredType::F32 {
                assert_eq!(difference.largest, 0.0, "{family}");
                assert_eq!(all_logits(&written, None, ids), all_logits(&model, None, ids), "{family}");
            }
            assert_eq!(json_file(&out.path().join("generation_config.json"))["eos_token_id"], json!([1, 2]));
        }
    }
}

#[test]
fn stored_types_are_kept_in_the_memory_map() {
    for (family, stored) in [("qwen2", StoredType::Bf16), ("mistral", StoredType::F16)] {
        let model = Model::<f32>::open(&fixture(family)).expect(family);
        assert_eq!(model.embedding.as_stored().map(|(stored, _)| stored), Some(stored), "{family}");
    }
    assert!(Model::<f32>::open(&fixture("llama")).expect("llama").embedding.as_owned().is_some());
}

#[test]
fn adapters_survive_being_written() {
    let model = Model::<f32>::open(&fixture("llama")).expect("llama");
    let ids = &expected(&fixture("llama")).input_ids;
    for name in ["adapter", "adapter-patterns", "adapter-all-linear", "adapter-layers"] {
        let lora = Lora::open(&fixture("llama").join(name), &model.config).expect(name);
        let out = tempfile::tempdir().expect("temporary folder");
        lora.save(out.path(), &model.config, "base").expect("saving");
        let written = Lora::open(out.path(), &model.config).expect("reopening");
        assert_eq!(written.parameters(), lora.parameters(), "{name}");
        assert_eq!(all_logits(&model, Some(&written), ids), all_logits(&model, Some(&lora), ids), "{name}");
        let config = json_file(&out.path().join("adapter_config.json"));
        assert_eq!(config["modules_to_save"], Value::Null);
        assert_eq!(config["task_type"], "CAUSAL_LM");
    }
}

#[test]
fn merging_keeps_the_logits_and_the_folder() {
    let base = copy("qwen2");
    std::fs::write(base.path().join("chat_template.jinja"), "a template").expect("writing");
    let model = Model::<f32>::open(base.path()).expect("qwen2");
    let lora = Lora::open(&fixture("qwen2").join("adapter"), &model.config).expect("adapter");
    for stored in [StoredType::F32, StoredType::F16, StoredType::Bf16] {
        let out = tempfile::tempdir().expect("temporary folder");
        lora.merge(&model).save_like(base.path(), out.path(), &SaveOptions::new(stored)).expect("saving");
        let merged = Model::<f32>::open(out.path()).expect("reopening");
        let difference = verify_export((&model, Some(&lora)), (&merged, None), stored).expect("the same logits");
        assert!(difference.largest > 0.0, "rounding leaves its mark");
        assert!(out.path().join("chat_template.jinja").exists());
        assert_eq!(
            json_file(&out.path().join("generation_config.json")),
            json_file(&base.path().join("generation_config.json"))
        );
    }
    // A wrong merge is detected.
    assert!(verify_export((&model, Some(&lora)), (&model, None), StoredType::Bf16).is_err());
}

#[test]
fn unsupported_settings_are_named() {
    for (family, changes, parts) in [
        ("llama", json!({"architectures": ["Qwen2MoeForCausalLM"]}), ["architectures", "Qwen2ForCausalLM"]),
        ("llama", json!({"hidden_act": "gelu"}), ["hidden_act", "gelu"]),
        ("llama", json!({"quantization_config": {"bits": 4}}), ["quantization_config", "quantised"]),
        (
            "llama",
            json!({"rope_scaling": {"rope_type": "longrope", "factor": 2.0}}),
            ["rope_scaling.rope_type", "longrope"],
        ),
        ("llama", json!({"rope_scaling": {"rope_type": "linear"}}), ["rope_scaling.factor", "missing"]),
        ("llama", json!({"hidden_size": null}), ["hidden_size", "missing"]),
        ("llama", json!({"num_attention_heads": -4}), ["num_attention_heads", "-4"]),
        ("llama", json!({"num_key_value_heads": 3}), ["num_key_value_heads", "3"]),
        ("llama", json!({"partial_rotary_factor": 0.5}), ["partial_rotary_factor", "0.5"]),
        (
            "qwen3",
            json!({"use_sliding_window": true, "sliding_window": 4, "layer_types": ["x", "y"]}),
            ["layer_types", "\"x\""],
        ),
        (
            "qwen3",
            json!({"layer_types": ["sliding_attention", "full_attention"]}),
            ["layer_types", "use_sliding_window"],
        ),
    ] {
        let message = refusal(family, &changes);
        for part in parts {
            assert!(message.contains(part) && message.contains("config.json"), "{message}");
        }
    }
}

#[test]
fn missing_extra_and_misshapen_tensors_are_named() {
    for (family, changes, parts) in [
        ("llama", json!({"attention_bias": true}), ["no tensor `model.layers.0.self_attn.q_proj.bias`", ""]),
        ("llama", json!({"num_hidden_layers": 1}), ["`model.layers.1.", "not part of a LlamaForCausalLM"]),
        ("llama", json!({"intermediate_size": 64}), ["`model.layers.0.mlp.gate_proj.weight`", "[48, 32]"]),
        ("llama", json!({"tie_word_embeddings": true}), ["tie_word_embeddings", "lm_head.weight"]),
        ("qwen2", json!({"vocab_size": 300}), ["`model.embed_tokens.weight`", "[300, 32]"]),
    ] {
        let message = refusal(family, &changes);
        for part in parts {
            assert!(message.contains(part), "{message}");
        }
    }
}

#[test]
fn missing_and_broken_files_are_named() {
    let message = |folder: &TempDir| with_causes(&Model::<f32>::open(folder.path()).map(|_| ()).expect_err("an error"));
    let folder = copy("qwen2");
    std::fs::remove_file(folder.path().join("model-00002-of-00002.safetensors")).expect("removing");
    assert!(message(&folder).contains("model-00002-of-00002.safetensors"), "{}", message(&folder));
    let folder = copy("llama");
    std::fs::write(folder.path().join("config.json"), "{\n\"hidden_size\": 32,\n oops}").expect("writing");
    assert!(message(&folder).contains("config.json:3"), "{}", message(&folder));
    let folder = copy("llama");
    std::fs::write(folder.path().join("model.safetensors"), "no tensors").expect("writing");
    assert!(message(&folder).contains("model.safetensors"), "{}", message(&folder));
    std::fs::remove_file(folder.path().join("model.safetensors")).expect("removing");
    std::fs::write(folder.path().join("pytorch_model.bin"), "").expect("writing");
    assert!(message(&folder).contains("pytorch_model.bin"), "{}", message(&folder));
}

#[test]
fn adapters_that_are_more_than_lora_are_refused() {
    let model = Model::<f32>::open(&fixture("llama")).expect("llama");
    for (changes, part) in [
        (json!({"use_dora": true}), "use_dora"),
        (json!({"modules_to_save": ["lm_head"]}), "modules_to_save"),
        (json!({"bias": "lora_only"}), "bias"),
        (json!({"peft_type": "LOHA"}), "peft_type"),
        (json!({"layer_replication": [[0, 2]]}), "layer_replication"),
        (json!({"init_lora_weights": "pissa_niter_4"}), "init_lora_weights"),
        (json!({"alpha_pattern": {"(q_proj": 3}}), "alpha_pattern.(q_proj"),
        (json!({"alpha_pattern": {"q_proj": "3"}}), "alpha_pattern.q_proj"),
        (json!({"r": 0}), "`r`"),
    ] {
        let folder = tempfile::tempdir().expect("temporary folder");
        for name in ["adapter_config.json", "adapter_model.safetensors"] {
            std::fs::copy(fixture("llama").join("adapter").join(name), folder.path().join(name)).expect("copying");
        }
        change(&folder.path().join("adapter_config.json"), &changes);
        let message = Lora::<f32>::open(folder.path(), &model.config).map(|_| ()).expect_err("an error").to_string();
        assert!(message.contains(part), "{message}");
    }
    // An adapter of a wider model.
    let wider = ModelConfig { intermediate: 64, ..model.config.clone() };
    let error = Lora::<f32>::open(&fixture("llama").join("adapter"), &wider).map(|_| ()).expect_err("an error");
    assert!(matches!(error, FolderError::Shape { .. }), "{error}");
}

/// A new adapter changes nothing until it is trained.
#[test]
fn a_new_adapter_is_the_base_model() {
    let model = Model::<f32>::open(&fixture("llama")).expect("llama");
    let lora = Lora::initialise(&model.config, LoraConfig::new(4, 8.0), 1);
    let difference = verify_export((&model, None), (&model, Some(&lora)), StoredType::F32).expect("the same logits");
    assert_eq!(difference.largest, 0.0);
}
