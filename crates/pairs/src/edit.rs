//! Typed edits on a gold answer.

use tabpo_answer::{Answer, AnswerEntity, AnswerRelation, canonical};
use tabpo_corpus::{Span, Unit};
use tabpo_ontology::{EntityLabelId, RelationLabelId, SubtypeId};

use crate::Kind;

/// Which argument of a relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The first argument.
    Head,
    /// The second argument.
    Tail,
}

/// One edit. Entities and relations are named by their positions in the *gold* answer, spans are
/// token offsets of the document.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Edit {
    /// Another label, with a sub-label where the new label has any.
    Label {
        /// The entity.
        entity: u32,
        /// Its new label.
        label: EntityLabelId,
        /// Its new sub-label.
        subtype: Option<SubtypeId>,
    },
    /// Another sub-label of the same label.
    Subtype {
        /// The entity.
        entity: u32,
        /// Its new sub-label.
        subtype: SubtypeId,
    },
    /// Another relation type.
    RelationLabel {
        /// The relation.
        relation: u32,
        /// Its new type.
        label: RelationLabelId,
    },
    /// Head and tail exchanged.
    Direction {
        /// The relation.
        relation: u32,
    },
    /// Another argument.
    Argument {
        /// The relation.
        relation: u32,
        /// Which of its arguments.
        side: Side,
        /// The new argument.
        entity: u32,
    },
    /// Another span with at least one token in common.
    Boundary {
        /// The entity.
        entity: u32,
        /// Its new span.
        span: Span,
    },
    /// An entity and all its relations removed.
    DropEntity {
        /// The entity.
        entity: u32,
    },
    /// A new entity without relations.
    AddEntity {
        /// Its span.
        span: Span,
        /// Its label.
        label: EntityLabelId,
        /// Its sub-label.
        subtype: Option<SubtypeId>,
    },
    /// A relation removed.
    DropRelation {
        /// The relation.
        relation: u32,
    },
    /// A new relation between two gold entities.
    AddRelation {
        /// Its first argument.
        head: u32,
        /// Its second argument.
        tail: u32,
        /// Its type.
        label: RelationLabelId,
    },
    /// A text that does not occur in the source.
    Grounding {
        /// The entity.
        entity: u32,
        /// Its new text.
        text: String,
    },
    /// Another occurrence of the same text.
    Occurrence {
        /// The entity.
        entity: u32,
        /// The other occurrence.
        span: Span,
    },
}

impl Edit {
    /// What the edit changes.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Edit::Label { .. } => Kind::Label,
            Edit::Subtype { .. } => Kind::Subtype,
            Edit::RelationLabel { .. } => Kind::RelationLabel,
            Edit::Direction { .. } => Kind::Direction,
            Edit::Argument { .. } => Kind::Argument,
            Edit::Boundary { .. } => Kind::Boundary,
            Edit::DropEntity { .. } => Kind::DropEntity,
            Edit::AddEntity { .. } => Kind::AddEntity,
            Edit::DropRelation { .. } => Kind::DropRelation,
            Edit::AddRelation { .. } => Kind::AddRelation,
            Edit::Grounding { .. } => Kind::Grounding,
            Edit::Occurrence { .. } => Kind::Occurrence,
        }
    }

    /// The gold entity whose label, span or text the edit changes or removes.
    pub(crate) fn entity(&self) -> Option<u32> {
        match *self {
            Edit::Label { entity, .. }
            | Edit::Subtype { entity, .. }
            | Edit::Boundary { entity, .. }
            | Edit::DropEntity { entity }
            | Edit::Grounding { entity, .. }
            | Edit::Occurrence { entity, .. } => Some(entity),
            _ => None,
        }
    }

    /// The gold relation that the edit changes or removes.
    pub(crate) fn relation(&self) -> Option<u32> {
        match *self {
            Edit::RelationLabel { relation, .. }
            | Edit::Direction { relation }
            | Edit::Argument { relation, .. }
            | Edit::DropRelation { relation } => Some(relation),
            _ => None,
        }
    }

    /// The span that the edit puts an entity on.
    pub(crate) fn place(&self) -> Option<Span> {
        match *self {
            Edit::Boundary { span, .. } | Edit::AddEntity { span, .. } | Edit::Occurrence { span, .. } => Some(span),
            _ => None,
        }
    }

    /// Whether both edits may be made in one negative: they touch different entities (a relation
    /// touches its arguments), do not change both arguments of one relation, and do not place two
    /// mentions on the same tokens.
    pub(crate) fn is_independent_of(&self, other: &Edit, gold: &Answer) -> bool {
        let touched = self.touched(gold);
        let apart = other.touched(gold).iter().flatten().all(|entity| !touched.contains(&Some(*entity)));
        let related = gold.relations.iter().any(|relation| {
            let ends = (Some(relation.head), Some(relation.tail));
            ends == (self.entity(), other.entity()) || ends == (other.entity(), self.entity())
        });
        apart && !related && !matches!((self.place(), other.place()), (Some(a), Some(b)) if a.overlaps(b))
    }

    /// The gold entities that the edit changes or connects.
    fn touched(&self, gold: &Answer) -> [Option<u32>; 3] {
        let mut touched = [self.entity(), None, None];
        if let Some(relation) = self.relation() {
            let relation = gold.relations[relation as usize];
            touched = [Some(relation.head), Some(relation.tail), None];
        }
        match *self {
            Edit::Argument { entity, .. } => touched[2] = Some(entity),
            Edit::AddRelation { head, tail, .. } => touched = [Some(head), Some(tail), None],
            _ => {}
        }
        touched
    }
}

