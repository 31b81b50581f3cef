//! Tokenizers and templates from the metadata of GGUF files.

use std::path::PathBuf;

use tabpo_gguf::{
    Metadata, SpecialTokens, TensorDeclaration, TensorType, TokenType, TokenizerMetadata, TokenizerModel, Writer,
};
use tabpo_model::{ChatTemplate, Message, Tokenizer};
use tempfile::TempDir;

/// A file with nothing but a tokenizer.
fn file(tokenizer: &TokenizerMetadata) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tokenizer.gguf");
    let mut metadata = Metadata::new();
    metadata.insert("general.architecture", "llama");
    tokenizer.write(&mut metadata);
    let tensors = vec![TensorDeclaration::new("token_embd.weight", &[1, 1], TensorType::F32)];
    let mut writer = Writer::create(&path, &metadata, tensors).expect("a file");
    writer.write_values("token_embd.weight", &[0.0]).expect("a value");
    writer.finish().expect("a whole file");
    (folder, path)
}

fn metadata(model: TokenizerModel, tokens: Vec<&str>) -> TokenizerMetadata {
    let tokens: Vec<String> = tokens.into_iter().map(str::to_owned).collect();
    let kind = |token: &String| match token.as_str() {
        "<s>" | "<end>" => TokenType::Control,
        "<unk>" => TokenType::Unknown,
        token if token.starts_with("<0x") => TokenType::Byte,
        _ => TokenType::Normal,
    };
    TokenizerMetadata {
        model,
        pre: None,
        token_types: tokens.iter().map(kind).collect(),
        scores: None,
        merges: Vec::new(),
        special: SpecialTokens::default(),
        add_bos: None,
        add_eos: None,
        add_space_prefix: None,
        chat_template: None,
        tokens,
    }
}

fn byte_level() -> TokenizerMetadata {
    let tokens = vec!["a", "b", "c", "1", "2", "Ġ", "ab", "Ġa", "12", "<s>", "<end>"];
    let merges = [("a", "b"), ("Ġ", "a"), ("1", "2")].map(|(left, right)| (left.to_owned(), right.to_owned()));
    TokenizerMetadata {
        pre: Some("qwen2".into()),
        merges: merges.into(),
        special: SpecialTokens { bos: Some(9), eos: Some(10), ..SpecialTokens::default() },
        add_bos: Some(true),
        chat_template: Some("{% for m in messages %}<s>{{ m.content }}<end>{% endfor %}".into()),
        ..metadata(TokenizerModel::Gpt2, tokens)
    }
}

#[test]
fn byte_level_tokens_follow_the_named_pre_tokenizer() {
    let (_folder, path) = file(&byte_level());
    let tokenizer = Tokenizer::open(&path).expect("a tokenizer");
    // Qwen2 splits off every digit, so that `12` is never one token.
    assert_eq!(tokenizer.encode("ab a12").expect("tokens"), [6, 7, 3, 4]);
    assert_eq!(tokenizer.decode(&[6, 7, 3, 4], false).expect("text"), "ab a12");
    assert_eq!(tokenizer.encode_bare("ab").expect("tokens"), [9, 6]);
    assert_eq!(tokenizer.stop_ids(), [10]);
    assert!(tokenizer.is_control(10) && !tokenizer.is_control(6));
    // What a document says is text, even where it spells a control token.
    let marked = tokenizer.mark("<end>").into_owned();
    assert!(!tokenizer.encode_marked(&marked).expect("tokens").ids.contains(&10));

    let template = ChatTemplate::open(&path, &tokenizer).expect("a template");
    let date = jiff::civil::date(2026, 1, 2).at(0, 0, 0, 0);
    assert_eq!(template.render(&[Message::new("user", "ab")], false, date).expect("text"), "<s>ab<end>");
}

/// llama.cpp's defaults.
#[test]
fn where_a_file_is_silent_the_kind_of_tokenizer_decides_how_texts_begin() {
    let begins = |pre: &str, add_bos: Option<bool>| {
        let (_folder, path) = file(&TokenizerMetadata { pre: Some(pre.into()), add_bos, ..byte_level() });
        Tokenizer::open(&path).expect("a tokenizer").encode_bare("ab").expect("tokens")[0] == 9
    };
    for (pre, default) in [("qwen2", false), ("smollm", false), ("llama-bpe", true), ("tekken", true)] {
        assert_eq!(begins(pre, None), default, "{pre}");
        assert!(begins(pre, Some(true)) && !begins(pre, Some(false)), "{pre}");
    }
}

#[test]
fn sentence_piece_tokens_merge_by_score() {
    let tokens = vec!["<unk>", "<s>", "<end>", "<0x41>", "\u{2581}", "a", "b", "ab", "\u{2581}a", "\u{2581}ab"];
    let scores = vec![0.0, 0.0, 0.0, 0.0, -9.0, -8.0, -7.0, -2.0, -1.0, -3.0];
    let sentence_piece = TokenizerMetadata {
        scores: Some(scores),
        special: SpecialTokens { unknown: Some(0), eos: Some(2), ..SpecialTokens::default() },
        ..metadata(TokenizerModel::Llama, tokens)
    };
    let (_folder, path) = file(&sentence_piece);
    let tokenizer = Tokenizer::open(&path).expect("a tokenizer");
    // `▁a` has the highest score, so it is merged before `ab`; `▁ab` is then built from `▁a` and `b`.
    assert_eq!(tokenizer.encode("ab").expect("tokens"), [9]);
    assert_eq!(tokenizer.encode("b a").expect("tokens"), [4, 6, 8]);
    // Text outside the vocabulary becomes bytes.
    assert_eq!(tokenizer.encode("A").expect("tokens"), [4, 3]);
    assert_eq!(tokenizer.decode(&[9, 8], false).expect("text"), "ab a");
}

#[test]
fn what_is_not_supported_is_named_with_what_is() {
    let (_folder, path) = file(&TokenizerMetadata { pre: Some("chameleon".into()), ..byte_level() });
    let message = Tokenizer::open(&path).map(|_| ()).expect_err("an unknown pre-tokenizer").to_string();
    assert!(message.contains("tokenizer.ggml.pre") && message.contains("chameleon"), "{message}");
    assert!(message.contains("llama-bpe"), "{message}");

    let whole = std::fs::read(&path).expect("the file");
    std::fs::write(&path, &whole[..whole.len() / 2]).expect("writing");
    let message = Tokenizer::open(&path).map(|_| ()).expect_err("half a file").to_string();
    assert!(message.contains("tokenizer.gguf"), "{message}");
}
