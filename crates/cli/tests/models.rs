//! Commands on model folders, with the engine's fixtures from transformers and peft.

#[allow(dead_code, reason = "every test binary uses a part of the support")]
mod support;

use std::path::{Path, PathBuf};

use serde_json::Value;
use support::Place;
use tabpo_engine::{GenerationTokens, Model, ModelConfig, SaveOptions, StoredType, Tokenizer};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/fixtures").join(name)
}

/// Runs tabpo and returns stdout.
fn tabpo(arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> String {
    let mut command = assert_cmd::Command::cargo_bin("tabpo").expect("the binary is built");
    let output =
        command.args(arguments.iter().map(|argument| argument.as_ref())).assert().success().get_output().clone();
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Runs tabpo, which must refuse with exit code 2, and returns stderr.
fn refusal(arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> String {
    let mut command = assert_cmd::Command::cargo_bin("tabpo").expect("the binary is built");
    let output = command.args(arguments.iter().map(|argument| argument.as_ref())).assert().code(2).get_output().clone();
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).expect("UTF-8")
}

/// Name, shape and values of every tensor of an f32 safetensors file, by its own small reader.
fn tensors(path: &Path) -> Vec<(String, Vec<u64>, Vec<f32>)> {
    let bytes = std::fs::read(path).expect("the file was written");
    let (length, rest) = bytes.split_at(8);
    let length = u64::from_le_bytes(length.try_into().expect("eight bytes")) as usize;
    let (header, data) = rest.split_at(length);
    let header: Value = serde_json::from_slice(header).expect("a header");
    let mut tensors = Vec::new();
    for (name, info) in header.as_object().expect("an object").iter().filter(|(name, _)| *name != "__metadata__") {
        assert_eq!(info["dtype"], "F32");
        let shape = info["shape"].as_array().expect("a shape").iter().filter_map(Value::as_u64).collect();
        let offset = |i: usize| info["data_offsets"][i].as_u64().expect("an offset") as usize;
        let values = data[offset(0)..offset(1)].chunks_exact(4);
        let values = values.map(|b| f32::from_le_bytes(b.try_into().expect("four bytes"))).collect();
        tensors.push((name.clone(), shape, values));
    }
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    tensors
}

#[test]
fn inspect_logits_writes_those_of_transformers_and_peft() {
    let place = Place::new();
    for family in ["llama", "qwen2", "qwen3", "mistral"] {
        let folder = fixture(family);
        let expected = tensors(&folder.join("expected.safetensors"));
        let tokens = folder.join("expected.json");
        for (adapter, prefix) in [(None, ""), (Some(folder.join("adapter")), "adapter.")] {
            let out = place.path("logits.safetensors");
            let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> =
                vec![&"inspect", &"logits", &"--model", &folder, &"--tokens", &tokens, &"--out", &out];
            if let Some(adapter) = &adapter {
                arguments.extend([&"--adapter" as &dyn AsRef<std::ffi::OsStr>, adapter]);
            }
            assert_eq!(tabpo(&arguments), "");
            let found = tensors(&out);
            assert_eq!(found.len(), 3);
            for (name, shape, values) in found {
                let name = format!("{prefix}{name}");
                let (_, expected_shape, expected) = expected.iter().find(|(other, ..)| *other == name).expect(&name);
                assert_eq!(&shape, expected_shape, "{family}, {name}");
                let worst = values.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(worst <= 1e-4, "{family}, {name}: {worst}");
            }
        }
    }
}

#[test]
fn merge_writes_a_folder_with_the_same_logits() {
    let place = Place::new();
    let folder = fixture("qwen3");
    let (adapter, merged, out) = (folder.join("adapter"), place.path("merged"), place.path("logits.safetensors"));
    tabpo(&[&"merge", &"--model", &folder, &"--adapter", &adapter, &"--out", &merged, &"--dtype", &"f32"]);
    tabpo(&[&"inspect", &"logits", &"--model", &merged, &"--tokens", &folder.join("expected.json"), &"--out", &out]);
    let expected = tensors(&folder.join("expected.safetensors"));
    for (name, _, values) in tensors(&out) {
        let name = format!("adapter.{name}");
        let (.., expected) = expected.iter().find(|(other, ..)| *other == name).expect(&name);
        let worst = values.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= 1e-4, "{name}: {worst}");
    }
    let message = refusal(&[&"merge", &"--model", &folder, &"--adapter", &adapter, &"--out", &folder]);
    assert!(message.contains("--out"), "{message}");
}

/// A small random model with the tokenizer of the fixtures.
fn small_model(place: &Place) -> PathBuf {
    let folder = place.path("model");
    let tokenizer = Tokenizer::open(&fixture("tokenizer")).expect("the tokenizer");
    let model = Model::<f32>::initialise(ModelConfig::small(tokenizer.vocabulary_size(), 32, 1, 2), 3);
    let tokens = GenerationTokens { bos: None, stop: tokenizer.stop_ids().to_vec(), pad: None };
    model.save(&folder, &SaveOptions::new(StoredType::F32), &tokens).expect("the model can be written");
    tokenizer.save(&folder).expect("the tokenizer can be written");
    std::fs::write(folder.join("chat_template.jinja"), tabpo_engine::ChatTemplate::PLAIN)
        .expect("the template can be written");
    folder
}

#[test]
fn generate_prints_text_tokens_and_reason() {
    let place = Place::new();
    let model = small_model(&place);
    let generate = |more: &[&dyn AsRef<std::ffi::OsStr>]| -> Value {
        let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> =
            vec![&"generate", &"--model", &model, &"--max-new-tokens", &"6", &"--json"];
        arguments.extend_from_slice(more);
        serde_json::from_str(&tabpo(&arguments)).expect("JSON")
    };
    let messages = place.write("messages.json", r#"[{"role": "user", "content": "optical flow"}]"#);
    let greedy = generate(&[&"--prompt", &"optical flow"]);
    assert_eq!(greedy["finish_reason"], "length");
    assert_eq!(greedy["token_ids"].as_array().expect("a list").len(), 6);
    let tokenizer = Tokenizer::open(&model).expect("the tokenizer");
    let ids: Vec<u32> = serde_json::from_value(greedy["token_ids"].clone()).expect("ids");
    assert_eq!(greedy["text"], tokenizer.decode(&ids, true).expect("decoding"));
    let sampled = |seed: &str| {
        generate(&[&"--messages", &messages, &"--temperature", &"1", &"--top-p", &"0.9", &"--seed", &seed])
    };
    assert_eq!(sampled("1"), sampled("1"));
    assert_ne!(sampled("1"), sampled("2"));
    let message = refusal(&[&"generate", &"--model", &model]);
    assert!(message.contains("--prompt"), "{message}");
}

#[test]
fn chat_template_prints_the_rendering_alone() {
    let place = Place::new();
    let model = small_model(&place);
    let messages =
        place.write("messages.json", r#"[{"role": "system", "content": "S"}, {"role": "user", "content": "U\n"}]"#);
    let arguments: [&dyn AsRef<std::ffi::OsStr>; 5] = [&"chat-template", &"--model", &model, &"--messages", &messages];
    assert_eq!(tabpo(&arguments), "<|system|>S<|user|>U\n");
    let with_prompt: Vec<&dyn AsRef<std::ffi::OsStr>> =
        arguments.into_iter().chain([&"--add-generation-prompt" as &dyn AsRef<std::ffi::OsStr>]).collect();
    assert_eq!(tabpo(&with_prompt), "<|system|>S<|user|>U\n<|assistant|>");
    let broken = place.write("broken.json", "[\n{\"role\": user}]");
    let message = refusal(&[&"chat-template", &"--model", &model, &"--messages", &broken]);
    assert!(message.contains("broken.json:2"), "{message}");
}
