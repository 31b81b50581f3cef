//! Answers of the right form with arbitrary content, over an arbitrary source.

#![no_main]

use std::sync::LazyLock;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value, json};
use tabpo_fuzz::{check, check_round_trip, document, ontology};
use tabpo_ontology::Ontology;

static ONTOLOGY: LazyLock<Ontology> = LazyLock::new(ontology);

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    words: Vec<&'a str>,
    entities: Vec<Entity<'a>>,
    relations: Vec<Relation<'a>>,
    spans: Vec<(u8, u8, u8)>,
    links: Vec<(u8, u8, bool)>,
    cut: Option<u16>,
}

#[derive(Arbitrary, Debug)]
struct Entity<'a> {
    id: Option<u8>,
    /// A stretch of the source, or a text of its own.
    text: Result<(u8, u8), &'a str>,
    label: Label<'a>,
    subtype: Option<Label<'a>>,
    occurrence: Option<i8>,
    extra: bool,
}

#[derive(Arbitrary, Debug)]
struct Relation<'a> {
    head: Result<u8, &'a str>,
    head_number: Option<i8>,
    label: Label<'a>,
    tail: Result<u8, &'a str>,
    tail_number: Option<i8>,
}

#[derive(Arbitrary, Debug)]
enum Label<'a> {
    Known(u8),
    Text(&'a str),
    None,
}

impl Label<'_> {
    fn insert(&self, object: &mut Map<String, Value>, key: &str, known: [&str; 2]) {
        match self {
            Label::Known(index) => object.insert(key.into(), json!(known[usize::from(index % 2)])),
            Label::Text(text) => object.insert(key.into(), json!(text)),
            Label::None => None,
        };
    }
}

fuzz_target!(|input: Input| {
    let mut document = document(&input.words);
    let tokens = document.tokens.len();
    let text = |text: &Result<(u8, u8), &str>| match text {
        Ok((start, length)) if usize::from(*start) < tokens => {
            let start = u32::from(*start);
            let end = (start + 1 + u32::from(length % 4)).min(tokens as u32);
            document.span_text(tabpo_corpus::Span::new(start, end)).to_owned()
        }
        Ok(_) => String::new(),
        Err(text) => (*text).to_owned(),
    };
    let entities: Vec<Value> = input
        .entities
        .iter()
        .map(|entity| {
            let mut object = Map::new();
            if let Some(id) = entity.id {
                object.insert("id".into(), json!(format!("e{id}")));
            }
            object.insert("text".into(), json!(text(&entity.text)));
            entity.label.insert(&mut object, "type", ["Task", "Code"]);
            if let Some(subtype) = &entity.subtype {
                subtype.insert(&mut object, "subtype", ["a", "b"]);
            }
            if let Some(occurrence) = entity.occurrence {
                object.insert("occ".into(), json!(occurrence));
            }
            if entity.extra {
                object.insert("extra".into(), Value::Null);
            }
            Value::Object(object)
        })
        .collect();
    let with_ids = input.entities.iter().any(|entity| entity.id.is_some());
    let argument = |argument: &Result<u8, &str>| match argument {
        Ok(id) if with_ids => format!("e{id}"),
        Ok(index) => input.entities.get(usize::from(*index)).map_or_else(String::new, |entity| text(&entity.text)),
        Err(text) => (*text).to_owned(),
    };
    let relations: Vec<Value> = input
        .relations
        .iter()
        .map(|relation| {
            let mut object = Map::new();
            object.insert("head".into(), json!(argument(&relation.head)));
            object.extend(relation.head_number.map(|number| ("head_number".into(), json!(number))));
            relation.label.insert(&mut object, "type", ["Used-for", "Compare"]);
            object.insert("tail".into(), json!(argument(&relation.tail)));
            object.extend(relation.tail_number.map(|number| ("tail_number".into(), json!(number))));
            Value::Object(object)
        })
        .collect();
    let mut raw = json!({"entities": entities, "relations": relations}).to_string();
    if let Some(cut) = input.cut {
        let cut = raw.floor_char_boundary(usize::from(cut));
        raw.truncate(cut);
    }
    check(&raw, &document, &ONTOLOGY);
    check_round_trip(&mut document, &input.spans, &input.links, &ONTOLOGY);
});
