//! Random ontologies, documents, error modes and patterns.

use std::fmt::Write;

use rand::{RngExt, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use tabpo_corpus::{Document, Mention, Relation, Span};
use tabpo_metrics::modes::{ErrorMode, ErrorModes, ModeKind};
use tabpo_ontology::{
    Arguments, Constraint, EntityLabel, EntityLabelId, Keys, Ontology, RelationLabel, RelationLabelId, Subtype,
    SubtypeId,
};

const WORDS: &[&str] = &[
    "the",
    "a",
    "novel",
    "model",
    "of",
    "data",
    "and",
    "parsing",
    ",",
    ".",
    "(",
    ")",
    "it",
    "Schrödinger",
    "\"quoted\"",
    "back\\slash",
    "based",
    "on",
    "noise",
    "image",
    "in",
    "for",
    "x",
    "task",
    "MODEL",
];

/// A task with everything that pair construction takes in.
pub(crate) struct World {
    pub(crate) ontology: Ontology,
    pub(crate) documents: Vec<Document>,
    pub(crate) errors: ErrorModes,
    /// A pattern file that has one pattern for every kind of edit that the ontology allows.
    pub(crate) patterns: String,
}

impl World {
    pub(crate) fn random(seed: u64, documents: usize) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let ontology = random_ontology(&mut random);
        let documents =
            (0..documents).map(|index| random_document(&mut random, &ontology, format!("doc-{index}"))).collect();
        let errors = random_errors(&mut random, &ontology);
        let patterns = patterns_for(&ontology);
        Self { ontology, documents, errors, patterns }
    }
}

fn random_ontology(random: &mut ChaCha8Rng) -> Ontology {
    let entity = |random: &mut ChaCha8Rng, index: usize| {
        let subtypes = if random.random_bool(0.4) { random.random_range(1..4) } else { 0 };
        // Some sub-label names are shared between labels.
        let subtype = |number| Subtype { name: format!("sub{number}"), description: String::new() };
        EntityLabel {
            name: format!("Label{index}"),
            aliases: vec![],
            description: String::new(),
            subtypes: (0..subtypes).map(subtype).collect(),
        }
    };
    let labels = random.random_range(1..6);
    let entities: Vec<EntityLabel> = (0..labels).map(|index| entity(random, index)).collect();
    let some_labels = |random: &mut ChaCha8Rng| {
        let all = (0..labels as u16).map(EntityLabelId);
        all.filter(|_| random.random_bool(0.5)).collect::<Vec<_>>()
    };
    let relations = if random.random_bool(0.2) { 0 } else { random.random_range(1..5) };
    let relations = (0..relations)
        .map(|index| RelationLabel {
            name: format!("rel-{index}"),
            aliases: vec![],
            description: String::new(),
            symmetric: random.random_bool(0.3),
            domain: some_labels(random),
            range: some_labels(random),
            constraint: if random.random_bool(0.4) { Constraint::Hard } else { Constraint::Soft },
        })
        .collect();
    let mut keys = Keys::default();
    if random.random_bool(0.3) {
        keys.entity_type = "Code".into();
        keys.subtype = "Sub-code".into();
        keys.text = "Span".into();
        keys.relation_type = "link".into();
    }
    let arguments = if random.random_bool(0.5) { Arguments::Ids } else { Arguments::Texts };
    Ontology { name: "random".into(), description: String::new(), arguments, keys, entities, relations }
}

fn random_document(random: &mut ChaCha8Rng, ontology: &Ontology, key: String) -> Document {
    let mut document = Document { key, ..Document::default() };
    for _ in 0..random.random_range(1..4) {
        let start = document.tokens.len() as u32;
        for _ in 0..random.random_range(1..14) {
            if !document.text.is_empty() && random.random_bool(0.95) {
                document.text.push_str(if random.random_bool(0.05) { "  " } else { " " });
            }
            let from = document.text.len() as u32;
            document.text.push_str(WORDS.choose(random).expect("there are words"));
            document.tokens.push(from..document.text.len() as u32);
        }
        let sentence = Span::new(start, document.tokens.len() as u32);
        document.sentences.push(sentence);
        for _ in 0..random.random_range(0..6) {
            add_mention(random, ontology, &mut document, sentence);
        }
    }
    document.mentions.sort_unstable_by_key(|mention| (mention.span, mention.label, mention.subtype));
    for _ in 0..random.random_range(0..8) {
        add_relation(random, ontology, &mut document);
    }
    document.relations.sort_unstable();
    document.relations.dedup();
    document
}

