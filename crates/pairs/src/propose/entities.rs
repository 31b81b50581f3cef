//! Edits of gold entities.

use tabpo_corpus::Span;
use tabpo_ontology::{EntityLabelId, SubtypeId};

use super::{Proposals, TextPool};
use crate::{Edit, Kind, LabelChoice, Mode, Rule, Shift, Source};

impl Proposals<'_> {
    pub(super) fn labels(&mut self) {
        if !self.targets.has(Kind::Label) {
            return;
        }
        let (targets, example) = (self.targets, self.example);
        let random = targets.kind_way(Source::Random, Kind::Label);
        for entity in example.entities() {
            let current = example.entity(entity);
            for label in targets.ontology.entity_ids().filter(|&label| label != current.label) {
                let mode = targets.mode(Mode::Label(current.label, label));
                let subtypes = self.subtypes_for(LabelChoice { label, subtype: None }, current.subtype, current.label);
                let weight = 1.0 / subtypes.len() as f64;
                for subtype in subtypes {
                    self.push_all([mode, random], &Edit::Label { entity, label, subtype }, weight);
                }
            }
            for (pattern, first) in targets.patterns_of(Kind::Label) {
                let Rule::Label(swaps) = &pattern.rule else { continue };
                let mut swaps = (first..).zip(swaps).filter(|(_, (from, _))| from.accepts(current)).peekable();
                if swaps.peek().is_none() || !pattern.fits_entity(example, example.place(entity)) {
                    continue;
                }
                for (way, &(_, to)) in swaps {
                    let subtypes = self.subtypes_for(to, current.subtype, current.label);
                    let weight = 1.0 / subtypes.len() as f64;
                    for subtype in subtypes {
                        self.push(Some(way), &Edit::Label { entity, label: to.label, subtype }, weight);
                    }
                }
            }
        }
    }

    /// The sub-labels that may go with a new label: the one that the pattern names, else the one with the
    /// same name as before, so that only one field of the answer changes, else any.
    fn subtypes_for(
        &self,
        to: LabelChoice,
        current: Option<SubtypeId>,
        current_label: EntityLabelId,
    ) -> Vec<Option<SubtypeId>> {
        let ontology = self.targets.ontology;
        if to.subtype.is_some() || ontology.entity(to.label).subtypes.is_empty() {
            return vec![to.subtype];
        }
        let name = current.map(|subtype| &ontology.subtype(current_label, subtype).name);
        match name.and_then(|name| ontology.subtype_named(to.label, name)) {
            Some(same) => vec![Some(same)],
            None => ontology.subtype_ids(to.label).map(Some).collect(),
        }
    }

    pub(super) fn subtypes(&mut self) {
        if !self.targets.has(Kind::Subtype) {
            return;
        }
        let (targets, example) = (self.targets, self.example);
        let random = targets.kind_way(Source::Random, Kind::Subtype);
        for entity in example.entities() {
            let current = example.entity(entity);
            let Some(from) = current.subtype else { continue };
            for subtype in targets.ontology.subtype_ids(current.label).filter(|&subtype| subtype != from) {
                let mode = targets.mode(Mode::Subtype(current.label, from, subtype));
                self.push_all([mode, random], &Edit::Subtype { entity, subtype }, 1.0);
            }
            for (pattern, first) in targets.patterns_of(Kind::Subtype) {
                let Rule::Subtype(swaps) = &pattern.rule else { continue };
                for (way, &(label, before, after)) in (first..).zip(swaps) {
                    if (label, before) == (current.label, from) && pattern.fits_entity(example, example.place(entity)) {
                        self.push(Some(way), &Edit::Subtype { entity, subtype: after }, 1.0);
                    }
                }
            }
        }
    }

    pub(super) fn boundaries(&mut self) {
        if !self.targets.has(Kind::Boundary) {
            return;
        }
        let (targets, example) = (self.targets, self.example);
        let random = targets.kind_way(Source::Random, Kind::Boundary);
        for entity in example.entities() {
            let (current, place) = (example.entity(entity), example.place(entity));
            for (shift, span) in one_token_shifts(place) {
                let mode = targets.mode(Mode::Boundary(current.label, shift));
                let sensible =
                    example.span.contains(span) && example.is_word(span.start) && example.is_word(span.end - 1);
                if sensible {
                    self.push_all([mode, random], &Edit::Boundary { entity, span }, 1.0);
                }
            }
            for (pattern, way) in targets.patterns_of(Kind::Boundary) {
                let Rule::Boundary { labels, change } = &pattern.rule else { continue };
                if accepts(labels, current) && pattern.fits_entity(example, place) {
                    for span in change.spans(example, place) {
                        self.push(Some(way), &Edit::Boundary { entity, span }, 1.0);
                    }
                }
            }
        }
    }

    pub(super) fn dropped_entities(&mut self) {
        self.simple(Kind::DropEntity, Mode::DropEntity, |_, entity| vec![Edit::DropEntity { entity }]);
    }

    pub(super) fn occurrences(&mut self) {
        self.simple(Kind::Occurrence, Mode::Occurrence, |proposals, entity| {
            let others = proposals.example.other_occurrences(proposals.example.place(entity));
            others.map(|span| Edit::Occurrence { entity, span }).collect()
        });
    }

    pub(super) fn groundings(&mut self, pool: &TextPool) {
        if !self.targets.has(Kind::Grounding) {
            return;
        }
        let example = self.example;
        // No error mode tells invented texts from other spurious ones, so only patterns and the random
        // source propose them.
        let random = self.targets.kind_way(Source::Random, Kind::Grounding);
        for entity in example.entities() {
            let ways: Vec<u32> = self
                .targets
                .patterns_of(Kind::Grounding)
                .filter(|(pattern, _)| {
                    matches!(&pattern.rule, Rule::Grounding(labels) if accepts(labels, example.entity(entity)))
                        && pattern.fits_entity(example, example.place(entity))
                })
                .map(|(_, way)| way)
                .chain(random)
                .collect();
            if ways.is_empty() {
                continue;
            }
            if let Some(text) = pool.draw(example.entity(entity).label, example, &mut self.random) {
                let edit = Edit::Grounding { entity, text: text.to_owned() };
                for way in ways {
                    self.push(Some(way), &edit, 1.0);
                }
            }
        }
    }

    /// Proposes the edits of a kind that `edits` lists for each entity.
    fn simple(&mut self, kind: Kind, mode: impl Fn(EntityLabelId) -> Mode, edits: impl Fn(&Self, u32) -> Vec<Edit>) {
        if !self.targets.has(kind) {
            return;
        }
        let (targets, example) = (self.targets, self.example);
        let random = targets.kind_way(Source::Random, kind);
        for entity in example.entities() {
            let current = example.entity(entity);
            let mode = targets.mode(mode(current.label));
            for edit in edits(self, entity) {
                self.push_all([mode, random], &edit, 1.0);
                for (pattern, way) in targets.patterns_of(kind) {
                    let (Rule::DropEntity(labels) | Rule::Occurrence(labels)) = &pattern.rule else { continue };
                    if accepts(labels, current) && pattern.fits_entity(example, example.place(entity)) {
                        self.push(Some(way), &edit, 1.0);
                    }
                }
            }
        }
    }
}

fn accepts(labels: &[LabelChoice], entity: &tabpo_answer::AnswerEntity) -> bool {
    labels.iter().any(|choice| choice.accepts(entity))
}

/// A span with one token fewer or more at one edge, or shifted by one token.
fn one_token_shifts(span: Span) -> impl Iterator<Item = (Shift, Span)> {
    let shorter = [(1, 0), (0, -1)].map(|shift| (Shift::Shorter, shift));
    let longer = [(-1, 0), (0, 1)].map(|shift| (Shift::Longer, shift));
    let across = [(1, 1), (-1, -1)].map(|shift| (Shift::Across, shift));
    shorter.into_iter().chain(longer).chain(across).filter_map(move |(shift, (start, end))| {
        let moved = Span::new(span.start.checked_add_signed(start)?, span.end.checked_add_signed(end)?);
        (!moved.is_empty() && moved.overlaps(span)).then_some((shift, moved))
    })
}
