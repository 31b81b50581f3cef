//! One grammar for the whole answer.

use std::ops::Range;

use super::rules::{Rules, any_relation, chunks, entity_labels, entity_opening, literal, quoted, relations_tail};
use crate::{AnswerGrammar, Ontology};

/// Largest number of entities in an answer.
const MOST_ENTITIES: usize = 64;

impl AnswerGrammar {
    /// One grammar of the canonical answers to a source text, for servers that take a single grammar
    /// for each request: exact keys and labels, ids in order, every text a sequence of source words.
    ///
    /// What depends on the answer so far is left to a later check: which entities a relation may
    /// name, and how often a text may be used. `words` are byte ranges, as in [`AnswerGrammar::new`].
    pub fn whole(ontology: &Ontology, source: &str, words: &[Range<usize>]) -> String {
        let keys = &ontology.keys;
        let most = words.len().min(MOST_ENTITIES);
        let mut rules = Rules::default();
        rules.add("start", &format!("{} list_0 tail", literal(&format!("{{{}:[", quoted(&keys.entities)))));
        for index in 0..most {
            let open = entity_opening(ontology, index + 1);
            rules.add(&format!("list_{index}"), &format!("\"]\" | {open} entity list_{}", index + 1));
        }
        rules.add(&format!("list_{most}"), "\"]\"");
        if most > 0 {
            let occurrence = literal(&format!(",{}:", quoted(&keys.occ)));
            let to_type = literal(&format!("\",{}:\"", quoted(&keys.entity_type)));
            let labels = entity_labels(ontology);
            rules.add("entity", &format!("SPAN {to_type} ( {labels} ) ( {occurrence} NUMBER )? \"}}\""));
            rules.add_source(&chunks(source, words));
            // SOURCE may be empty, and the gaps between words are chunks too; a span is neither.
            rules.add("SPAN", r"SOURCE & /[^ \t\n](.*[^ \t\n])?/");
            rules.add("NUMBER", "/[1-9][0-9]*/");
        }
        if ontology.relations.is_empty() {
            rules.add("tail", "\"}\"");
        } else {
            rules.add("tail", &relations_tail(ontology));
            rules.add("relation", &any_relation(ontology));
            let ids: Vec<String> = (1..=most.max(1)).map(|number| literal(&format!("e{number}"))).collect();
            rules.add("ID", &ids.join(" | "));
        }
        rules.text
    }
}
