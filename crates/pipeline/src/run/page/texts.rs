//! The texts of the test documents with gold and the answers of all systems.

use std::{collections::HashMap, path::PathBuf};

use tabpo_corpus::{Document, Level, Span, Unit};
use tabpo_metrics::{
    Predictions,
    modes::{self, Annotations, ModeKind, UnitCase},
};
use tabpo_ontology::Ontology;
use tabpo_report::{CaseKind, TextAnnotations, TextAnswer, TextCase, TextEntity, TextError, TextRelation, Texts};

use crate::error::{Error, ResultExt};

/// From at most so many texts, at equal distances, the page chooses those that it shows, so that memory does not grow with
/// the test set.
const CANDIDATES: usize = 4000;

/// A text in the making.
struct Candidate<'d> {
    ontology: &'d Ontology,
    unit: Unit<'d>,
    case: TextCase,
    /// The position of every answer that was seen.
    seen: HashMap<TextAnswer, u32>,
    /// Whether every system so far has answered it.
    complete: bool,
}

/// Gold and the answers in the prediction files of all systems, side by side.
pub(super) fn texts(
    systems: &[(String, PathBuf)],
    documents: &[Document],
    ontology: &Ontology,
    level: Level,
) -> Result<Texts, Error> {
    let units = || documents.iter().flat_map(|document| Unit::all(document, level));
    let total = units().count();
    let stride = total.div_ceil(CANDIDATES).max(1);
    let mut candidates: Vec<Candidate> = units().step_by(stride).map(|unit| Candidate::new(unit, ontology)).collect();
    let places: HashMap<(&str, Option<u32>), usize> = units()
        .step_by(stride)
        .enumerate()
        .map(|(position, unit)| ((unit.document.key.as_str(), unit.sentence), position))
        .collect();
    for (system, (_, path)) in systems.iter().enumerate() {
        let mut predictions = Predictions::open(path).or_failed()?;
        let sink = |case: UnitCase| {
            if let Some(&position) = places.get(&(case.doc_key.as_str(), case.sentence)) {
                candidates[position].add(system, &case);
            }
        };
        modes::cases(documents.iter().map(Ok), &mut predictions, ontology, sink).or_failed()?;
        // A text is shown with the answers of all systems. One that was asked for other units has none to it.
        for candidate in &mut candidates {
            candidate.complete &= candidate.case.of_system.len() == system + 1;
        }
    }
    candidates.retain(|candidate| candidate.complete);
    let kinds = ModeKind::ALL.iter().map(|kind| CaseKind {
        name: kind.name().to_owned(),
        relational: kind.is_relational(),
        meaning: kind.meaning().to_owned(),
    });
    Ok(Texts {
        scope: "Test split; of a system with several seeds, the first".to_owned(),
        total: total as u64,
        entity_labels: ontology.entities.iter().map(|label| label.name.clone()).collect(),
        relation_labels: ontology.relations.iter().map(|label| label.name.clone()).collect(),
        kinds: kinds.collect(),
        systems: systems.iter().map(|(name, _)| name.clone()).collect(),
        cases: candidates.into_iter().map(|candidate| candidate.case).collect(),
    })
}

impl<'d> Candidate<'d> {
    fn new(unit: Unit<'d>, ontology: &'d Ontology) -> Self {
        let place = match unit.sentence {
            Some(sentence) => format!("{}, sentence {sentence}", unit.document.key),
            None => unit.document.key.clone(),
        };
        let case = TextCase { place, text: unit.text().to_owned(), ..TextCase::default() };
        Self { ontology, unit, case, seen: HashMap::new(), complete: true }
    }

    /// Adds the answer of the system at this position; systems come in order.
    fn add(&mut self, system: usize, case: &UnitCase) {
        if system == 0 {
            self.case.gold = self.annotations(&case.gold);
        }
        let errors = case.errors.iter().map(|error| TextError {
            kind: ModeKind::ALL.iter().position(|&kind| kind == error.kind).expect("all kinds are listed") as u32,
            gold: error.gold,
            predicted: error.predicted,
        });
        let answer = TextAnswer {
            annotations: self.annotations(&case.predicted),
            errors: errors.collect(),
            unreadable: case.valid_json == Some(false),
        };
        let next = self.case.answers.len() as u32;
        let position = *self.seen.entry(answer.clone()).or_insert(next);
        if position == next {
            self.case.answers.push(answer);
        }
        self.case.of_system.push(position);
    }