/// The canonical answer that results from editing a gold answer. The edits must be valid for it and
/// independent of each other.
pub(crate) fn apply(edits: &[Edit], gold: &Answer, unit: &Unit) -> Answer {
    let mut entities: Vec<Option<AnswerEntity>> = gold.entities.iter().cloned().map(Some).collect();
    let mut relations: Vec<Option<AnswerRelation>> = gold.relations.iter().copied().map(Some).collect();
    for edit in edits {
        if let Some(entity) = edit.entity() {
            let slot = &mut entities[entity as usize];
            match edit {
                Edit::DropEntity { .. } => {
                    *slot = None;
                    for relation in &mut relations {
                        relation.take_if(|relation| relation.head == entity || relation.tail == entity);
                    }
                }
                _ => change_entity(slot.as_mut().expect("independent edits touch an entity once"), edit, unit),
            }
        } else if let Some(index) = edit.relation() {
            change_relation(&mut relations[index as usize], edit);
        } else {
            match *edit {
                Edit::AddEntity { span, label, subtype } => {
                    let text = unit.document.span_text(span).to_owned();
                    entities.push(Some(AnswerEntity { text, span: Some(span), label, subtype, occurrence: None }));
                }
                Edit::AddRelation { head, tail, label } => relations.push(Some(AnswerRelation { head, tail, label })),
                _ => unreachable!("every other edit names an entity or a relation"),
            }
        }
    }
    // Positions in the list without the removed entities.
    let mut next = 0;
    let position: Vec<u32> = entities
        .iter()
        .map(|entity| {
            let here = next;
            next += u32::from(entity.is_some());
            here
        })
        .collect();
    let moved = |relation: AnswerRelation| AnswerRelation {
        head: position[relation.head as usize],
        tail: position[relation.tail as usize],
        label: relation.label,
    };
    let relations = relations.into_iter().flatten().map(moved).collect();
    canonical(unit, entities.into_iter().flatten().collect(), relations)
}

fn change_entity(entity: &mut AnswerEntity, edit: &Edit, unit: &Unit) {
    match edit {
        Edit::Label { label, subtype, .. } => {
            entity.label = *label;
            entity.subtype = *subtype;
        }
        Edit::Subtype { subtype, .. } => entity.subtype = Some(*subtype),
        Edit::Boundary { span, .. } | Edit::Occurrence { span, .. } => {
            unit.document.span_text(*span).clone_into(&mut entity.text);
            entity.span = Some(*span);
        }
        Edit::Grounding { text, .. } => {
            entity.text.clone_from(text);
            entity.span = None;
        }
        _ => unreachable!("only edits of an entity's own fields come here"),
    }
}

fn change_relation(slot: &mut Option<AnswerRelation>, edit: &Edit) {
    let relation = slot.as_mut().expect("independent edits touch a relation once");
    match *edit {
        Edit::RelationLabel { label, .. } => relation.label = label,
        Edit::Direction { .. } => std::mem::swap(&mut relation.head, &mut relation.tail),
        Edit::Argument { side: Side::Head, entity, .. } => relation.head = entity,
        Edit::Argument { side: Side::Tail, entity, .. } => relation.tail = entity,
        Edit::DropRelation { .. } => *slot = None,
        _ => unreachable!("only edits of a relation come here"),
    }
}
