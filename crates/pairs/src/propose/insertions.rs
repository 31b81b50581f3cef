//! Entities too many.

use rand::RngExt;
use tabpo_corpus::Span;
use tabpo_ontology::{EntityLabelId, SubtypeId};

use super::Proposals;
use crate::{Edit, Kind, LabelChoice, Mode, Rule, Source};

/// How likely a phrase of 1, 2, ... tokens is drawn, relative to the others: mentions are short.
const LENGTH_WEIGHTS: [f64; 5] = [4.0, 4.0, 2.0, 1.0, 1.0];
/// How many phrases are looked at for each way, at least.
const PHRASES: usize = 8;

impl Proposals<'_> {
    /// Proposes entities on random contiguous phrases of the source.
    pub(super) fn insertions(&mut self, count: usize) {
        if !self.plan.has(Kind::AddEntity) {
            return;
        }
        let (plan, scene) = (self.plan, self.scene);
        let wanted = PHRASES.max(2 * count);
        let phrases = self.phrases(wanted);
        let random = plan.kind_way(Source::Random, Kind::AddEntity);
        for label in plan.ontology.entity_ids() {
            let ways = [plan.mode(Mode::AddEntity(label)), random];
            if ways.iter().any(Option::is_some) {
                for &span in phrases.iter().take(wanted) {
                    let subtype = self.any_subtype(label);
                    self.push_all(ways, &Edit::AddEntity { span, label, subtype }, 1.0);
                }
            }
        }
        for (pattern, way) in plan.patterns_of(Kind::AddEntity) {
            let Rule::AddEntity(labels) = &pattern.rule else { continue };
            for &span in phrases.iter().filter(|&&span| pattern.fits_entity(scene, span)).take(wanted) {
                for &LabelChoice { label, subtype } in labels {
                    let subtype = subtype.or_else(|| self.any_subtype(label));
                    self.push(Some(way), &Edit::AddEntity { span, label, subtype }, 1.0);
                }
            }
        }
    }

    /// The phrases of the unit in random order, short ones first more often than not: words only,
    /// within a sentence, no text that gold annotates anywhere in the unit. Where these are fewer
    /// than wanted, phrases with other tokens follow.
    fn phrases(&mut self, wanted: usize) -> Vec<Span> {
        let scene = self.scene;
        let mut keyed: Vec<(bool, f64, Span)> = Vec::new();
        for start in scene.span.range().map(|start| start as u32) {
            let sentence_end = scene.sentence_of(start).end;
            let mut words_only = true;
            for (length, weight) in (1..).zip(LENGTH_WEIGHTS) {
                let span = Span::new(start, start + length);
                if span.end > sentence_end {
                    break;
                }
                words_only &= scene.is_word(span.end - 1);
                if !self.is_annotated_text(span) {
                    // Weighted sampling without replacement (Efraimidis and Spirakis 2006): the
                    // smallest of exponential variates with these rates comes first.
                    let uniform: f64 = self.random.random();
                    keyed.push((!words_only, -(1.0 - uniform).ln() / weight, span));
                }
            }
        }
        let enough = keyed.iter().filter(|(other, ..)| !other).count() >= wanted;
        if enough {
            keyed.retain(|(other, ..)| !other);
        }
        keyed.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        keyed.into_iter().map(|(_, _, span)| span).collect()
    }

    fn is_annotated_text(&self, span: Span) -> bool {
        let words = self.scene.words(span);
        self.scene.entities().any(|entity| self.scene.words(self.scene.place(entity)) == words)
    }

    fn any_subtype(&mut self, label: EntityLabelId) -> Option<SubtypeId> {
        let count = self.plan.ontology.entity(label).subtypes.len() as u16;
        (count > 0).then(|| SubtypeId(self.random.random_range(0..count)))
    }
}
