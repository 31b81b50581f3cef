//! Commands on model folders, with the engine's fixtures from transformers and peft.

#[allow(dead_code, reason = "every test binary uses a part of the support")]
mod support;

use std::path::{Path, PathBuf};

use serde_json::Value;
use support::Place;
use tabpo_engine::{
    ChatTemplate, GenerationTokens, Lora, LoraConfig, Model, ModelConfig, SaveOptions, StoredType, Tokenizer,
};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/fixtures").join(name)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of the tests are UTF-8")
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

/// Asserts that a file of logits holds those of transformers, to the accuracy of single precision.
fn assert_logits(out: &Path, family: &Path, prefix: &str) {
    let expected = tensors(&family.join("expected.safetensors"));
    let found = tensors(out);
    assert_eq!(found.len(), 3);
    for (name, shape, values) in found {
        let name = format!("{prefix}{name}");
        let (_, expected_shape, expected) = expected.iter().find(|(other, ..)| *other == name).expect(&name);
        assert_eq!(&shape, expected_shape, "{}, {name}", family.display());
        let worst = values.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= 1e-4, "{}, {name}: {worst}", family.display());
    }
}

#[test]
fn inspect_logits_writes_those_of_transformers_and_peft() {
    let place = Place::new();
    let out = place.path("logits.safetensors");
    for family in ["llama", "qwen2", "qwen3", "mistral"] {
        let folder = fixture(family);
        let (tokens, adapter) = (folder.join("expected.json"), folder.join("adapter"));
        let arguments = ["inspect", "logits", "--model", text(&folder), "--tokens", text(&tokens), "--out", text(&out)];
        let (stdout, _) = place.run(&arguments, 0);
        assert_eq!(stdout, "");
        assert_logits(&out, &folder, "");
        place.run(&[&arguments[..], &["--adapter", text(&adapter)]].concat(), 0);
        assert_logits(&out, &folder, "adapter.");
    }
}

#[test]
fn merge_writes_a_folder_with_the_same_logits() {
    let place = Place::new();
    let folder = fixture("qwen3");
    let (adapter, merged, out) = (folder.join("adapter"), place.path("merged"), place.path("logits.safetensors"));
    let merge = ["merge", "--model", text(&folder), "--adapter", text(&adapter), "--out"];
    place.run(&[&merge[..], &[text(&merged), "--dtype", "f32"]].concat(), 0);
    let tokens = folder.join("expected.json");
    place.run(&["inspect", "logits", "--model", text(&merged), "--tokens", text(&tokens), "--out", text(&out)], 0);
    assert_logits(&out, &folder, "adapter.");
    let (_, stderr) = place.run(&[&merge[..], &[text(&folder)]].concat(), 2);
    assert!(stderr.contains("--out"), "{stderr}");
}

/// A small random model with the tokenizer of the fixtures.
fn small_model(place: &Place) -> PathBuf {
    let folder = place.path("model");
    let tokenizer = Tokenizer::open(&fixture("tokenizer")).expect("the tokenizer can be read");
    let model = Model::<f32>::initialise(ModelConfig::small(tokenizer.vocabulary_size(), 32, 1, 2), 3);
    let tokens = GenerationTokens { bos: None, stop: tokenizer.stop_ids().to_vec(), pad: None };
    model.save(&folder, &SaveOptions::new(StoredType::F32), &tokens).expect("the model can be written");
    tokenizer.save(&folder).expect("the tokenizer can be written");
    place.write("model/chat_template.jinja", ChatTemplate::PLAIN);
    folder
}

