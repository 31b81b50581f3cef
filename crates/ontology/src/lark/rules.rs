//! Writing Lark rules, and JSON strings in them.

use std::fmt::Write;
use std::ops::Range;

use serde_json::{Map, Value};

use crate::{Arguments, EntityLabel, Ontology};

/// The language that a grammar is written in. Literals, alternatives, groups and repetitions are the same in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GrammarForm {
    /// Lark, in the dialect of llguidance.
    #[default]
    Lark,
    /// GBNF, which llama.cpp reads.
    Gbnf,
}

impl GrammarForm {
    /// All forms.
    pub const ALL: [Self; 2] = [Self::Lark, Self::Gbnf];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lark => "lark",
            Self::Gbnf => "gbnf",
        }
    }
}

/// A grammar under construction.
#[derive(Default)]
pub(super) struct Rules {
    pub(super) text: String,
    pub(super) form: GrammarForm,
}

impl Rules {
    /// Adds the rule `name: body`.
    pub(super) fn add(&mut self, name: &str, body: &str) {
        let is = match self.form {
            GrammarForm::Lark => ":",
            GrammarForm::Gbnf => " ::=",
        };
        writeln!(self.text, "{name}{is} {body}").expect("writing to a string succeeds");
    }

    /// Adds the terminal `SOURCE`: neighbouring chunks of the source, or nothing.
    pub(super) fn add_source(&mut self, chunks: &Value) {
        let regex = Map::from_iter([("substring_chunks".to_owned(), chunks.clone())]);
        self.add("SOURCE", &format!("%regex {}", Value::Object(regex)));
    }
}

/// The fixed text of a relation: before the name of its head, after the quote that ends it or the number that follows,
/// and between type and tail.
pub(super) struct RelationFrame {
    pub(super) open: String,
    pub(super) to_type: String,
    pub(super) to_tail: String,
}

impl RelationFrame {
    pub(super) fn of(ontology: &Ontology) -> Self {
        let keys = &ontology.keys;
        Self {
            open: format!("{{{}:\"", quoted(&keys.head)),
            to_type: format!(",{}:\"", quoted(&keys.relation_type)),
            to_tail: format!("\",{}:\"", quoted(&keys.tail)),
        }
    }
}

/// What precedes the text of entity `number`, counted from 1: a comma, the brace, the id.
pub(super) fn entity_opening(ontology: &Ontology, number: usize) -> String {
    let keys = &ontology.keys;
    let comma = if number > 1 { "," } else { "" };
    let id = if ontology.writes_ids() { format!("{}:\"e{number}\",", quoted(&keys.id)) } else { String::new() };
    literal(&format!("{comma}{{{id}{}:\"", quoted(&keys.text)))
}

/// A label up to its closing quote, with its sub-label if it has any.
pub(super) fn entity_label(ontology: &Ontology, label: &EntityLabel) -> String {
    let name = escaped(&label.name);
    if label.subtypes.is_empty() {
        return literal(&format!("{name}\""));
    }
    let subtypes = label.subtypes.iter().map(|subtype| literal(&format!("{}\"", escaped(&subtype.name))));
    let key = literal(&format!("{name}\",{}:\"", quoted(&ontology.keys.subtype)));
    format!("{key} ( {} )", subtypes.collect::<Vec<_>>().join(" | "))
}

/// Every entity label as an alternative.
pub(super) fn entity_labels(ontology: &Ontology) -> String {
    let labels: Vec<String> = ontology.entities.iter().map(|label| entity_label(ontology, label)).collect();
    labels.join(" | ")
}

/// Every relation type as an alternative.
pub(super) fn relation_types(ontology: &Ontology) -> String {
    let names: Vec<String> = ontology.relations.iter().map(|label| literal(&escaped(&label.name))).collect();
    names.join(" | ")
}

/// The list of relations with everything after the list of entities; `relation` is another rule.
pub(super) fn relations_tail(ontology: &Ontology) -> String {
    let open = literal(&format!(",{}:[", quoted(&ontology.keys.relations)));
    format!("{open} ( relation ( \",\" relation )* )? \"]}}\"")
}

/// A relation between any two entities; ID, the id or the text of an entity, is another rule, and with texts so is NUMBER.
pub(super) fn any_relation(ontology: &Ontology) -> String {
    let RelationFrame { open, to_type, to_tail } = RelationFrame::of(ontology);
    let keys = &ontology.keys;
    let number = |key: &str| match ontology.arguments {
        Arguments::Ids => String::new(),
        Arguments::Texts => format!("( {} NUMBER )? ", literal(&format!(",{}:", quoted(key)))),
    };
    let quote = literal("\"");
    format!(
        "{} ID {quote} {}{} ( {} ) {} ID {quote} {}\"}}\"",
        literal(&open),
        number(&keys.head_number),
        literal(&to_type),
        relation_types(ontology),
        literal(&to_tail),
        number(&keys.tail_number),
    )
}

/// The source as words and the gaps between them, escaped as in a JSON string.
pub(super) fn chunks(source: &str, words: &[Range<usize>]) -> Value {
    let mut chunks = Vec::with_capacity(2 * words.len());
    let mut end = None;
    for word in words {
        if let Some(end) = end.filter(|&end| end < word.start) {
            chunks.push(Value::from(escaped(&source[end..word.start])));
        }
        chunks.push(Value::from(escaped(&source[word.clone()])));
        end = Some(word.end);
    }
    Value::Array(chunks)
}

/// A text as a JSON string.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// A text as it appears between the quotes of a JSON string.
pub(super) fn escaped(text: &str) -> String {
    let quoted = quoted(text);
    quoted[1..quoted.len() - 1].to_owned()
}

/// A literal of the grammar. Lark and JSON quote strings alike.
pub(super) fn literal(text: &str) -> String {
    quoted(text)
}
