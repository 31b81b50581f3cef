//! The texts as JSON for the script of the page.
//!
//! What is written most is written shortest: lists instead of objects, numbers instead of names, -1 for nothing.
//! Offsets count UTF-16 units, as strings of JavaScript do, of the text as it is shown: characters that would change
//! how a page reads are escaped before (see [`printable`]).

use serde_json::{Value, json};

use crate::text::shown_offsets;
use crate::{TextAnnotations, TextAnswer, TextCase, Texts, printable};

/// Everything but the texts themselves.
pub(super) fn head(texts: &Texts) -> Value {
    let names = |names: &[String]| names.iter().map(|name| shown(name)).collect::<Vec<_>>();
    let kinds: Vec<Value> =
        texts.kinds.iter().map(|kind| json!([shown(&kind.name), u8::from(kind.relational)])).collect();
    json!({
        "entities": names(&texts.entity_labels),
        "relations": names(&texts.relation_labels),
        "systems": names(&texts.systems),
        "kinds": kinds,
        "total": texts.total,
    })
}

/// One text: `[place, text, gold, answers, the answer of each system]`.
pub(super) fn case(case: &TextCase) -> Value {
    let offsets = shown_offsets(&case.text);
    let answers: Vec<Value> = case.answers.iter().map(|one| answer(one, &offsets)).collect();
    json!([shown(&case.place), shown(&case.text), annotations(&case.gold, &offsets), answers, case.of_system])
}

/// `[entities, relations, errors]`, with a fourth element where nothing could be read.
fn answer(answer: &TextAnswer, offsets: &[u32]) -> Value {
    let errors = answer.errors.iter().map(|error| json!([error.kind, number(error.gold), number(error.predicted)]));
    let mut parts = vec![annotations(&answer.annotations, offsets), errors.collect()];
    if answer.unreadable {
        parts.push(json!(1));
    }
    parts.into()
}

/// `[entities, relations]`: an entity is `[start, end, label, sub-label]` or, where it is not in the text,
/// `[-1, what it says, label, sub-label]`, and a relation `[head, tail, type]`.
fn annotations(side: &TextAnnotations, offsets: &[u32]) -> Value {
    let place = |byte: u32| offsets.get(byte as usize).copied().unwrap_or(0);
    let entities = side.entities.iter().map(|entity| {
        let mut parts = match entity.range {
            Some((start, end)) => vec![json!(place(start)), json!(place(end))],
            None => vec![json!(-1), json!(shown(&entity.said))],
        };
        parts.push(json!(number(entity.label)));
        parts.extend(entity.subtype.as_deref().map(|subtype| json!(shown(subtype))));
        Value::from(parts)
    });
    let relations = side
        .relations
        .iter()
        .map(|relation| json!([number(relation.head), number(relation.tail), number(relation.label)]));
    json!([entities.collect::<Vec<_>>(), relations.collect::<Vec<_>>()])
}

fn number(position: Option<u32>) -> i64 {
    position.map_or(-1, i64::from)
}

fn shown(text: &str) -> String {
    printable(text).into_owned()
}
