//! doccano JSONL: character (code point) offsets, exclusive ends.
//!
//! Read are its shapes since version 1.0: the text under `"text"` or (1.3 to 1.6) `"data"`; spans under
//! `"labels"` or `"label"` as `[[start, end, label]]`, or, for relation extraction, `"entities"`:
//! `[{"id", "label", "start_offset", "end_offset"}]` with `"relations"`: `[{"from_id", "to_id", "type"}]`
//! (1.5 and 1.6 put both into an object under `"label"`), which is also what is written. Null counts
//! as an empty list. Spans without a label or without words are counted and left out. The document's name is
//! the metadata field `doc_key`, or else doccano's own `id`.
//! `"annotations"`, the export of the first versions, is read where it names labels; usually it has only
//! their numbers, and is refused.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::Value;
use tabpo_ontology::Ontology;

use super::{
    json::Name,
    lines::{Line, LineError, note_other_fields, note_unknown_fields},
};
use crate::{
    Document, Note, Notes, Problem, Relation,
    annotate::{Holder, Ids, mention_label, relation_label},
    characters::{CharacterMap, Characters},
    text_document::{TextDocument, TextEntity, note_losses},
};

#[derive(Deserialize)]
struct RawLine {
    id: Option<Name>,
    doc_key: Option<Name>,
    text: Option<String>,
    data: Option<String>,
    label: Option<Labels>,
    labels: Option<Labels>,
    annotations: Option<Vec<ListedEntity>>,
    entities: Option<Vec<ListedEntity>>,
    relations: Option<Vec<ListedRelation>>,
    #[serde(rename = "Comments", alias = "comments")]
    comments: Option<Vec<IgnoredAny>>,
}

/// What `label` holds.
enum Labels {
    Spans(Vec<LabelledSpan>),
    Both(Both),
}

/// `[start, end, label]`
struct LabelledSpan(i64, i64, Option<String>);

/// What is in the object under `label`.
#[derive(Deserialize)]
struct Both {
    entities: Option<Vec<ListedEntity>>,
    relations: Option<Vec<ListedRelation>>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

// Both are read directly, not through a `Value`, so that errors have their place.
impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Labels;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a list of [start, end, label], or an object with `entities` and `relations`")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut spans: A) -> Result<Labels, A::Error> {
                let mut all = Vec::new();
                while let Some(span) = spans.next_element()? {
                    all.push(span);
                }
                Ok(Labels::Spans(all))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Labels, A::Error> {
                Both::deserialize(MapAccessDeserializer::new(map)).map(Labels::Both)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for LabelledSpan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parts;

        impl<'de> Visitor<'de> for Parts {
            type Value = LabelledSpan;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("[start, end, label]")
            }

            fn visit_str<E: Error>(self, _: &str) -> Result<LabelledSpan, E> {
                Err(E::custom(
                    "these are classes of whole texts; a sequence labelling project has [[start, end, label]] here",
                ))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<LabelledSpan, A::Error> {
                let missing = |count| A::Error::invalid_length(count, &self);
                let start = parts.next_element()?.ok_or_else(|| missing(0))?;
                let end = parts.next_element()?.ok_or_else(|| missing(1))?;
                let label = parts.next_element()?.ok_or_else(|| missing(2))?;
                if parts.next_element::<IgnoredAny>()?.is_some() {
                    return Err(A::Error::invalid_length(4, &self));
                }
                Ok(LabelledSpan(start, end, label))
            }
        }

        deserializer.deserialize_any(Parts)
    }
}

