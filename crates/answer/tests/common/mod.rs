//! An ontology and documents for the tests of this crate.

#![allow(dead_code, unreachable_pub, reason = "every test file uses its own part of this module")]

use std::path::PathBuf;

use serde_json::Value;
use tabpo_corpus::{Document, Mention, Relation, Span};
use tabpo_ontology::{Constraint, EntityLabel, EntityLabelId, Keys, Ontology, RelationLabel, RelationLabelId, Subtype};

pub fn entity(name: &str, subtypes: &[&str]) -> EntityLabel {
    let subtype = |name: &&str| Subtype { name: (*name).into(), description: String::new() };
    EntityLabel {
        name: name.into(),
        aliases: vec![],
        description: String::new(),
        subtypes: subtypes.iter().map(subtype).collect(),
    }
}

pub fn relation(name: &str, alias: &str, symmetric: bool) -> RelationLabel {
    RelationLabel {
        name: name.into(),
        aliases: vec![alias.into()],
        description: String::new(),
        symmetric,
        domain: vec![],
        range: vec![],
        constraint: Constraint::Soft,
    }
}

/// The labels of SciERC.
pub fn ontology() -> Ontology {
    let labels = ["Task", "Method", "Metric", "Material", "OtherScientificTerm", "Generic"];
    Ontology {
        name: "scierc".into(),
        description: String::new(),
        keys: Keys::default(),
        entities: labels.map(|name| entity(name, &[])).into(),
        relations: vec![
            relation("Used-for", "USED-FOR", false),
            relation("Feature-of", "FEATURE-OF", false),
            relation("Hyponym-of", "HYPONYM-OF", false),
            relation("Part-of", "PART-OF", false),
            relation("Evaluate-for", "EVALUATE-FOR", false),
            relation("Compare", "COMPARE", true),
            relation("Conjunction", "CONJUNCTION", true),
        ],
    }
}

/// A document of one or several sentences of space-separated tokens.
pub fn document(key: &str, sentences: &[&str]) -> Document {
    let mut document = Document { key: key.into(), ..Document::default() };
    for sentence in sentences {
        let first = document.tokens.len() as u32;
        for token in sentence.split(' ') {
            if !document.text.is_empty() {
                document.text.push(' ');
            }
            let start = document.text.len() as u32;
            document.text.push_str(token);
            document.tokens.push(start..document.text.len() as u32);
        }
        document.sentences.push(Span::new(first, document.tokens.len() as u32));
    }
    document
}

pub fn mention(start: u32, end: u32, label: u16) -> Mention {
    Mention { span: Span::new(start, end), label: EntityLabelId(label), subtype: None }
}

/// The documents of a SciERC split, or `None` (with a notice) where the data is not there.
pub fn scierc(split: &str) -> Option<Vec<Document>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../../../shared/data/scierc/{split}.json"));
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("skipped: {} is not there", path.display());
        return None;
    };
    let ontology = ontology();
    Some(text.lines().map(|line| dygie(&serde_json::from_str(line).expect("valid JSON"), &ontology)).collect())
}

fn dygie(line: &Value, ontology: &Ontology) -> Document {
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let number = |value: &Value| value.as_u64().expect("an offset") as u32;
    let bracket = |token: &str| match token {
        "-LRB-" => "(".to_owned(),
        "-RRB-" => ")".to_owned(),
        "-LSB-" => "[".to_owned(),
        "-RSB-" => "]".to_owned(),
        other => other.to_owned(),
    };
    let sentences: Vec<String> = list(&line["sentences"])
        .iter()
        .map(|tokens| {
            let tokens: Vec<String> = list(tokens).iter().map(|t| bracket(t.as_str().expect("a token"))).collect();
            tokens.join(" ")
        })
        .collect();
    let sentences: Vec<&str> = sentences.iter().map(String::as_str).collect();
    let mut document = document(line["doc_key"].as_str().expect("a key"), &sentences);
    for item in list(&line["ner"]).iter().flat_map(list) {
        let label = ontology.entity_in_data(item[2].as_str().expect("a label")).expect("a known label");
        document.mentions.push(mention(number(&item[0]), number(&item[1]) + 1, label.0));
    }
    document.mentions.sort_unstable();
    for item in list(&line["relations"]).iter().flat_map(list) {
        let find = |start: &Value, end: &Value| {
            let span = Span::new(number(start), number(end) + 1);
            document.mentions.iter().position(|mention| mention.span == span).expect("a mention") as u32
        };
        let label = ontology.relation_in_data(item[4].as_str().expect("a label")).expect("a known label");
        let relation = Relation { head: find(&item[0], &item[1]), tail: find(&item[2], &item[3]), label };
        document.relations.push(relation);
    }
    document.relations.sort_unstable();
    document.relations.dedup();
    document
}

pub fn label(index: u16) -> RelationLabelId {
    RelationLabelId(index)
}
