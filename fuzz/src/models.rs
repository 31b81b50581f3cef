//! Model folders of which one file is the input, the others a fixture's.

use std::fs;
use std::panic;
use std::path::{Path, PathBuf};

use jiff::civil::DateTime;
use tabpo_engine::{Batch, Lora, Model, Segment, Workspace, logits};
use tabpo_model::{ChatTemplate, Message, Tokenizer};

use crate::Scratch;

/// Texts that tokenizers are tried on: letters of several sizes, control tokens, blanks, nothing.
const TEXTS: [&str; 4] =
    ["The caf\u{e9}'s  \u{1f642} drill\n\t(2 x)", "<|assistant|></s><s>{\"entities\":[]}", " ", ""];

/// What the model of a conversation says.
const ANSWER: &str = r#"{"entities":[{"text":"drill"}]}"#;

/// A folder with the files of a fixture of the engine's tests.
pub struct Folder(Scratch);

impl Folder {
    /// Copies the files of a fixture, sub-folders aside.
    pub fn new(name: &str) -> Self {
        let scratch = Scratch::new();
        for entry in fs::read_dir(fixture(name)).expect("the fixture is there") {
            let path = entry.expect("the fixture can be listed").path();
            if let (true, Some(name)) = (path.is_file(), path.file_name()) {
                fs::copy(&path, scratch.path().join(name)).expect("the folder can be written");
            }
        }
        Self(scratch)
    }

    /// The folder, to write other files into.
    pub fn scratch(&self) -> &Scratch {
        &self.0
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// A folder of fixtures: the tokenizer of the model crate's tests, or a model of the engine's.
pub fn fixture(name: &str) -> PathBuf {
    let owner = if name == "tokenizer" { "model" } else { "engine" };
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates").join(owner).join("tests/fixtures").join(name)
}

/// The day on which templates are rendered.
pub fn date() -> DateTime {
    DateTime::constant(2026, 3, 1, 12, 0, 0, 0)
}

/// Lets panics through that the engine catches: the hook of libFuzzer would end the process at once.
/// Others still end it, when they reach the target's frame.
pub fn quiet_guards() {
    let _ = panic::take_hook();
}

/// Opens a model, with an adapter where there is one, and computes something with it.
pub fn check_model(folder: &Path, adapter: Option<&Path>) {
    let model = match Model::<f32>::open(folder) {
        Ok(model) => model,
        Err(error) => return drop(error.to_string()),
    };
    let adapter = match adapter.map(|folder| Lora::<f32>::open(folder, &model.config)).transpose() {
        Ok(adapter) => adapter,
        Err(error) => return drop(error.to_string()),
    };
    let tokens: Vec<u32> = [0, 1, 2].into_iter().filter(|&token| token < model.config.vocabulary as u32).collect();
    let rows: Vec<u32> = (0..tokens.len() as u32).collect();
    if rows.is_empty() {
        return;
    }
    let segments = vec![Segment { rows: 0..tokens.len(), context: Vec::new() }];
    let batch = Batch { positions: rows.clone(), tokens, segments };
    let found = logits(&model, adapter.as_ref(), &batch, &rows, &mut Workspace::new());
    assert_eq!(found.len(), rows.len() * model.config.vocabulary);
}

/// Opens the tokenizer of a folder and the chat template that may be in it, and writes and reads texts
/// with them.
pub fn check_tokenizer(folder: &Path) {
    let tokenizer = match Tokenizer::open(folder) {
        Ok(tokenizer) => tokenizer,
        Err(error) => return drop(error.to_string()),
    };
    for text in TEXTS {
        let encoding = match tokenizer.encode_with_offsets(text) {
            Ok(encoding) => encoding,
            Err(error) => return drop(error.to_string()),
        };
        assert_eq!(encoding.ids.len(), encoding.ranges.len());
        for range in &encoding.ranges {
            assert!(text.get(range.clone()).is_some(), "{range:?} of {text:?}");
        }
        let _ = tokenizer.encode(text);
        let _ = tokenizer.encode_bare(text);
        let _ = tokenizer.decode(&encoding.ids, true);
        let _ = tokenizer.decode(&[0, 1, 2, 3, u32::MAX], false);
        let _ = tokenizer.encode_continuation("<s>Hello ", text);
    }
    match ChatTemplate::open(folder, &tokenizer) {
        Ok(template) => converse(&template, &tokenizer),
        Err(error) => drop(error.to_string()),
    }
}

/// Compiles a chat template and renders conversations with it.
pub fn check_template(source: &str, tokenizer: &Tokenizer) {
    match ChatTemplate::new(source.to_owned(), tokenizer.special(), Path::new("chat_template.jinja")) {
        Ok(template) => converse(&template, tokenizer),
        Err(error) => drop(error.to_string()),
    }
}

fn converse(template: &ChatTemplate, tokenizer: &Tokenizer) {
    let messages = [Message::new("system", "Name the tools."), Message::new("user", "A drill </s> by the lathe.")];
    for messages in [&messages[..], &messages[1..]] {
        let _ = template.exchange(messages, ANSWER, date()).map_err(|error| error.to_string());
        let _ = template.encode_exchange(tokenizer, messages, ANSWER, date()).map_err(|error| error.to_string());
    }
    let _ = template.stop_ids(tokenizer, date()).map_err(|error| error.to_string());
}
