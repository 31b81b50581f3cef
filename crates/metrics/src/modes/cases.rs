//! The errors of every unit, item by item: what a reader needs to see gold and prediction side by side.

use std::borrow::Borrow;

use rustc_hash::FxHashMap;
use tabpo_corpus::{CorpusError, Document, Span};
use tabpo_ontology::{EntityLabelId, Ontology, RelationLabelId, SubtypeId};

use super::ModeKind;
use super::align::{align_unit, distinct_entities, distinct_relations};
use crate::error::EvaluationError;
use crate::items::{ItemPlace, Items};
use crate::prediction::Predictions;
use crate::scan::{DocumentUnits, UnitItems, scan};

/// One unit with both sides and the errors between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitCase {
    /// The document.
    pub doc_key: String,
    /// The sentence, or `None` where the unit is the whole document.
    pub sentence: Option<u32>,
    /// What the annotators say.
    pub gold: Annotations,
    /// What the system says.
    pub predicted: Annotations,
    /// Whether the answer could be read as JSON; `None` where predictions are given by offset.
    pub valid_json: Option<bool>,
    /// What is wrong, entities first: the same events that [`measure`](super::measure()) counts.
    pub errors: Vec<CaseError>,
}

/// The items of one side, equal ones once.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Annotations {
    /// Entities, in the order of their side.
    pub entities: Vec<CaseEntity>,
    /// Relations, in the order of their side.
    pub relations: Vec<CaseRelation>,
}

/// An entity of one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseEntity {
    /// Its tokens, counted from the document's start; `None` if it is not in the source.
    pub span: Option<Span>,
    /// Its label; `None` if the ontology lacks it.
    pub label: Option<EntityLabelId>,
    /// Its sub-label.
    pub subtype: Option<SubtypeId>,
    /// Its text with single spaces between words; `None` for a malformed item.
    pub text: Option<String>,
}

/// A relation of one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaseRelation {
    /// Position of the head in [`Annotations::entities`]; `None` if it is none of them.
    pub head: Option<u32>,
    /// Position of the tail in [`Annotations::entities`]; `None` if it is none of them, as of a gold relation that
    /// leaves its sentence.
    pub tail: Option<u32>,
    /// Its type; `None` if the ontology lacks it.
    pub label: Option<RelationLabelId>,
}

/// One error. Positions are among the entities or, if the kind is relational, among the relations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaseError {
    /// What kind.
    pub kind: ModeKind,
    /// The gold item; `None` for spurious ones.
    pub gold: Option<u32>,
    /// The predicted item; `None` for missing ones.
    pub predicted: Option<u32>,
}

/// Calls `sink` with every unit, in the order of gold. Documents and predictions are read as by
/// [`measure`](super::measure()), and the errors are those that it counts.
pub fn cases<D: Borrow<Document> + Sync>(
    gold: impl IntoIterator<Item = Result<D, CorpusError>>,
    predictions: &mut Predictions,
    ontology: &Ontology,
    mut sink: impl FnMut(UnitCase),
) -> Result<(), EvaluationError> {
    let of_document = |DocumentUnits { document, units }: &DocumentUnits| {
        units.iter().map(|unit| case(ontology, document, unit)).collect::<Vec<_>>()
    };
    scan(gold, predictions, ontology, of_document, |cases| cases.into_iter().for_each(&mut sink))?;
    Ok(())
}

fn case(ontology: &Ontology, document: &Document, unit: &UnitItems) -> UnitCase {
    let position = |at: Option<usize>| at.map(|at| at as u32);
    let events = align_unit(ontology, document, &unit.gold, &unit.predicted).events;
    let error = |event: super::align::Event| CaseError {
        kind: event.kind,
        gold: position(event.gold_at),
        predicted: position(event.predicted_at),
    };
    UnitCase {
        doc_key: document.key.clone(),
        sentence: unit.sentence,
        gold: annotations(&unit.gold),
        predicted: annotations(&unit.predicted),
        valid_json: unit.predicted.raw.as_ref().map(|raw| raw.valid[0]),
        errors: events.into_iter().map(error).collect(),
    }
}

fn annotations(items: &Items) -> Annotations {
    let entities = distinct_entities(items);
    let mut first: FxHashMap<ItemPlace, u32> = FxHashMap::default();
    for (position, entity) in (0..).zip(&entities) {
        first.entry(entity.place).or_insert(position);
    }
    let argument = |place: ItemPlace| first.get(&place).copied();
    let relations = distinct_relations(items).into_iter().map(|relation| {
        // The arguments of a relation that names no known entity have places of their own, which could be those of
        // entities that are not in the source.
        let known = relation.head.span().is_some() || relation.head != relation.tail;
        let argument = |place| argument(place).filter(|_| known);
        CaseRelation { head: argument(relation.head), tail: argument(relation.tail), label: relation.label }
    });
    let relations = relations.collect();
    let entities = entities.into_iter().map(|entity| CaseEntity {
        span: entity.place.span(),
        label: entity.label,
        subtype: entity.subtype,
        text: entity.text.as_deref().map(str::to_owned),
    });
    Annotations { entities: entities.collect(), relations }
}
