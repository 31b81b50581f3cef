//! Commands on model folders, with the engine's fixtures from transformers and peft.

mod support;

use std::path::{Path, PathBuf};

use serde_json::Value;
use support::Place;
use tabpo_engine::{Lora, Model};
use tabpo_model::{ChatTemplate, GenerationTokens, LoraConfig, ModelConfig, SaveOptions, StoredType, Tokenizer};

/// A fixture of the tests of another crate.
fn fixture(of: &str, name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../{of}/tests/fixtures/{name}"))
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
        let folder = fixture("engine", family);
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
    let folder = fixture("engine", "qwen3");
    let (adapter, merged, out) = (folder.join("adapter"), place.path("merged"), place.path("logits.safetensors"));
    let merge = ["merge", "--model", text(&folder), "--adapter", text(&adapter), "--out"];
    place.run(&[&merge[..], &[text(&merged), "--type", "f32"]].concat(), 0);
    let tokens = folder.join("expected.json");
    place.run(&["inspect", "logits", "--model", text(&merged), "--tokens", text(&tokens), "--out", text(&out)], 0);
    assert_logits(&out, &folder, "adapter.");
    // Also through a folder that does not exist.
    let detour = folder.parent().expect("a folder above").join("new/..").join(folder.file_name().expect("a name"));
    let (_, refused) = place.run(&[&merge[..], &[text(&detour)]].concat(), 2);
    assert!(refused.contains("the model or adapter that is merged"), "{refused}");
    let (_, stderr) = place.run(&[&merge[..], &[text(&folder)]].concat(), 2);
    assert!(stderr.contains("--out"), "{stderr}");
}

