//! Counting documents: the only place where gold and prediction are compared for scores.

mod entities;
mod relations;
mod side;
mod subtypes;

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use tabpo_answer::{FaultKind, Grounding};

use crate::items::{Items, Place};
use crate::layout::{Family, Layout, Tally};
use crate::relaxed::{Texts, greedy_matches, strict_matches};
use crate::scan::DocumentUnits;
use side::{Labels, Side};

/// Counts one document after the other. What is needed on the way is kept and filled again, so that
/// a document costs few allocations.
pub(crate) struct Counter<'l> {
    layout: &'l Layout,
    /// What was counted so far.
    pub(crate) counted: Counted,
    texts: Texts,
    gold: Side,
    predicted: Side,
    relations: relations::Scratch,
    /// Places with a label that gold and prediction share.
    typed: Vec<Place>,
}

/// The counts of a run of documents.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counted {
    /// The rows of counts, one behind the other.
    pub(crate) rows: Vec<u32>,
    /// Labels at spans that both sides have: (gold slot, predicted slot) and how often.
    pub(crate) confusion: FxHashMap<(u32, u32), u64>,
    /// Faults of raw output.
    pub(crate) faults: BTreeMap<FaultKind, u64>,
}

/// The row of counts of one document.
struct Row<'a> {
    layout: &'a Layout,
    cells: &'a mut [u32],
}

impl Row<'_> {
    fn add(&mut self, family: Family, slot: u32, matched: u32, predicted: usize, gold: usize) {
        let column = self.layout.column(family, slot as usize);
        let cells = &mut self.cells[column..column + 3];
        cells[0] += matched;
        cells[1] += predicted as u32;
        cells[2] += gold as u32;
    }

    fn tally(&mut self, tally: Tally, count: usize) {
        self.cells[tally as usize] += count as u32;
    }

    /// Compares two sorted sets, label by label; returns how many items match.
    fn sets<T: Ord + Copy>(&mut self, family: Family, gold: &[T], predicted: &[T], slot: impl Fn(&T) -> u32) -> u32 {
        self.sets_where(family, gold, predicted, slot, |_| true)
    }

    /// As [`Row::sets`], but only items that `counts` accepts match.
    fn sets_where<T: Ord + Copy>(
        &mut self,
        family: Family,
        gold: &[T],
        predicted: &[T],
        slot: impl Fn(&T) -> u32,
        counts: impl Fn(&T) -> bool,
    ) -> u32 {
        for item in gold {
            self.add(family, slot(item), 0, 0, 1);
        }
        let mut matches = 0;
        for item in predicted {
            let matched = u32::from(gold.binary_search(item).is_ok() && counts(item));
            self.add(family, slot(item), matched, 1, 0);
            matches += matched;
        }
        matches
    }

    /// The slot of entities whose label the ontology lacks.
    fn invalid_entity(&self) -> u32 {
        self.layout.slots(Family::Ner) as u32 - 1
    }

    /// The slot of relations whose type the ontology lacks.
    fn invalid_relation(&self) -> u32 {
        self.layout.slots(Family::Rel) as u32 - 1
    }
}

impl<'l> Counter<'l> {
    pub(crate) fn new(layout: &'l Layout) -> Self {
        Self {
            layout,
            counted: Counted::default(),
            texts: Texts::default(),
            gold: Side::new(layout),
            predicted: Side::new(layout),
            relations: relations::Scratch::default(),
            typed: Vec::new(),
        }
    }

