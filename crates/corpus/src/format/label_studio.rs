//! Label Studio's JSON export of text labelling with relations: character (code point) offsets,
//! exclusive ends.
//!
//! A file is one list of tasks: `{"id", "data": {"text", "doc_key"?}, "annotations": [{"result":
//! [{"id", "type": "labels", "value": {"start", "end", "labels": [name]}}, {"type": "relation",
//! "from_id", "to_id", "direction", "labels": [name]}]}]}`. Of several annotations of a task the
//! first that was not cancelled is read. A relation's direction may be `right` (from, to), `left`
//! (to, from) or `bi` (both; once for a symmetric type).

use std::{collections::HashMap, fs, path::Path};

use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use tabpo_ontology::Ontology;

use crate::{
    CorpusError, Document, Loaded, Note, Notes, Problem,
    annotate::{mention_label, relation_label},
    format::lines::json_error,
    text_document::{Characters, TextDocument, TextEntity, note_losses, relation_between, text_at},
};

#[derive(Deserialize)]
struct Task {
    #[serde(default)]
    id: Value,
    data: Data,
    #[serde(default)]
    annotations: Vec<Annotation>,
}

#[derive(Deserialize)]
struct Data {
    text: Option<String>,
    doc_key: Option<String>,
}

#[derive(Deserialize)]
struct Annotation {
    #[serde(default)]
    was_cancelled: bool,
    #[serde(default)]
    result: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    #[serde(default)]
    id: String,
    r#type: String,
    value: Option<Region>,
    #[serde(default)]
    from_id: String,
    #[serde(default)]
    to_id: String,
    #[serde(default)]
    direction: Option<String>,
    #[serde(default)]
    labels: Vec<String>,
}

#[derive(Deserialize)]
struct Region {
    start: Option<i64>,
    end: Option<i64>,
    #[serde(default)]
    labels: Vec<String>,
}

/// Reads all tasks of a file.
pub(crate) fn read(path: &Path, ontology: &Ontology) -> Result<Loaded, CorpusError> {
    let content = fs::read_to_string(path).map_err(|source| CorpusError::read(path, source))?;
    let tasks: Vec<&RawValue> = serde_json::from_str(&content).map_err(|error| json_error(path, 1, &error))?;
    let mut loaded = Loaded::default();
    let mut keys: HashMap<String, usize> = HashMap::new();
    let (mut line, mut counted) = (1, 0);
    for raw in tasks {
        // The raw value borrows from `content`, so its address tells where it stands.
        let at = raw.get().as_ptr() as usize - content.as_ptr() as usize;
        line += content[counted..at].matches('\n').count();
        counted = at;
        let task: Task = serde_json::from_str(raw.get()).map_err(|error| json_error(path, line, &error))?;
        let invalid = |key, problem| Err(CorpusError::invalid(path, line, key, problem));
        let Some(key) = task_key(&task) else { return invalid(None, Problem::MissingField { field: "id" }) };
        if let Some(first_line) = keys.insert(key.clone(), line) {
            return invalid(Some(key), Problem::DuplicateKey { first_line });
        }
        match document(key.clone(), task, ontology, &mut loaded.notes) {
            Ok(document) => loaded.documents.push(document),
            Err(problem) => return invalid(Some(key), problem),
        }
    }
    Ok(loaded)
}

fn task_key(task: &Task) -> Option<String> {
    task.data.doc_key.clone().or_else(|| match &task.id {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    })
}

fn document(key: String, task: Task, ontology: &Ontology, notes: &mut Notes) -> Result<Document, Problem> {
    let text = task.data.text.ok_or(Problem::MissingField { field: "data.text" })?;
    let mut items = Vec::new();
    let mut taken = false;
    for annotation in task.annotations {
        if taken || annotation.was_cancelled {
            notes.add(Note::IgnoredAnnotation("cancelled or further annotations of a task".into()));
        } else {
            items = annotation.result;
            taken = true;
        }
    }
    let mut entities = Vec::new();
    let mut ids = Vec::new();
    for item in items.iter().filter(|item| item.r#type == "labels") {
        let region = item.value.as_ref().ok_or(Problem::MissingField { field: "value" })?;
        let start = region.start.ok_or(Problem::MissingField { field: "value.start" })?;
        let end = region.end.ok_or(Problem::MissingField { field: "value.end" })?;
        let at = Characters { start, end };
        for name in &region.labels {
            let surface = text_at(&text, at)?;
            let (label, subtype) = mention_label(ontology, name, || surface)?;
            entities.push(TextEntity { at, label, subtype });
            ids.push(item.id.clone());
        }
    }
    let mut relations = Vec::new();
    for item in items.iter().filter(|item| item.r#type == "relation") {
        let described = || format!("{} -> {} `{}`", item.from_id, item.to_id, item.labels.join(", "));
        if item.labels.is_empty() {
            return Err(Problem::malformed(format!("the relation {} has no label", described())));
        }
        for name in &item.labels {
            let label = relation_label(ontology, name)?;
            let forward = (item.from_id.as_str(), label, item.to_id.as_str());
            let backward = (item.to_id.as_str(), label, item.from_id.as_str());
            let directed: &[_] = match item.direction.as_deref() {
                None | Some("right") => &[forward],
                Some("left") => &[backward],
                Some("bi") if ontology.relation(label).symmetric => &[forward],
                Some("bi") => &[forward, backward],
                Some(other) => {
                    let message = format!("the direction of {} is `{other}`; valid: right, left, bi", described());
                    return Err(Problem::malformed(message));
                }
            };
            for &triple in directed {
                relations.push(relation_between(&ids, triple, described)?);
            }
        }
    }
    for item in items.iter().filter(|item| !matches!(item.r#type.as_str(), "labels" | "relation")) {
        notes.add(Note::IgnoredAnnotation(format!("results of type `{}`", item.r#type)));
    }
    TextDocument { key, text, entities, relations, ..TextDocument::default() }.into_document(ontology, notes)
}

/// The task that says what `document` says; `number` becomes its id. What the format cannot hold is
/// counted in `notes`.
pub fn to_task(document: &Document, number: usize, ontology: &Ontology, notes: &mut Notes) -> Value {
    note_losses(document, ontology, notes);
    let written = TextDocument::from_document(document);
    let mut result = Vec::new();
    for (index, (entity, mention)) in written.entities.iter().zip(&document.mentions).enumerate() {
        result.push(json!({
            "id": format!("m{index}"),
            "from_name": "label",
            "to_name": "text",
            "type": "labels",
            "value": {
                "start": entity.at.start,
                "end": entity.at.end,
                "text": document.span_text(mention.span),
                "labels": [ontology.mention_data_name(entity.label, entity.subtype)],
            },
        }));
    }
    for relation in &written.relations {
        result.push(json!({
            "type": "relation",
            "from_id": format!("m{}", relation.head),
            "to_id": format!("m{}", relation.tail),
            "direction": "right",
            "labels": [ontology.relation_data_name(relation.label)],
        }));
    }
    json!({
        "id": number,
        "data": {"text": written.text, "doc_key": written.key},
        "annotations": [{"result": result}],
    })
}
