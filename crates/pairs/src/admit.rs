//! Which edits a gold answer admits. Whether a negative will be valid is decided here, before it is made.

use tabpo_corpus::Span;
use tabpo_ontology::{EntityLabelId, RelationLabelId, SubtypeId};

use crate::{Edit, Side, example::Example};

impl Example<'_> {
    /// Whether the edit makes a valid negative: within schema and hard constraints, on tokens of
    /// one sentence, not gold and not a restatement of gold.
    pub(crate) fn admits(&self, edit: &Edit) -> bool {
        match *edit {
            Edit::Label { entity, label, subtype } => {
                label != self.entity(entity).label && self.admits_label(entity, label, subtype)
            }
            Edit::Subtype { entity, subtype } => {
                Some(subtype) != self.entity(entity).subtype
                    && self.subtype_fits(self.entity(entity).label, Some(subtype))
            }
            Edit::RelationLabel { relation, label } => {
                let current = self.relation(relation);
                label != current.label && self.admits_relation(current.head, current.tail, label)
            }
            Edit::Direction { relation } => {
                let current = self.relation(relation);
                !self.ontology.relation(current.label).symmetric
                    && self.admits_relation(current.tail, current.head, current.label)
            }
            Edit::Argument { relation, side, entity } => {
                let current = self.relation(relation);
                let (head, tail) = match side {
                    Side::Head => (entity, current.tail),
                    Side::Tail => (current.head, entity),
                };
                entity != current.head
                    && entity != current.tail
                    && self.may_connect(head, tail)
                    && self.admits_relation(head, tail, current.label)
            }
            Edit::Boundary { entity, span } => {
                let current = self.place(entity);
                self.admits_place(span, Some(entity))
                    && current.overlaps(span)
                    && self.unit.document.span_text(span) != self.entity(entity).text
            }
            Edit::AddEntity { span, label, subtype } => {
                self.subtype_fits(label, subtype) && self.admits_place(span, None)
            }
            Edit::AddRelation { head, tail, label } => {
                self.may_connect(head, tail) && self.admits_relation(head, tail, label)
            }
            Edit::Grounding { ref text, .. } => {
                !text.is_empty() && text.trim() == text && !text.contains(char::is_control) && !self.holds(text)
            }
            Edit::Occurrence { entity, span } => {
                self.admits_place(span, Some(entity)) && self.unit.document.span_text(span) == self.entity(entity).text
            }
            Edit::DropEntity { .. } | Edit::DropRelation { .. } => true,
        }
    }

    /// Whether the label has no sub-labels and none is given, or the given one belongs to the label.
    pub(crate) fn subtype_fits(&self, label: EntityLabelId, subtype: Option<SubtypeId>) -> bool {
        let count = self.ontology.entity(label).subtypes.len();
        subtype.map_or(count == 0, |subtype| subtype.index() < count)
    }

    /// Whether two entities may become the arguments of a relation: they share no token, and gold does
    /// not relate their spans in any way.
    pub(crate) fn may_connect(&self, head: u32, tail: u32) -> bool {
        let (head, tail) = (self.place(head), self.place(tail));
        let stated = &self.index().stated;
        !head.overlaps(tail) && !stated.contains_key(&(head, tail)) && !stated.contains_key(&(tail, head))
    }

    /// Whether a mention that gold lacks may have this span: within one sentence of the unit, not the
    /// span of a gold mention, and not crossing the edge of any gold mention but `moved`.
    fn admits_place(&self, span: Span, moved: Option<u32>) -> bool {
        if span.is_empty() || !self.span.contains(span) || !self.sentence_of(span.start).contains(span) {
            return false;
        }
        // Only mentions that share a token with the span can be in the way.
        (span.start..span.end).flat_map(|token| self.on_token(token)).all(|&index| {
            let other = self.place(index);
            let nested = other.contains(span) || span.contains(other);
            other != span && (moved == Some(index) || !other.overlaps(span) || nested)
        })
    }

    /// Whether the sub-label belongs to the label, no other mention on the same span has the label,
    /// and the entity's relations stay within hard constraints.
    fn admits_label(&self, entity: u32, label: EntityLabelId, subtype: Option<SubtypeId>) -> bool {
        let place = self.place(entity);
        let is_twin = |other: u32| other != entity && self.place(other) == place && self.entity(other).label == label;
        let label_of = |index: u32| if index == entity { label } else { self.entity(index).label };
        self.subtype_fits(label, subtype)
            && !self.on_token(place.start).iter().copied().any(is_twin)
            && self.index().relations_of[entity as usize].iter().all(|&index| {
                let relation = self.relation(index);
                self.ontology.signature_allowed(relation.label, label_of(relation.head), label_of(relation.tail))
            })
    }

    /// Whether hard constraints allow the relation and gold does not state it between these spans,
    /// in either order for a symmetric type.
    fn admits_relation(&self, head: u32, tail: u32, label: RelationLabelId) -> bool {
        let symmetric = self.ontology.relation(label).symmetric;
        let (first, second) = (self.place(head), self.place(tail));
        let states = |spans| self.index().stated.get(&spans).is_some_and(|labels| labels.contains(&label));
        let is_gold = states((first, second)) || (symmetric && states((second, first)));
        !is_gold && self.ontology.signature_allowed(label, self.entity(head).label, self.entity(tail).label)
    }
}
