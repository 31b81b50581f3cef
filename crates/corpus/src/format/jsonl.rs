//! The plain format of this program: one JSON object a line, character (code point) offsets.
//!
//! `{"doc_key", "text", "sentences"?: [[start, end]], "tokens"?: [[start, end]], "entities":
//! [{"start", "end", "type", "subtype"?}], "relations": [{"head": i, "type", "tail": j}],
//! "clusters"?: [[[start, end]]]}`. Ends are exclusive; `head` and `tail` are positions in
//! `entities`. It holds all that a document says; `tokens` and `clusters` are written only where
//! they are needed for that.

use serde::{Deserialize, Serialize};
use tabpo_ontology::Ontology;

use crate::{
    Document, Notes, Problem,
    annotate::{FileRelation, relation_label, require_subtype},
    format::lines::{LineError, note_unknown_fields},
    text_document::{Characters, TextDocument, TextEntity, note_losses, text_at},
};

#[derive(Serialize, Deserialize)]
struct Line {
    doc_key: Option<String>,
    text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sentences: Option<Vec<(i64, i64)>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tokens: Option<Vec<(i64, i64)>>,
    #[serde(default)]
    entities: Vec<Entity>,
    #[serde(default)]
    relations: Vec<Relation>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    clusters: Vec<Vec<(i64, i64)>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entity {
    start: i64,
    end: i64,
    r#type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subtype: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Relation {
    head: i64,
    r#type: String,
    tail: i64,
}

/// The document that a line describes.
pub(crate) fn parse(content: &str, ontology: &Ontology, notes: &mut Notes) -> Result<Document, LineError> {
    let line: Line = serde_json::from_str(content)?;
    let known = ["doc_key", "text", "sentences", "tokens", "entities", "relations", "clusters"];
    note_unknown_fields(content, &known, notes)?;
    let Some(key) = line.doc_key.clone() else {
        return Err(LineError::Invalid(None, Problem::MissingField { field: "doc_key" }));
    };
    document(key.clone(), line, ontology, notes).map_err(LineError::of(&key))
}

fn document(key: String, line: Line, ontology: &Ontology, notes: &mut Notes) -> Result<Document, Problem> {
    let text = line.text.ok_or(Problem::MissingField { field: "text" })?;
    let mut entities = Vec::with_capacity(line.entities.len());
    for entity in &line.entities {
        let at = Characters { start: entity.start, end: entity.end };
        let surface = text_at(&text, at)?;
        let unknown = |names: Vec<String>| Problem::unknown_label("entity label", &entity.r#type, names);
        let label = ontology.entity_in_data(&entity.r#type).ok_or_else(|| unknown(ontology.mention_data_names()))?;
        let subtype = match &entity.subtype {
            None => None,
            Some(name) => Some(ontology.subtype_named(label, name).ok_or_else(|| {
                let names = ontology.entity(label).subtypes.iter().map(|subtype| subtype.name.clone());
                Problem::unknown_label("subtype", name, names.collect())
            })?),
        };
        require_subtype(ontology, label, subtype, || surface)?;
        entities.push(TextEntity { at, label, subtype });
    }
    let mut relations = Vec::with_capacity(line.relations.len());
    for relation in &line.relations {
        let argument = |index: i64| {
            let inside = usize::try_from(index).ok().filter(|&index| index < entities.len());
            inside.ok_or_else(|| Problem::NoSuchEntity {
                relation: format!("{} -> {} `{}`", relation.head, relation.tail, relation.r#type),
                argument: format!("entity {index}"),
            })
        };
        let (head, tail) = (argument(relation.head)?, argument(relation.tail)?);
        relations.push(FileRelation { head, tail, label: relation_label(ontology, &relation.r#type)? });
    }
    let characters = |list: Vec<(i64, i64)>| list.into_iter().map(|(start, end)| Characters { start, end }).collect();
    TextDocument {
        key,
        text,
        tokens: line.tokens.map(characters),
        sentences: line.sentences.map(characters),
        entities,
        relations,
        clusters: line.clusters.into_iter().map(characters).collect(),
    }
    .into_document(ontology, notes)
}

/// The line that says what `document` says, without loss.
pub fn to_line(document: &Document, ontology: &Ontology) -> String {
    let mut losses = Notes::default();
    note_losses(document, ontology, &mut losses);
    let written = TextDocument::from_document(document);
    let pairs = |list: Vec<Characters>| list.into_iter().map(|at| (at.start, at.end)).collect();
    let needs_tokens = losses.count(&crate::Note::TokenBoundaries) > 0;
    let line = Line {
        doc_key: Some(written.key),
        text: Some(written.text),
        sentences: written.sentences.map(pairs),
        tokens: written.tokens.filter(|_| needs_tokens).map(pairs),
        entities: written
            .entities
            .iter()
            .map(|entity| Entity {
                start: entity.at.start,
                end: entity.at.end,
                r#type: ontology.entity_data_name(entity.label).to_owned(),
                subtype: entity.subtype.map(|subtype| ontology.subtype(entity.label, subtype).name.clone()),
            })
            .collect(),
        relations: written
            .relations
            .iter()
            .map(|relation| Relation {
                head: relation.head as i64,
                r#type: ontology.relation_data_name(relation.label).to_owned(),
                tail: relation.tail as i64,
            })
            .collect(),
        clusters: written.clusters.into_iter().map(pairs).collect(),
    };
    serde_json::to_string(&line).expect("strings and numbers are valid JSON")
}
