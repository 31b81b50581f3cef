//! Counting documents: the only place where gold and prediction are compared for scores.

mod entities;
mod relations;
mod side;
mod subtypes;

use tabpo_answer::{FaultKind, Grounding};

use crate::items::Items;
use crate::layout::{Family, Layout, Tally};
use crate::relaxed::{Texts, WordedItem, greedy_matches, strict_matches};
use crate::scan::{DocumentUnits, UnitItems};
use side::{Labels, Side};

/// The counts of one document.
pub(crate) struct DocumentCounts {
    /// Its row, in the order of the [`Layout`].
    pub(crate) row: Vec<u32>,
    /// Gold slot and predicted slot of the labels at spans that both sides have.
    pub(crate) confusion: Vec<(u32, u32)>,
    /// Faults of raw output.
    pub(crate) faults: Vec<FaultKind>,
}

/// The row of counts of one document.
struct Row<'a> {
    layout: &'a Layout,
    cells: Vec<u32>,
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

    /// Compares two sorted sets, label by label.
    fn sets<T: Ord>(&mut self, family: Family, gold: &[T], predicted: &[T], slot: impl Fn(&T) -> u32) {
        self.sets_where(family, gold, predicted, slot, |_| true);
    }

    /// As [`Row::sets`], but only items that `counts` accepts match.
    fn sets_where<T: Ord>(
        &mut self,
        family: Family,
        gold: &[T],
        predicted: &[T],
        slot: impl Fn(&T) -> u32,
        counts: impl Fn(&T) -> bool,
    ) {
        for item in gold {
            self.add(family, slot(item), 0, 0, 1);
        }
        for item in predicted {
            let matched = gold.binary_search(item).is_ok() && counts(item);
            self.add(family, slot(item), u32::from(matched), 1, 0);
        }
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

/// Counts one document.
pub(crate) fn count_document(layout: &Layout, document: &DocumentUnits) -> DocumentCounts {
    let mut row = Row { layout, cells: vec![0; layout.columns()] };
    let (mut confusion, mut faults) = (Vec::new(), Vec::new());
    let mut texts = Texts::default();
    let mut whole = [Whole::new(layout), Whole::new(layout)];
    for UnitItems { gold: gold_items, predicted: predicted_items, .. } in &document.units {
        let items = [gold_items, predicted_items];
        let sides = items.map(|items| Side::new(&items.entities, &mut texts, &row));
        let typed = entities::count(&mut row, &sides, items, &mut confusion);
        if layout.has_subtypes() {
            subtypes::count(&mut row, gold_items, predicted_items);
        }
        if layout.has_relations() {
            relations::count(&mut row, document.document, &mut texts, &sides[1], items, &typed);
        }
        raw_facts(&mut row, predicted_items, &mut faults);
        let [gold, predicted] = &sides;
        label_set(&mut row, Family::LabelSetUnit, &gold.labels, &predicted.labels);
        let sizes = (predicted.worded.len(), gold.worded.len());
        let strict = strict_matches(&texts, &gold.worded, &predicted.worded);
        row.add(Family::RelaxedStrict, 0, strict, sizes.0, sizes.1);
        let relaxed = greedy_matches(&texts, &gold.worded, &predicted.worded);
        row.add(Family::RelaxedUnit, 0, relaxed, sizes.0, sizes.1);
        for (whole, side) in whole.iter_mut().zip(sides) {
            whole.add(side);
        }
    }
    let [gold, predicted] = &whole;
    label_set(&mut row, Family::LabelSetDocument, &gold.labels, &predicted.labels);
    label_multiset(&mut row, &gold.labels, &predicted.labels);
    let relaxed = greedy_matches(&texts, &gold.worded, &predicted.worded);
    row.add(Family::RelaxedDocument, 0, relaxed, predicted.worded.len(), gold.worded.len());
    DocumentCounts { row: row.cells, confusion, faults }
}

/// The labels and texts of all units of a document, on one side.
struct Whole {
    labels: Labels,
    worded: Vec<WordedItem>,
}

impl Whole {
    fn new(layout: &Layout) -> Self {
        Self { labels: vec![0; layout.slots(Family::Ner)], worded: Vec::new() }
    }

    fn add(&mut self, unit: Side) {
        self.worded.extend(unit.worded);
        for (sum, count) in self.labels.iter_mut().zip(unit.labels) {
            *sum += count;
        }
    }
}

fn raw_facts(row: &mut Row, predicted: &Items, faults: &mut Vec<FaultKind>) {
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
    faults.extend(facts.faults.iter().map(|fault| fault.kind));
}

/// Compares the sets of labels; an unknown predicted label does not count.
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
