//! Targets: the share that each way of making a negative should have.

use std::collections::HashMap;

use tabpo_answer::{Answer, render_as};
use tabpo_corpus::Unit;
use tabpo_ontology::{AnswerForm, Ontology};

use crate::{Kind, Mix, Mode, ModeRates, Patterns, Rule, Source, SourceShares};

/// A way of making a negative whose share is controlled: one change of one pattern, one error mode, or
/// all edits of a kind from a source without finer targets.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Way {
    /// The kind of edit.
    pub(crate) kind: Kind,
    /// Where the edits come from.
    pub(crate) source: Source,
    /// Its share within the kind; the shares of a kind sum to 1.
    pub(crate) share: f64,
    /// The pattern, by position in the file.
    pub(crate) pattern: Option<u32>,
    /// The mode.
    pub(crate) mode: Option<Mode>,
}

/// All ways of making a negative, with their target shares.
///
/// Within a kind, a way's share is the share of its source times its share within the source: the
/// weight of a pattern among the patterns of the kind (spread evenly over the changes that it
/// lists), or the smoothed rate of a mode. Where a source has nothing for a kind, the other
/// sources take over its share.
pub(crate) struct Targets<'a> {
    pub(crate) ontology: &'a Ontology,
    pub(crate) patterns: &'a Patterns,
    /// The form in which answers are written.
    form: AnswerForm,
    pub(crate) ways: Vec<Way>,
    /// Shares of the kinds that have a way, by [`Kind::index`]; they sum to 1 if there is any.
    pub(crate) kinds: [f64; Kind::ALL.len()],
    /// The first way of every pattern; the ways of its further changes follow it.
    pattern_ways: Vec<Option<u32>>,
    mode_ways: HashMap<Mode, u32>,
    /// The way of a kind for sources without finer targets, by source.
    kind_ways: [[Option<u32>; Kind::ALL.len()]; Source::ALL.len()],
}

impl<'a> Targets<'a> {
    pub(crate) fn new(
        ontology: &'a Ontology,
        patterns: &'a Patterns,
        rates: &ModeRates,
        mix: &Mix,
        sources: &SourceShares,
        form: AnswerForm,
    ) -> Self {
        let mut targets = Self {
            ontology,
            patterns,
            form,
            ways: Vec::new(),
            kinds: [0.0; Kind::ALL.len()],
            pattern_ways: vec![None; patterns.patterns.len()],
            mode_ways: HashMap::new(),
            kind_ways: Default::default(),
        };
        let active = |source| sources.share(source) > 0.0;
        for kind in Kind::ALL.into_iter().filter(|&kind| mix.share(kind) > 0.0 && exists(kind, ontology, form)) {
            if active(Source::Pattern) {
                targets.add_patterns(kind, sources.share(Source::Pattern));
            }
            if active(Source::Mode) {
                for &(mode, share) in rates.modes.iter().filter(|(mode, _)| mode.kind() == kind) {
                    targets.mode_ways.insert(mode, targets.ways.len() as u32);
                    let share = sources.share(Source::Mode) * share;
                    targets.ways.push(Way { kind, source: Source::Mode, share, pattern: None, mode: Some(mode) });
                }
            }
            for source in [Source::OnPolicy, Source::Random].into_iter().filter(|&source| active(source)) {
                targets.kind_ways[source.index()][kind.index()] = Some(targets.ways.len() as u32);
                targets.ways.push(Way { kind, source, share: sources.share(source), pattern: None, mode: None });
            }
            let of_kind = || targets.ways.iter().filter(|way| way.kind == kind);
            let sum: f64 = of_kind().map(|way| way.share).sum();
            if sum > 0.0 {
                targets.ways.iter_mut().filter(|way| way.kind == kind).for_each(|way| way.share /= sum);
                targets.kinds[kind.index()] = mix.share(kind);
            }
        }
        let sum: f64 = targets.kinds.iter().sum();
        if sum > 0.0 {
            targets.kinds.iter_mut().for_each(|share| *share /= sum);
        }
        targets
    }

    fn add_patterns(&mut self, kind: Kind, source_share: f64) {
        let of_kind = || self.patterns.patterns.iter().enumerate().filter(|(_, pattern)| pattern.kind() == kind);
        let total: f64 = of_kind().map(|(_, pattern)| pattern.weight).sum();
        for (index, pattern) in of_kind() {
            let changes = match &pattern.rule {
                Rule::Label(swaps) => swaps.len(),
                Rule::Subtype(swaps) => swaps.len(),
                Rule::RelationLabel(swaps) => swaps.len(),
                _ => 1,
            };
            self.pattern_ways[index] = Some(self.ways.len() as u32);
            let share = source_share * pattern.weight / total / changes as f64;
            let way = Way { kind, source: Source::Pattern, share, pattern: Some(index as u32), mode: None };
            self.ways.extend(std::iter::repeat_n(way, changes));
        }
    }

    /// The patterns of a kind that have a share, each with its first way.
    pub(crate) fn patterns_of(&self, kind: Kind) -> impl Iterator<Item = (&'a crate::Pattern, u32)> {
        let patterns = self.patterns.patterns.iter().zip(&self.pattern_ways);
        patterns
            .filter(move |(pattern, _)| pattern.kind() == kind)
            .filter_map(|(pattern, way)| Some((pattern, (*way)?)))
    }

    /// The way of a mode, if it has a share.
    pub(crate) fn mode(&self, mode: Mode) -> Option<u32> {
        self.mode_ways.get(&mode).copied()
    }

    /// The way of a kind from a source without finer targets, if it has a share.
    pub(crate) fn kind_way(&self, source: Source, kind: Kind) -> Option<u32> {
        self.kind_ways[source.index()][kind.index()]
    }

    /// Whether an answer to a unit can be written in the form.
    pub(crate) fn can_write(&self, answer: &Answer, unit: &Unit) -> bool {
        self.form == AnswerForm::List || render_as(answer, unit, self.ontology, self.form).is_ok()
    }

    /// Whether any way of this kind has a share.
    pub(crate) fn has(&self, kind: Kind) -> bool {
        self.kinds[kind.index()] > 0.0
    }
}

/// Whether answers of this ontology in this form can differ in this way.
fn exists(kind: Kind, ontology: &Ontology, form: AnswerForm) -> bool {
    match kind {
        Kind::Label => ontology.entities.len() > 1,
        Kind::Subtype => ontology.entities.iter().any(|label| label.subtypes.len() > 1),
        Kind::RelationLabel => ontology.relations.len() > 1,
        Kind::Direction => ontology.relations.iter().any(|label| !label.symmetric),
        Kind::Argument | Kind::DropRelation | Kind::AddRelation => !ontology.relations.is_empty(),
        Kind::Boundary | Kind::DropEntity | Kind::AddEntity | Kind::Occurrence => true,
        // What is not in the source cannot be marked in it.
        Kind::Grounding => form == AnswerForm::List,
    }
}
