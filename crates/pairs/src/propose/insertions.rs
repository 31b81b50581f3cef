//! Additional entities.

use rand::RngExt;
use tabpo_corpus::Span;
use tabpo_ontology::{EntityLabelId, SubtypeId};

use super::Proposals;
use crate::{Edit, Kind, LabelChoice, Mode, Rule, Source};

/// Relative probabilities of phrases of 1, 2, ... tokens: mentions are short.
const LENGTH_WEIGHTS: [f64; 5] = [4.0, 4.0, 2.0, 1.0, 1.0];
/// Least number of phrases considered for each way.
const PHRASES: usize = 8;

impl Proposals<'_> {
    /// Proposes entities on random contiguous phrases of the source.
    pub(super) fn insertions(&mut self, count: usize) {
        if !self.targets.has(Kind::AddEntity) {
            return;
        }
        let (targets, example) = (self.targets, self.example);
        let wanted = PHRASES.max(2 * count);
        let phrases = self.phrases(wanted);
        let random = targets.kind_way(Source::Random, Kind::AddEntity);
        for label in targets.ontology.entity_ids() {
            let ways = [targets.mode(Mode::AddEntity(label)), random];
            if ways.iter().any(Option::is_some) {
                for &span in phrases.iter().take(wanted) {
                    let subtype = self.any_subtype(label);
                    self.push_all(ways, &Edit::AddEntity { span, label, subtype }, 1.0);
                }
            }
        }
        for (pattern, way) in targets.patterns_of(Kind::AddEntity) {
            let Rule::AddEntity(labels) = &pattern.rule else { continue };
            for &span in phrases.iter().filter(|&&span| pattern.fits_entity(example, span)).take(wanted) {
                for &LabelChoice { label, subtype } in labels {
                    let subtype = subtype.or_else(|| self.any_subtype(label));
                    self.push(Some(way), &Edit::AddEntity { span, label, subtype }, 1.0);
                }
            }
        }
    }

    /// Phrases of the unit in random order, with short ones more likely to come first: words only, within
    /// a sentence, and no text that gold annotates anywhere in the unit. If there are fewer than wanted,
    /// phrases with other tokens follow.
    fn phrases(&mut self, wanted: usize) -> Vec<Span> {
        let example = self.example;
        let mut keyed: Vec<(bool, f64, Span)> = Vec::new();
        for start in example.span.range().map(|start| start as u32) {
            let sentence_end = example.sentence_of(start).end;
            let mut words_only = true;
            for (length, weight) in (1..).zip(LENGTH_WEIGHTS) {
                let span = Span::new(start, start + length);
                if span.end > sentence_end {
                    break;
                }
                words_only &= example.is_word(span.end - 1);
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
        let words = self.example.words(span);
        self.example.entities().any(|entity| self.example.words(self.example.place(entity)) == words)
    }

    fn any_subtype(&mut self, label: EntityLabelId) -> Option<SubtypeId> {
        let count = self.targets.ontology.entity(label).subtypes.len() as u16;
        (count > 0).then(|| SubtypeId(self.random.random_range(0..count)))
    }
}
