//! The plain format of this program: one JSON object on each line, character (code point) offsets.
//!
//! `{"doc_key", "text", "sentences"?: [[start, end]], "tokens"?: [[start, end]], "entities":
//! [{"start", "end", "type", "subtype"?, "text"?}], "relations": [{"head": i, "type", "tail": j}],
//! "clusters"?: [[[start, end]]]}`. Ends are exclusive; `head` and `tail` are positions in
//! `entities`; where `text` repeats a mention's words, they are checked. It holds everything that a document
//! says; `tokens` and `clusters` are written only where that needs them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tabpo_ontology::Ontology;

use super::{
    json::Name,
    lines::{Line, LineError, note_other_fields, note_unknown_fields},
};
use crate::{
    Document, Note, Notes, Problem, Relation,
    annotate::{relation_label, require_subtype},
    characters::{CharacterMap, Characters, Offsets, Stated},
    text_document::{TextDocument, TextEntity, note_losses},
};

/// A line as it is read; null counts as missing.
#[derive(Deserialize)]
struct RawLine {
    doc_key: Option<Name>,
    text: Option<String>,
    sentences: Option<Vec<(i64, i64)>>,
    tokens: Option<Vec<(i64, i64)>>,
    entities: Option<Vec<ListedEntity>>,
    relations: Option<Vec<ListedRelation>>,
    clusters: Option<Vec<Vec<(i64, i64)>>>,
}

#[derive(Deserialize)]
struct ListedEntity {
    start: i64,
    end: i64,
    r#type: String,
    subtype: Option<String>,
    /// The words of the mention, for files that repeat them.
    text: Option<String>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct ListedRelation {
    head: i64,
    r#type: String,
    tail: i64,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

/// A line as it is written.
#[derive(Serialize)]
struct WrittenLine<'a> {
    doc_key: &'a str,
    text: &'a str,
    sentences: Vec<(i64, i64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<Vec<(i64, i64)>>,
    entities: Vec<WrittenEntity<'a>>,
    relations: Vec<WrittenRelation<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    clusters: Vec<Vec<(i64, i64)>>,
}

#[derive(Serialize)]
struct WrittenEntity<'a> {
    start: i64,
    end: i64,
    r#type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subtype: Option<&'a str>,
}

#[derive(Serialize)]
struct WrittenRelation<'a> {
    head: i64,
    r#type: &'a str,
    tail: i64,
}

/// The document that a line describes.
pub(crate) fn parse(line: Line<'_>, ontology: &Ontology, notes: &mut Notes) -> Result<Document, LineError> {
    let content = line.text;
    let line: RawLine = serde_json::from_str(content)?;
    let known = ["doc_key", "text", "sentences", "tokens", "entities", "relations", "clusters"];
    note_unknown_fields(content, &known, notes)?;
    let Some(Name(key)) = line.doc_key.clone() else {
        return Err(LineError::of(None)(Problem::MissingName { field: "doc_key" }));
    };
    document(key.clone(), line, ontology, notes).map_err(LineError::of(Some(&key)))
}

fn document(key: String, line: RawLine, ontology: &Ontology, notes: &mut Notes) -> Result<Document, Problem> {
    let text = line.text.ok_or(Problem::MissingField { field: "text" })?;
    let listed = line.entities.unwrap_or_default();
    let map = CharacterMap::new(&text);
    let stated = listed.iter().map(|entity| Stated {
        pieces: vec![Characters { start: entity.start, end: entity.end }],
        words: entity.text.as_deref(),
    });
    let offsets = Offsets::check(&map, &stated.collect::<Vec<_>>()).map_err(|(_, problem)| problem)?;
    notes.add_many(Note::Utf16Offsets, u64::from(offsets.utf16));
    let mut entities = Vec::with_capacity(listed.len());
    for (entity, at) in listed.iter().zip(offsets.spans) {
        note_other_fields("entities", &entity.others, notes);
        let surface = map.surface(at)?;
        let unknown = |names: Vec<String>| Problem::unknown_label("entity label", &entity.r#type, names);
        let label = ontology.entity_in_data(&entity.r#type).ok_or_else(|| unknown(ontology.mention_data_names()))?;
        let subtype = match &entity.subtype {
            None => None,
            Some(name) => Some(ontology.subtype_named(label, name).ok_or_else(|| {
                let label = ontology.entity(label);
                let names = label.subtypes.iter().map(|subtype| subtype.name.clone());
                Problem::unknown_subtype(&label.name, name, names.collect())
            })?),
        };
        require_subtype(ontology, label, subtype, || surface)?;
        entities.push(TextEntity { at, label, subtype });
    }
    let listed = line.relations.unwrap_or_default();
    let mut relations = Vec::with_capacity(listed.len());
    for relation in &listed {
        note_other_fields("relations", &relation.others, notes);
        let argument = |index: i64| {
            let inside = u32::try_from(index).ok().filter(|&index| (index as usize) < entities.len());
            inside.ok_or_else(|| Problem::NoSuchEntity {
                relation: format!("{} -> {} `{}`", relation.head, relation.tail, relation.r#type),
                argument: format!("entity {index}"),
            })
        };
        let (head, tail) = (argument(relation.head)?, argument(relation.tail)?);
        relations.push(Relation { head, tail, label: relation_label(ontology, &relation.r#type)? });
    }
    let characters = |list: Vec<(i64, i64)>| list.into_iter().map(|(start, end)| Characters { start, end }).collect();
    TextDocument {
        key,
        text,
        tokens: line.tokens.map(characters),
        sentences: line.sentences.map(characters),
        entities,
        relations,
        clusters: line.clusters.unwrap_or_default().into_iter().map(characters).collect(),
    }
    .into_document(ontology, notes)
}

/// The line that says what `document` says, without loss.
pub fn to_line(document: &Document, ontology: &Ontology) -> String {
    let mut losses = Notes::default();
    note_losses(document, ontology, &mut losses);
    let written = TextDocument::from_document(document);
    let pairs = |list: Vec<Characters>| list.into_iter().map(|at| (at.start, at.end)).collect();
    let needs_tokens = losses.count(&Note::TokenBoundaries) > 0;
    let line = WrittenLine {
        doc_key: &written.key,
        text: &written.text,
        sentences: written.sentences.map(pairs).unwrap_or_default(),
        tokens: written.tokens.filter(|_| needs_tokens).map(pairs),
        entities: written
            .entities
            .iter()
            .map(|entity| WrittenEntity {
                start: entity.at.start,
                end: entity.at.end,
                r#type: ontology.entity_data_name(entity.label),
                subtype: entity.subtype.map(|subtype| ontology.subtype(entity.label, subtype).name.as_str()),
            })
            .collect(),
        relations: written
            .relations
            .iter()
            .map(|relation| WrittenRelation {
                head: relation.head.into(),
                r#type: ontology.relation_data_name(relation.label),
                tail: relation.tail.into(),
            })
            .collect(),
        clusters: written.clusters.into_iter().map(pairs).collect(),
    };
    serde_json::to_string(&line).expect("strings and numbers are valid JSON")
}
