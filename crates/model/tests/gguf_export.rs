//! Tokenizers and chat templates that are written as GGUF and read again.

use std::path::{Path, PathBuf};

use jiff::civil::date;
use serde_json::{Value, json};
use tabpo_model::{
    Architecture, ChatTemplate, FileType, FolderError, GgufHead, GgufSource, Message, ModelConfig, Modelfile,
    Tokenizer, WrittenTensor, write_gguf,
};
use tempfile::TempDir;

/// A tensor of zeros.
struct Zeros;

impl WrittenTensor for Zeros {
    fn copy_row(&self, _row: usize, out: &mut [f32]) {
        out.fill(0.0);
    }
}

/// A folder with these files.
fn folder(files: &[(&str, Value)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, content) in files {
        let text = content.as_str().map_or_else(|| content.to_string(), str::to_owned);
        std::fs::write(folder.path().join(name), text).expect("writing");
    }
    folder
}

fn config(vocabulary: usize) -> ModelConfig {
    ModelConfig { architecture: Architecture::Qwen2, ..ModelConfig::small(vocabulary, 4, 1, 1) }
}

fn head(folder: &Path, vocabulary: usize) -> Result<GgufHead, FolderError> {
    let date = date(2026, 1, 2).at(0, 0, 0, 0);
    GgufHead::new(&config(vocabulary), &GgufSource { model: folder, adapter: None, name: "test", date })
}

/// A model of zeros with the tokenizer and the template of a folder.
fn export(folder: &Path, vocabulary: usize) -> PathBuf {
    let path = folder.join("model.gguf");
    let tensors: Vec<_> = config(vocabulary).tensors().into_iter().map(|(name, shape)| (name, shape, Zeros)).collect();
    write_gguf(&path, &head(folder, vocabulary).expect("a model that GGUF holds"), FileType::F16, &tensors)
        .expect("a file");
    path
}

fn refusal(tokenizer: &Value, settings: Value) -> String {
    let folder = folder(&[("tokenizer.json", tokenizer.clone()), ("tokenizer_config.json", settings)]);
    head(folder.path(), 400).expect_err("not in GGUF").to_string()
}

fn added(id: usize, content: &str, special: bool) -> Value {
    json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
           "special": special})
}

/// A tokenizer in the way of Llama 3, with a token before every text.
fn byte_level() -> Value {
    let words = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    let letters =
        ('!'..='~').map(String::from).chain(["Ġ", "Ċ", "Ã", "©", "th", "the", "Ġthe", "123"].map(str::to_owned));
    let vocabulary: serde_json::Map<_, _> = letters.enumerate().map(|(id, token)| (token, json!(id))).collect();
    let next = vocabulary.len();
    let first = json!({"SpecialToken": {"id": "<first>", "type_id": 0}});
    let text = |name: &str| json!({"Sequence": {"id": name, "type_id": 0}});
    json!({
        "version": "1.0",
        "added_tokens": [
            added(next, "<first>", true), added(next + 1, "<end>", true), added(next + 2, "<turn>", true),
            added(next + 3, "<call>", false),
        ],
        "normalizer": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": words}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        ]},
        "post_processor": {"type": "TemplateProcessing", "single": [first, text("A")], "pair": [first, text("A"), text("B")],
                           "special_tokens": {"<first>": {"id": "<first>", "ids": [next], "tokens": ["<first>"]}}},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": true,
                  "vocab": vocabulary, "merges": [["t", "h"], ["th", "e"], ["Ġ", "the"]]},
    })
}

/// A tokenizer in the way of Llama 2.
fn sentence_piece() -> Value {
    let bytes = (0..=255).map(|byte| format!("<0x{byte:02X}>"));
    let pieces =
        ["\u{2581}", "a", "b", "c", "e", "h", "t", "th", "\u{2581}th", "the", "\u{2581}the"].map(str::to_owned);
    let tokens = ["<unk>", "<s>", "</s>"].map(str::to_owned).into_iter().chain(bytes).chain(pieces);
    let vocabulary: serde_json::Map<_, _> = tokens.enumerate().map(|(id, token)| (token, json!(id))).collect();
    let blank = "\u{2581}";
    json!({
        "version": "1.0",
        "added_tokens": [added(0, "<unk>", true), added(1, "<s>", true), added(2, "</s>", true)],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": blank},
            {"type": "Replace", "pattern": {"String": " "}, "content": blank},
        ]},
        "pre_tokenizer": null,
        "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": blank}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ]},
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
                  "vocab": vocabulary,
                  "merges": [["t", "h"], ["\u{2581}", "th"], ["th", "e"], ["\u{2581}th", "e"], ["\u{2581}", "the"]]},
    })
}

const TEXTS: [&str; 5] = ["the the  the", "a123 é\n{x}", "<turn>the<call> the", "", "<end>"];

