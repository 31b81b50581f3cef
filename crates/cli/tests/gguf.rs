//! Commands on GGUF files.

mod support;

use std::path::{Path, PathBuf};

use support::{
    Place,
    gguf::{adapter_run, continued, model, text},
};

#[test]
fn a_gguf_file_stands_for_a_folder_and_becomes_one() {
    let place = Place::new();
    let file: PathBuf = place.path("tiny.gguf");
    model(&file);
    let folder = place.path("folder");
    let from_file = continued(&place, &[text(&file)]);
    let (_, stderr) = place.run(&["model", "convert", text(&file), text(&folder), "--type", "f32"], 0);
    assert!(stderr.contains("at most 0.0e0"), "{stderr}");
    assert_eq!(continued(&place, &[text(&folder)]), from_file);

    // The folder has all that the file had.
    let messages = place.write("messages.json", r#"[{"role": "user", "content": "a text"}]"#);
    let rendered = |model: &Path| {
        let arguments = ["chat-template", "--model", text(model), "--messages", text(&messages)];
        place.run(&arguments, 0).0
    };
    assert_eq!(rendered(&folder), rendered(&file));
    assert!(rendered(&file).contains("<|user|>a text"));

    let (_, stderr) = place.run(&["model", "convert", text(&file), text(&file)], 2);
    assert!(stderr.contains("tiny.gguf"), "{stderr}");
}

/// A run's stage that has trained an adapter on the model in a file.
fn stage(place: &Place, file: &Path) -> PathBuf {
    let config = adapter_run(place, file);
    place.run(&["sft", text(&config)], 0);
    // Unchanged files, nothing to do.
    let (_, stderr) = place.run(&["sft", text(&config)], 0);
    assert!(stderr.contains("up to date"), "{stderr}");
    place.path("run/sft")
}

#[test]
fn an_adapter_is_trained_on_a_gguf_file_and_becomes_one() {
    let place = Place::new();
    let file = place.path("tiny.gguf");
    model(&file);
    let stage = stage(&place, &file);
    let adapter = stage.join("policy");
    let trained = continued(&place, &[text(&adapter)]);

    // For llama.cpp's --lora, which tabpo reads as well.
    let lora = place.path("lora.gguf");
    let (_, stderr) = place.run(&["model", "convert", text(&adapter), text(&lora)], 0);
    assert!(stderr.contains("at most 0.0e0"), "{stderr}");
    assert_eq!(continued(&place, &[text(&file), "--adapter", text(&lora)]), trained);
    place.run(&["model", "convert", text(&adapter), text(&lora), "--base", text(&file), "--type", "f16"], 0);

    // Merged from the folder of the stage, with what Ollama needs.
    let merged = place.path("out/merged.gguf");
    let arguments = ["merge", "--model", text(&stage), "--out", text(&merged), "--type"];
    place.run(&[&arguments[..], &["f32"]].concat(), 0);
    assert_eq!(continued(&place, &[text(&merged)])["token_ids"], trained["token_ids"]);
    let modelfile = std::fs::read_to_string(place.path("out/Modelfile")).expect("a Modelfile");
    assert!(
        modelfile.contains("\nFROM ./merged.gguf\n") && modelfile.contains("PARAMETER stop \"<end>\""),
        "{modelfile}"
    );
    // Its own Modelfile is replaced, another one is not.
    place.run(&[&arguments[..], &["q8_0"]].concat(), 0);
    place.write("out/Modelfile", "FROM llama3\n");
    let (_, stderr) = place.run(&[&arguments[..], &["f16"]].concat(), 2);
    assert!(stderr.contains("was not written by tabpo"), "{stderr}");
    let mut names: Vec<_> = std::fs::read_dir(place.path("out")).expect("the folder").collect();
    names.sort_by_key(|entry| entry.as_ref().expect("an entry").file_name());
    let names: Vec<_> = names.into_iter().map(|entry| entry.expect("an entry").file_name()).collect();
    assert_eq!(names, ["Modelfile", "merged.gguf"]);
}

#[test]
fn a_folder_becomes_a_file_and_a_folder_again() {
    let place = Place::new();
    let file = place.path("tiny.gguf");
    model(&file);
    let names = ["first", "file.gguf", "second"];
    let [first, again, second] = names.map(|name| place.path(name));
    for (from, to) in [(&file, &first), (&first, &again), (&again, &second)] {
        let (_, stderr) = place.run(&["model", "convert", text(from), text(to), "--type", "f32"], 0);
        assert!(stderr.contains("at most 0.0e0"), "{stderr}");
    }
    for name in ["model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja"]
    {
        let read = |folder: &Path| std::fs::read(folder.join(name)).expect(name);
        assert!(read(&first) == read(&second), "{name}");
    }
    assert_eq!(continued(&place, &[text(&again)]), continued(&place, &[text(&file)]));
}

#[test]
fn what_cannot_be_converted_is_said_before_any_work() {
    let place = Place::new();
    let file = place.path("tiny.gguf");
    model(&file);
    place.run(&["model", "convert", "tiny.gguf", "folder"], 0);
    let whole = std::fs::read(&file).expect("the file");
    std::fs::write(place.path("half.gguf"), &whole[..whole.len() / 2]).expect("writing");
    // An adapter of the model.
    place.write(
        "adapter/adapter_config.json",
        r#"{"peft_type": "LORA", "r": 1, "lora_alpha": 2, "base_model_name_or_path": "folder"}"#,
    );
    let config = std::fs::read_to_string(place.path("folder/config.json")).expect("the configuration");
    let changed = |name: &str, from: &str, to: &str| {
        assert!(config.contains(from), "{config}");
        std::fs::create_dir(place.path(name)).expect("a folder");
        for entry in std::fs::read_dir(place.path("folder")).expect("the folder") {
            let entry = entry.expect("an entry");
            std::fs::copy(entry.path(), place.path(name).join(entry.file_name())).expect("a copy");
        }
        place.write(&format!("{name}/config.json"), &config.replacen(from, to, 1));
    };
    changed("dynamic", "\"rope_scaling\": null", "\"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 2.0}");
    changed("words", "{", "{");
    let tokenizer = std::fs::read_to_string(place.path("words/tokenizer.json")).expect("a tokenizer");
    place.write("words/tokenizer.json", &tokenizer.replace("1,3}", "1,2}"));
    let before = place.names();
    let transcripts: Vec<String> = [
        &["model", "convert", "tiny.gguf", "other", "--type", "q4_k_m"][..],
        &["model", "convert", "tiny.gguf", "tiny.gguf"],
        &["model", "convert", "half.gguf", "other"],
        &["model", "convert", "missing.gguf", "other"],
        &["model", "convert", "dynamic", "other.gguf"],
        &["model", "convert", "words", "other.gguf"],
        &["model", "convert", "folder", "-"],
        &["model", "convert", "folder", "other.gguf", "--base", "tiny.gguf"],
        &["model", "convert", "adapter", "other"],
        &["model", "convert", "adapter", "other.gguf", "--type", "q8_0"],
        &["merge", "--model", "folder", "--out", "other"],
        &["merge", "--model", "tiny.gguf", "--out", "tiny.gguf"],
        &["merge", "--model", "tiny.gguf", "--out", "other.gguf", "--type", "q2_k"],
    ]
    .into_iter()
    .map(|arguments| place.transcript(arguments))
    .collect();
    assert_eq!(place.names(), before, "nothing is left behind");
    assert_transcripts!("gguf_refusals", transcripts);
}
