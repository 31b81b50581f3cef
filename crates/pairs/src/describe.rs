//! Edits in words.

use tabpo_answer::Answer;
use tabpo_corpus::Span;
use tabpo_ontology::{EntityLabelId, SubtypeId};

use crate::{Edit, EditRecord, Kind, Side, Source, scene::Scene};

/// Describes an edit of a negative.
pub(crate) fn describe(
    scene: &Scene,
    edit: &Edit,
    negative: &Answer,
    source: Source,
    pattern: Option<String>,
) -> EditRecord {
    let (from, to) = change(scene, edit);
    EditRecord { kind: edit.kind(), source, pattern, from, to, item: item(scene, edit, negative), further: Vec::new() }
}

fn change(scene: &Scene, edit: &Edit) -> (Option<String>, Option<String>) {
    let label_of = |entity: u32| label_name(scene, scene.entity(entity).label, scene.entity(entity).subtype);
    let text = |span: Span| scene.unit.document.span_text(span).to_owned();
    let relation_name = |label| scene.ontology.relation(label).name.clone();
    match *edit {
        Edit::Label { entity, label, subtype } => (Some(label_of(entity)), Some(label_name(scene, label, subtype))),
        Edit::Subtype { entity, subtype } => {
            let to = label_name(scene, scene.entity(entity).label, Some(subtype));
            (Some(label_of(entity)), Some(to))
        }
        Edit::RelationLabel { relation, label } => {
            (Some(relation_name(scene.relation(relation).label)), Some(relation_name(label)))
        }
        Edit::Direction { relation } => {
            let name = relation_name(scene.relation(relation).label);
            (Some(name.clone()), Some(name))
        }
        Edit::Argument { relation, side, entity } => {
            let relation = scene.relation(relation);
            let before = if side == Side::Head { relation.head } else { relation.tail };
            (Some(entity_id(before)), Some(entity_id(entity)))
        }
        Edit::Boundary { entity, span } => (Some(scene.entity(entity).text.clone()), Some(text(span))),
        Edit::Grounding { entity, text: ref invented } => {
            (Some(scene.entity(entity).text.clone()), Some(invented.clone()))
        }
        Edit::Occurrence { entity, span } => {
            let number = |span| Some(occurrence_number(scene, span).to_string());
            (number(scene.place(entity)), number(span))
        }
        Edit::DropEntity { entity } => (Some(label_of(entity)), None),
        Edit::AddEntity { label, subtype, .. } => (None, Some(label_name(scene, label, subtype))),
        Edit::DropRelation { relation } => (Some(relation_name(scene.relation(relation).label)), None),
        Edit::AddRelation { label, .. } => (None, Some(relation_name(label))),
    }
}

fn item(scene: &Scene, edit: &Edit, negative: &Answer) -> String {
    if let Some(entity) = edit.entity() {
        return entity_id(entity);
    }
    let relation =
        |head, label, tail| format!("{} {} {}", entity_id(head), scene.ontology.relation(label).name, entity_id(tail));
    if let Some(index) = edit.relation() {
        let current = scene.relation(index);
        return relation(current.head, current.label, current.tail);
    }
    match *edit {
        Edit::AddRelation { head, tail, label } => relation(head, label, tail),
        Edit::AddEntity { span, label, .. } => {
            let added = |entity: &tabpo_answer::AnswerEntity| entity.span == Some(span) && entity.label == label;
            let position = negative.entities.iter().position(added);
            entity_id(position.expect("an added entity is in the negative") as u32)
        }
        _ => unreachable!("every other edit names an entity or a relation of gold"),
    }
}

/// The 1-based number of an occurrence among those of its text in the unit.
fn occurrence_number(scene: &Scene, span: Span) -> usize {
    1 + scene.other_occurrences(span).filter(|other| other.start < span.start).count()
}

fn entity_id(position: u32) -> String {
    format!("e{}", position + 1)
}

fn label_name(scene: &Scene, label: EntityLabelId, subtype: Option<SubtypeId>) -> String {
    let name = &scene.ontology.entity(label).name;
    match subtype {
        Some(subtype) => format!("{name}/{}", scene.ontology.subtype(label, subtype).name),
        None => name.clone(),
    }
}

/// What of an edit's description is about labels, for statistics: kinds whose `from` and `to` are
/// label names.
pub(crate) fn names_labels(kind: Kind) -> bool {
    !matches!(kind, Kind::Argument | Kind::Boundary | Kind::Grounding | Kind::Occurrence)
}
