//! The last step of every reader: annotation in file order becomes the sorted, checked lists of a
//! [`Document`].

use tabpo_ontology::{EntityLabelId, Ontology, RelationLabelId, SubtypeId};

use crate::{Document, Mention, Note, Notes, Problem, Relation};

/// A relation between mentions named by their position in the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileRelation {
    pub(crate) head: usize,
    pub(crate) tail: usize,
    pub(crate) label: RelationLabelId,
}

/// The label and sub-label that a file's single name means.
pub(crate) fn mention_label(
    ontology: &Ontology,
    name: &str,
    text: &str,
) -> Result<(EntityLabelId, Option<SubtypeId>), Problem> {
    let (label, subtype) = ontology
        .mention_in_data(name)
        .ok_or_else(|| Problem::unknown_label("entity label", name, ontology.mention_data_names()))?;
    require_subtype(ontology, label, subtype, text)?;
    Ok((label, subtype))
}

/// A label with sub-labels needs one of them.
pub(crate) fn require_subtype(
    ontology: &Ontology,
    label: EntityLabelId,
    subtype: Option<SubtypeId>,
    text: &str,
) -> Result<(), Problem> {
    let entity = ontology.entity(label);
    if subtype.is_some() || entity.subtypes.is_empty() {
        return Ok(());
    }
    Err(Problem::MissingSubtype {
        text: text.to_owned(),
        label: entity.name.clone(),
        valid: entity.subtypes.iter().map(|subtype| subtype.name.clone()).collect(),
    })
}

/// The relation type that a file calls `name`.
pub(crate) fn relation_label(ontology: &Ontology, name: &str) -> Result<RelationLabelId, Problem> {
    ontology.relation_in_data(name).ok_or_else(|| {
        let names = ontology.relations.iter().flat_map(|label| [&label.name].into_iter().chain(&label.aliases));
        Problem::unknown_label("relation type", name, names.cloned().collect())
    })
}

/// Sorts, removes duplicates (counted) and checks mentions and relations, and puts them into the
/// document. Spans are known to be inside the document.
pub(crate) fn annotate(
    document: &mut Document,
    mentions: &[Mention],
    relations: &[FileRelation],
    ontology: &Ontology,
    notes: &mut Notes,
) -> Result<(), Problem> {
    document.mentions = mentions.to_vec();
    document.mentions.sort_unstable();
    document.mentions.dedup();
    for _ in document.mentions.len()..mentions.len() {
        notes.add(Note::DuplicateMention);
    }
    let position = |mention: &Mention| {
        let position = document.mentions.binary_search(mention);
        position.expect("every mention of the file is in the list") as u32
    };

    let mut sorted = Vec::with_capacity(relations.len());
    for relation in relations {
        let (head, tail) = (mentions[relation.head], mentions[relation.tail]);
        let (head_index, tail_index) = (position(&head), position(&tail));
        if head_index == tail_index {
            let text = document.span_text(head.span).to_owned();
            let relation = ontology.relation(relation.label).name.clone();
            return Err(Problem::SelfRelation { relation, text });
        }
        if !ontology.signature_allowed(relation.label, head.label, tail.label) {
            return Err(forbidden(ontology, relation.label, head.label, tail.label));
        }
        sorted.push(Relation { head: head_index, tail: tail_index, label: relation.label });
    }
    sorted.sort_unstable();
    document.relations = Vec::with_capacity(sorted.len());
    document.repeated_relations.clear();
    for relation in sorted {
        if document.relations.last() == Some(&relation) {
            notes.add(Note::DuplicateRelation);
            document.repeated_relations.push(document.relations.len() as u32 - 1);
        } else {
            document.relations.push(relation);
        }
    }
    Ok(())
}

fn forbidden(ontology: &Ontology, relation: RelationLabelId, head: EntityLabelId, tail: EntityLabelId) -> Problem {
    let name = |id: EntityLabelId| ontology.entity(id).name.clone();
    let side = |ids: &[EntityLabelId]| match ids {
        [] => "any label".to_owned(),
        ids => ids.iter().map(|&id| name(id)).collect::<Vec<_>>().join(" or "),
    };
    let label = ontology.relation(relation);
    Problem::ForbiddenSignature {
        relation: label.name.clone(),
        head: name(head),
        tail: name(tail),
        allowed: format!("the head must be {}, the tail {}", side(&label.domain), side(&label.range)),
    }
}
