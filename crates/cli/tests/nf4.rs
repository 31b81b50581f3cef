//! Commands on models in NF4.

mod support;

use std::path::Path;

use support::{
    Place,
    gguf::{adapter_run, continued, model, text},
};

#[test]
fn a_model_is_quantised_trained_on_and_merged() {
    let place = Place::new();
    let (file, nf4) = (place.path("tiny.gguf"), place.path("nf4"));
    model(&file);
    let (_, stderr) = place.run(&["model", "quantise", text(&file), text(&nf4)], 0);
    assert!(stderr.contains("read again and compared with the original: logits differ by at most"), "{stderr}");
    let (described, _) = place.run(&["inspect", text(&nf4)], 0);
    assert!(described.contains("of weights in NF4, bf16\n"), "{described}");
    let config = std::fs::read_to_string(nf4.join("config.json")).expect("a configuration");
    assert!(config.contains("\"bnb_4bit_quant_type\": \"nf4\""), "{config}");
    // From a folder, too, with the same result.
    let (folder, again) = (place.path("folder"), place.path("again"));
    place.run(&["model", "convert", text(&file), text(&folder), "--type", "f32"], 0);
    place.run(&["model", "quantise", text(&folder), text(&again)], 0);
    let weights = |folder: &Path| std::fs::read(folder.join("model.safetensors")).expect("weights");
    assert!(weights(&nf4) == weights(&again));
    place.run(&["model", "quantise", text(&folder), text(&again), "--plain-scales"], 0);
    assert!(weights(&nf4) != weights(&again));

    let config = adapter_run(&place, &nf4);
    place.run(&["sft", text(&config)], 0);
    let adapter = place.path("run/sft/policy");
    let trained = continued(&place, &[text(&adapter)]);

    // Merged into the widened weights it is a plain model.
    let merged = place.path("merged");
    place.run(&["merge", "--model", text(&adapter), "--out", text(&merged), "--type", "f32"], 0);
    assert_eq!(continued(&place, &[text(&merged)])["token_ids"], trained["token_ids"]);
    let config = std::fs::read_to_string(merged.join("config.json")).expect("a configuration");
    assert!(!config.contains("quantization_config"), "{config}");
}

#[test]
fn what_cannot_be_quantised_is_said_before_any_work() {
    let place = Place::new();
    let file = place.path("tiny.gguf");
    model(&file);
    place.run(&["model", "convert", "tiny.gguf", "folder"], 0);
    place.write("adapter/adapter_config.json", r#"{"peft_type": "LORA", "r": 1, "base_model_name_or_path": "folder"}"#);
    place.write("notes/todo.txt", "to do");
    let before = place.names();
    for (arguments, expected) in [
        (["folder", "folder"], "FROM and TO are the same"),
        (["missing", "nf4"], "there is no such folder"),
        (["adapter", "nf4"], "is an adapter, not a model"),
        (["folder", "nf4.gguf"], "`tabpo model convert FROM TO --type q4_k_m`"),
        (["folder", "notes"], "holds files, but no model"),
    ] {
        let (_, stderr) = place.run(&[&["model", "quantise"][..], &arguments].concat(), 2);
        assert!(stderr.contains(expected), "{stderr}");
    }
    assert_eq!(place.names(), before, "nothing is left behind");
}