#[test]
fn generate_prints_text_tokens_and_reason() {
    let place = Place::new();
    let model = small_model(&place);
    let messages = place.write("messages.json", r#"[{"role": "user", "content": "optical flow"}]"#);
    let generate = |more: &[&str]| -> Value {
        let arguments = ["generate", "--model", text(&model), "--max-new-tokens", "6", "--json"];
        serde_json::from_str(&place.run(&[&arguments[..], more].concat(), 0).0).expect("the output is JSON")
    };
    let greedy = generate(&["--prompt", "optical flow"]);
    assert_eq!(greedy["finish_reason"], "length");
    let ids: Vec<u32> = serde_json::from_value(greedy["token_ids"].clone()).expect("token_ids are numbers");
    assert_eq!(ids.len(), 6);
    let tokenizer = Tokenizer::open(&model).expect("the tokenizer can be read");
    assert_eq!(greedy["text"], tokenizer.decode(&ids, true).expect("the tokens can be decoded"));
    let sampled =
        |seed| generate(&["--messages", text(&messages), "--temperature", "1", "--top-p", "0.9", "--seed", seed]);
    assert_eq!(sampled("1"), sampled("1"));
    assert_ne!(sampled("1"), sampled("2"));
    let (_, stderr) = place.run(&["generate", "--model", text(&model)], 2);
    assert!(stderr.contains("--prompt"), "{stderr}");
}

/// Training on top of an adapter starts from it, and takes it for the reference: with a learning rate
/// of almost nothing the adapter comes out as it went in.
#[test]
fn training_goes_on_from_the_adapter_that_is_named() {
    let place = Place::new();
    let folder = small_model(&place);
    std::fs::remove_file(folder.join("chat_template.jinja")).expect("the file is there");
    let config = ModelConfig::open(&folder).expect("the model was written");
    let mut lora = Lora::<f32>::initialise(&config, LoraConfig::new(2, 4.0), 1);
    for (index, value) in lora.parameters_mut().into_iter().flatten().enumerate() {
        *value = (index % 17) as f32 * 0.01 - 0.08;
    }
    let adapter = place.path("adapter");
    lora.save(&adapter, &config, text(&folder)).expect("the adapter can be written");
    let settings = [
        format!("model.folder={}", text(&folder)),
        format!("adapter.folder={}", text(&adapter)),
        format!("run.directory={}", text(&place.path("run"))),
        "data.synthetic.sft=4".into(),
        "sft.epochs=1".into(),
        "sft.learning_rate=1e-5".into(),
    ];
    let quickstart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/quickstart.toml");
    let mut arguments = vec!["sft", text(&quickstart)];
    for setting in &settings {
        arguments.extend(["--set", setting]);
    }
    place.run(&arguments, 0);
    let trained = Lora::<f32>::open(&place.path("run/sft/policy"), &config).expect("the adapter was written");
    for (before, after) in lora.parameters().into_iter().zip(trained.parameters()) {
        assert!(before.iter().zip(after).all(|(a, b)| (a - b).abs() < 1e-3));
        assert_ne!(before, after);
    }
    // Without the model that it belongs to there is nothing to start from.
    let setting = format!("adapter.folder={}", text(&adapter));
    let (_, stderr) = place.run(&["sft", text(&quickstart), "--set", &setting], 2);
    assert!(stderr.contains("model.folder"), "{stderr}");
}

#[test]
fn chat_template_prints_the_rendering_alone() {
    let place = Place::new();
    let model = small_model(&place);
    let messages =
        place.write("messages.json", r#"[{"role": "system", "content": "S"}, {"role": "user", "content": "U\n"}]"#);
    let arguments = ["chat-template", "--model", text(&model), "--messages"];
    let rendered = place.run(&[&arguments[..], &[text(&messages)]].concat(), 0).0;
    assert_eq!(rendered, "<|system|>S<|user|>U\n");
    let prompt = place.run(&[&arguments[..], &[text(&messages), "--add-generation-prompt"]].concat(), 0).0;
    assert_eq!(prompt, "<|system|>S<|user|>U\n<|assistant|>");
    let tools = place.write(
        "tools.json",
        r#"{"messages": [{"role": "user", "content": "U", "tool_calls": null}], "tools": [{"name": "find"}], "end": "!"}"#,
    );
    let config = model.join("tokenizer_config.json");
    std::fs::remove_file(model.join("chat_template.jinja")).expect("the template is a file");
    let named = r#"{"eos_token": "<|end|>", "chat_template": [
        {"name": "default", "template": "default"},
        {"name": "tool_use", "template": "{{ tools | tojson }}{{ messages[0].tool_calls is defined }}{{ end }}"}]}"#;
    std::fs::write(&config, named).expect("the configuration can be written");
    assert_eq!(place.run(&[&arguments[..], &[text(&messages)]].concat(), 0).0, "default");
    let rendered = place.run(&[&arguments[..], &[text(&tools)]].concat(), 0).0;
    assert_eq!(rendered, r#"[{"name": "find"}]False!"#);
    let broken = place.write("broken.json", "[\n{\"role\": user}]");
    let (_, stderr) = place.run(&[&arguments[..], &[text(&broken)]].concat(), 2);
    assert!(stderr.contains("broken.json:2"), "{stderr}");
}
