//! One grammar for a whole answer, for servers that decode under a Lark grammar (llguidance).
//!
//! A server takes a single grammar for each request, so what depends on the answer so far (which
//! entities a relation may name, how often a text was used) is left to the local check.

use std::fmt::Write;

use serde_json::{Map, Value};
use tabpo_corpus::Unit;
use tabpo_ontology::{EntityLabel, Ontology};

/// No answer has more entities.
const MOST_ENTITIES: usize = 64;

/// The canonical answers to a unit: exact keys and labels, ids in order, every text a sequence of
/// source tokens.
pub fn answer_grammar(unit: &Unit, ontology: &Ontology) -> String {
    let keys = &ontology.keys;
    let linked = !ontology.relations.is_empty();
    let most = if unit.span().is_empty() { 0 } else { unit.span().len().min(MOST_ENTITIES) };
    let mut grammar = Grammar(String::new());
    grammar.rule("start", &format!("{} list_0 tail", literal(&format!("{{{}:[", quoted(&keys.entities)))));
    for index in 0..most {
        let comma = if index > 0 { "," } else { "" };
        let id = if linked { format!("{}:\"e{}\",", quoted(&keys.id), index + 1) } else { String::new() };
        let open = literal(&format!("{comma}{{{id}{}:\"", quoted(&keys.text)));
        grammar.rule(&format!("list_{index}"), &format!("\"]\" | {open} entity list_{}", index + 1));
    }
    grammar.rule(&format!("list_{most}"), "\"]\"");
    if most > 0 {
        let labels: Vec<String> = ontology.entities.iter().map(|label| entity_label(label, ontology)).collect();
        let occurrence = literal(&format!(",{}:", quoted(&keys.occ)));
        let to_type = literal(&format!("\",{}:\"", quoted(&keys.entity_type)));
        grammar.rule("entity", &format!("SPAN {to_type} ( {} ) ( {occurrence} NUMBER )? \"}}\"", labels.join(" | ")));
        let source = Map::from_iter([("substring_chunks".to_owned(), chunks(unit))]);
        grammar.rule("SOURCE", &format!("%regex {}", Value::Object(source)));
        // Chunks may be none, and blanks between tokens are chunks; a text is neither.
        grammar.rule("SPAN", r"SOURCE & /[^ \t\n](.*[^ \t\n])?/");
        grammar.rule("NUMBER", "/[1-9][0-9]*/");
    }
    if linked {
        let names: Vec<String> = ontology.relations.iter().map(|label| literal(&escaped(&label.name))).collect();
        let tail = literal(&format!(",{}:[", quoted(&keys.relations)));
        grammar.rule("tail", &format!("{tail} ( relation ( \",\" relation )* )? \"]}}\""));
        let head = literal(&format!("{{{}:\"", quoted(&keys.head)));
        let to_type = literal(&format!("\",{}:\"", quoted(&keys.relation_type)));
        let to_tail = literal(&format!("\",{}:\"", quoted(&keys.tail)));
        let close = literal("\"}");
        grammar.rule("relation", &format!("{head} ID {to_type} ( {} ) {to_tail} ID {close}", names.join(" | ")));
        let ids = (1..=most.max(1)).map(|number| literal(&format!("e{number}"))).collect::<Vec<_>>();
        grammar.rule("ID", &ids.join(" | "));
    } else {
        grammar.rule("tail", "\"}\"");
    }
    grammar.0
}

struct Grammar(String);

impl Grammar {
    fn rule(&mut self, name: &str, body: &str) {
        writeln!(self.0, "{name}: {body}").expect("writing to a string succeeds");
    }
}

/// A label with its closing quote, and its sub-label if it has any.
fn entity_label(label: &EntityLabel, ontology: &Ontology) -> String {
    let name = escaped(&label.name);
    if label.subtypes.is_empty() {
        return literal(&format!("{name}\""));
    }
    let key = literal(&format!("{name}\",{}:\"", quoted(&ontology.keys.subtype)));
    let subtypes = label.subtypes.iter().map(|subtype| literal(&format!("{}\"", escaped(&subtype.name))));
    format!("{key} ( {} )", subtypes.collect::<Vec<_>>().join(" | "))
}

/// The tokens of a unit and what stands between them, escaped as inside a JSON string.
fn chunks(unit: &Unit) -> Value {
    let document = unit.document;
    let mut chunks = Vec::new();
    let mut end = None;
    for token in &document.tokens[unit.span().range()] {
        if let Some(end) = end.filter(|&end| end < token.start) {
            chunks.push(escaped(&document.text[end as usize..token.start as usize]).into());
        }
        chunks.push(escaped(&document.text[token.start as usize..token.end as usize]).into());
        end = Some(token.end);
    }
    Value::Array(chunks)
}

/// A text as a JSON string.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// A text as it stands between the quotes of a JSON string.
fn escaped(text: &str) -> String {
    let quoted = quoted(text);
    quoted[1..quoted.len() - 1].to_owned()
}

/// A literal of the grammar, which is written as a JSON string is.
fn literal(text: &str) -> String {
    quoted(text)
}