    /// Counts one document.
    pub(crate) fn add(&mut self, document: &DocumentUnits) {
        let Self { layout, counted, texts, gold, predicted, relations, typed } = self;
        let start = counted.rows.len();
        counted.rows.resize(start + layout.columns(), 0);
        let row = &mut Row { layout, cells: &mut counted.rows[start..] };
        texts.clear();
        gold.start_document();
        predicted.start_document();
        let mut relaxed = 0;
        for (_, gold_items, predicted_items) in &document.units {
            gold.start_unit(&gold_items.entities, &[], texts, row);
            predicted.start_unit(&predicted_items.entities, &gold.placed_texts, texts, row);
            let (sides, items) = ([&*gold, &*predicted], [gold_items, predicted_items]);
            entities::count(row, sides, items, &mut counted.confusion, typed);
            if layout.has_subtypes() {
                subtypes::count(row, gold_items, predicted_items);
            }
            if layout.has_relations() {
                relations.count(row, document.document, texts, sides, items, typed);
            }
            raw_facts(row, predicted_items, &mut counted.faults);
            label_set(row, Family::LabelSetUnit, &gold.labels, &predicted.labels);
            let (gold_words, predicted_words) = (&gold.worded, &predicted.worded);
            let strict = strict_matches(texts, gold_words, predicted_words);
            row.add(Family::RelaxedStrict, 0, strict, predicted_words.len(), gold_words.len());
            relaxed = greedy_matches(texts, gold_words, predicted_words);
            row.add(Family::RelaxedUnit, 0, relaxed, predicted_words.len(), gold_words.len());
            gold.end_unit();
            predicted.end_unit();
        }
        relations::share_directed(row);
        label_set(row, Family::LabelSetDocument, &gold.document_labels, &predicted.document_labels);
        label_multiset(row, &gold.document_labels, &predicted.document_labels);
        let (gold_words, predicted_words) = (&gold.document_worded, &predicted.document_worded);
        if document.units.len() != 1 {
            relaxed = greedy_matches(texts, gold_words, predicted_words);
        }
        row.add(Family::RelaxedDocument, 0, relaxed, predicted_words.len(), gold_words.len());
    }
}

fn raw_facts(row: &mut Row, predicted: &Items, faults: &mut BTreeMap<FaultKind, u64>) {
    row.tally(Tally::Units, 1);
    row.tally(Tally::EntityItems, predicted.entities.len());
    row.tally(Tally::RelationItems, predicted.relations.len());
    for entity in &predicted.entities {
        row.tally(Tally::EntityTexts, usize::from(entity.text.is_some()));
        row.tally(Tally::EntityMalformed, usize::from(entity.text.is_none()));
        row.tally(Tally::EntityBadLabel, usize::from(entity.text.is_some() && entity.label.is_none()));
    }
    let Some(facts) = &predicted.raw else { return };
    let tiers = [Tally::JsonValid, Tally::SchemaValid, Tally::RefsValid, Tally::FullyGrounded];
    for (tally, valid) in tiers.into_iter().zip(facts.valid) {
        row.tally(tally, usize::from(valid));
    }
    for grounding in predicted.entities.iter().filter_map(|entity| entity.grounding) {
        row.tally(Tally::NotSubstring, usize::from(grounding <= Grounding::CaseDiffers));
        row.tally(Tally::NotSubstringIgnoringCase, usize::from(grounding == Grounding::Absent));
        row.tally(Tally::NotTokenAligned, usize::from(grounding <= Grounding::InsideTokens));
        row.tally(Tally::SurplusOrBadOccurrence, usize::from(grounding == Grounding::Surplus));
    }
    row.tally(Tally::RelationMalformed, facts.relations_malformed as usize);
    row.tally(Tally::RelationUnresolved, facts.relations_unresolved as usize);
    for fault in &facts.faults {
        *faults.entry(fault.kind).or_default() += 1;
    }
}

/// Compares the sets of labels; an unknown predicted label is none.
fn label_set(row: &mut Row, family: Family, gold: &Labels, predicted: &Labels) {
    let different = |labels: &[u32]| labels.iter().filter(|&&count| count > 0).count();
    let invalid = row.invalid_entity() as usize;
    let both =
        gold[..invalid].iter().zip(&predicted[..invalid]).filter(|(gold, predicted)| **gold > 0 && **predicted > 0);
    row.add(family, 0, both.count() as u32, different(&predicted[..invalid]), different(gold));
}

/// Compares the multisets of labels.
fn label_multiset(row: &mut Row, gold: &Labels, predicted: &Labels) {
    let invalid = row.invalid_entity() as usize;
    let matched = gold[..invalid].iter().zip(predicted).map(|(gold, predicted)| gold.min(predicted)).sum();
    let size = |labels: &Labels| labels.iter().sum::<u32>() as usize;
    row.add(Family::LabelMultiset, 0, matched, size(predicted), size(gold));
}
