//! Descriptions of edits for records and statistics.

use tabpo_answer::Answer;
use tabpo_corpus::Span;
use tabpo_ontology::{EntityLabelId, SubtypeId};

use crate::{Edit, EditRecord, Kind, Side, Source, example::Example};

/// Describes an edit of a negative.
pub(crate) fn describe(
    example: &Example,
    edit: &Edit,
    negative: &Answer,
    source: Source,
    pattern: Option<String>,
) -> EditRecord {
    let (from, to) = change(example, edit);
    EditRecord {
        kind: edit.kind(),
        source,
        pattern,
        from,
        to,
        item: item(example, edit, negative),
        further: Vec::new(),
    }
}

fn change(example: &Example, edit: &Edit) -> (Option<String>, Option<String>) {
    let label_of = |entity: u32| label_name(example, example.entity(entity).label, example.entity(entity).subtype);
    let text = |span: Span| example.unit.document.span_text(span).to_owned();
    let relation_name = |label| example.ontology.relation(label).name.clone();
    match *edit {
        Edit::Label { entity, label, subtype } => (Some(label_of(entity)), Some(label_name(example, label, subtype))),
        Edit::Subtype { entity, subtype } => {
            let to = label_name(example, example.entity(entity).label, Some(subtype));
            (Some(label_of(entity)), Some(to))
        }
        Edit::RelationLabel { relation, label } => {
            (Some(relation_name(example.relation(relation).label)), Some(relation_name(label)))
        }
        Edit::Direction { relation } => {
            let name = relation_name(example.relation(relation).label);
            (Some(name.clone()), Some(name))
        }
        Edit::Argument { relation, side, entity } => {
            let relation = example.relation(relation);
            let before = if side == Side::Head { relation.head } else { relation.tail };
            (Some(entity_id(before)), Some(entity_id(entity)))
        }
        Edit::Boundary { entity, span } => (Some(example.entity(entity).text.clone()), Some(text(span))),
        Edit::Grounding { entity, text: ref invented } => {
            (Some(example.entity(entity).text.clone()), Some(invented.clone()))
        }
        Edit::Occurrence { entity, span } => {
            let number = |span| Some(occurrence_number(example, span).to_string());
            (number(example.place(entity)), number(span))
        }
        Edit::DropEntity { entity } => (Some(label_of(entity)), None),
        Edit::AddEntity { label, subtype, .. } => (None, Some(label_name(example, label, subtype))),
        Edit::DropRelation { relation } => (Some(relation_name(example.relation(relation).label)), None),
        Edit::AddRelation { label, .. } => (None, Some(relation_name(label))),
    }
}

fn item(example: &Example, edit: &Edit, negative: &Answer) -> String {
    if let Some(entity) = edit.entity() {
        return entity_id(entity);
    }
    let relation = |head, label, tail| {
        format!("{} {} {}", entity_id(head), example.ontology.relation(label).name, entity_id(tail))
    };
    if let Some(index) = edit.relation() {
        let current = example.relation(index);
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
fn occurrence_number(example: &Example, span: Span) -> usize {
    1 + example.other_occurrences(span).filter(|other| other.start < span.start).count()
}

fn entity_id(position: u32) -> String {
    format!("e{}", position + 1)
}

fn label_name(example: &Example, label: EntityLabelId, subtype: Option<SubtypeId>) -> String {
    let name = &example.ontology.entity(label).name;
    match subtype {
        Some(subtype) => format!("{name}/{}", example.ontology.subtype(label, subtype).name),
        None => name.clone(),
    }
}

/// Whether `from` and `to` of this kind's descriptions are label names, for statistics.
pub(crate) fn names_labels(kind: Kind) -> bool {
    !matches!(kind, Kind::Argument | Kind::Boundary | Kind::Grounding | Kind::Occurrence)
}
