//! The last step of every reader: annotation in file order becomes the sorted, checked lists of a
//! [`Document`].

use rustc_hash::FxHashMap;
use tabpo_ontology::{EntityLabelId, Ontology, RelationLabelId, SubtypeId};

use crate::{Document, Mention, Note, Notes, Problem, Relation};

/// The label and sub-label that a file's single name means.
pub(crate) fn mention_label<'t>(
    ontology: &Ontology,
    name: &str,
    text: impl FnOnce() -> &'t str,
) -> Result<(EntityLabelId, Option<SubtypeId>), Problem> {
    let (label, subtype) = ontology
        .mention_in_data(name)
        .ok_or_else(|| Problem::unknown_label("entity label", name, ontology.mention_data_names()))?;
    require_subtype(ontology, label, subtype, text)?;
    Ok((label, subtype))
}

/// A label with sub-labels needs one of them.
pub(crate) fn require_subtype<'t>(
    ontology: &Ontology,
    label: EntityLabelId,
    subtype: Option<SubtypeId>,
    text: impl FnOnce() -> &'t str,
) -> Result<(), Problem> {
    let entity = ontology.entity(label);
    if subtype.is_some() || entity.subtypes.is_empty() {
        return Ok(());
    }
    Err(Problem::MissingSubtype {
        text: text().to_owned(),
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

impl Document {
    /// Replaces the annotation by mentions and relations in any order; relations name their arguments by
    /// position in `mentions`. Both are sorted. Duplicates are merged and counted in `notes`, and so are
    /// relations of a mention to itself, which are left out.
    ///
    /// Spans must lie inside the document and positions inside `mentions`.
    ///
    /// # Errors
    /// A relation that breaks a hard constraint of the ontology.
    pub fn annotate(
        &mut self,
        mentions: Vec<Mention>,
        relations: &[Relation],
        ontology: &Ontology,
        notes: &mut Notes,
    ) -> Result<(), Problem> {
        let listed = mentions.clone();
        self.mentions = mentions;
        self.mentions.sort_unstable();
        self.mentions.dedup();
        for _ in self.mentions.len()..listed.len() {
            notes.add(Note::DuplicateMention);
        }
        let position = |index: u32| {
            let found = self.mentions.binary_search(&listed[index as usize]);
            found.expect("every listed mention is kept once") as u32
        };

        let mut sorted = Vec::with_capacity(relations.len());
        for relation in relations {
            let (head, tail) = (position(relation.head), position(relation.tail));
            let [head_mention, tail_mention] = [head, tail].map(|index| self.mentions[index as usize]);
            if head == tail {
                notes.add(Note::SelfRelation);
                continue;
            }
            if !ontology.signature_allowed(relation.label, head_mention.label, tail_mention.label) {
                return Err(forbidden(ontology, relation.label, head_mention.label, tail_mention.label));
            }
            sorted.push(Relation { head, tail, label: relation.label });
        }
        sorted.sort_unstable();
        self.repeated_relations.clear();
        let (mut kept, mut last) = (0, None);
        sorted.retain(|&relation| {
            let is_new = last.replace(relation) != Some(relation);
            kept += u32::from(is_new);
            if !is_new {
                notes.add(Note::DuplicateRelation);
                self.repeated_relations.push(kept - 1);
            }
            is_new
        });
        self.relations = sorted;
        Ok(())
    }
}

/// The mentions of a document by the ids that its file gives them.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    known: FxHashMap<String, Holder>,
}

/// What has an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// A mention, by its position in the file.
    Mention(u32),
    /// Something that is not read.
    LeftOut,
}

impl Ids {
    /// Adds an id. The first mention that has it keeps it.
    pub(crate) fn add(&mut self, id: impl Into<String>, holder: Holder) {
        let known = self.known.entry(id.into()).or_insert(holder);
        if *known == Holder::LeftOut {
            *known = holder;
        }
    }

    /// What has an id.
    pub(crate) fn get(&self, id: &str) -> Option<Holder> {
        self.known.get(id).copied()
    }
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
