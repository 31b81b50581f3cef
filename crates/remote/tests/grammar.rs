//! The grammar sent to servers, tested with the library that they use.

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities};
use llguidance::{Matcher, ParserFactory};
use tabpo_corpus::{Level, Unit};
use tabpo_ontology::{AnswerGrammar, Ontology};

/// Whether an answer follows a grammar to its end, byte by byte.
fn accepts(grammar: &str, answer: &str) -> bool {
    let environment = ApproximateTokEnv::single_byte_env();
    let mut factory = ParserFactory::new(&environment, InferenceCapabilities::default(), &[]).unwrap();
    factory.quiet();
    let mut matcher = Matcher::new(factory.create_parser(TopLevelGrammar::from_lark(grammar.to_owned())));
    assert_eq!(matcher.get_error(), None, "{grammar}");
    let tokens: Vec<u32> = answer.bytes().map(u32::from).collect();
    let whole = matcher.try_consume_tokens(&tokens).unwrap() == tokens.len();
    whole && matcher.is_accepting().unwrap()
}

fn corpus() -> tabpo_synthetic::SyntheticCorpus {
    let sizes = tabpo_synthetic::SyntheticConfig { sft: 1, gold: 40, validation: 1, test: 1, ..Default::default() };
    tabpo_synthetic::generate(&sizes)
}

#[test]
fn gold_answers_follow_the_grammar_and_others_do_not() {
    let corpus = corpus();
    let ontology: &Ontology = tabpo_synthetic::ontology();
    let mut tried = 0;
    for unit in corpus.gold.iter().flat_map(|document| Unit::all(document, Level::Sentence)) {
        let grammar = AnswerGrammar::whole(ontology, unit.text(), &unit.words());
        let gold = tabpo_answer::gold(&unit);
        let text = tabpo_answer::render(&gold, ontology).text;
        assert!(accepts(&grammar, &text), "{text}\n{grammar}");
        assert!(!accepts(&grammar, &text[..text.len() - 1]));
        assert!(!accepts(&grammar, &format!("{text} ")));
        let Some(first) = gold.entities.first() else { continue };
        tried += 1;
        let invented = text.replacen(&format!("\"text\":\"{}\"", first.text), "\"text\":\"xyzzy\"", 1);
        let empty = text.replacen(&format!("\"text\":\"{}\"", first.text), "\"text\":\"\"", 1);
        let label = &ontology.entity(first.label).name;
        let unknown = text.replacen(&format!("\"type\":\"{label}\""), "\"type\":\"Thing\"", 1);
        let renumbered = text.replacen("\"id\":\"e1\"", "\"id\":\"e9\"", 1);
        for wrong in [invented, empty, unknown, renumbered] {
            assert_ne!(wrong, text);
            assert!(!accepts(&grammar, &wrong), "{wrong}");
        }
    }
    assert!(tried > 20, "{tried}");
}
