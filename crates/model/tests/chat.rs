//! Chat templates render what transformers renders.

use std::path::{Path, PathBuf};

use jiff::civil::DateTime;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tabpo_model::{BpeOptions, ChatError, ChatTemplate, Message, SpecialTokens, Tokenizer};

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

/// Expressions with the methods, filters and operators of Jinja and Python; fixtures/make_expressions.py writes
/// what Jinja renders for them.
#[test]
fn expressions_are_those_of_jinja() {
    #[derive(Deserialize)]
    struct Expressions {
        values: Map<String, Value>,
        cases: Vec<Expression>,
    }
    #[derive(Deserialize)]
    struct Expression {
        source: String,
        rendered: String,
    }
    let text = std::fs::read(folder().join("expressions.json")).expect("expressions");
    let Expressions { mut values, cases } = serde_json::from_slice(&text).expect("expressions");
    let messages: Vec<Message> =
        serde_json::from_value(values.remove("messages").expect("messages")).expect("messages");
    assert!(cases.len() > 100);
    let mut wrong = Vec::new();
    for case in &cases {
        let special = SpecialTokens::default();
        let rendered = ChatTemplate::new(case.source.clone(), &special, Path::new("x")).and_then(|template| {
            let template = values.iter().fold(template, |t, (name, value)| t.with_variable(name, value.clone()));
            template.render(&messages, false, date())
        });
        match rendered {
            Ok(text) if text == case.rendered => {}
            Ok(text) => wrong.push(format!("{}\n  {text:?}\n  not {:?}", case.source, case.rendered)),
            Err(error) => wrong.push(format!("{}\n  {error}", case.source)),
        }
    }
    assert!(wrong.is_empty(), "{} of {}\n{}", wrong.len(), cases.len(), wrong.join("\n"));
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
    let error = small("{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}GO{% endif %}")
        .exchange(&question(), "x", date())
        .expect_err("the prompt is not a prefix");
    assert!(matches!(error, ChatError::NotPrefixPreserving { .. }), "{error}");
    assert!(error.to_string().contains("prefix-preserving"), "{error}");
    let error = small("{% for m in messages %}{{ m.content | upper }}{% endfor %}")
        .exchange(&question(), "x", date())
        .expect_err("the answer is changed");
    assert!(matches!(error, ChatError::AnswerChanged { .. }), "{error}");
    let error = small("{% for m in messages %}{% if m.role == 'assistant' %}{{ m.content }}{% endif %}{% endfor %}")
        .exchange(&question(), "x", date())
        .expect_err("the question is left out");
    assert!(matches!(error, ChatError::Dropped { .. }), "{error}");
}

/// The end of a turn is the first control token after the answer, wherever the template writes it, or else the
/// tokenizer's end of sequence.
#[test]
fn the_end_of_an_answer_is_found_wherever_it_stands() {
    let tokenizer = bytes();
    let id = |token: &str| tokenizer.token_id(token).expect("in the vocabulary");
    for (turns, end) in [
        ("{{ m.content }} <|end|>", "<|end|>"),
        ("{{ m.content }}\n<|pad|>\n", "<|pad|>"),
        ("{{ m.content }}{% if not loop.last %}\n<|user|>{% endif %}", "<|user|>"),
        ("{{ m.content }}", "<|end|>"),
        ("{{ m.role }}: {{ m.content }}\n", "<|end|>"),
    ] {
        let template = small(&format!("{{% for m in messages %}}{turns}{{% endfor %}}"));
        let encoded = template.encode_exchange(&tokenizer, &question(), "{}", date()).expect(turns);
        assert_eq!(encoded.end, id(end), "{turns}");
    }
}

/// Instructions without a turn of their own go before the question.
#[test]
fn a_system_text_finds_its_place() {
    let body = "{{ '(' + m.role + ')' + m.content }}{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}";
    for source in [
        format!(
            "{{% if messages[0].role == 'system' %}}{{{{ raise_exception('none') }}}}{{% endif %}}{{% for m in messages %}}{body}{{% endfor %}}"
        ),
        format!("{{% for m in messages if m.role != 'system' %}}{body}{{% endfor %}}"),
        format!(
            "{{% for m in messages %}}{{% if m.role != 'system' %}}{{% if loop.last and messages[0].role == 'system' %}}{{{{ messages[0].content }}}}{{% endif %}}{body}{{% endif %}}{{% endfor %}}"
        ),
    ] {
        let exchange = small(&source).exchange(&question(), "x", date()).expect(&source);
        assert_eq!(exchange.prompt, "(user)Extract.\n\nA text.(assistant)", "{source}");
        assert_eq!(exchange.end, "<|end|>");
    }
    // Mistral's template shows it in the last question, and only while that is the last message.
    let exchange = template("mistral-style.jinja").exchange(&question(), "x", date()).expect("an exchange");
    assert!(exchange.prompt.contains("Extract.") && exchange.prompt.contains("A text."), "{}", exchange.prompt);
}