fn add_mention(random: &mut ChaCha8Rng, ontology: &Ontology, document: &mut Document, sentence: Span) {
    let start = random.random_range(sentence.start..sentence.end);
    let span = Span::new(start, (start + random.random_range(1..5)).min(sentence.end));
    let label = EntityLabelId(random.random_range(0..ontology.entities.len() as u16));
    let subtypes = ontology.entity(label).subtypes.len() as u16;
    let subtype = (subtypes > 0).then(|| SubtypeId(random.random_range(0..subtypes)));
    let fits = document.mentions.iter().all(|other| {
        let nested = other.span.contains(span) || span.contains(other.span);
        let twin = other.span == span && (other.label == label || !random.random_bool(0.2));
        !twin && (!other.span.overlaps(span) || nested)
    });
    if fits {
        document.mentions.push(Mention { span, label, subtype });
    }
}

fn add_relation(random: &mut ChaCha8Rng, ontology: &Ontology, document: &mut Document) {
    let count = document.mentions.len() as u32;
    if ontology.relations.is_empty() || count < 2 {
        return;
    }
    let (head, tail) = (random.random_range(0..count), random.random_range(0..count));
    let label = RelationLabelId(random.random_range(0..ontology.relations.len() as u16));
    let mention = |index: u32| document.mentions[index as usize];
    let sentence = |index: u32| document.sentences.iter().position(|s| s.contains(mention(index).span));
    let stated = document.relations.iter().any(|other| {
        other.label == label && (other.head, other.tail) == (tail, head) && ontology.relation(label).symmetric
    });
    if head != tail
        && !stated
        && sentence(head) == sentence(tail)
        && mention(head).span != mention(tail).span
        && ontology.signature_allowed(label, mention(head).label, mention(tail).label)
    {
        document.relations.push(Relation { head, tail, label });
    }
}

fn random_errors(random: &mut ChaCha8Rng, ontology: &Ontology) -> ErrorModes {
    let entities: Vec<String> = ontology.entities.iter().map(|label| label.name.clone()).collect();
    let relations: Vec<String> = ontology.relations.iter().map(|label| label.name.clone()).collect();
    let mut modes = Vec::new();
    for kind in ModeKind::ALL {
        let labels = if kind.is_relational() { &relations } else { &entities };
        for _ in 0..random.random_range(0..6) {
            let (Some(gold), Some(predicted)) = (labels.choose(random), labels.choose(random)) else { continue };
            let confusion = matches!(kind, ModeKind::LabelConfusion | ModeKind::RelationConfusion);
            if confusion && gold == predicted {
                continue;
            }
            let mut mode = ErrorMode {
                kind,
                gold: Some(gold.clone()),
                gold_subtype: None,
                predicted: Some(predicted.clone()),
                predicted_subtype: None,
                count: random.random_range(1..20),
                examples: vec![],
            };
            if kind == ModeKind::SubtypeConfusion {
                let label = ontology.entity_named(gold).expect("the label is one of the ontology's");
                let names: Vec<&String> = ontology.entity(label).subtypes.iter().map(|s| &s.name).collect();
                if names.len() < 2 {
                    continue;
                }
                mode.predicted = Some(gold.clone());
                mode.gold_subtype = Some(names[0].clone());
                mode.predicted_subtype = Some(names[1].clone());
            }
            if matches!(kind, ModeKind::SpuriousEntity | ModeKind::SpuriousLink) {
                mode.gold = None;
            }
            modes.push(mode);
        }
    }
    ErrorModes {
        version: ErrorModes::VERSION,
        ontology: ontology.name.clone(),
        documents: 1,
        units: 1,
        notes: vec![],
        entities: vec![],
        relations: vec![],
        modes,
    }
}

fn patterns_for(ontology: &Ontology) -> String {
    let mut kinds = vec!["drop-entity", "add-entity", "grounding", "occurrence"];
    if ontology.entities.len() > 1 {
        kinds.push("label");
    }
    if ontology.entities.iter().any(|label| label.subtypes.len() > 1) {
        kinds.push("subtype");
    }
    if !ontology.relations.is_empty() {
        kinds.extend(["argument", "drop-relation", "add-relation"]);
    }
    if ontology.relations.len() > 1 {
        kinds.push("relation-label");
    }
    if ontology.relations.iter().any(|label| !label.symmetric) {
        kinds.push("direction");
    }
    let mut text = String::new();
    for kind in kinds {
        writeln!(text, "[[pattern]]\nid = \"{kind}\"\nkind = \"{kind}\"").expect("writing to a string cannot fail");
    }
    let changes = [
        ("edge-word", "words = [\"@determiner\", \"novel\"]"),
        ("left-modifier", ""),
        ("acronym", ""),
        ("phrase", "words = [\"of\", \"and\", \"in\"]"),
    ];
    for (change, words) in changes {
        writeln!(text, "[[pattern]]\nid = \"{change}\"\nkind = \"boundary\"\nchange = \"{change}\"\n{words}")
            .expect("writing to a string cannot fail");
    }
    text
}
