//! Edits of gold relations, and relations too many.

use super::Proposals;
use crate::{Edit, Kind, LabelChoice, Mode, Rule, Side, Source};

/// How much less likely an edit is whose type signature is unusual (outside a soft constraint).
const UNUSUAL: f64 = 0.2;
/// How many mentions away, in text order, a wrong argument may be.
const ARGUMENT_REACH: u32 = 6;
/// How many mentions away the partner of a new relation may be.
const PARTNER_REACH: u32 = 4;

impl Proposals<'_> {
    pub(super) fn relation_labels(&mut self) {
        if !self.plan.has(Kind::RelationLabel) {
            return;
        }
        let (plan, scene) = (self.plan, self.scene);
        let random = plan.kind_way(Source::Random, Kind::RelationLabel);
        for relation in scene.relations() {
            let current = scene.relation(relation);
            let usual = |label| if scene.signature_fits(label, current.head, current.tail) { 1.0 } else { UNUSUAL };
            for label in plan.ontology.relation_ids().filter(|&label| label != current.label) {
                let mode = plan.mode(Mode::RelationLabel(current.label, label));
                self.push_all([mode, random], &Edit::RelationLabel { relation, label }, usual(label));
            }
            for (pattern, first) in plan.patterns_of(Kind::RelationLabel) {
                let Rule::RelationLabel(swaps) = &pattern.rule else { continue };
                let mut swaps = (first..).zip(swaps).filter(|(_, (from, _))| *from == current.label).peekable();
                if swaps.peek().is_some() && pattern.fits_relation(scene, current.head, current.tail) {
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

    /// Edits of which every relation has exactly one.
    fn each_relation(
        &mut self,
        kind: Kind,
        mode: impl Fn(tabpo_ontology::RelationLabelId) -> Mode,
        edit: impl Fn(u32) -> Edit,
    ) {
        if !self.plan.has(kind) {
            return;
        }
        let (plan, scene) = (self.plan, self.scene);
        let random = plan.kind_way(Source::Random, kind);
        for relation in scene.relations() {
            let current = scene.relation(relation);
            let edit = edit(relation);
            self.push_all([plan.mode(mode(current.label)), random], &edit, 1.0);
            for (pattern, way) in plan.patterns_of(kind) {
                let (Rule::Direction(labels) | Rule::DropRelation(labels)) = &pattern.rule else { continue };
                if labels.contains(&current.label) && pattern.fits_relation(scene, current.head, current.tail) {
                    self.push(Some(way), &edit, 1.0);
                }
            }
        }
    }

    pub(super) fn arguments(&mut self) {
        if !self.plan.has(Kind::Argument) {
            return;
        }
        let (plan, scene) = (self.plan, self.scene);
        let random = plan.kind_way(Source::Random, Kind::Argument);
        for relation in scene.relations() {
            let current = scene.relation(relation);
            let mode = plan.mode(Mode::Argument(current.label));
            let fitting: Vec<_> = plan
                .patterns_of(Kind::Argument)
                .filter(|(pattern, _)| {
                    matches!(&pattern.rule, Rule::Argument { relations, .. } if relations.contains(&current.label))
                        && pattern.fits_relation(scene, current.head, current.tail)
                })
                .collect();
            for side in [Side::Head, Side::Tail] {
                let old = if side == Side::Head { current.head } else { current.tail };
                let sentence = scene.sentence_of(scene.place(old).start);
                let first = old.saturating_sub(ARGUMENT_REACH);
                let last = (old + ARGUMENT_REACH + 1).min(scene.gold.entities.len() as u32);
                for entity in (first..last).filter(|&entity| sentence.contains(scene.place(entity))) {
                    let (head, tail) = if side == Side::Head { (entity, current.tail) } else { (current.head, entity) };
                    let edit = Edit::Argument { relation, side, entity };
                    let usual = if scene.signature_fits(current.label, head, tail) { 1.0 } else { UNUSUAL };
                    let weight = usual / f64::from(1 + old.abs_diff(entity));
                    self.push_all([mode, random], &edit, weight);
                    for &(pattern, way) in &fitting {
                        let Rule::Argument { side: wanted, labels, same_label, .. } = &pattern.rule else { continue };
                        let new = scene.entity(entity);
                        if wanted.is_none_or(|wanted| wanted == side)
                            && labels.iter().any(|choice: &LabelChoice| choice.accepts(new))
                            && (!same_label || new.label == scene.entity(old).label)
                        {
                            self.push(Some(way), &edit, weight);
                        }
                    }
                }
            }
        }
    }

    pub(super) fn added_relations(&mut self) {
        if !self.plan.has(Kind::AddRelation) {
            return;
        }
        let (plan, scene) = (self.plan, self.scene);
        let random = plan.kind_way(Source::Random, Kind::AddRelation);
        let count = scene.gold.entities.len() as u32;
        for first in scene.entities() {
            let sentence = scene.sentence_of(scene.place(first).start);
            let partners = first + 1..(first + 1 + PARTNER_REACH).min(count);
            for second in partners.filter(|&second| sentence.contains(scene.place(second))) {
                if !scene.may_connect(first, second) {
                    continue;
                }
                for (head, tail) in [(first, second), (second, first)] {
                    let fitting: Vec<_> = plan
                        .patterns_of(Kind::AddRelation)
                        .filter(|(pattern, _)| pattern.fits_relation(scene, head, tail))
                        .collect();
                    for label in plan.ontology.relation_ids() {
                        // Either order of a symmetric type says the same; the text's order is used.
                        if plan.ontology.relation(label).symmetric && head != first {
                            continue;
                        }
                        let usual = if scene.signature_fits(label, head, tail) { 1.0 } else { UNUSUAL };
                        let weight = usual / f64::from(second - first);
                        let edit = Edit::AddRelation { head, tail, label };
                        self.push_all([plan.mode(Mode::AddRelation(label)), random], &edit, weight);
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
