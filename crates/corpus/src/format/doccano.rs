//! doccano JSONL: character (code point) offsets, exclusive ends.
//!
//! Read are its three shapes: `"labels"` or `"label"`: `[[start, end, label]]`, and, for relation
//! extraction, `"entities"`: `[{"id", "label", "start_offset", "end_offset"}]` with `"relations"`:
//! `[{"from_id", "to_id", "type"}]`, which is also what is written. The document's name is the
//! metadata field `doc_key`, or else doccano's own `id`.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tabpo_ontology::Ontology;

use crate::{
    Document, Notes, Problem,
    annotate::{mention_label, relation_label},
    format::lines::{LineError, note_unknown_fields},
    text_document::{Characters, TextDocument, TextEntity, note_losses, relation_between, text_at},
};

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    id: Value,
    doc_key: Option<String>,
    text: Option<String>,
    #[serde(default, alias = "labels")]
    label: Vec<(i64, i64, String)>,
    #[serde(default)]
    entities: Vec<Entity>,
    #[serde(default)]
    relations: Vec<Relation>,
}

#[derive(Serialize, Deserialize)]
struct Entity {
    id: Value,
    label: String,
    start_offset: i64,
    end_offset: i64,
}

#[derive(Serialize, Deserialize)]
struct Relation {
    #[serde(default)]
    id: Value,
    from_id: Value,
    to_id: Value,
    r#type: String,
}

/// The document that a line describes.
pub(crate) fn parse(content: &str, ontology: &Ontology, notes: &mut Notes) -> Result<Document, LineError> {
    let line: Line = serde_json::from_str(content)?;
    let known = ["id", "doc_key", "text", "label", "labels", "entities", "relations", "Comments", "comments"];
    note_unknown_fields(content, &known, notes)?;
    let Some(key) = line.doc_key.clone().or_else(|| id_text(&line.id)) else {
        return Err(LineError::Invalid(None, Problem::MissingField { field: "id" }));
    };
    document(key.clone(), line, ontology, notes).map_err(LineError::of(&key))
}

/// An id as text; doccano writes numbers, other tools write strings.
fn id_text(id: &Value) -> Option<String> {
    match id {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn document(key: String, line: Line, ontology: &Ontology, notes: &mut Notes) -> Result<Document, Problem> {
    let text = line.text.ok_or(Problem::MissingField { field: "text" })?;
    let mut entities = Vec::new();
    let mut ids = Vec::new();
    let listed = line.entities.iter().map(|entity| (&entity.id, entity.start_offset, entity.end_offset, &entity.label));
    let plain = line.label.iter().map(|(start, end, name)| (&Value::Null, *start, *end, name));
    for (id, start, end, name) in listed.chain(plain) {
        let at = Characters { start, end };
        let surface = text_at(&text, at)?;
        let (label, subtype) = mention_label(ontology, name, || surface)?;
        entities.push(TextEntity { at, label, subtype });
        ids.push(id.to_string());
    }
    let mut relations = Vec::new();
    for relation in &line.relations {
        let label = relation_label(ontology, &relation.r#type)?;
        let (from, to) = (relation.from_id.to_string(), relation.to_id.to_string());
        let described = || format!("{from} -> {to} `{}`", relation.r#type);
        relations.push(relation_between(&ids, (&from, label, &to), described)?);
    }
    TextDocument { key, text, entities, relations, ..TextDocument::default() }.into_document(ontology, notes)
}

/// The line that says what `document` says; `number` becomes doccano's id. What the format cannot
/// hold is counted in `notes`.
pub fn to_line(document: &Document, number: usize, ontology: &Ontology, notes: &mut Notes) -> String {
    note_losses(document, ontology, notes);
    let written = TextDocument::from_document(document);
    let entities = (0..).zip(&written.entities).map(|(id, entity): (u64, _)| Entity {
        id: id.into(),
        label: ontology.mention_data_name(entity.label, entity.subtype),
        start_offset: entity.at.start,
        end_offset: entity.at.end,
    });
    let relations = (0..).zip(&written.relations).map(|(id, relation): (u64, _)| Relation {
        id: id.into(),
        from_id: relation.head.into(),
        to_id: relation.tail.into(),
        r#type: ontology.relation_data_name(relation.label).to_owned(),
    });
    let line = serde_json::json!({
        "id": number,
        "doc_key": written.key,
        "text": written.text,
        "entities": entities.collect::<Vec<_>>(),
        "relations": relations.collect::<Vec<_>>(),
        "Comments": [],
    });
    line.to_string()
}
