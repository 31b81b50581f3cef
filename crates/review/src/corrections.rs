//! What a confirmed text says about the prediction.

use tabpo_corpus::Span;
use tabpo_ontology::Ontology;

use crate::state::{EntityState, RelationState, UnitState, Verdict};

/// One difference between a prediction and what was confirmed instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Correction {
    /// An entity has another label; both as `Label` or `Label/sub-label`.
    Label { right: String, wrong: String, span: Span },
    /// An entity has another sub-label of the same label.
    Subtype { right: String, wrong: String, span: Span },
    /// An entity covers other words.
    Boundary { label: String, right: Span, wrong: Span },
    /// An entity was missing.
    Missing { label: String, span: Span },
    /// What was predicted is no entity.
    Spurious { label: String, span: Span },
    /// A relation has another type.
    RelationLabel { right: String, wrong: String },
    /// Head and tail were exchanged.
    Direction { label: String },
    /// A relation had another entity at one end, whose label is `wrong`.
    Argument { label: String, head: bool, wrong: String },
    /// A relation was missing.
    MissingRelation { label: String },
    /// What was predicted is no relation.
    SpuriousRelation { label: String },
}

/// All differences in a confirmed text.
pub(crate) fn corrections(predicted: &UnitState, confirmed: &UnitState, ontology: &Ontology) -> Vec<Correction> {
    let mut found = Vec::new();
    for entity in &confirmed.entities {
        entity_corrections(entity, predicted, &mut found);
    }
    for relation in &confirmed.relations {
        relation_corrections(relation, predicted, confirmed, &mut found);
    }
    // Either order of a symmetric relation means the same.
    let symmetric =
        |label: &str| ontology.relation_named(label).is_some_and(|label| ontology.relation(label).symmetric);
    found.retain(|correction| !matches!(correction, Correction::Direction { label } if symmetric(label)));
    found
}

/// `Label` or `Label/sub-label`.
pub(crate) fn full_label(entity: &EntityState) -> String {
    match &entity.subtype {
        Some(subtype) => format!("{}/{subtype}", entity.label),
        None => entity.label.clone(),
    }
}

fn entity_corrections(entity: &EntityState, predicted: &UnitState, found: &mut Vec<Correction>) {
    let (label, span) = (full_label(entity), entity.span());
    let before = entity.from.and_then(|from| predicted.entities.get(from as usize));
    match (before, entity.verdict == Verdict::Rejected) {
        (None, false) => found.push(Correction::Missing { label, span }),
        // What was added and removed again says nothing.
        (None, true) => {}
        (Some(before), true) => {
            found.push(Correction::Spurious { label: full_label(before), span: before.span() });
        }
        (Some(before), false) => {
            let wrong = full_label(before);
            if before.label != entity.label {
                found.push(Correction::Label { right: label.clone(), wrong, span });
            } else if before.subtype != entity.subtype {
                found.push(Correction::Subtype { right: label.clone(), wrong, span });
            }
            if before.span() != span {
                found.push(Correction::Boundary { label, right: span, wrong: before.span() });
            }
        }
    }
}

fn relation_corrections(
    relation: &RelationState,
    predicted: &UnitState,
    confirmed: &UnitState,
    found: &mut Vec<Correction>,
) {
    let label = relation.label.clone();
    let before = relation.from.and_then(|from| predicted.relations.get(from as usize));
    let gone = |id| confirmed.entity(id).is_none_or(|entity| entity.verdict == Verdict::Rejected);
    match (before, relation.verdict == Verdict::Rejected) {
        (None, false) => found.push(Correction::MissingRelation { label }),
        (None, true) => {}
        (Some(before), true) => {
            // A relation that fell with one of its ends says nothing of its own.
            if !gone(before.head) && !gone(before.tail) {
                found.push(Correction::SpuriousRelation { label: before.label.clone() });
            }
        }
        (Some(before), false) => {
            if before.label != relation.label {
                found.push(Correction::RelationLabel { right: label.clone(), wrong: before.label.clone() });
            }
            if (before.head, before.tail) == (relation.tail, relation.head) {
                found.push(Correction::Direction { label });
                return;
            }
            for (head, wrong, right) in [(true, before.head, relation.head), (false, before.tail, relation.tail)] {
                // An entity that is none cannot be confused with another.
                let entity = confirmed.entity(wrong).filter(|_| wrong != right && !gone(wrong));
                let label = label.clone();
                found.extend(entity.map(|entity| Correction::Argument { label, head, wrong: full_label(entity) }));
            }
        }
    }
}
