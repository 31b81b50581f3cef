//! What the page is told, as JSON. Texts are made printable: characters that would change how a page reads are shown.

use serde_json::{Value, json};
use tabpo_corpus::{Mention, Unit};
use tabpo_ontology::EntityLabelId;
use tabpo_report::printable;

use crate::{Order, Session, Summary, material::Confidence};

/// What does not change while a review goes on, and how far it is.
pub(crate) fn start(session: &Session) -> Value {
    let ontology = &session.material.ontology;
    let names =
        |ids: &[EntityLabelId]| -> Vec<&str> { ids.iter().map(|&id| ontology.entity(id).name.as_str()).collect() };
    let entities = ontology.entities.iter().map(|label| {
        let subtypes: Vec<&str> = label.subtypes.iter().map(|subtype| subtype.name.as_str()).collect();
        json!({"name": label.name, "meaning": printable(&label.description), "subtypes": subtypes})
    });
    let relations = ontology.relations.iter().map(|label| {
        json!({
            "name": label.name, "meaning": printable(&label.description), "symmetric": label.symmetric,
            "domain": names(&label.domain), "range": names(&label.range),
        })
    });
    json!({
        "title": printable(&session.material.title),
        "entities": entities.collect::<Vec<_>>(),
        "relations": relations.collect::<Vec<_>>(),
        "scored": session.has_confidence(),
        "gold": session.material.has_gold(),
        "orders": {"confidence": session.order(Order::Confidence), "documents": session.order(Order::Documents)},
        "texts": (0..session.len()).map(|unit| text(session, unit)).collect::<Vec<_>>(),
        "files": {
            "curated": session.curated().display().to_string(),
            "patterns": session.patterns().display().to_string(),
        },
        "summary": summary(session),
    })
}

/// A text in the list of texts.
fn text(session: &Session, unit: usize) -> Value {
    json!({"place": place(session, unit), "confirmed": session.state(unit).confirmed})
}

fn place(session: &Session, unit: usize) -> String {
    let case = &session.material.cases[unit];
    let key = printable(&session.material.documents[case.document].key);
    case.sentence.map_or_else(|| key.to_string(), |sentence| format!("{key}, sentence {sentence}"))
}

/// How far the review is.
pub(crate) fn summary(session: &Session) -> Value {
    let Summary { texts, confirmed, corrections, patterns, damaged } = session.summary();
    json!({
        "texts": texts, "confirmed": confirmed, "corrections": corrections, "patterns": patterns, "damaged": damaged,
        "undo": session.can_undo(),
    })
}

/// A text with what was predicted and what has been decided. Tokens are `[what comes before it, the token]`.
pub(crate) fn unit(session: &Session, unit: usize) -> Value {
    let case = &session.material.cases[unit];
    let (text, words) = {
        let unit = case.unit(&session.material.documents);
        (unit.text(), unit.words())
    };
    let mut at = 0;
    let tokens: Vec<Value> = words
        .into_iter()
        .map(|word| {
            let before = &text[at..word.start];
            at = word.end;
            json!([printable(before), printable(&text[word])])
        })
        .collect();
    let confidence = case.confidence.as_ref().map(|Confidence { entities, relations, complete }| {
        json!({"entities": entities, "relations": relations, "complete": complete})
    });
    let lost: Vec<_> = case.lost.iter().map(|text| printable(text)).collect();
    json!({
        "unit": unit, "place": place(session, unit), "revision": session.revision(unit), "tokens": tokens,
        "after": printable(&text[at..]), "predicted": case.predicted, "state": session.state(unit), "lost": lost,
        "confidence": confidence, "summary": summary(session),
        "gold": session.material.has_gold().then(|| gold(&case.unit(&session.material.documents), session)),
    })
}

/// What the documents say of a text. Places are tokens, counted from the start of the text.
fn gold(unit: &Unit<'_>, session: &Session) -> Value {
    let ontology = &session.material.ontology;
    let first = unit.span().start;
    let entities = unit.mentions().map(|(id, mention)| {
        let Mention { span, label, subtype } = *mention;
        let mut one = json!({
            "id": id, "start": span.start - first, "end": span.end - first, "label": ontology.entity(label).name,
        });
        if let Some(subtype) = subtype {
            one["subtype"] = json!(ontology.subtype(label, subtype).name);
        }
        one
    });
    let relations = unit.relations().map(|relation| {
        json!({"head": relation.head, "tail": relation.tail, "label": ontology.relation(relation.label).name})
    });
    json!({"entities": entities.collect::<Vec<_>>(), "relations": relations.collect::<Vec<_>>()})
}
