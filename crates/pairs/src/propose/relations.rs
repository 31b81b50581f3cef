//! Edits of gold relations, and additional relations.

use super::Proposals;
use crate::{Edit, Kind, LabelChoice, Mode, Rule, Side, Source};

/// Relative probability of an edit with an unusual signature (outside a soft constraint).
const UNUSUAL: f64 = 0.2;
/// Largest distance of a wrong argument, in mentions in text order.
const ARGUMENT_REACH: u32 = 6;
/// Largest distance between the arguments of a new relation, in mentions.
const PARTNER_REACH: u32 = 4;

impl Proposals<'_> {
    pub(super) fn relation_labels(&mut self) {
        if !self.targets.has(Kind::RelationLabel) {
            return;
        }
        let (targets, example) = (self.targets, self.example);
        let random = targets.kind_way(Source::Random, Kind::RelationLabel);
        for relation in example.relations() {
            let current = example.relation(relation);
            let usual = |label| if example.signature_fits(label, current.head, current.tail) { 1.0 } else { UNUSUAL };
            for label in targets.ontology.relation_ids().filter(|&label| label != current.label) {
                let mode = targets.mode(Mode::RelationLabel(current.label, label));
                self.push_all([mode, random], &Edit::RelationLabel { relation, label }, usual(label));
            }
            for (pattern, first) in targets.patterns_of(Kind::RelationLabel) {
                let Rule::RelationLabel(swaps) = &pattern.rule else { continue };
                let mut swaps = (first..).zip(swaps).filter(|(_, (from, _))| *from == current.label).peekable();
                if swaps.peek().is_some() && pattern.fits_relation(example, current.head, current.tail) {
                    for (way, &(_, label)) in swaps {
                        self.push(Some(way), &Edit::RelationLabel { relation, label }, usual(label));
                    }
                }
            }
        }
    }

    pub(super) fn directions(&mut self) {
        self.each_relation(Kind::Direction, Mode::Direction, |relation| Edit::Direction { relation });
    }

    pub(super) fn dropped_relations(&mut self) {
        self.each_relation(Kind::DropRelation, Mode::DropRelation, |relation| Edit::DropRelation { relation });
    }

    /// Proposes the one edit of this kind that each relation has.
    fn each_relation(
        &mut self,
        kind: Kind,
        mode: impl Fn(tabpo_ontology::RelationLabelId) -> Mode,
        edit: impl Fn(u32) -> Edit,
    ) {
        if !self.targets.has(kind) {
            return;
        }
        let (targets, example) = (self.targets, self.example);
        let random = targets.kind_way(Source::Random, kind);
        for relation in example.relations() {
            let current = example.relation(relation);
            let edit = edit(relation);
            self.push_all([targets.mode(mode(current.label)), random], &edit, 1.0);
            for (pattern, way) in targets.patterns_of(kind) {
                let (Rule::Direction(labels) | Rule::DropRelation(labels)) = &pattern.rule else { continue };
                if labels.contains(&current.label) && pattern.fits_relation(example, current.head, current.tail) {
                    self.push(Some(way), &edit, 1.0);
                }
            }
        }
    }

    pub(super) fn arguments(&mut self) {
        if !self.targets.has(Kind::Argument) {
            return;
        }
        let (targets, example) = (self.targets, self.example);
        let random = targets.kind_way(Source::Random, Kind::Argument);
        for relation in example.relations() {
            let current = example.relation(relation);
            let mode = targets.mode(Mode::Argument(current.label));
            let fitting: Vec<_> = targets
                .patterns_of(Kind::Argument)
                .filter(|(pattern, _)| {
                    matches!(&pattern.rule, Rule::Argument { relations, .. } if relations.contains(&current.label))
                        && pattern.fits_relation(example, current.head, current.tail)
                })
                .collect();
            for side in [Side::Head, Side::Tail] {
                let old = if side == Side::Head { current.head } else { current.tail };
                let sentence = example.sentence_of(example.place(old).start);
                let first = old.saturating_sub(ARGUMENT_REACH);
                let last = (old + ARGUMENT_REACH + 1).min(example.gold.entities.len() as u32);
                for entity in (first..last).filter(|&entity| sentence.contains(example.place(entity))) {
                    let (head, tail) = if side == Side::Head { (entity, current.tail) } else { (current.head, entity) };
                    let edit = Edit::Argument { relation, side, entity };
                    let usual = if example.signature_fits(current.label, head, tail) { 1.0 } else { UNUSUAL };
                    let weight = usual / f64::from(1 + old.abs_diff(entity));
                    self.push_all([mode, random], &edit, weight);
                    for &(pattern, way) in &fitting {
                        let Rule::Argument { side: wanted, labels, same_label, .. } = &pattern.rule else { continue };
                        let new = example.entity(entity);
                        if wanted.is_none_or(|wanted| wanted == side)
                            && labels.iter().any(|choice: &LabelChoice| choice.accepts(new))
                            && (!same_label || new.label == example.entity(old).label)
                        {
                            self.push(Some(way), &edit, weight);
                        }
                    }
                }
            }
        }
    }

    pub(super) fn added_relations(&mut self) {
        if !self.targets.has(Kind::AddRelation) {
            return;
        }
        let (targets, example) = (self.targets, self.example);
        let random = targets.kind_way(Source::Random, Kind::AddRelation);
        let count = example.gold.entities.len() as u32;
        for first in example.entities() {
            let sentence = example.sentence_of(example.place(first).start);
            let partners = first + 1..(first + 1 + PARTNER_REACH).min(count);
            for second in partners.filter(|&second| sentence.contains(example.place(second))) {
                if !example.may_connect(first, second) {
                    continue;
                }
                for (head, tail) in [(first, second), (second, first)] {
                    let fitting: Vec<_> = targets
                        .patterns_of(Kind::AddRelation)
                        .filter(|(pattern, _)| pattern.fits_relation(example, head, tail))
                        .collect();
                    for label in targets.ontology.relation_ids() {
                        // Both orders of a symmetric type mean the same; the order of the text is used.
                        if targets.ontology.relation(label).symmetric && head != first {
                            continue;
                        }
                        let usual = if example.signature_fits(label, head, tail) { 1.0 } else { UNUSUAL };
                        let weight = usual / f64::from(second - first);
                        let edit = Edit::AddRelation { head, tail, label };
                        self.push_all([targets.mode(Mode::AddRelation(label)), random], &edit, weight);
                        for &(pattern, way) in &fitting {
                            if matches!(&pattern.rule, Rule::AddRelation(labels) if labels.contains(&label)) {
                                self.push(Some(way), &edit, weight);
                            }
                        }
                    }
                }
            }
        }
    }
}
