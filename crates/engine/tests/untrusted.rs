//! Untrusted folders: sizes, names and numbers are checked before they are used, and errors say what is wrong and
//! what to do.

mod common;

use std::path::Path;

use common::{all_logits, change, copy, fixture, refusal, with_causes};
use serde_json::{Value, json};
use tabpo_engine::{Lora, Matrix, Model, verify_export};
use tabpo_model::{FolderError, ModelConfig, SaveOptions, StoredType, check_model_folder, find_base};
use tempfile::TempDir;

/// Sizes and numbers of config.json are checked before they are used.
#[test]
fn sizes_and_numbers_beyond_reason_are_named() {
    for (key, value) in [
        ("num_hidden_layers", json!(1_000_000_000)),
        ("vocab_size", json!(1_u64 << 62)),
        ("hidden_size", json!(1_u64 << 40)),
        ("intermediate_size", json!(u64::MAX)),
        ("num_attention_heads", json!(1 << 30)),
        ("head_dim", json!(1_u64 << 50)),
        ("rope_theta", json!(0)),
        ("rope_theta", json!(-10000.0)),
        ("rope_theta", json!(1e300)),
        ("rms_norm_eps", json!(-1e-6)),
        ("rope_scaling", json!({"rope_type": "linear", "factor": 0})),
        ("rope_scaling", json!({"rope_type": "dynamic", "factor": -2})),
        ("rope_scaling", json!({"rope_type": "yarn", "factor": 0, "original_max_position_embeddings": 16})),
        ("rope_scaling", json!({"rope_type": "llama3", "factor": 8, "low_freq_factor": 0, "high_freq_factor": 4})),
    ] {
        let message = refusal("llama", &json!({key: value}));
        assert!(message.contains(key) && message.contains("config.json"), "{key}: {message}");
    }
    // More layers than tensors: detected when a tensor is missing.
    let message = refusal("llama", &json!({"num_hidden_layers": 4000}));
    assert!(message.contains("model.layers.2."), "{message}");
}

/// The header and the data of a safetensors file.
fn tensors(path: &Path) -> (serde_json::Map<String, Value>, Vec<u8>) {
    let bytes = std::fs::read(path).expect("reading");
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let header = serde_json::from_slice(&bytes[8..8 + length]).expect("a header");
    (header, bytes[8 + length..].to_vec())
}

fn write_tensors(path: &Path, header: &serde_json::Map<String, Value>, data: &[u8]) {
    let header = serde_json::to_vec(header).expect("JSON");
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    bytes.extend(data);
    std::fs::write(path, bytes).expect("writing");
}

#[test]
fn names_that_wrappers_change_are_read() {
    let expected = all_logits(&Model::<f32>::open(&fixture("llama")).expect("llama"), None, &[vec![1, 2, 3]]);
    let change = |name: &str| -> [String; 4] {
        let bare = name.strip_prefix("model.").unwrap_or(name);
        [bare.into(), format!("_orig_mod.{name}"), format!("module.{name}"), format!("_orig_mod.{bare}")]
    };
    for variant in 0..4 {
        let folder = copy("llama");
        let path = folder.path().join("model.safetensors");
        let (header, data) = tensors(&path);
        let renamed = header.into_iter().map(|(name, value)| {
            let name = if name == "__metadata__" { name } else { change(&name)[variant].clone() };
            (name, value)
        });
        write_tensors(&path, &renamed.collect(), &data);
        let model = Model::<f32>::open(folder.path()).expect("transformers reads it");
        assert_eq!(all_logits(&model, None, &[vec![1, 2, 3]]), expected);
    }
}