#[derive(Deserialize)]
struct ListedEntity {
    id: Option<Name>,
    #[serde(default)]
    label: Value,
    start_offset: i64,
    end_offset: i64,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct ListedRelation {
    from_id: Name,
    to_id: Name,
    r#type: String,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

/// Fields of an item that say who did it and when.
const BOOKKEEPING: [&str; 7] = ["id", "user", "example", "document", "prob", "created_at", "updated_at"];

/// The document that a line describes.
pub(crate) fn parse(line: Line<'_>, ontology: &Ontology, notes: &mut Notes) -> Result<Document, LineError> {
    let content = line.text;
    let line: RawLine = serde_json::from_str(content)?;
    let known = ["id", "doc_key", "text", "data", "label", "labels", "annotations", "entities", "relations"];
    note_unknown_fields(content, &[&known[..], &["Comments", "comments"]].concat(), notes)?;
    if line.text.is_some() && line.data.is_some() {
        notes.add(Note::IgnoredField("data".into()));
    }
    notes.add_many(Note::IgnoredField("Comments".into()), line.comments.as_ref().map_or(0, Vec::len) as u64);
    let Some(Name(key)) = line.doc_key.clone().or_else(|| line.id.clone()) else {
        return Err(LineError::of(None)(Problem::MissingName { field: "id" }));
    };
    document(key.clone(), line, ontology, notes).map_err(LineError::of(Some(&key)))
}

fn document(key: String, line: RawLine, ontology: &Ontology, notes: &mut Notes) -> Result<Document, Problem> {
    let text = line.text.or(line.data).ok_or(Problem::MissingField { field: "text" })?;
    let mut listed = line.entities.unwrap_or_default();
    listed.extend(line.annotations.into_iter().flatten());
    let mut related = line.relations.unwrap_or_default();
    let mut plain = Vec::new();
    for labels in [line.label, line.labels].into_iter().flatten() {
        match labels {
            Labels::Spans(spans) => plain.extend(spans),
            Labels::Both(Both { entities, relations, others }) => {
                note_other_fields("label", &others, notes);
                listed.extend(entities.into_iter().flatten());
                related.extend(relations.into_iter().flatten());
            }
        }
    }
    let map = CharacterMap::new(&text);
    let (mut entities, mut ids) = (Vec::new(), Ids::default());
    // The position of the mention; `None` if there is none, which is counted.
    let mut mention = |start, end, name: Option<&str>, notes: &mut Notes| {
        let at = Characters { start, end };
        let surface = &text[map.bytes_or_empty("the mention", at)?];
        let Some(name) = name else {
            notes.ignore("spans without a label");
            return Ok(None);
        };
        if surface.trim().is_empty() {
            notes.ignore("spans of nothing but whitespace");
            return Ok(None);
        }
        let (label, subtype) = mention_label(ontology, name, || surface)?;
        entities.push(TextEntity { at, label, subtype });
        Ok::<_, Problem>(Some(entities.len() as u32 - 1))
    };
    for ListedEntity { id, label, start_offset, end_offset, others } in &mut listed {
        others.retain(|field, _| !BOOKKEEPING.contains(&field.as_str()));
        note_other_fields("entities", others, notes);
        let name = match label {
            Value::Null => None,
            Value::String(name) => Some(name.as_str()),
            Value::Number(_) => {
                return Err(Problem::malformed(format!(
                    "the label at [{start_offset}, {end_offset}] is {label}: this is an export of doccano before \
                     version 1.3 with numbers of labels, whose names are in another file; export as `JSONL (Text \
                     label)` or with a newer version"
                )));
            }
            _ => {
                let message = format!("the label at [{start_offset}, {end_offset}] is {label}; a label is a string");
                return Err(Problem::malformed(message));
            }
        };
        let index = mention(*start_offset, *end_offset, name, notes)?;
        if let Some(Name(id)) = id {
            ids.add(id.as_str(), index.map_or(Holder::LeftOut, Holder::Mention));
        }
    }
    for LabelledSpan(start, end, name) in &plain {
        mention(*start, *end, name.as_deref(), notes)?;
    }
    let mut relations = Vec::new();
    for ListedRelation { from_id: Name(from), to_id: Name(to), r#type, others } in &mut related {
        others.retain(|field, _| !BOOKKEEPING.contains(&field.as_str()));
        note_other_fields("relations", others, notes);
        let label = relation_label(ontology, r#type)?;
        match (ids.get(from), ids.get(to)) {
            (Some(Holder::Mention(head)), Some(Holder::Mention(tail))) => {
                relations.push(Relation { head, tail, label });
            }
            _ => notes.ignore("relations with missing spans"),
        }
    }
    TextDocument { key, text, entities, relations, ..TextDocument::default() }.into_document(ontology, notes)
}

/// The line that says what `document` says; `number` becomes doccano's id. What the format cannot
/// hold is counted in `notes`.
pub fn to_line(document: &Document, number: usize, ontology: &Ontology, notes: &mut Notes) -> String {
    /// An entity as doccano imports it.
    #[derive(Serialize)]
    struct WrittenEntity {
        id: u64,
        label: String,
        start_offset: i64,
        end_offset: i64,
    }

    /// A relation as doccano imports it.
    #[derive(Serialize)]
    struct WrittenRelation<'a> {
        id: u64,
        from_id: u32,
        to_id: u32,
        r#type: &'a str,
    }

    note_losses(document, ontology, notes);
    let written = TextDocument::from_document(document);
    let entities = (0..).zip(&written.entities).map(|(id, entity)| WrittenEntity {
        id,
        label: ontology.mention_data_name(entity.label, entity.subtype),
        start_offset: entity.at.start,
        end_offset: entity.at.end,
    });
    let relations = (0..).zip(&written.relations).map(|(id, relation)| WrittenRelation {
        id,
        from_id: relation.head,
        to_id: relation.tail,
        r#type: ontology.relation_data_name(relation.label),
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
