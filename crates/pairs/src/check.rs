//! Proof that a negative is what it claims to be.

use tabpo_answer::{Answer, AnswerEntity, AnswerRelation};
use tabpo_corpus::Span;
use tabpo_ontology::{EntityLabelId, RelationLabelId, SubtypeId};
use thiserror::Error;

use crate::{Edit, Kind, scene::Scene};

/// A guarantee that a negative breaks.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Violation {
    /// A label, sub-label or text that the schema does not allow.
    #[error("entity e{} is not schema-valid", .0 + 1)]
    Schema(u32),
    /// A span outside the unit, or a text that is not the text of its span.
    #[error("entity e{} is not grounded", .0 + 1)]
    Ungrounded(u32),
    /// A text that should be invented but stands in the source.
    #[error("the invented text of e{} occurs in the source", .0 + 1)]
    NotInvented(u32),
    /// More or fewer invented texts than grounding edits.
    #[error("{found} invented texts, {expected} expected")]
    Invented {
        /// Invented texts in the negative.
        found: usize,
        /// Grounding edits.
        expected: usize,
    },
    /// An argument that names no entity, or a relation of an entity with itself.
    #[error("relation {} does not resolve", .0 + 1)]
    Unresolved(u32),
    /// A relation that a hard constraint forbids.
    #[error("relation {} breaks a hard constraint", .0 + 1)]
    Forbidden(u32),
    /// The same item twice, in either argument order for a symmetric type.
    #[error("an item is written twice")]
    Repeated,
    /// The negative says what gold says.
    #[error("the negative restates gold")]
    Restated,
    /// The number of items that left or joined the answer does not belong to the edits.
    #[error("the negative differs from gold by more or less than its edits")]
    NotMinimal,
}

/// Where an entity stands, for comparison between answers: its span, or its text if that is invented.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Span(Span),
    Invented(String),
}

type EntityItem = (Place, EntityLabelId, Option<SubtypeId>);
type RelationItem = (EntityItem, EntityItem, RelationLabelId);

/// Proves a negative, or names the first guarantee that it breaks.
pub(crate) fn prove(scene: &Scene, edits: &[Edit], negative: &Answer) -> Result<(), Violation> {
    let mut invented = 0;
    for (index, entity) in (0..).zip(&negative.entities) {
        if entity.label.index() >= scene.ontology.entities.len()
            || !scene.subtype_fits(entity.label, entity.subtype)
            || entity.text.is_empty()
        {
            return Err(Violation::Schema(index));
        }
        match entity.span {
            Some(span) => {
                let inside = !span.is_empty() && scene.span.contains(span);
                if !inside || scene.unit.document.span_text(span) != entity.text {
                    return Err(Violation::Ungrounded(index));
                }
            }
            None if scene.holds(&entity.text) => return Err(Violation::NotInvented(index)),
            None => invented += 1,
        }
    }
    let expected = edits.iter().filter(|edit| edit.kind() == Kind::Grounding).count();
    if invented != expected {
        return Err(Violation::Invented { found: invented, expected });
    }
    for (index, relation) in (0..).zip(&negative.relations) {
        let argument = |position: u32| negative.entities.get(position as usize);
        let (Some(head), Some(tail)) = (argument(relation.head), argument(relation.tail)) else {
            return Err(Violation::Unresolved(index));
        };
        if relation.head == relation.tail || relation.label.index() >= scene.ontology.relations.len() {
            return Err(Violation::Unresolved(index));
        }
        if !scene.ontology.signature_allowed(relation.label, head.label, tail.label) {
            return Err(Violation::Forbidden(index));
        }
    }
    compare(scene, edits, negative)
}

/// Compares gold and negative as sets of items.
fn compare(scene: &Scene, edits: &[Edit], negative: &Answer) -> Result<(), Violation> {
    let gold_entities = entity_items(scene.gold);
    let negative_entities = entity_items(negative);
    let gold_relations = relation_items(scene, scene.gold);
    let negative_relations = relation_items(scene, negative);
    if has_repetition(&negative_entities) || has_repetition(&negative_relations) {
        return Err(Violation::Repeated);
    }
    let entities_gone = missing(&gold_entities, &negative_entities);
    let entities_new = missing(&negative_entities, &gold_entities);
    let relations_gone = missing(&gold_relations, &negative_relations);
    let relations_new = missing(&negative_relations, &gold_relations);
    if entities_gone + entities_new + relations_gone + relations_new == 0 {
        return Err(Violation::Restated);
    }
    let mut expected = [0; 4];
    for edit in edits {
        for (sum, part) in expected.iter_mut().zip(footprint(scene.gold, edit)) {
            *sum += part;
        }
    }
    if [entities_gone, entities_new, relations_gone, relations_new] != expected {
        return Err(Violation::NotMinimal);
    }
    Ok(())
}

/// How many entities leave and join, and how many relations leave and join, when an edit is made.
/// The relations of a changed entity leave and come back as relations of the changed one.
fn footprint(gold: &Answer, edit: &Edit) -> [usize; 4] {
    let incident = |entity: u32| gold.relations.iter().filter(|r| r.head == entity || r.tail == entity).count();
    match *edit {
        Edit::Label { entity, .. }
        | Edit::Subtype { entity, .. }
        | Edit::Boundary { entity, .. }
        | Edit::Grounding { entity, .. }
        | Edit::Occurrence { entity, .. } => [1, 1, incident(entity), incident(entity)],
        Edit::DropEntity { entity } => [1, 0, incident(entity), 0],
        Edit::AddEntity { .. } => [0, 1, 0, 0],
        Edit::RelationLabel { .. } | Edit::Direction { .. } | Edit::Argument { .. } => [0, 0, 1, 1],
        Edit::DropRelation { .. } => [0, 0, 1, 0],
        Edit::AddRelation { .. } => [0, 0, 0, 1],
    }
}

fn entity_items(answer: &Answer) -> Vec<EntityItem> {
    let mut items: Vec<EntityItem> = answer.entities.iter().map(entity_item).collect();
    items.sort_unstable();
    items
}

fn entity_item(entity: &AnswerEntity) -> EntityItem {
    let place = entity.span.map_or_else(|| Place::Invented(entity.text.clone()), Place::Span);
    (place, entity.label, entity.subtype)
}

fn relation_items(scene: &Scene, answer: &Answer) -> Vec<RelationItem> {
    let item = |relation: &AnswerRelation| {
        let mut head = entity_item(&answer.entities[relation.head as usize]);
        let mut tail = entity_item(&answer.entities[relation.tail as usize]);
        if scene.ontology.relation(relation.label).symmetric && tail < head {
            std::mem::swap(&mut head, &mut tail);
        }
        (head, tail, relation.label)
    };
    let mut items: Vec<RelationItem> = answer.relations.iter().map(item).collect();
    items.sort_unstable();
    items
}

fn has_repetition<T: PartialEq>(sorted: &[T]) -> bool {
    sorted.windows(2).any(|pair| pair[0] == pair[1])
}

/// How many of `items` are not in `others`; both sorted.
fn missing<T: Ord>(items: &[T], others: &[T]) -> usize {
    items.iter().filter(|item| others.binary_search(item).is_err()).count()
}
