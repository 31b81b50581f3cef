//! The ontology itself.

use crate::{Arguments, EntityLabelId, Keys, RelationLabelId, SubtypeId, names::find_named};

/// The labels of an extraction task. Read it with [`Ontology::read`] or [`Ontology::parse`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ontology {
    /// A short name, `scierc` for example.
    pub name: String,
    /// One or two sentences for the prompt: what the texts are and what is to be extracted.
    pub description: String,
    /// How relations name their arguments.
    pub arguments: Arguments,
    /// The keys of an answer.
    pub keys: Keys,
    /// Entity labels in the order of the file; at least one.
    pub entities: Vec<EntityLabel>,
    /// Relation types in the order of the file; may be empty.
    pub relations: Vec<RelationLabel>,
}

/// An entity label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityLabel {
    /// The name that answers use.
    pub name: String,
    /// Other names for the same label in data files (`USED-FOR` for `Used-for`). Writers of data files
    /// use the first one if there is one.
    pub aliases: Vec<String>,
    /// What the label means, for the prompt.
    pub description: String,
    /// Sub-labels. Where there are any, every mention of this label carries one of them.
    pub subtypes: Vec<Subtype>,
}

/// A sub-label of one entity label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subtype {
    /// The name that answers use, unique within its label.
    pub name: String,
    /// What it means, for the prompt.
    pub description: String,
}

/// A relation type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelationLabel {
    /// The name that answers use.
    pub name: String,
    /// Other names in data files, as for [`EntityLabel::aliases`].
    pub aliases: Vec<String>,
    /// What it means and which argument is the head, for the prompt.
    pub description: String,
    /// Whether (a, b) and (b, a) mean the same.
    pub symmetric: bool,
    /// Labels that the head may have; empty means any.
    pub domain: Vec<EntityLabelId>,
    /// Labels that the tail may have; empty means any.
    pub range: Vec<EntityLabelId>,
    /// How a relation outside domain and range is treated.
    pub constraint: Constraint,
}

/// How strict domain and range are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Constraint {
    /// A relation outside domain and range is unusual, which matters only for ranking candidates.
    #[default]
    Soft,
    /// A relation outside domain and range is invalid: never generated, an error in data.
    Hard,
}

impl Ontology {
    /// The label with this id.
    pub fn entity(&self, id: EntityLabelId) -> &EntityLabel {
        &self.entities[id.index()]
    }

    /// The sub-label with this id.
    pub fn subtype(&self, label: EntityLabelId, id: SubtypeId) -> &Subtype {
        &self.entities[label.index()].subtypes[id.index()]
    }

    /// The relation type with this id.
    pub fn relation(&self, id: RelationLabelId) -> &RelationLabel {
        &self.relations[id.index()]
    }

    /// All entity label ids, in file order.
    pub fn entity_ids(&self) -> impl DoubleEndedIterator<Item = EntityLabelId> + ExactSizeIterator + Clone {
        (0..self.entities.len() as u16).map(EntityLabelId)
    }

    /// All sub-label ids of a label, in file order.
    pub fn subtype_ids(
        &self,
        label: EntityLabelId,
    ) -> impl DoubleEndedIterator<Item = SubtypeId> + ExactSizeIterator + Clone {
        (0..self.entity(label).subtypes.len() as u16).map(SubtypeId)
    }

    /// All relation type ids, in file order.
    pub fn relation_ids(&self) -> impl DoubleEndedIterator<Item = RelationLabelId> + ExactSizeIterator + Clone {
        (0..self.relations.len() as u16).map(RelationLabelId)
    }

    /// The entity label with this answer name, in any Unicode composition (no aliases: this is what a model
    /// must write).
    pub fn entity_named(&self, name: &str) -> Option<EntityLabelId> {
        find_named(self.entity_ids(), |id| [self.entity(id).name.as_str()], name)
    }

    /// The entity label that a data file calls `name`: its answer name or one of its aliases.
    pub fn entity_in_data(&self, name: &str) -> Option<EntityLabelId> {
        let names = |id| {
            let label = self.entity(id);
            [&label.name].into_iter().chain(&label.aliases).map(String::as_str)
        };
        find_named(self.entity_ids(), names, name)
    }

    /// The sub-label of `label` with this name, in any Unicode composition.
    pub fn subtype_named(&self, label: EntityLabelId, name: &str) -> Option<SubtypeId> {
        find_named(self.subtype_ids(label), |id| [self.subtype(label, id).name.as_str()], name)
    }

    /// The relation type with this answer name, in any Unicode composition.
    pub fn relation_named(&self, name: &str) -> Option<RelationLabelId> {
        find_named(self.relation_ids(), |id| [self.relation(id).name.as_str()], name)
    }

    /// The relation type that a data file calls `name`: its answer name or one of its aliases.
    pub fn relation_in_data(&self, name: &str) -> Option<RelationLabelId> {
        let names = |id| {
            let label = self.relation(id);
            [&label.name].into_iter().chain(&label.aliases).map(String::as_str)
        };
        find_named(self.relation_ids(), names, name)
    }

    /// Whether the type signature of a relation is inside its domain and range. Symmetric types
    /// accept either order.
    pub fn signature_fits(&self, relation: RelationLabelId, head: EntityLabelId, tail: EntityLabelId) -> bool {
        let label = self.relation(relation);
        let inside = |set: &[EntityLabelId], id| set.is_empty() || set.contains(&id);
        (inside(&label.domain, head) && inside(&label.range, tail))
            || (label.symmetric && inside(&label.domain, tail) && inside(&label.range, head))
    }

    /// Whether a relation with this signature may be written at all: false only for a hard
    /// constraint that it breaks.
    pub fn signature_allowed(&self, relation: RelationLabelId, head: EntityLabelId, tail: EntityLabelId) -> bool {
        self.relation(relation).constraint == Constraint::Soft || self.signature_fits(relation, head, tail)
    }
}
