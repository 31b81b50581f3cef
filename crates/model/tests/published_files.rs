//! Published GGUF files against another implementation.
//!
//! `TABPO_GGUF_FOLDER` names a folder with `NAME.gguf` and `NAME.ids.json`: `{"texts": [...], "ids": [[...], ...]}`, the
//! token ids that another implementation gives for each text. Texts that are not composed (NFC) are left out: Qwen's
//! tokenizer composes them as transformers does, and llama.cpp does not.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use tabpo_model::{ChatTemplate, GgufHead, GgufSource, ModelConfig, Modelfile, Tokenizer};
use unicode_normalization::is_nfc;

#[derive(Deserialize)]
struct Expected {
    texts: Vec<String>,
    ids: Vec<Vec<u32>>,
}

fn files() -> Vec<PathBuf> {
    let folder = std::env::var("TABPO_GGUF_FOLDER").expect("TABPO_GGUF_FOLDER names a folder of GGUF files");
    let entries = std::fs::read_dir(folder).expect("the folder can be read");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let files: Vec<PathBuf> = paths.filter(|path| tabpo_model::is_gguf_file(path)).collect();
    assert!(!files.is_empty(), "the folder has GGUF files");
    files
}

fn expected(file: &Path) -> Expected {
    let text = std::fs::read(file.with_extension("ids.json")).expect("the expected ids");
    serde_json::from_slice(&text).expect("texts and ids")
}

#[test]
#[ignore = "needs published files: set TABPO_GGUF_FOLDER"]
fn token_ids_are_those_of_another_implementation() {
    for file in files() {
        let (tokenizer, expected) = (Tokenizer::open(&file).expect("a tokenizer"), expected(&file));
        let different: Vec<String> = expected
            .texts
            .iter()
            .zip(&expected.ids)
            .filter(|(text, _)| is_nfc(text))
            .filter_map(|(text, ids)| {
                let marked = tokenizer.mark(text);
                let found = tokenizer.encode_marked(&marked).expect("tokens").ids;
                (found != *ids).then(|| format!("{text:?}\n  {found:?}\n  {ids:?}"))
            })
            .collect();
        assert!(
            different.is_empty(),
            "{}: {} of {} texts differ:\n{}",
            file.display(),
            different.len(),
            expected.texts.len(),
            different.join("\n")
        );
    }
}

#[test]
#[ignore = "needs published files: set TABPO_GGUF_FOLDER"]
fn shapes_and_templates_can_be_used() {
    for file in files() {
        let config = ModelConfig::open(&file).expect("a shape");
        let tokenizer = Tokenizer::open(&file).expect("a tokenizer");
        assert!(tokenizer.vocabulary_size() <= config.vocabulary, "{}", file.display());
        let template = ChatTemplate::open(&file, &tokenizer).expect("a template");
        let date = jiff::civil::date(2026, 1, 2).at(0, 0, 0, 0);
        let prompt = template.prompt(&[tabpo_model::Message::new("user", "A text.")], date).expect("a prompt");
        assert!(prompt.contains("A text."), "{prompt}");
    }
}

#[test]
#[ignore = "needs published files: set TABPO_GGUF_FOLDER"]
fn tokenizers_go_through_a_folder_to_a_file() {
    let date = jiff::civil::date(2026, 1, 2).at(0, 0, 0, 0);
    for file in files() {
        let config = ModelConfig::open(&file).expect("a shape");
        let tokenizer = Tokenizer::open(&file).expect("a tokenizer");
        let template = ChatTemplate::open(&file, &tokenizer).expect("a template");
        let folder = tempfile::tempdir().expect("a folder");
        tokenizer.save(folder.path()).expect("the tokenizer is written");
        std::fs::write(folder.path().join("chat_template.jinja"), template.source()).expect("the template is written");
        let head = |model: &Path| {
            GgufHead::new(&config, &GgufSource { model, adapter: None, name: "test", date }).expect("a model for GGUF")
        };
        let (original, again) = (head(&file), head(folder.path()));
        assert_eq!(again.stops(), original.stops(), "{}", file.display());
        assert_eq!(again.first_token(), original.first_token(), "{}", file.display());
        let modelfile = Modelfile::new("model.gguf", &again, config.longest(), date);
        assert_eq!(modelfile.untranslated, None, "{}", file.display());
    }
}
