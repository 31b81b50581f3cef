//! What is reviewed: documents, what was predicted for them, and how sure the model was.

use std::collections::HashMap;

use tabpo_corpus::{Document, Level, Unit};
use tabpo_metrics::{
    Predictions,
    modes::{self, Annotations, CaseEntity, UnitCase},
};
use tabpo_ontology::Ontology;

use crate::{
    ReviewError,
    state::{EntityState, RelationState, UnitState, Verdict, signature},
};

/// Documents and predictions to review.
pub struct Material {
    pub(crate) title: String,
    pub(crate) ontology: Ontology,
    pub(crate) documents: Vec<Document>,
    pub(crate) cases: Vec<Case>,
}

/// One text with its prediction.
pub(crate) struct Case {
    /// Position of the document.
    pub(crate) document: usize,
    /// The sentence, or `None` for the whole document.
    pub(crate) sentence: Option<u32>,
    /// What was predicted, nothing of it decided. Entity `i` has the number `i`.
    pub(crate) predicted: UnitState,
    /// What the answer says that cannot be shown in the text, in words.
    pub(crate) lost: Vec<String>,
    pub(crate) confidence: Option<Confidence>,
}

/// How probable the model found what it wrote, as shares from 0 to 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Confidence {
    /// For each predicted entity: its label (with the sub-label), and its words.
    pub entities: Vec<[f64; 2]>,
    /// For each predicted relation: its type, and its two ends.
    pub relations: Vec<[f64; 2]>,
    /// For each list of the answer: that it ends where it ended, so that nothing is missing.
    pub complete: Vec<f64>,
}

impl Confidence {
    /// The least certain decision.
    pub(crate) fn least(&self) -> f64 {
        let items = self.entities.iter().chain(&self.relations).map(|[one, other]| one * other);
        items.chain(self.complete.iter().copied()).fold(1.0, f64::min)
    }
}

impl Case {
    /// The text in its document.
    pub(crate) fn unit<'d>(&self, documents: &'d [Document]) -> Unit<'d> {
        Unit { document: &documents[self.document], sentence: self.sentence }
    }
}

impl Material {
    /// All texts of the documents at a level, with what was predicted for them. A text without a prediction begins with
    /// nothing; without a file, all do. `title` is what the page calls it.
    ///
    /// Predictions of whole documents are reviewed as such, whatever the level.
    pub fn new(
        title: &str,
        ontology: Ontology,
        level: Level,
        documents: Vec<Document>,
        predictions: Option<&mut Predictions>,
    ) -> Result<Self, ReviewError> {
        let mut predicted: HashMap<(String, Option<u32>), UnitCase> = HashMap::new();
        if let Some(predictions) = predictions {
            modes::cases(documents.iter().map(Ok), predictions, &ontology, |case| {
                predicted.insert((case.doc_key.clone(), case.sentence), case);
            })?;
        }
        let mut cases = Vec::new();
        for (index, document) in documents.iter().enumerate() {
            let whole = predicted.contains_key(&(document.key.clone(), None));
            for unit in Unit::all(document, if whole { Level::Document } else { level }) {
                let found = predicted.remove(&(document.key.clone(), unit.sentence));
                let (predicted, lost) = found.map_or_else(Default::default, |case| begin(&unit, &case, &ontology));
                cases.push(Case { document: index, sentence: unit.sentence, predicted, lost, confidence: None });
            }
        }
        if cases.is_empty() {
            return Err(ReviewError::Empty);
        }
        Ok(Self { title: title.to_owned(), ontology, documents, cases })
    }

    /// The texts with what was predicted for them, in the order of the documents.
    pub fn predicted(&self) -> impl Iterator<Item = (Unit<'_>, &UnitState)> {
        self.cases.iter().map(|case| (case.unit(&self.documents), &case.predicted))
    }

    /// Whether the documents have gold: at least one mention in any of them.
    pub fn has_gold(&self) -> bool {
        self.documents.iter().any(|document| !document.mentions.is_empty())
    }

