//! JSON whose documents are one list of tokens each: the form of `SpERT` and its successors, in which `CoNLL04`, ADE and
//! others are distributed, that of `CrossRE`, and `GLiNER`'s training data.
//!
//! `SpERT`: `{"tokens": [token], "entities": [{"type", "start", "end"}], "relations": [{"type", "head", "tail"}]}`, where
//! `end` is one past the last token and `head` and `tail` are positions in `entities`; or, shorter, `"entities": [[start,
//! end, type]]` and `"relations": [[start, end, start, end, type]]`. A document is called by its `doc_key`, or else by
//! its file and position.
//!
//! `CrossRE`: `{"doc_key", "sentence": [token], "ner": [[start, end, label]], "relations": [[start, end, start, end,
//! label, explanation, uncertain, syntax]]}` with inclusive ends. What follows a relation's label is counted as not read.
//!
//! `GLiNER`: `{"tokenized_text": [token], "ner": [[start, end, label]]}` with inclusive ends, without relations.
//!
//! Text, brackets and relations are those of [`token_document`](super::token_document).

use serde::Deserialize;
use serde_json::value::RawValue;
use tabpo_ontology::Ontology;

use super::token_document::{Ends, Labelled, MentionEntry, RelationEntry, Sentences, Text, TokenDocument};
use crate::{
    Document, Notes, Problem,
    format::{
        json::Name,
        lines::{Line, LineError, note_unknown_fields},
    },
};

/// A line of `SpERT`'s form.
#[derive(Deserialize)]
struct SpertLine<'a> {
    #[serde(default)]
    doc_key: Option<Name>,
    #[serde(borrow)]
    tokens: Vec<Text<'a>>,
    #[serde(borrow, default)]
    entities: Vec<SpertEntity<'a>>,
    #[serde(borrow, default)]
    relations: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum SpertEntity<'a> {
    Object {
        #[serde(rename = "type", borrow)]
        name: Text<'a>,
        start: i64,
        end: i64,
    },
    List(#[serde(borrow)] MentionEntry<'a>),
}

#[derive(Deserialize)]
struct SpertRelation<'a> {
    #[serde(rename = "type", borrow)]
    name: Text<'a>,
    head: usize,
    tail: usize,
}

/// The document of a line in `SpERT`'s form.
pub(crate) fn parse_spert(line: Line<'_>, ontology: &Ontology, notes: &mut Notes) -> Result<Document, LineError> {
    let SpertLine { doc_key, tokens, entities, relations: listed } = serde_json::from_str(line.text)?;
    note_unknown_fields(line.text, &["doc_key", "tokens", "entities", "relations"], notes)?;
    let key = doc_key.map_or_else(|| line.name(), |Name(key)| key);
    let mentions: Vec<MentionEntry> = entities
        .into_iter()
        .map(|entity| match entity {
            SpertEntity::Object { name, start, end } => Labelled { offsets: [start, end], name, more: false },
            SpertEntity::List(entry) => entry,
        })
        .collect();
    let mut relations: Vec<RelationEntry> = Vec::with_capacity(listed.len());
    for relation in listed {
        if relation.get().starts_with('[') {
            relations.push(serde_json::from_str(relation.get())?);
            continue;
        }
        let SpertRelation { name, head, tail } = serde_json::from_str(relation.get())?;
        let offsets = |position: usize| {
            mentions.get(position).map(|mention| mention.offsets).ok_or_else(|| Problem::NoSuchEntity {
                relation: relation.get().to_owned(),
                argument: format!("entity {position}, counted from 0,"),
            })
        };
        let of_document = LineError::of(Some(&key));
        let ([head_start, head_end], [tail_start, tail_end]) =
            (offsets(head).map_err(&of_document)?, offsets(tail).map_err(&of_document)?);
        relations.push(Labelled { offsets: [head_start, head_end, tail_start, tail_end], name, more: false });
    }
    document(&key, tokens, mentions, relations, Ends::Exclusive, ontology, notes)
}

/// A line of `CrossRE`.
#[derive(Deserialize)]
struct CrossReLine<'a> {
    doc_key: Name,
    #[serde(borrow)]
    sentence: Vec<Text<'a>>,
    #[serde(borrow, default)]
    ner: Vec<MentionEntry<'a>>,
    #[serde(borrow, default)]
    relations: Vec<RelationEntry<'a>>,
}

/// The document of a line of `CrossRE`.
pub(crate) fn parse_crossre(line: Line<'_>, ontology: &Ontology, notes: &mut Notes) -> Result<Document, LineError> {
    let CrossReLine { doc_key: Name(key), sentence, ner, mut relations } = serde_json::from_str(line.text)?;
    note_unknown_fields(line.text, &["doc_key", "sentence", "ner", "relations"], notes)?;
    for relation in relations.iter_mut().filter(|relation| relation.more) {
        relation.more = false;
        notes.ignore("explanations and flags of relations");
    }
    document(&key, sentence, ner, relations, Ends::Inclusive, ontology, notes)
}

/// A line of `GLiNER`'s training data.
#[derive(Deserialize)]
struct GlinerLine<'a> {
    #[serde(default)]
    doc_key: Option<Name>,
    #[serde(borrow)]
    tokenized_text: Vec<Text<'a>>,
    #[serde(borrow, default)]
    ner: Vec<MentionEntry<'a>>,
}

/// The document of a line of `GLiNER`'s training data.
pub(crate) fn parse_gliner(line: Line<'_>, ontology: &Ontology, notes: &mut Notes) -> Result<Document, LineError> {
    let GlinerLine { doc_key, tokenized_text, ner } = serde_json::from_str(line.text)?;
    note_unknown_fields(line.text, &["doc_key", "tokenized_text", "ner"], notes)?;
    let key = doc_key.map_or_else(|| line.name(), |Name(key)| key);
    document(&key, tokenized_text, ner, Vec::new(), Ends::Inclusive, ontology, notes)
}

fn document(
    key: &str,
    tokens: Vec<Text<'_>>,
    mentions: Vec<MentionEntry<'_>>,
    relations: Vec<RelationEntry<'_>>,
    ends: Ends,
    ontology: &Ontology,
    notes: &mut Notes,
) -> Result<Document, LineError> {
    let content = TokenDocument {
        sentences: Some(Sentences::from(vec![tokens])),
        ner: Some(vec![mentions]),
        relations: Some(vec![relations]),
        clusters: None,
    };
    content.into_document(key, ends, ontology, notes).map_err(LineError::of(Some(key)))
}
