//! The last check of a negative before it is used.

use tabpo_answer::{Answer, AnswerEntity, AnswerRelation};
use tabpo_corpus::Span;
use tabpo_ontology::{EntityLabelId, RelationLabelId, SubtypeId};

use crate::{Edit, Kind, example::Example};

/// The position of an entity, for comparing answers: its span, or its text where that is invented.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Position {
    Span(Span),
    Invented(String),
}

type EntityItem = (Position, EntityLabelId, Option<SubtypeId>);
type RelationItem = (EntityItem, EntityItem, RelationLabelId);

/// Whether a negative keeps every guarantee: schema-valid, grounded except for the texts that edits
/// invent, within hard constraints, and different from gold by exactly its edits.
pub(crate) fn is_sound(example: &Example, edits: &[Edit], negative: &Answer) -> bool {
    let invented = negative.entities.iter().filter(|entity| entity.span.is_none()).count();
    invented == edits.iter().filter(|edit| edit.kind() == Kind::Grounding).count()
        && negative.entities.iter().all(|entity| is_sound_entity(example, entity))
        && negative.relations.iter().all(|relation| is_sound_relation(example, relation, negative))
        && differs_by(example, edits, negative)
}

/// Whether the schema allows the label and sub-label, and the text is that of its span inside the
/// unit or, without a span, does not occur in the source.
fn is_sound_entity(example: &Example, entity: &AnswerEntity) -> bool {
    let known = entity.label.index() < example.ontology.entities.len();
    let grounded = match entity.span {
        Some(span) => {
            !span.is_empty() && example.span.contains(span) && example.unit.document.span_text(span) == entity.text
        }
        None => !example.holds(&entity.text),
    };
    known && example.subtype_fits(entity.label, entity.subtype) && !entity.text.is_empty() && grounded
}

/// Whether the relation connects two different entities of the answer and no hard constraint forbids it.
fn is_sound_relation(example: &Example, relation: &AnswerRelation, negative: &Answer) -> bool {
    let argument = |position: u32| negative.entities.get(position as usize);
    let (Some(head), Some(tail)) = (argument(relation.head), argument(relation.tail)) else { return false };
    relation.head != relation.tail
        && relation.label.index() < example.ontology.relations.len()
        && example.ontology.signature_allowed(relation.label, head.label, tail.label)
}

/// Whether gold and negative, as sets of items, differ by exactly the edits, and no item occurs twice.
fn differs_by(example: &Example, edits: &[Edit], negative: &Answer) -> bool {
    let gold_entities = entity_items(example.gold);
    let negative_entities = entity_items(negative);
    let gold_relations = relation_items(example, example.gold);
    let negative_relations = relation_items(example, negative);
    if has_repetition(&negative_entities) || has_repetition(&negative_relations) {
        return false;
    }
    let changed = [
        missing(&gold_entities, &negative_entities),
        missing(&negative_entities, &gold_entities),
        missing(&gold_relations, &negative_relations),
        missing(&negative_relations, &gold_relations),
    ];
    let mut expected = [0; 4];
    for edit in edits {
        for (sum, part) in expected.iter_mut().zip(footprint(example.gold, edit)) {
            *sum += part;
        }
    }
    changed == expected && changed != [0; 4]
}

/// How many entities an edit removes and adds, and how many relations it removes and adds. The
/// relations of a changed entity count as removed and added again.
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
    let position = entity.span.map_or_else(|| Position::Invented(entity.text.clone()), Position::Span);
    (position, entity.label, entity.subtype)
}

fn relation_items(example: &Example, answer: &Answer) -> Vec<RelationItem> {
    let item = |relation: &AnswerRelation| {
        let mut head = entity_item(&answer.entities[relation.head as usize]);
        let mut tail = entity_item(&answer.entities[relation.tail as usize]);
        if example.ontology.relation(relation.label).symmetric && tail < head {
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
