//! Texts of the built-in corpus with tokenizers and formats for them.
#![allow(dead_code, reason = "each test file uses a different part")]

use jiff::civil::DateTime;
use tabpo_answer::{Rendered, gold, render};
use tabpo_corpus::{Level, Unit};
use tabpo_model::{BpeOptions, ChatTemplate, Tokenizer};
use tabpo_synthetic::{SyntheticConfig, SyntheticCorpus, generate, ontology};
use tabpo_train::PromptFormat;

pub(crate) fn corpus() -> SyntheticCorpus {
    generate(&SyntheticConfig { sft: 40, gold: 10, validation: 10, test: 10, ..SyntheticConfig::default() })
}

/// Sources with their gold answers.
pub(crate) fn gold_answers() -> Vec<(String, Rendered)> {
    let corpus = corpus();
    let units = corpus.sft.iter().flat_map(|document| Unit::all(document, Level::Sentence));
    units.map(|unit| (unit.text().to_owned(), render(&gold(&unit), ontology()))).collect()
}

pub(crate) fn tokenizer(texts: &[(String, Rendered)]) -> Tokenizer {
    tokenizer_of(texts, 500)
}

/// A tokenizer with so many tokens: the fewer, the less of the punctuation between records is merged, and `"}` and `,{`
/// may stand against `"}]`.
pub(crate) fn tokenizer_of(texts: &[(String, Rendered)], vocabulary_size: usize) -> Tokenizer {
    let texts = texts.iter().flat_map(|(source, answer)| [source.clone(), answer.text.clone()]);
    let options = BpeOptions { vocabulary_size, ..BpeOptions::default() };
    Tokenizer::train(texts, &options).expect("the texts train a tokenizer")
}

/// The two formats, each with what it writes before and after a source text.
pub(crate) fn formats(tokenizer: &Tokenizer) -> [(PromptFormat, [&'static str; 2]); 2] {
    let template = ChatTemplate::new(ChatTemplate::PLAIN.to_owned(), tokenizer.special(), "test".as_ref());
    [
        (PromptFormat::Plain { separator: "<|assistant|>".into() }, ["", "<|assistant|>"]),
        (
            PromptFormat::Chat {
                template: Box::new(template.expect("the template is valid")),
                system: Some("Extract.".into()),
                date: DateTime::constant(2024, 7, 26, 0, 0, 0, 0),
            },
            ["<|system|>Extract.<|user|>", "<|assistant|>"],
        ),
    ]
}
