//! `DyGIE` JSONL: tokens, inclusive token offsets counted from the document's start.
//!
//! `{"doc_key", "sentences": [[token]], "ner": [[[start, end, label]]], "relations":
//! [[[start, end, start, end, label]]], "clusters": [[[start, end]]]}` with one list for each sentence.
//! Numbers after a label, as predictions have them, are counted as not read. `SciER` writes `doc_id` for `doc_key`.
//! Text, brackets and relations are those of [`token_document`](super::token_document).

use std::{collections::BTreeSet, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, Visitor},
};
use serde_json::json;
use tabpo_ontology::Ontology;

use super::token_document::{Ends, Lists, Sentences, Text, TokenDocument, bracket_to_treebank};
use crate::{
    Document, Note, Notes, Problem, Span,
    format::{
        json::Name,
        lines::{Line, LineError},
    },
};

/// The fields of a line that are read.
const FIELDS: [&str; 6] = ["doc_key", "doc_id", "sentences", "ner", "relations", "clusters"];

#[derive(Default)]
struct RawLine<'a> {
    key: Option<String>,
    content: TokenDocument<'a>,
    /// The names of all other fields.
    unknown: BTreeSet<String>,
}

/// Reads known and unknown fields in one pass.
impl<'de> Deserialize<'de> for RawLine<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = RawLine<'de>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<RawLine<'de>, M::Error> {
                let mut line = RawLine::default();
                let content = &mut line.content;
                let mut seen = Vec::with_capacity(FIELDS.len());
                let mut other_key = None;
                while let Some(Text(name)) = map.next_key()? {
                    if let Some(&field) = FIELDS.iter().find(|field| **field == name) {
                        if seen.contains(&field) {
                            return Err(M::Error::duplicate_field(field));
                        }
                        seen.push(field);
                    }
                    match &*name {
                        "doc_key" => line.key = map.next_value::<Option<Name>>()?.map(|Name(key)| key),
                        "doc_id" => other_key = map.next_value::<Option<Name>>()?.map(|Name(key)| key),
                        "sentences" => {
                            content.sentences = map.next_value::<Option<Lists<Text>>>()?.map(Sentences::from);
                        }
                        "ner" => content.ner = map.next_value()?,
                        "relations" => content.relations = map.next_value()?,
                        "clusters" => content.clusters = map.next_value()?,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            line.unknown.insert(name.into_owned());
                        }
                    }
                }
                line.key = line.key.or(other_key);
                Ok(line)
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

/// The document that a line describes.
pub(crate) fn parse(line: Line<'_>, ontology: &Ontology, notes: &mut Notes) -> Result<Document, LineError> {
    let RawLine { key, content, unknown } = serde_json::from_str(line.text)?;
    for field in unknown {
        notes.add(Note::IgnoredField(field));
    }
    let key = key.ok_or_else(|| LineError::of(None)(Problem::MissingName { field: "doc_key" }))?;
    content.into_document(&key, Ends::Inclusive, ontology, notes).map_err(LineError::of(Some(&key)))
}

/// The line that says what `document` says; what the format cannot hold is counted in `notes`.
pub fn to_line(document: &Document, ontology: &Ontology, notes: &mut Notes) -> String {
    let tokens: Vec<&str> = (0..document.tokens.len()).map(|index| document.token(index)).collect();
    if tokens.join(" ") != document.text {
        notes.add(Note::Blanks);
    }
    let inclusive = |span: Span| (span.start, span.end - 1);
    let sentence_of = |span: Span| {
        // Empty sentences at the same place do not contain the mention.
        document.sentences.partition_point(|sentence| sentence.end <= span.start)
    };
    let bearers = |span: Span| {
        let first = document.mentions.partition_point(|mention| mention.span < span);
        document.mentions[first..].iter().take_while(|mention| mention.span == span).count()
    };
    let mut ner = vec![Vec::new(); document.sentences.len()];
    for mention in &document.mentions {
        let (start, end) = inclusive(mention.span);
        ner[sentence_of(mention.span)].push(json!([
            start,
            end,
            ontology.mention_data_name(mention.label, mention.subtype)
        ]));
    }
    let mut relations = vec![Vec::new(); document.sentences.len()];
    for relation in document.listed_relations() {
        let spans = [relation.head, relation.tail].map(|index| document.mentions[index as usize].span);
        if spans[0] == spans[1] {
            // Read back, both arguments would be the same mention.
            notes.add(Note::SameSpanRelation);
            continue;
        }
        for span in spans {
            if bearers(span) > 1 {
                notes.add(Note::SharedSpan);
            }
        }
        let [(head_start, head_end), (tail_start, tail_end)] = spans.map(inclusive);
        let name = ontology.relation_data_name(relation.label);
        // A relation across sentences is listed with its head.
        relations[sentence_of(spans[0])].push(json!([head_start, head_end, tail_start, tail_end, name]));
    }
    let sentence_tokens =
        |span: &Span| -> Vec<&str> { tokens[span.range()].iter().map(|token| bracket_to_treebank(token)).collect() };
    let sentences: Vec<Vec<&str>> = document.sentences.iter().map(sentence_tokens).collect();
    let clusters: Vec<Vec<(u32, u32)>> =
        document.clusters.iter().map(|cluster| cluster.iter().map(|&span| inclusive(span)).collect()).collect();
    json!({"doc_key": document.key, "sentences": sentences, "ner": ner, "relations": relations, "clusters": clusters})
        .to_string()
}