#[test]
fn a_byte_level_tokenizer_is_read_as_it_was_written() {
    let template = "{{ bos_token }}{% for m in messages %}{{ m.role + m.content }}<turn>{% endfor %}\
                    {% if add_generation_prompt %}assistant{% endif %}";
    let folder = folder(&[
        ("tokenizer.json", byte_level()),
        ("tokenizer_config.json", json!({"bos_token": "<first>", "eos_token": "<end>", "pad_token": "<end>"})),
        ("chat_template.jinja", json!(template)),
    ]);
    std::fs::create_dir(folder.path().join("additional_chat_templates")).expect("a folder");
    std::fs::write(folder.path().join("additional_chat_templates/tool_use.jinja"), "tools").expect("writing");
    let source = Tokenizer::open(folder.path()).expect("a tokenizer");
    let file = export(folder.path(), 120);
    let read = Tokenizer::open(&file).expect("the file");
    for text in TEXTS {
        assert_eq!(read.encode(text).expect("tokens"), source.encode(text).expect("tokens"), "{text:?}");
        assert_eq!(read.encode_bare(text).expect("tokens"), source.encode_bare(text).expect("tokens"), "{text:?}");
    }
    assert_eq!(read.special(), source.special());
    assert_eq!(read.vocabulary_size(), source.vocabulary_size());
    // What ends an answer in the template ends it in the file too.
    let stops: Vec<_> = read.stop_ids().iter().filter_map(|&id| read.token(id)).collect();
    assert_eq!(stops, ["<end>", "<turn>"]);
    let date = date(2026, 1, 2).at(0, 0, 0, 0);
    let messages = [Message::new("user", "the")];
    for (name, expected) in [(None, "<first>userthe<turn>assistant"), (Some("tool_use"), "tools")] {
        let template = ChatTemplate::open_named(&file, &read, name, false).expect("a template");
        assert_eq!(template.render(&messages, true, date).expect("text"), expected);
    }

    let modelfile = Modelfile::new("model.gguf", &head(folder.path(), 120).expect("a head"), 4096, date);
    assert!(Modelfile::is_ours(&modelfile.text) && modelfile.untranslated.is_none());
    // Ollama puts the first token before every prompt itself.
    assert_eq!(
        modelfile.text.lines().skip(1).collect::<Vec<_>>().join("\n"),
        "FROM ./model.gguf\n\
         # The chat template of the model, for one question with or without a system text.\n\
         TEMPLATE \"\"\"{{ if .System }}system{{ .System }}<turn>user{{ else }}user{{ end }}{{ .Prompt }}<turn>assistant\
         {{ .Response }}<turn>\"\"\"\n\
         PARAMETER stop \"<end>\"\n\
         PARAMETER stop \"<turn>\"\n\
         PARAMETER temperature 0\n\
         PARAMETER repeat_penalty 1\n\
         PARAMETER num_ctx 4096"
    );
}

#[test]
fn the_merges_of_a_sentence_piece_tokenizer_become_scores() {
    let folder = folder(&[
        ("tokenizer.json", sentence_piece()),
        ("tokenizer_config.json", json!({"eos_token": "</s>", "unk_token": "<unk>"})),
    ]);
    let source = Tokenizer::open(folder.path()).expect("a tokenizer");
    let read = Tokenizer::open(&export(folder.path(), 300)).expect("the file");
    for text in ["the cat", "  thea", "é", "</s>the", "thethe"] {
        assert_eq!(read.encode(text).expect("tokens"), source.encode(text).expect("tokens"), "{text:?}");
        let ids = read.encode(text).expect("tokens");
        assert_eq!(read.decode(&ids, false).expect("text"), source.decode(&ids, false).expect("text"));
    }
    // An order that no scores have.
    let mut mixed = sentence_piece();
    let merges = mixed["model"]["merges"].as_array_mut().expect("merges");
    merges.swap(2, 4);
    let message = refusal(&mixed, json!({"eos_token": "</s>"}));
    assert!(message.contains("one score a token"), "{message}");
    // A blank at the start of a text only, not after special tokens.
    let mut first = sentence_piece();
    first["normalizer"] = Value::Null;
    first["pre_tokenizer"] =
        json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "first", "split": false});
    let message = refusal(&first, json!({"eos_token": "</s>"}));
    assert!(message.contains("treats the spaces"), "{message}");
}

#[test]
fn what_gguf_cannot_say_is_refused() {
    let changed = |path: &str, value: Value| {
        let mut tokenizer = byte_level();
        *tokenizer.pointer_mut(path).expect("a part of the tokenizer") = value;
        tokenizer
    };
    let end = json!({"eos_token": "<end>", "bos_token": "<first>"});
    let cases = [
        (changed("/pre_tokenizer", json!({"type": "Whitespace"})), end.clone(), "has names for the ways of gpt-2"),
        (changed("/model/ignore_merges", json!(false)), end.clone(), "has names for the ways of"),
        (changed("/normalizer", json!({"type": "Lowercase"})), end.clone(), "has names for the ways of"),
        (changed("/model/end_of_word_suffix", json!("</w>")), end.clone(), "`end_of_word_suffix`"),
        (changed("/added_tokens/3/lstrip", json!(true)), end.clone(), "`lstrip` for the token `<call>`"),
        (byte_level(), json!({"bos_token": "<first>"}), "no token that ends an answer"),
        (byte_level(), json!({"bos_token": "<turn>", "eos_token": "<end>"}), "not its `bos_token`"),
    ];
    for (tokenizer, settings, expected) in cases {
        let message = refusal(&tokenizer, settings);
        assert!(message.contains(expected), "{expected}: {message}");
    }
    let folder = folder(&[
        ("tokenizer.json", byte_level()),
        ("tokenizer_config.json", end),
        ("generation_config.json", json!({"eos_token_id": [0, 1, 2, 3]})),
    ]);
    let message = head(folder.path(), 200).expect_err("too many").to_string();
    assert!(message.contains("any of 5 tokens") && message.contains("room for 3"), "{message}");
}