/// A small random model with the tokenizer of the fixtures.
fn small_model(place: &Place) -> PathBuf {
    let folder = place.path("model");
    let tokenizer = Tokenizer::open(&fixture("model", "tokenizer")).expect("the tokenizer can be read");
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

/// An adapter that changes what the model of [`small_model`] says, in a folder of its own.
fn small_adapter(place: &Place, model: &Path, name: &str, value: f32) -> PathBuf {
    let config = ModelConfig::open(model).expect("the model was written");
    let mut lora = Lora::<f32>::initialise(&config, LoraConfig::new(2, 4.0), 1);
    for (index, parameter) in lora.parameters_mut().into_iter().flatten().enumerate() {
        *parameter = (index % 17) as f32 * 0.1 - 0.8 + value;
    }
    let adapter = place.path(name);
    lora.save(&adapter, &config, text(model)).expect("the adapter can be written");
    adapter
}

/// Wherever a model is asked for, an adapter's folder will do: its base is found.
#[test]
fn an_adapter_stands_for_its_model_in_every_command() {
    let place = Place::new();
    let model = small_model(&place);
    let adapter = small_adapter(&place, &model, "stage/policy", 0.0);
    let generate = |more: &[&str]| {
        let arguments = ["generate", "--prompt", "optical flow", "--max-new-tokens", "4", "--json", "--log-probs"];
        place.run(&[&arguments[..], more].concat(), 0).0
    };
    let both = generate(&["--model", text(&model), "--adapter", text(&adapter)]);
    assert_eq!(generate(&["--model", text(&adapter)]), both);
    assert_ne!(generate(&["--model", text(&model)]), both);
    let tokens = place.write("tokens.json", r#"{"input_ids": [[1, 2, 3]]}"#);
    let logits = |name: &str, more: &[&str]| {
        let out = place.path(name);
        let arguments = ["inspect", "logits", "--tokens", text(&tokens), "--out", text(&out)];
        place.run(&[&arguments[..], more].concat(), 0);
        std::fs::read(&out).expect("the logits were written")
    };
    let expected = logits("a.safetensors", &["--model", text(&model), "--adapter", text(&adapter)]);
    assert_eq!(logits("b.safetensors", &["--model", text(&adapter)]), expected);
    place.run(&["merge", "--model", text(&adapter), "--out", text(&place.path("merged")), "--type", "f32"], 0);
    let (_, stderr) = place.run(&["merge", "--model", text(&model), "--out", text(&place.path("merged"))], 2);
    assert!(stderr.contains("--adapter"), "{stderr}");
    let messages = place.write("messages.json", r#"[{"role": "user", "content": "U"}]"#);
    place.run(&["chat-template", "--model", text(&adapter), "--messages", text(&messages)], 0);
    // The folder of the stage is not the adapter's.
    let stage = place.path("stage");
    for arguments in [["--model", text(&stage)].as_slice(), &["--model", text(&model), "--adapter", text(&stage)]] {
        let (_, stderr) = place.run(&[&["generate", "--prompt", "x"], arguments].concat(), 2);
        let asks_for_adapter = arguments.contains(&"--adapter");
        assert!(!asks_for_adapter || stderr.contains("did you mean DIR/stage/policy?"), "{stderr}");
    }
    let (_, stderr) = place.run(&["generate", "--prompt", "x", "--model", "HuggingFaceTB/SmolLM2-135M"], 2);
    assert!(stderr.contains("hf download HuggingFaceTB/SmolLM2-135M"), "{stderr}");
}

/// A merged folder is there whole and checked, or it is the one that was there before.
#[test]
fn merge_replaces_a_folder_as_one_or_not_at_all() {
    let place = Place::new();
    let model = small_model(&place);
    let good = small_adapter(&place, &model, "good", 0.0);
    let broken = small_adapter(&place, &model, "broken", f32::NAN);
    let huge = small_adapter(&place, &model, "huge", 1e30);
    let out = place.path("merged");
    let merge = |adapter: &Path, code| {
        place.run(
            &["merge", "--model", text(&model), "--adapter", text(adapter), "--out", text(&out), "--type", "f32"],
            code,
        )
    };
    for adapter in [&broken, &huge] {
        merge(adapter, 1);
        assert!(!out.exists());
    }
    merge(&good, 0);
    std::fs::write(out.join("NOTES.md"), "mine").expect("writing");
    std::fs::write(out.join("model-00001-of-00002.safetensors"), "of an older model").expect("writing");
    let weights = || std::fs::read(out.join("model.safetensors")).expect("reading");
    let before = weights();
    merge(&broken, 1);
    assert_eq!(weights(), before);
    assert!(out.join("model-00001-of-00002.safetensors").exists());
    merge(&good, 0);
    assert_eq!(weights(), before);
    assert!(!out.join("model-00001-of-00002.safetensors").exists());
    assert_eq!(std::fs::read_to_string(out.join("NOTES.md")).expect("it stays"), "mine");
    assert!(place.names().iter().all(|name| !name.starts_with(".tmp")), "{:?}", place.names());
    // What is no model is not replaced.
    place.write("papers/thesis.txt", "text");
    let papers = place.path("papers");
    let arguments = ["merge", "--model", text(&model), "--adapter", text(&good), "--out", text(&papers)];
    let (_, stderr) = place.run(&arguments, 2);
    assert!(stderr.contains("no model") && papers.join("thesis.txt").exists(), "{stderr}");
}

/// A document that does not fit costs itself and no other.
#[test]
fn a_document_beyond_the_window_has_no_answer() {
    let place = Place::new();
    let model = small_model(&place);
    let ontology = place.write(
        "ontology.toml",
        "[ontology]\nname = \"o\"\n[[entity]]\nname = \"Task\"\n[[relation]]\nname = \"Used-for\"\n",
    );
    let document =
        |key: &str, words: usize| format!("{{\"doc_key\": \"{key}\", \"text\": \"{}\"}}\n", "optical ".repeat(words));
    let data = place.write("data.jsonl", &(document("first", 3) + &document("endless", 5000) + &document("last", 4)));
    let out = place.path("out.jsonl");
    let arguments = [
        "predict",
        "--model",
        text(&model),
        "--ontology",
        text(&ontology),
        "--data",
        text(&data),
        "--out",
        text(&out),
        "--max-new-tokens",
        "3",
    ];
    let (_, stderr) = place.run(&arguments, 0);
    assert!(stderr.contains("`endless") && stderr.contains("4096"), "{stderr}");
    let lines: Vec<Value> = std::fs::read_to_string(&out)
        .expect("written")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let outcomes: Vec<_> = lines.iter().map(|line| (line["doc_key"].as_str(), line["outcome"].as_str())).collect();
    assert_eq!(outcomes, [(Some("first"), None), (Some("endless"), Some("too-long")), (Some("last"), None)]);
    assert_eq!(lines[1]["output"], "");
    std::fs::remove_file(&out).expect("removing");
    let (_, stderr) = place.run(&[&arguments[..], &["--strict"]].concat(), 1);
    assert!(stderr.contains("`endless") && !out.exists(), "{stderr}");
    // A template of one's own, a built-in one, and none of that name.
    for (template, code) in [("plain", 0), ("alpaca", 0), ("chatml", 0), ("none.jinja", 2)] {
        place.run(&[&arguments[..], &["--chat-template", template]].concat(), code);
    }
}

/// An example that does not fit costs itself and no other.
#[test]
fn pairs_beyond_the_window_are_left_out_of_a_selection() {
    let place = Place::new();
    let model = small_model(&place);
    let ontology = place
        .write("ontology.toml", "[ontology]\nname = \"o\"\n[[entity]]\nname = \"Task\"\n[[entity]]\nname = \"Tool\"\n");
    let answer = |label: &str| format!(r#"{{"entities":[{{"text":"optical","type":"{label}"}}]}}"#);
    let pairs = |key: &str, words: usize| {
        let edit = serde_json::json!({"kind": "label", "source": "mode", "from": "Task", "to": "Tool", "item": "e1"});
        let pair = serde_json::json!({
            "id": key, "doc_key": key, "prompt": "optical ".repeat(words), "chosen": answer("Task"),
            "rejected": answer("Tool"), "edit": edit, "distance_tokens": 1, "weight": 1.0,
        });
        format!("{pair}\n")
    };
    let select = |pairs: &str, more: &[&str], code| {
        place.write("pairs.jsonl", pairs);
        let arguments = ["pairs", "select", "pairs.jsonl", "--ontology", text(&ontology), "--model", text(&model)];
        place.run(&[&arguments[..], &["--keep", "1", "--out", "hard.jsonl"], more].concat(), code)
    };
    let all = pairs("first", 3) + &pairs("endless", 5000) + &pairs("last", 4);
    let (stdout, stderr) = select(&all, &["--json"], 0);
    assert!(stderr.contains("\"endless\"") && stderr.contains("1 of 3 examples"), "{stderr}");
    let summary: Value = serde_json::from_str(&stdout).expect("the summary is JSON");
    assert_eq!((summary["examples"].as_u64(), summary["too_long"].as_u64()), (Some(2), Some(1)));
    let kept = std::fs::read_to_string(place.path("hard.jsonl")).expect("written");
    let keys: Vec<Value> =
        kept.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["doc_key"].clone()).collect();
    assert_eq!(keys, ["first", "last"]);
    std::fs::remove_file(place.path("hard.jsonl")).expect("removing");
    let (_, stderr) = select(&all, &["--strict"], 1);
    assert!(stderr.contains("\"endless\"") && stderr.contains("--strict"), "{stderr}");
    let (_, stderr) = select(&pairs("endless", 5000), &[], 2);
    assert!(stderr.contains("every example exceeds"), "{stderr}");
    assert!(!place.path("hard.jsonl").exists());
}