    fn annotations(&self, side: &Annotations) -> TextAnnotations {
        let entities = side.entities.iter().map(|entity| {
            let range = entity.span.and_then(|span| self.range(span));
            let said = if range.is_none() { entity.text.clone().unwrap_or_default() } else { String::new() };
            let subtype = entity.label.zip(entity.subtype);
            let subtype = subtype.map(|(label, subtype)| self.ontology.subtype(label, subtype).name.clone());
            TextEntity { range, said, label: entity.label.map(|label| u32::from(label.0)), subtype }
        });
        let relations = side.relations.iter().map(|relation| TextRelation {
            head: relation.head,
            tail: relation.tail,
            label: relation.label.map(|label| u32::from(label.0)),
        });
        TextAnnotations { entities: entities.collect(), relations: relations.collect() }
    }

    /// The bytes of a span in the text; `None` for one that is not inside it.
    fn range(&self, span: Span) -> Option<(u32, u32)> {
        let whole = self.unit.span();
        if span.is_empty() || !whole.contains(span) {
            return None;
        }
        let document = self.unit.document;
        let start = document.tokens[whole.start as usize].start;
        let bytes = document.byte_range(span);
        Some((bytes.start as u32 - start, bytes.end as u32 - start))
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Write as _};

    use super::*;

    /// Every cell of a system's confusion tables, and every kind of error, counts as many cases as the texts show.
    #[test]
    fn tables_and_texts_count_the_same() {
        let ontology = tabpo_synthetic::ontology();
        let corpus = tabpo_synthetic::generate(&tabpo_synthetic::SyntheticConfig::default());
        let documents = &corpus.test[..40];
        let folder = tempfile::tempdir().expect("a folder");
        let systems: Vec<(String, PathBuf)> = ["right", "wrong"]
            .into_iter()
            .map(|name| {
                let path = folder.path().join(name);
                let mut file = std::fs::File::create(&path).expect("writable");
                for (index, document) in documents.iter().enumerate() {
                    for unit in Unit::all(document, Level::Sentence) {
                        let mut said = document.clone();
                        if name == "wrong" {
                            for mention in said.mentions.iter_mut().skip(index % 3).step_by(3) {
                                mention.label.0 = (mention.label.0 + 1) % 4;
                            }
                            for relation in said.relations.iter_mut().step_by(2) {
                                std::mem::swap(&mut relation.head, &mut relation.tail);
                            }
                        }
                        let answer = tabpo_answer::gold(&Unit { document: &said, sentence: unit.sentence });
                        let output = tabpo_answer::render(&answer, ontology).text;
                        let line =
                            serde_json::json!({"doc_key": document.key, "sent": unit.sentence, "output": output});
                        writeln!(file, "{line}").expect("writable");
                    }
                }
                (name.to_owned(), path)
            })
            .collect();
        let texts = texts(&systems, documents, ontology, Level::Sentence).expect("they fit");
        assert_eq!(texts.total as usize, texts.cases.len());
        for (system, (name, path)) in systems.iter().enumerate() {
            let mut predictions = Predictions::open(path).expect("valid lines");
            let counted = modes::measure(documents.iter().map(Ok), &mut predictions, ontology, 1).expect("they fit");
            let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
            let mut confused = vec![vec![0; ontology.entities.len()]; ontology.entities.len()];
            for case in &texts.cases {
                let answer = &case.answers[case.of_system[system] as usize];
                let mut missed = vec![false; case.gold.entities.len()];
                for error in &answer.errors {
                    let kind = &texts.kinds[error.kind as usize];
                    *kinds.entry(kind.name.as_str()).or_default() += 1;
                    let gold = error.gold.filter(|_| !kind.relational).map(|gold| gold as usize);
                    if let Some(gold) = gold {
                        missed[gold] = true;
                    }
                    if kind.name == ModeKind::LabelConfusion.name() {
                        let gold = case.gold.entities[gold.expect("both sides")].label.expect("a label") as usize;
                        let predicted = error.predicted.expect("both sides") as usize;
                        let predicted = answer.annotations.entities[predicted].label.expect("a label") as usize;
                        confused[gold][predicted] += 1;
                    }
                }
                for (entity, _) in case.gold.entities.iter().zip(missed).filter(|(_, missed)| !missed) {
                    let label = entity.label.expect("a label") as usize;
                    confused[label][label] += 1;
                    let (start, end) = entity.range.expect("gold is in the text");
                    assert!(!case.text[start as usize..end as usize].trim().is_empty());
                }
            }
            assert_eq!(confused, counted.entity_confusion(ontology), "{name}");
            for kind in ModeKind::ALL {
                assert_eq!(
                    kinds.get(kind.name()).copied().unwrap_or(0),
                    counted.count(kind),
                    "{name}, {}",
                    kind.name()
                );
            }
            assert_eq!(kinds.is_empty(), name == "right");
        }
    }
}
