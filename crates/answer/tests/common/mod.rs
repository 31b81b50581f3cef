//! An ontology and documents for the tests of this crate.

#![allow(dead_code, unreachable_pub, reason = "every test file uses its own part of this module")]

use std::path::PathBuf;

use tabpo_corpus::{Document, Mention, Span};
use tabpo_ontology::{
    Arguments, Constraint, EntityLabel, EntityLabelId, Keys, Ontology, RelationLabel, RelationLabelId, Subtype,
};

/// An ontology with ids and the same with arguments by text.
pub fn both_ways(ontology: &Ontology) -> [Ontology; 2] {
    Arguments::ALL.map(|arguments| Ontology { arguments, ..ontology.clone() })
}

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

/// The labels of `SciERC`.
pub fn ontology() -> Ontology {
    let labels = ["Task", "Method", "Metric", "Material", "OtherScientificTerm", "Generic"];
    Ontology {
        name: "scierc".into(),
        description: String::new(),
        arguments: Arguments::default(),
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

/// The documents of a `SciERC` split, from the shared folder beside the repository.
pub fn scierc(split: &str) -> Vec<Document> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../../../shared/data/scierc/{split}.json"));
    tabpo_corpus::read(&path, None, &ontology()).expect("a valid corpus").documents
}

pub fn label(index: u16) -> RelationLabelId {
    RelationLabelId(index)
}