#[test]
fn weights_that_are_something_else_say_what_and_what_to_do() {
    let whole = std::fs::read(fixture("llama").join("model.safetensors")).expect("reading");
    for (content, parts) in [
        (&b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"[..], ["pointer", "git lfs pull"]),
        (&whole[..whole.len() - 1], ["incomplete", "download it again"]),
        (&whole[..200], ["incomplete", "download it again"]),
        (&whole[..5], ["incomplete", "download it again"]),
        (b"", ["empty", "download it again"]),
        (b"PK\x03\x04rest of an archive", ["PyTorch", "save_pretrained"]),
        (b"GGUF\x03\x00\x00\x00\x00\x00", ["GGUF", "give the file itself"]),
        (b"<!DOCTYPE html>\n<html>", ["web page", "download it again"]),
    ] {
        let folder = copy("llama");
        std::fs::write(folder.path().join("model.safetensors"), content).expect("writing");
        let message = with_causes(&Model::<f32>::open(folder.path()).map(|_| ()).expect_err("no weights"));
        for part in parts.into_iter().chain(["model.safetensors"]) {
            assert!(message.contains(part), "{part}: {message}");
        }
    }
    for (name, part) in [
        ("pytorch_model.bin.index.json", "convert"),
        ("pytorch_model-00001-of-00002.bin", "convert"),
        ("model-q4.gguf", "GGUF"),
        ("tf_model.h5", "TensorFlow"),
        ("consolidated.00.pth", "convert"),
        ("model-00001-of-00002.safetensors", "index"),
    ] {
        let folder = copy("llama");
        std::fs::rename(folder.path().join("model.safetensors"), folder.path().join(name)).expect("renaming");
        let message = with_causes(&Model::<f32>::open(folder.path()).map(|_| ()).expect_err("no weights"));
        assert!(message.contains(part), "{name}: {message}");
    }
}

#[test]
fn an_index_leads_to_files_of_its_folder_only() {
    for name in ["sub/a.safetensors", "../a.safetensors", "/a.safetensors", "..", ".", "", "a\\b.safetensors"] {
        let folder = copy("qwen2");
        let path = folder.path().join("model.safetensors.index.json");
        change(&path, &json!({"weight_map": {"model.norm.weight": name}}));
        let message = Model::<f32>::open(folder.path()).map(|_| ()).expect_err("a path").to_string();
        assert!(message.contains("weight_map.model.norm.weight"), "{name}: {message}");
    }
}

#[test]
fn a_non_finite_weight_is_named() {
    for (family, stored) in [("llama", 4), ("mistral", 2), ("qwen3", 0)] {
        let folder = copy(family);
        let path = folder.path().join("model.safetensors");
        let (header, mut data) = tensors(&path);
        let info = &header["model.norm.weight"];
        let start = info["data_offsets"][0].as_u64().expect("an offset") as usize;
        let size = if stored > 0 {
            stored
        } else if info["dtype"] == "F32" {
            4
        } else {
            2
        };
        data[start + 3 * size..start + 4 * size].fill(0xff);
        write_tensors(&path, &header, &data);
        let error = Model::<f32>::open(folder.path()).map(|_| ()).expect_err("a NaN");
        assert!(
            matches!(&error, FolderError::NotFinite { name, element: 3, .. } if name == "model.norm.weight"),
            "{error}"
        );
    }
}

/// An adapter's folder with changed tensors: name, shape and offsets in the header.
fn adapter_with(change: impl Fn(&mut serde_json::Map<String, Value>, usize)) -> TempDir {
    let folder = tempfile::tempdir().expect("temporary folder");
    let from = fixture("llama").join("adapter");
    std::fs::copy(from.join("adapter_config.json"), folder.path().join("adapter_config.json")).expect("copying");
    let (mut header, data) = tensors(&from.join("adapter_model.safetensors"));
    change(&mut header, data.len());
    write_tensors(&folder.path().join("adapter_model.safetensors"), &header, &data);
    folder
}

#[test]
fn ranks_are_those_of_both_matrices_and_the_data() {
    let config = ModelConfig::open(&fixture("llama")).expect("llama");
    let name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
    for rank in [0_u64, 1, 1_000_000_000, 1 << 62] {
        let folder = adapter_with(|header, end| {
            let empty = json!({"dtype": "F32", "shape": [rank, 0], "data_offsets": [end, end]});
            header.insert("base_model.model.model.layers.1.self_attn.o_proj.lora_A.weight".into(), empty.clone());
            header.insert("base_model.model.model.layers.1.self_attn.o_proj.lora_B.weight".into(), empty);
        });
        assert!(Lora::<f32>::open(folder.path(), &config).is_err(), "rank {rank}");
    }
    let folder = adapter_with(|header, _| {
        header.insert(name.replace("lora_A", "lora_A.other"), header[name].clone());
        header.shift_remove(name);
    });
    assert!(Lora::<f32>::open(folder.path(), &config).is_err());
}

#[test]
fn saved_embeddings_are_used_where_they_differ() {
    let mut model = Model::<f32>::open(&fixture("llama")).expect("llama");
    let folder = fixture("llama").join("adapter");
    let mut lora = Lora::<f32>::open(&folder, &model.config).expect("adapter");
    let ids = [vec![1, 2, 3, 4]];
    let before = all_logits(&model, Some(&lora), &ids);
    // Modules that equal the model's own are dropped.
    lora.saved.embedding = Some(model.embedding.clone());
    lora.saved.head = Some(model.head_matrix().clone());
    model.take_saved(&mut lora, &folder).expect("the same");
    assert!(lora.saved.embedding.is_none() && lora.saved.head.is_none());
    assert_eq!(all_logits(&model, Some(&lora), &ids), before);
    // A separate head with one more token survives saving and loading.
    let (rows, width) = (model.config.vocabulary + 1, model.config.hidden);
    let grown = |seed: usize| {
        Matrix::owned(rows, width, (0..rows * width).map(|i| ((i * 7 + seed) % 13) as f32 * 0.1).collect())
    };
    lora.saved.embedding = Some(grown(1));
    lora.saved.head = Some(grown(2));
    let out = tempfile::tempdir().expect("temporary folder");
    lora.save(out.path(), &model.config, "base").expect("saving");
    let mut read = Lora::<f32>::open(out.path(), &model.config).expect("reading");
    model.take_saved(&mut read, out.path()).expect("another vocabulary");
    assert_eq!(model.config.vocabulary, rows);
    let after = all_logits(&model, Some(&read), &ids);
    assert_eq!(after[0].len(), 4 * rows);
    // The merged model has that vocabulary.
    let merged = tempfile::tempdir().expect("temporary folder");
    let options = SaveOptions::new(StoredType::F32);
    read.merge(&model).save_merged(&fixture("llama"), out.path(), merged.path(), &options).expect("saving");
    let written = Model::<f32>::open(merged.path()).expect("reopening");
    verify_export((&model, Some(&read)), (&written, None), StoredType::F32).expect("the same logits");
}

/// The base of an adapter is found by its path, also if both were moved together.
#[test]
fn the_base_of_an_adapter_is_found() {
    let place = tempfile::tempdir().expect("temporary folder");
    let at = |name: &str| place.path().join(name);
    let write = |folder: &str, name: &str, content: &Value| {
        std::fs::create_dir_all(at(folder)).expect("a folder");
        std::fs::write(at(folder).join(name), content.to_string()).expect("writing");
    };
    write("moved/run/base", "config.json", &json!({}));
    write("elsewhere/model", "config.json", &json!({}));
    for (named, base) in [
        (at("elsewhere/model").display().to_string(), "elsewhere/model"),
        ("../../base".to_owned(), "moved/run/base"),
        ("runs/run/base".to_owned(), "moved/run/base"),
        ("/gone/runs/run/base".to_owned(), "moved/run/base"),
        ("C:/gone/run/base".to_owned(), "moved/run/base"),
    ] {
        write("moved/run/sft/policy", "adapter_config.json", &json!({"base_model_name_or_path": named}));
        let found = find_base(&at("moved/run/sft/policy")).expect(&named);
        assert_eq!(found.canonicalize().expect("there"), at(base).canonicalize().expect("there"), "{named}");
    }
    for (named, part) in [(json!("Qwen/Qwen2.5-0.5B"), "hf download"), (json!(null), "missing"), (json!(3), "3")] {
        write("moved/run/sft/policy", "adapter_config.json", &json!({"base_model_name_or_path": named}));
        let message = find_base(&at("moved/run/sft/policy")).expect_err("nowhere").to_string();
        assert!(message.contains(part) && message.contains("base_model_name_or_path"), "{message}");
    }
    // The folder of a stage contains the adapter's folder.
    let message = find_base(&at("moved/run/sft")).expect_err("above").to_string();
    assert!(message.contains("did you mean") && message.contains("policy"), "{message}");
}

#[test]
fn other_folders_and_files_are_named_for_what_they_are() {
    let place = tempfile::tempdir().expect("temporary folder");
    let at = |name: &str| place.path().join(name);
    std::fs::create_dir_all(at("stage/policy")).expect("a folder");
    std::fs::write(at("stage/policy/config.json"), "{}").expect("writing");
    std::fs::create_dir_all(at("empty")).expect("a folder");
    for name in ["model.safetensors", "model.gguf"] {
        std::fs::write(at(name), "").expect("writing");
    }
    for (path, part) in [
        (at("stage"), "did you mean"),
        (at("model.safetensors"), "give its folder"),
        (at("empty"), "no config.json"),
        (at("none"), "no such folder"),
        ("HuggingFaceTB/SmolLM2-135M".into(), "hf download HuggingFaceTB/SmolLM2-135M --local-dir SmolLM2-135M"),
    ] {
        let message = check_model_folder(&path).expect_err("no model").to_string();
        assert!(message.contains(part), "{}: {message}", path.display());
    }
    let message = Model::<f32>::open(&at("model.gguf")).map(|_| ()).expect_err("an empty file").to_string();
    assert!(message.contains("model.gguf"), "{message}");
    // A different architecture is not a misspelling.
    assert!(!refusal("llama", &json!({"architectures": ["Phi3ForCausalLM"]})).contains("did you mean"));
    assert!(
        refusal("llama", &json!({"architectures": ["LLamaForCausalLM"]})).contains("did you mean LlamaForCausalLM")
    );
}
