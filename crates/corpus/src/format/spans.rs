//! JSON whose mentions are ranges of characters of one text: Prodigy's JSONL and spaCy's.
//!
//! Prodigy: `{"text", "tokens"?: [{"start", "end"}], "spans": [{"start", "end", "label"}], "relations"?: [{"label",
//! "head_span": {"start", "end"}, "child_span"}], "answer"}`. Only accepted tasks are read; others are counted.
//!
//! spaCy: `[text, {"entities": [[start, end, label]]}]`, as its training data were written, or a document as
//! `Doc.to_json` writes it: `{"text", "ents": [{"start", "end", "label"}], "tokens"?: [{"start", "end"}], "sents"?:
//! [{"start", "end"}]}`.
//!
//! Offsets count characters, ends are exclusive. A document is called by its `doc_key`, or else by its file and position.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use tabpo_ontology::Ontology;

use super::{
    json::Name,
    lines::{Line, LineError, note_unknown_fields},
};
use crate::{
    Document, Note, Notes, Problem, Relation,
    annotate::{mention_label, relation_label},
    characters::{CharacterMap, Characters, found},
    text_document::{TextDocument, TextEntity},
};

/// A range of characters, with a label or without one.
#[derive(Deserialize)]
struct Range {
    start: i64,
    end: i64,
    label: Option<String>,
}

impl Range {
    fn characters(&self) -> Characters {
        Characters { start: self.start, end: self.end }
    }
}

#[derive(Deserialize)]
struct Task {
    doc_key: Option<Name>,
    text: Option<String>,
    tokens: Option<Vec<Range>>,
    spans: Option<Vec<Range>>,
    relations: Option<Vec<Link>>,
    answer: Option<String>,
}

#[derive(Deserialize)]
struct Link {
    label: String,
    head_span: Range,
    child_span: Range,
}

/// What a task says about itself and about how it was shown.
const OF_TASKS: [&str; 15] = [
    "doc_key",
    "text",
    "tokens",
    "spans",
    "relations",
    "answer",
    "_input_hash",
    "_task_hash",
    "_session_id",
    "_annotator_id",
    "_timestamp",
    "_view_id",
    "_is_binary",
    "options",
    "arcs",
];

/// The document of a task of Prodigy.
pub(crate) fn parse_prodigy(line: Line<'_>, ontology: &Ontology, notes: &mut Notes) -> Result<Document, LineError> {
    let task: Task = serde_json::from_str(line.text)?;
    if task.answer.as_deref().is_some_and(|answer| answer != "accept") {
        return Err(LineError::LeftOut("tasks that were not accepted"));
    }
    note_unknown_fields(line.text, &OF_TASKS, notes)?;
    let key = task.doc_key.map_or_else(|| line.name(), |Name(key)| key);
    let content = Content {
        text: task.text,
        tokens: task.tokens,
        sentences: None,
        entities: task.spans.unwrap_or_default(),
        links: task.relations.unwrap_or_default(),
    };
    content.document(&key, ontology, notes).map_err(LineError::of(Some(&key)))
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Spacy {
    Pair(String, Annotations),
    Document(SpacyDocument),
}

#[derive(Deserialize)]
struct Annotations {
    #[serde(default)]
    entities: Vec<(i64, i64, String)>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct SpacyDocument {
    doc_key: Option<Name>,
    text: Option<String>,
    ents: Option<Vec<Range>>,
    tokens: Option<Vec<Range>>,
    sents: Option<Vec<Range>>,
}

/// The document of a line or an entry of spaCy's JSON.
pub(crate) fn parse_spacy(line: Line<'_>, ontology: &Ontology, notes: &mut Notes) -> Result<Document, LineError> {
    let (key, content) = match serde_json::from_str(line.text)? {
        Spacy::Pair(text, Annotations { entities, others }) => {
            for field in others.into_keys() {
                notes.add(Note::IgnoredField(field));
            }
            let entities = entities.into_iter().map(|(start, end, label)| Range { start, end, label: Some(label) });
            let content = Content {
                text: Some(text),
                tokens: None,
                sentences: None,
                entities: entities.collect(),
                links: Vec::new(),
            };
            (line.name(), content)
        }
        Spacy::Document(SpacyDocument { doc_key, text, ents, tokens, sents }) => {
            note_unknown_fields(line.text, &["doc_key", "text", "ents", "tokens", "sents"], notes)?;
            let content =
                Content { text, tokens, sentences: sents, entities: ents.unwrap_or_default(), links: Vec::new() };
            (doc_key.map_or_else(|| line.name(), |Name(key)| key), content)
        }
    };
    content.document(&key, ontology, notes).map_err(LineError::of(Some(&key)))
}

/// What both formats say about a document.
struct Content {
    text: Option<String>,
    tokens: Option<Vec<Range>>,
    sentences: Option<Vec<Range>>,
    entities: Vec<Range>,
    links: Vec<Link>,
}

impl Content {
    fn document(self, key: &str, ontology: &Ontology, notes: &mut Notes) -> Result<Document, Problem> {
        let text = self.text.ok_or(Problem::MissingField { field: "text" })?;
        let map = CharacterMap::new(&text);
        let mut entities = Vec::with_capacity(self.entities.len());
        for entity in &self.entities {
            let Some(name) = &entity.label else {
                notes.ignore("spans without a label");
                continue;
            };
            let at = entity.characters();
            let surface = map.surface(at)?;
            let (label, subtype) = mention_label(ontology, name, || surface)?;
            entities.push(TextEntity { at, label, subtype });
        }
        let mut relations = Vec::with_capacity(self.links.len());
        for Link { label, head_span, child_span } in &self.links {
            let argument = |span: &Range| {
                let at = span.characters();
                let position = entities.iter().position(|entity| entity.at == at);
                position.map(|position| position as u32).ok_or_else(|| Problem::NoSuchEntity {
                    relation: format!("{} `{label}` {}", found(head_span.characters()), found(child_span.characters())),
                    argument: found(at),
                })
            };
            let (head, tail) = (argument(head_span)?, argument(child_span)?);
            relations.push(Relation { head, tail, label: relation_label(ontology, label)? });
        }
        let ranges = |list: Option<Vec<Range>>| {
            list.map(|list| list.iter().map(Range::characters).filter(|at| at.end > at.start).collect::<Vec<_>>())
        };
        // Blank tokens, which spaCy has for line breaks, hold nothing.
        let blank = |at: &Characters| map.surface(*at).is_ok_and(|text| text.trim().is_empty());
        let tokens = ranges(self.tokens).map(|tokens| tokens.into_iter().filter(|at| !blank(at)).collect());
        let document = TextDocument {
            key: key.to_owned(),
            tokens,
            sentences: ranges(self.sentences).filter(|sentences| !sentences.is_empty()),
            entities,
            relations,
            text: text.clone(),
            ..TextDocument::default()
        };
        document.into_document(ontology, notes)
    }
}