    /// The labels.
    pub fn ontology(&self) -> &Ontology {
        &self.ontology
    }

    /// Says how sure the model was of each prediction, in the order of [`predicted`](Self::predicted).
    pub(crate) fn set_confidence(&mut self, confidence: impl IntoIterator<Item = Option<Confidence>>) {
        for (case, confidence) in self.cases.iter_mut().zip(confidence) {
            let fits = |one: &Confidence| {
                (one.entities.len(), one.relations.len())
                    == (case.predicted.entities.len(), case.predicted.relations.len())
            };
            case.confidence = confidence.filter(fits);
        }
    }

    /// A digest of the documents, what was predicted for them, and the labels.
    pub(crate) fn identity(&self) -> String {
        let mut hasher = blake3::Hasher::new_derive_key("tabpo review 1");
        let mut add = |text: &str| {
            hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
        };
        add(&self.ontology.to_toml());
        for case in &self.cases {
            let unit = case.unit(&self.documents);
            add(&unit.document.key);
            add(&format!("{:?} {:?}", unit.sentence, unit.words()));
            add(unit.text());
            add(&serde_json::to_string(&case.predicted).expect("a state is plain data"));
        }
        hasher.finalize().to_hex().to_string()
    }
}

/// The state in which the review of a text begins, and what of the answer has no place in it.
fn begin(unit: &Unit, case: &UnitCase, ontology: &Ontology) -> (UnitState, Vec<String>) {
    let Annotations { entities, relations } = &case.predicted;
    let (mut state, mut lost) = (UnitState::default(), Vec::new());
    if case.valid_json == Some(false) {
        lost.push("the answer is not valid JSON".to_owned());
    }
    let first = unit.span().start;
    // The number of each entity of the answer.
    let mut numbers: Vec<Option<u32>> = Vec::with_capacity(entities.len());
    for entity in entities {
        let span = entity.span.filter(|&span| !span.is_empty() && unit.span().contains(span));
        let (Some(span), Some(label)) = (span, entity.label) else {
            lost.push(not_shown(entity, ontology));
            numbers.push(None);
            continue;
        };
        let id = state.entities.len() as u32;
        numbers.push(Some(id));
        state.entities.push(EntityState {
            id,
            start: span.start - first,
            end: span.end - first,
            label: ontology.entity(label).name.clone(),
            subtype: entity.subtype.map(|subtype| ontology.subtype(label, subtype).name.clone()),
            from: Some(id),
            verdict: Verdict::Open,
        });
    }
    for relation in relations {
        let number = |end: Option<u32>| end.and_then(|end| numbers[end as usize]);
        let ends = number(relation.head).zip(number(relation.tail)).filter(|(head, tail)| head != tail);
        let name = relation.label.map_or("a relation of an unknown type", |label| &ontology.relation(label).name);
        let (Some((head, tail)), Some(label)) = (ends, relation.label) else {
            lost.push(format!("{name}, whose ends are not two entities of the text"));
            continue;
        };
        let kind = |id: u32| ontology.entity_named(&state.entities[id as usize].label);
        let (Some(head_label), Some(tail_label)) = (kind(head), kind(tail)) else { continue };
        if let Err(problem) = signature(ontology, label, head_label, tail_label) {
            lost.push(problem);
            continue;
        }
        let from = Some(state.relations.len() as u32);
        state.relations.push(RelationState { head, tail, label: name.to_owned(), from, verdict: Verdict::Open });
    }
    (state, lost)
}

/// An entity that has no place in the text, or no label, in words.
fn not_shown(entity: &CaseEntity, ontology: &Ontology) -> String {
    let label = entity.label.map_or("an unknown label", |label| &ontology.entity(label).name);
    match (&entity.text, entity.span) {
        (None, _) => "an entity without a text".to_owned(),
        (Some(text), None) => format!("“{text}” ({label}), which is not in the text"),
        (Some(text), Some(_)) => format!("“{text}” ({label})"),
    }
}