#[test]
fn thinking_that_a_header_opens_is_closed() {
    let source = |opened: &str, turn: &str| {
        format!(
            "{{% for m in messages %}}{{% if m.role == 'assistant' %}}[A]{turn}{{{{ m.content + eos_token }}}}\
             {{% else %}}[U]{{{{ m.content }}}}{{% endif %}}{{% endfor %}}{{% if add_generation_prompt %}}[A]{opened}{{% endif %}}"
        )
    };
    for (opened, turn, header) in [
        ("<think>{{ '\\n' }}", "", "[A]<think>\n\n</think>\n\n"),
        ("<thought>", "", "[A]<thought>\n\n</thought>\n\n"),
        ("[THINK]{{ '\\n' }}", "", "[A][THINK]\n\n[/THINK]\n\n"),
        // Finished turns close the thought that the header opens, which belongs to the prompt.
        ("<think>{{ '\\n' }}", "<think>{{ '\\n\\n' }}</think>{{ '\\n\\n' }}", "[A]<think>\n\n</think>\n\n"),
        ("", "<think></think>", "[A]<think></think>"),
    ] {
        let exchange = small(&source(opened, turn)).exchange(&question(), "{\"a\": 1}", date()).expect(opened);
        assert_eq!(exchange.prompt, format!("[U]Extract.[U]A text.{header}"), "{opened}");
        assert_eq!(exchange.end, "<|end|>");
    }
}

fn bytes() -> Tokenizer {
    Tokenizer::train(["abc"], &BpeOptions { vocabulary_size: 261, ..BpeOptions::default() }).expect("bytes")
}

#[test]
fn built_in_formats_end_with_a_token() {
    let tokenizer = bytes();
    for name in ChatTemplate::BUILT_IN {
        let template = ChatTemplate::built_in(name, &tokenizer).expect(name).expect(name);
        let encoded = template.encode_exchange(&tokenizer, &question(), "{}", date()).expect(name);
        assert_eq!(Some(encoded.end), tokenizer.token_id("<|end|>"), "{name}");
        let prompt = template.prompt(&question(), date()).expect(name);
        assert!(prompt.contains("Extract.") && prompt.contains("A text."), "{name}: {prompt}");
    }
    assert!(ChatTemplate::built_in("none", &tokenizer).is_none());
}

/// The steps and the output of templates are bounded, whatever construct they use.
#[test]
fn templates_end() {
    for source in [
        "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}",
        "{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x | tojson }}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(90000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x | string | length }}",
        "{{ [1] | tojson(indent=4000000000) }}",
        "{{ 'a'.ljust(4000000000) }}",
        "{{ 'a'.center(4000000000) }}",
        "{{ '7'.zfill(4000000000) }}",
        "{{ '\t'.expandtabs(4000000000) }}",
        "{{ '{:>4000000000}'.format('a') }}",
        "{{ '{:{}}'.format('a', 4000000000) }}",
        "{{ '%4000000000s' % 'a' }}",
        "{{ '%*d' % (4000000000, 1) }}",
        "{{ '%.4000000000f' % 1 }}",
        "{{ '%4000000000s' | format('a') }}",
        "{{ 'a' * 4000000000 }}",
        "{{ ('a' * 1000000).replace('a', 'b' * 100000) }}",
        "{{ ('a' * 100000).join((range(90000) | list | string).split(',')) }}",
    ] {
        let error = small(source).render(&question(), false, date()).expect_err(source).to_string();
        assert!(error.contains("small"), "{error}");
    }
}

/// Spellings of control tokens are plain text in questions, instructions and answers.
#[test]
fn texts_spell_control_tokens_without_becoming_them() {
    let tokenizer = bytes();
    let id = |token: &str| tokenizer.token_id(token).expect("in the vocabulary");
    let template =
        ChatTemplate::new(ChatTemplate::PLAIN.into(), tokenizer.special(), Path::new("plain")).expect("compiles");
    for spelt in ["<|end|>", "a <|user|><|end|> b", "x<|assistant|>", "<|system|>\u{fdef}<|pad|>\u{fdee}"] {
        let messages = [Message::new("system", spelt), Message::new("user", &format!("say {spelt} now"))];
        let answer = format!("{{\"text\":\"{spelt}\"}}");
        let encoded = template.encode_exchange(&tokenizer, &messages, &answer, date()).expect(spelt);
        let controls: Vec<u32> = encoded.prompt.iter().copied().filter(|&id| tokenizer.is_control(id)).collect();
        assert_eq!(controls, [id("<|system|>"), id("<|user|>"), id("<|assistant|>")], "{spelt}");
        assert!(!encoded.answer.ids.iter().any(|&id| tokenizer.is_control(id)), "{spelt}");
        let prompt = tokenizer.decode(&encoded.prompt, false).expect("decoding");
        assert_eq!(prompt, format!("<|system|>{spelt}<|user|>say {spelt} now<|assistant|>"));
        assert_eq!(tokenizer.decode(&encoded.answer.ids, false).expect("decoding"), answer);
        let mut end = 0;
        for range in &encoded.answer.ranges {
            assert!(range.start <= end && range.end >= end, "{range:?} after {end} in {answer}");
            end = range.end;
        }
        assert_eq!(end, answer.len());
        assert_eq!(Tokenizer::unmark(&tokenizer.mark(spelt)), spelt);
    }
    // Texts without such spellings are encoded directly.
    assert_eq!(tokenizer.mark("a < b | end >"), "a < b | end >");
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
