//! A small corpus with predictions.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::Path;

use tabpo_corpus::{Document, Format, Level, read_str};
use tabpo_metrics::{Predictions, UnitOutput};
use tabpo_ontology::{AnswerForm, Ontology};
use tabpo_review::{Material, ReviewError, Session, UnitState, Verdict};

pub(crate) const ONTOLOGY: &str = r#"
[[entity]]
name = "Drug"
description = "A substance that is given."
[[entity]]
name = "Effect"
description = "What a drug does."
[[entity]]
name = "Dose"
subtypes = [{ name = "Single" }, { name = "Daily" }]
[[relation]]
name = "Causes"
domain = ["Drug"]
range = ["Effect"]
constraint = "hard"
[[relation]]
name = "Same-as"
symmetric = true
"#;

pub(crate) fn ontology() -> Ontology {
    Ontology::parse(ONTOLOGY, "test").expect("an ontology")
}

/// Documents as `(key, text)`.
pub(crate) fn documents(texts: &[(&str, &str)]) -> Vec<Document> {
    let lines: Vec<String> =
        texts.iter().map(|(key, text)| serde_json::json!({"doc_key": key, "text": text}).to_string()).collect();
    read_str(&lines.join("\n"), Format::Jsonl, &ontology()).expect("documents").documents
}

/// An answer with entities `(text, label)` and relations `(head, type, tail)`; a label may be `Label/sub-label`.
pub(crate) fn answer(entities: &[(&str, &str)], relations: &[(usize, &str, usize)]) -> String {
    let entities = entities.iter().enumerate().map(|(index, (text, label))| {
        let (label, subtype) = label.split_once('/').map_or((*label, None), |(label, subtype)| (label, Some(subtype)));
        let mut one = serde_json::json!({"id": format!("e{}", index + 1), "text": text, "type": label});
        if let Some(subtype) = subtype {
            one["subtype"] = subtype.into();
        }
        one
    });
    let relations = relations.iter().map(|(head, label, tail)| {
        serde_json::json!({"head": format!("e{}", head + 1), "type": label, "tail": format!("e{}", tail + 1)})
    });
    let (entities, relations): (Vec<_>, Vec<_>) = (entities.collect(), relations.collect());
    serde_json::json!({"entities": entities, "relations": relations}).to_string()
}

/// The material of documents with an answer to each of their sentences, in order.
pub(crate) fn material(documents: Vec<Document>, answers: &[String]) -> Material {
    let units = documents.iter().flat_map(|document| {
        (0..document.sentences.len() as u32).map(|sentence| (document.key.clone(), Some(sentence)))
    });
    let outputs: Vec<UnitOutput> = units
        .zip(answers)
        .map(|((doc_key, sent), output)| UnitOutput { doc_key, sent, form: AnswerForm::List, output: output.clone() })
        .collect();
    let mut predictions = Predictions::from_outputs(&outputs, "test").expect("predictions");
    Material::new("test", ontology(), Level::Sentence, documents, Some(&mut predictions)).expect("material")
}

/// Two documents: `a` with two sentences, `b` with one.
pub(crate) fn notes() -> Material {
    let documents = documents(&[
        ("a", "Aspirin caused a severe nosebleed. He took 100 mg of aspirin."),
        ("b", "Ibuprofen was given."),
    ]);
    let answers = [
        answer(&[("Aspirin", "Drug"), ("severe nosebleed", "Effect"), ("rash", "Effect")], &[(0, "Causes", 1)]),
        answer(&[("100 mg", "Dose/Daily"), ("aspirin", "Effect")], &[]),
        answer(&[], &[]),
    ];
    material(documents, &answers)
}

/// The first sentence of [`notes`] with gold, and an answer with a word too many in its second entity.
pub(crate) fn gold() -> Material {
    let line = r#"{"doc_key": "a", "text": "Aspirin caused a severe nosebleed.",
        "entities": [{"start": 0, "end": 7, "type": "Drug"}, {"start": 24, "end": 33, "type": "Effect"}],
        "relations": [{"head": 0, "tail": 1, "type": "Causes"}]}"#
        .replace('\n', " ");
    let documents = read_str(&line, Format::Jsonl, &ontology()).expect("documents").documents;
    material(documents, &[answer(&[("Aspirin", "Drug"), ("severe nosebleed", "Effect")], &[(0, "Causes", 1)])])
}

pub(crate) fn open(folder: &Path) -> Result<Session, ReviewError> {
    Session::open(folder, notes())
}

/// Changes the state of a text and expects that it is taken.
pub(crate) fn decide(session: &mut Session, unit: usize, change: impl FnOnce(&mut UnitState)) {
    let mut state = session.state(unit).clone();
    change(&mut state);
    session.decide(unit, session.revision(unit), state).expect("a valid decision");
}

pub(crate) fn confirm(state: &mut UnitState) {
    state.confirmed = true;
}

pub(crate) fn reject(state: &mut UnitState, entity: usize) {
    state.entities[entity].verdict = Verdict::Rejected;
}
