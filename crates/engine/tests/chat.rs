//! Chat templates render what transformers renders.

use std::path::{Path, PathBuf};

use jiff::civil::DateTime;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tabpo_engine::{BpeOptions, ChatError, ChatTemplate, Message, SpecialTokens, Tokenizer};

#[derive(Deserialize)]
struct Cases {
    date: DateTime,
    bos_token: String,
    eos_token: String,
    #[serde(rename = "cases")]
    renderings: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    template: String,
    name: String,
    messages: Vec<Message>,
    add_generation_prompt: bool,
    variables: Map<String, Value>,
    rendered: Option<String>,
    error: Option<String>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/templates")
}

fn cases() -> Cases {
    serde_json::from_slice(&std::fs::read(folder().join("cases.json")).expect("cases")).expect("cases")
}

fn template(name: &str) -> ChatTemplate {
    let source = std::fs::read_to_string(folder().join(name)).expect("template");
    let Cases { bos_token, eos_token, .. } = cases();
    let special = SpecialTokens { bos: Some(bos_token), eos: Some(eos_token), ..SpecialTokens::default() };
    ChatTemplate::new(source, &special, Path::new(name)).expect("the template compiles")
}

fn date() -> DateTime {
    cases().date
}

#[test]
fn every_rendering_is_that_of_transformers() {
    let all = cases();
    assert!(all.renderings.len() > 40);
    for case in &all.renderings {
        let mut template = template(&case.template);
        for (name, value) in &case.variables {
            template = template.with_variable(name, value.clone());
        }
        let rendered = template.render(&case.messages, case.add_generation_prompt, all.date);
        let what = format!("{} on {} ({})", case.template, case.name, case.add_generation_prompt);
        match (&case.rendered, &case.error) {
            (Some(expected), _) => assert_eq!(&rendered.expect(&what), expected, "{what}"),
            (None, Some(message)) => {
                let error = rendered.expect_err(&what).to_string();
                assert!(error.contains(message.as_str()), "{what}: {error}");
            }
            (None, None) => panic!("{what} has neither a rendering nor an error"),
        }
    }
}

fn question() -> Vec<Message> {
    vec![Message::new("system", "Extract."), Message::new("user", "A text.")]
}

#[test]
fn an_exchange_is_cut_at_the_answer() {
    let answer = r#"{"entities":[]}"#;
    for (name, messages, end) in [
        ("llama-3.1-style.jinja", question(), "<|eot_id|>"),
        ("qwen2.5-style.jinja", question(), "<|im_end|>\n"),
        ("qwen3-style.jinja", question(), "<|im_end|>\n"),
        ("mistral-style.jinja", question().split_off(1), "</s>"),
    ] {
        let template = template(name);
        let exchange = template.exchange(&messages, answer, date()).expect(name);
        assert_eq!(exchange.end, end, "{name}");
        assert_eq!(template.prompt(&messages, date()).expect(name), exchange.prompt, "{name}");
    }
    let thinking = template("qwen3-style.jinja").prompt(&question(), date()).expect("a prompt");
    assert!(thinking.ends_with("<|im_start|>assistant\n<think>\n\n</think>\n\n"), "{thinking}");
}

fn small(source: &str) -> ChatTemplate {
    let special = SpecialTokens { eos: Some("<|end|>".into()), ..SpecialTokens::default() };
    ChatTemplate::new(source.into(), &special, Path::new("small")).expect("the template compiles")
}

#[test]
fn templates_that_cannot_be_trained_with_are_refused() {
    // Mistral's puts the system text into the last message of the conversation only if that is a question.
    let error = template("mistral-style.jinja").exchange(&question(), "x", date()).expect_err("the system text moves");
    assert!(matches!(error, ChatError::NotPrefixPreserving { .. }), "{error}");
    let error = small("{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}GO{% endif %}")
        .exchange(&question(), "x", date())
        .expect_err("the prompt is no prefix");
    assert!(matches!(error, ChatError::NotPrefixPreserving { .. }), "{error}");
    assert!(error.to_string().contains("prefix-preserving"), "{error}");
    let error = small("{% for m in messages %}{{ m.content | upper }}{% endfor %}")
        .exchange(&question(), "x", date())
        .expect_err("the answer is changed");
    assert!(matches!(error, ChatError::AnswerChanged { .. }), "{error}");
    let tokenizer =
        Tokenizer::train(["abc"], &BpeOptions { vocabulary_size: 261, ..BpeOptions::default() }).expect("bytes");
    let error = small("{% for m in messages %}{{ m.content }}{% endfor %}")
        .encode_exchange(&tokenizer, &question(), "x", date())
        .expect_err("nothing ends the answer");
    assert!(matches!(error, ChatError::NoEnd { .. }), "{error}");
}

#[test]
fn the_plain_template_encodes_an_exchange() {
    let tokenizer =
        Tokenizer::train(["abc"], &BpeOptions { vocabulary_size: 261, ..BpeOptions::default() }).expect("bytes");
    let template =
        ChatTemplate::new(ChatTemplate::PLAIN.into(), tokenizer.special(), Path::new("plain")).expect("compiles");
    let exchange = template.exchange(&question(), "{}", date()).expect("an exchange");
    assert_eq!(exchange.prompt, "<|system|>Extract.<|user|>A text.<|assistant|>");
    assert_eq!(exchange.end, "<|end|>");
    let encoded = template.encode_exchange(&tokenizer, &question(), "{}", date()).expect("an exchange");
    assert_eq!(encoded.end, tokenizer.token_id("<|end|>").expect("in the vocabulary"));
    assert_eq!(encoded.prompt, tokenizer.encode(&exchange.prompt).expect("encoding"));
    assert_eq!(encoded.answer.ranges.last().map(|range| range.end), Some(2));
    assert_eq!(template.stop_ids(&tokenizer, date()).expect("stop ids"), [encoded.end]);
}

#[test]
fn named_templates_and_files_are_found() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let tokenizer =
        Tokenizer::train(["abc"], &BpeOptions { vocabulary_size: 261, ..BpeOptions::default() }).expect("bytes");
    tokenizer.save(folder.path()).expect("saving");
    assert!(matches!(ChatTemplate::open(folder.path(), &tokenizer), Err(ChatError::None { .. })));
    let config = folder.path().join("tokenizer_config.json");
    let write = |template: Value| {
        std::fs::write(&config, json!({"eos_token": "<|end|>", "chat_template": template}).to_string())
            .expect("writing");
    };
    let render = |name| {
        ChatTemplate::open_named(folder.path(), &tokenizer, name, false)
            .and_then(|template| template.render(&[], false, date()))
    };
    write(json!("one string"));
    assert_eq!(render(None).expect("the default"), "one string");
    write(json!([{"name": "default", "template": "the default"}, {"name": "rag", "template": "another"}]));
    assert_eq!(render(None).expect("the default"), "the default");
    assert_eq!(render(Some("rag")).expect("by name"), "another");
    let error = render(Some("tool")).expect_err("no such name").to_string();
    assert!(error.contains("default, rag"), "{error}");
    std::fs::write(folder.path().join("chat_template.jinja"), "from the file").expect("writing");
    assert_eq!(render(None).expect("the file wins"), "from the file");
}
