//! One grammar for the whole answer.

use std::ops::Range;

use super::rules::relations_tail;
use super::rules::{GrammarForm, Rules, any_relation, chunks, entity_labels, entity_opening, escaped, literal, quoted};
use crate::{AnswerGrammar, Arguments, Ontology};

/// Largest number of entities in an answer.
const MOST_ENTITIES: usize = 64;

impl AnswerGrammar {
    /// One grammar of the canonical answers to a source text, for servers that take a single grammar
    /// for each request: exact keys and labels, ids in order, every text a sequence of source words.
    ///
    /// What depends on the answer so far is left to a later check: which entities a relation may
    /// name, and how often a text may be used. `words` are byte ranges, as in [`AnswerGrammar::new`].
    ///
    /// In GBNF a text may start at every word of the source, and llama.cpp follows all of them at once: with long sources
    /// it takes time.
    pub fn whole(form: GrammarForm, ontology: &Ontology, source: &str, words: &[Range<usize>]) -> String {
        let mut rules = frame(form, ontology, words.len().min(MOST_ENTITIES));
        if !words.is_empty() {
            match form {
                GrammarForm::Lark => {
                    rules.add_source(&chunks(source, words));
                    // SOURCE may be empty, and the gaps between words are chunks too; a span is neither.
                    rules.add("SPAN", r"SOURCE & /[^ \t\n](.*[^ \t\n])?/");
                    rules.add("NUMBER", "/[1-9][0-9]*/");
                }
                GrammarForm::Gbnf => {
                    add_words(&mut rules, source, words);
                    rules.add("NUMBER", "[1-9] [0-9]*");
                }
            }
        }
        finish(rules, ontology, words.len().min(MOST_ENTITIES))
    }

    /// One grammar of the canonical answers to any text: the texts of entities may be any words.
    pub fn ungrounded(form: GrammarForm, ontology: &Ontology) -> String {
        let mut rules = frame(form, ontology, MOST_ENTITIES);
        match form {
            GrammarForm::Lark => {
                rules.add("SPAN", r#"/([^"\\\x00-\x1f]|\\(["\\\/bfnrt]|u[0-9a-fA-F]{4}))+/"#);
                rules.add("NUMBER", "/[1-9][0-9]*/");
            }
            GrammarForm::Gbnf => {
                let escape = r#""\\" ( ["\\/bfnrt] | "u" [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F] )"#;
                rules.add("SPAN", &format!(r#"( [^"\\\x00-\x1F] | {escape} )+"#));
                rules.add("NUMBER", "[1-9] [0-9]*");
            }
        }
        finish(rules, ontology, MOST_ENTITIES)
    }
}

/// The start of an answer and its list of at most `most` entities; SPAN and NUMBER are other rules.
fn frame(form: GrammarForm, ontology: &Ontology, most: usize) -> Rules {
    let keys = &ontology.keys;
    let (start, list) = match form {
        GrammarForm::Lark => ("start", "list_"),
        GrammarForm::Gbnf => ("root", "list-"),
    };
    let mut rules = Rules { form, ..Rules::default() };
    rules.add(start, &format!("{} {list}0 tail", literal(&format!("{{{}:[", quoted(&keys.entities)))));
    for index in 0..most {
        let open = entity_opening(ontology, index + 1);
        rules.add(&format!("{list}{index}"), &format!("\"]\" | {open} entity {list}{}", index + 1));
    }
    rules.add(&format!("{list}{most}"), "\"]\"");
    if most > 0 {
        let occurrence = literal(&format!(",{}:", quoted(&keys.occ)));
        let to_type = literal(&format!("\",{}:\"", quoted(&keys.entity_type)));
        let labels = entity_labels(ontology);
        rules.add("entity", &format!("SPAN {to_type} ( {labels} ) ( {occurrence} NUMBER )? \"}}\""));
    }
    rules
}

/// SPAN in GBNF: from a word of the source on to that or a later one.
fn add_words(rules: &mut Rules, source: &str, words: &[Range<usize>]) {
    let starts: Vec<String> = (0..words.len()).map(|index| format!("word-{index}")).collect();
    rules.add("SPAN", &starts.join(" | "));
    for (index, word) in words.iter().enumerate() {
        let text = literal(&escaped(&source[word.clone()]));
        let further = words.get(index + 1).map_or_else(String::new, |next| {
            let gap = &source[word.end..next.start];
            let gap = if gap.is_empty() { String::new() } else { format!("{} ", literal(&escaped(gap))) };
            format!(" ( {gap}word-{} )?", index + 1)
        });
        rules.add(&starts[index], &format!("{text}{further}"));
    }
}

/// Adds what comes after the list of entities.
fn finish(mut rules: Rules, ontology: &Ontology, most: usize) -> String {
    if ontology.relations.is_empty() {
        rules.add("tail", "\"}\"");
    } else {
        rules.add("tail", &relations_tail(ontology));
        rules.add("relation", &any_relation(ontology));
        match ontology.arguments {
            Arguments::Ids => {
                let ids: Vec<String> = (1..=most.max(1)).map(|number| literal(&format!("e{number}"))).collect();
                rules.add("ID", &ids.join(" | "));
            }
            Arguments::Texts if most > 0 => rules.add("ID", "SPAN"),
            // Without a word in the source there is no entity either.
            Arguments::Texts => {
                rules.add("ID", "\" \"");
                rules.add("NUMBER", "\"1\"");
            }
        }
    }
    rules.text
}
