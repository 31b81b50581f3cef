//! Counting one document: the only place where gold and prediction are compared for scores.

use std::collections::BTreeMap;

use tabpo_answer::{FaultKind, Grounding};
use tabpo_ontology::{EntityLabelId, RelationLabelId, SubtypeId};

use crate::items::{EntityItem, Items, Place, RelationItem};
use crate::layout::{Family, Layout, Tally};
use crate::relaxed::{WordedItem, Words, greedy_matches, strict_matches};

/// What one document adds to the whole.
#[derive(Clone, Debug)]
pub(crate) struct DocumentCounts {
    /// The row of counts.
    pub(crate) row: Vec<u32>,
    /// Labels at spans that both sides have: (gold slot, predicted slot) and how often.
    pub(crate) confusion: BTreeMap<(usize, usize), u64>,
    /// Faults of raw output.
    pub(crate) faults: BTreeMap<FaultKind, u64>,
}

/// Counts one document, given its units as (sentence, gold, predicted).
pub(crate) fn count_document(layout: &Layout, units: &[(Option<u32>, Items, Items)]) -> DocumentCounts {
    let mut counter = Counter {
        layout,
        counts: DocumentCounts { row: vec![0; layout.columns()], confusion: BTreeMap::new(), faults: BTreeMap::new() },
        words: Words::default(),
    };
    let mut whole = Labels::default();
    let (mut gold_words, mut predicted_words) = (Vec::new(), Vec::new());
    for (_, gold, predicted) in units {
        counter.entities(gold, predicted);
        counter.relations(gold, predicted);
        counter.raw_facts(predicted);
        let labels = Labels::of(layout, gold, predicted);
        counter.label_set(Family::LabelSetUnit, &labels);
        whole.gold.extend(labels.gold);
        whole.predicted.extend(labels.predicted);
        let (gold, predicted) = counter.relaxed(gold, predicted);
        gold_words.extend(gold);
        predicted_words.extend(predicted);
    }
    counter.label_set(Family::LabelSetDocument, &whole);
    counter.label_multiset(&whole);
    let matches = greedy_matches(&gold_words, &predicted_words);
    counter.add(Family::RelaxedDocument, 0, matches, predicted_words.len(), gold_words.len());
    counter.counts
}

/// The label slots of the entities that have a text.
#[derive(Default)]
struct Labels {
    gold: Vec<usize>,
    predicted: Vec<usize>,
}

impl Labels {
    fn of(layout: &Layout, gold: &Items, predicted: &Items) -> Self {
        let invalid = layout.slots(Family::Ner) - 1;
        let slots = |items: &Items| {
            let with_text = items.entities.iter().filter(|entity| entity.text.is_some());
            with_text.map(|entity| entity.label.map_or(invalid, EntityLabelId::index)).collect()
        };
        Self { gold: slots(gold), predicted: slots(predicted) }
    }
}

/// A relation reduced to what comparison needs.
type RelationKey = (Place, Place, usize);

struct Counter<'a> {
    layout: &'a Layout,
    counts: DocumentCounts,
    words: Words,
}

/// Sorted without duplicates.
fn set<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.collect();
    items.sort_unstable();
    items.dedup();
    items
}

fn holds<T: Ord>(set: &[T], item: &T) -> bool {
    set.binary_search(item).is_ok()
}

/// The label slots at a place in a sorted list of (place, slot).
fn at(entities: &[(Place, usize)], place: Place) -> impl Iterator<Item = usize> {
    let first = entities.partition_point(|&(other, _)| other < place);
    entities[first..].iter().take_while(move |&&(other, _)| other == place).map(|&(_, slot)| slot)
}

/// The set of (text, label slot).
fn entity_texts<'a>(items: &'a Items, invalid: usize) -> Vec<(&'a str, usize)> {
    let slot = |item: &EntityItem| item.label.map_or(invalid, EntityLabelId::index);
    set(items.entities.iter().filter_map(|item| Some((item.text.as_deref()?, slot(item)))))
}

/// The set of (head text, tail text, type slot); a relation without texts equals no other.
fn relation_texts<'a>(items: &'a Items, invalid: usize) -> Vec<(&'a str, &'a str, usize, usize)> {
    let slot = |item: &RelationItem| item.label.map_or(invalid, RelationLabelId::index);
    set(items.relations.iter().enumerate().map(|(index, item)| match &item.texts {
        Some((head, tail)) => (&**head, &**tail, slot(item), 0),
        None => ("", "", slot(item), index + 1),
    }))
}

impl Counter<'_> {
    fn add(&mut self, family: Family, slot: usize, matched: u32, predicted: usize, gold: usize) {
        let column = self.layout.column(family, slot);
        let row = &mut self.counts.row[column..column + 3];
        row[0] += matched;
        row[1] += predicted as u32;
        row[2] += gold as u32;
    }

    fn tally(&mut self, tally: Tally, count: usize) {
        self.counts.row[tally as usize] += count as u32;
    }

    /// Compares two sets, label by label.
    fn sets<T: Ord>(&mut self, family: Family, gold: &[T], predicted: &[T], slot: impl Fn(&T) -> usize) {
        for item in gold {
            self.add(family, slot(item), 0, 0, 1);
        }
        for item in predicted {
            self.add(family, slot(item), u32::from(holds(gold, item)), 1, 0);
        }
    }

    fn entity_slot(&self, entity: &EntityItem) -> usize {
        entity.label.map_or(self.layout.slots(Family::Ner) - 1, EntityLabelId::index)
    }

    fn entities(&mut self, gold: &Items, predicted: &Items) {
        let layout = self.layout;
        let labelled = |items: &Items| -> Vec<_> {
            items.entities.iter().map(|item| (item.place, self.entity_slot(item))).collect()
        };
        let (gold_list, predicted_list) = (labelled(gold), labelled(predicted));
        let gold_set = set(gold_list.iter().copied());
        let predicted_set = set(predicted_list.iter().copied());
        let matched = predicted_list.iter().filter(|item| holds(&gold_set, item)).count();
        self.add(Family::ListNer, 0, matched as u32, predicted_list.len(), gold_list.len());
        self.sets(Family::Ner, &gold_set, &predicted_set, |item| item.1);

        let places = |set: &[(Place, usize)]| self::set(set.iter().map(|item| item.0));
        let (gold_places, predicted_places) = (places(&gold_set), places(&predicted_set));
        self.sets(Family::Span, &gold_places, &predicted_places, |_| 0);

        for &(place, slot) in gold_set.iter().filter(|item| holds(&predicted_places, &item.0)) {
            let correct = at(&predicted_set, place).any(|other| other == slot);
            self.tally(Tally::Located, 1);
            self.tally(Tally::LocatedCorrect, usize::from(correct));
            let written = if correct { Some(slot) } else { self.first_by_name(at(&predicted_set, place)) };
            if let Some(written) = written {
                *self.counts.confusion.entry((slot, written)).or_default() += 1;
            }
        }

        let invalid = layout.slots(Family::Ner) - 1;
        let texts = [gold, predicted].map(|items| entity_texts(items, invalid));
        self.sets(Family::TextNer, &texts[0], &texts[1], |item| item.1);
        if layout.has_subtypes() {
            self.subtypes(gold, predicted);
        }
    }

    /// The slot whose name comes first, an unknown label last.
    fn first_by_name(&self, slots: impl Iterator<Item = usize>) -> Option<usize> {
        let names = self.layout.names(Family::Ner)?;
        slots.min_by_key(|&slot| (slot + 1 == names.len(), &names[slot]))
    }

    fn subtypes(&mut self, gold: &Items, predicted: &Items) {
        let layout = self.layout;
        let (invalid_both, invalid_subtype) = (layout.slots(Family::NerBoth) - 1, layout.slots(Family::NerSubtype) - 1);
        let both = |item: &EntityItem| {
            let slot = match (item.label, item.subtype) {
                (Some(label), None) if layout.label_has_subtypes(label.index()) => invalid_both,
                (Some(label), subtype) => layout.both_slot(label.index(), subtype.map(SubtypeId::index)),
                (None, _) => invalid_both,
            };
            (item.place, slot)
        };
        let subtype = |item: &EntityItem| match (item.label, item.subtype) {
            (Some(label), Some(subtype)) => Some((item.place, layout.subtype_slot(label.index(), subtype.index()))),
            (Some(label), None) if !layout.label_has_subtypes(label.index()) => None,
            _ => Some((item.place, invalid_subtype)),
        };
        let gold_both = set(gold.entities.iter().map(both));
        let predicted_both = set(predicted.entities.iter().map(both));
        self.sets(Family::NerBoth, &gold_both, &predicted_both, |item| item.1);
        let gold_subtypes = set(gold.entities.iter().filter_map(subtype));
        let predicted_subtypes = set(predicted.entities.iter().filter_map(subtype));
        self.sets(Family::NerSubtype, &gold_subtypes, &predicted_subtypes, |item| item.1);

        let labelled = |item: &EntityItem| Some((item.place, item.label?));
        let predicted_labels = set(predicted.entities.iter().filter_map(labelled));
        let gold_with_subtype =
            set(gold.entities.iter().filter_map(|item| Some((item.place, item.label?, item.subtype?))));
        for (place, label, subtype) in gold_with_subtype {
            if holds(&predicted_labels, &(place, label)) {
                let slot = layout.both_slot(label.index(), Some(subtype.index()));
                self.tally(Tally::SubtypeLocated, 1);
                self.tally(Tally::SubtypeCorrect, usize::from(holds(&predicted_both, &(place, slot))));
            }
        }
    }

    fn relations(&mut self, gold: &Items, predicted: &Items) {
        if !self.layout.has_relations() {
            return;
        }
        let layout = self.layout;
        let invalid = layout.slots(Family::Rel) - 1;
        let slot = |item: &RelationItem| item.label.map_or(invalid, RelationLabelId::index);
        let keys = |items: &Items| -> Vec<RelationKey> {
            items.relations.iter().map(|item| (item.head, item.tail, slot(item))).collect()
        };
        let symmetric = |slot: usize| slot < invalid && layout.is_symmetric(RelationLabelId(slot as u16));
        let ordered = |&(head, tail, slot): &RelationKey| {
            if symmetric(slot) && tail < head { (tail, head, slot) } else { (head, tail, slot) }
        };
        let reversed = |&(head, tail, slot): &RelationKey| symmetric(slot).then_some((tail, head, slot));

        let (gold_list, predicted_list) = (keys(gold), keys(predicted));
        let gold_set = set(gold_list.iter().copied());
        let predicted_set = set(predicted_list.iter().copied());
        self.sets(Family::Rel, &gold_set, &predicted_set, |item| item.2);

        let entities = |items: &Items| set(items.entities.iter().map(|item| (item.place, self.entity_slot(item))));
        let (gold_entities, predicted_entities) = (entities(gold), entities(predicted));
        let typed = |place: Place| at(&gold_entities, place).any(|slot| holds(&predicted_entities, &(place, slot)));
        let both_typed = |key: &RelationKey| typed(key.0) && typed(key.1);
        self.plus_sets(Family::RelPlus, &gold_set, &predicted_set, both_typed);

        let right: Vec<&RelationKey> = predicted_list.iter().filter(|key| holds(&gold_set, key)).collect();
        let right_plus = right.iter().filter(|key| both_typed(key)).count();
        let gold_count = gold_list.len() + gold.repeated_relations;
        self.add(Family::ListRel, 0, right.len() as u32, predicted_list.len(), gold_count);
        self.add(Family::ListRelPlus, 0, right_plus as u32, predicted_list.len(), gold_count);

        let gold_ordered = set(gold_set.iter().map(ordered));
        let predicted_ordered = set(predicted_set.iter().map(ordered));
        self.sets(Family::RelSymmetric, &gold_ordered, &predicted_ordered, |item| item.2);
        // An argument that is no predicted entity has no type; its relation is left as written.
        let is_entity = |place: Place| at(&predicted_entities, place).next().is_some();
        let plus_ordered =
            set(predicted_set.iter().map(|key| if is_entity(key.0) && is_entity(key.1) { ordered(key) } else { *key }));
        self.plus_sets(Family::RelPlusSymmetric, &gold_ordered, &plus_ordered, both_typed);

        let doubled = |keys: &[RelationKey]| set(keys.iter().copied().chain(keys.iter().filter_map(reversed)));
        let (gold_doubled, predicted_doubled) = (doubled(&gold_set), doubled(&predicted_set));
        self.sets(Family::RelDoubled, &gold_doubled, &predicted_doubled, |item| item.2);
        self.plus_sets(Family::RelPlusDoubled, &gold_doubled, &predicted_doubled, both_typed);

        let pairs = |keys: &[RelationKey]| set(keys.iter().map(|&(a, b, _)| (a.min(b), a.max(b))));
        self.sets(Family::Pair, &pairs(&gold_set), &pairs(&predicted_set), |_| 0);

        let texts = [gold, predicted].map(|items| relation_texts(items, invalid));
        self.sets(Family::TextRel, &texts[0], &texts[1], |item| item.2);
    }

    /// Compares two sets of relations; a match counts only if both arguments have their gold label.
    fn plus_sets(
        &mut self,
        family: Family,
        gold: &[RelationKey],
        predicted: &[RelationKey],
        both_typed: impl Fn(&RelationKey) -> bool,
    ) {
        for item in gold {
            self.add(family, item.2, 0, 0, 1);
        }
        for item in predicted {
            self.add(family, item.2, u32::from(holds(gold, item) && both_typed(item)), 1, 0);
        }
    }

    fn raw_facts(&mut self, predicted: &Items) {
        self.tally(Tally::Units, 1);
        self.tally(Tally::EntityItems, predicted.entities.len());
        self.tally(Tally::RelationItems, predicted.relations.len());
        let with_text: Vec<&EntityItem> = predicted.entities.iter().filter(|entity| entity.text.is_some()).collect();
        self.tally(Tally::EntityTexts, with_text.len());
        self.tally(Tally::EntityMalformed, predicted.entities.len() - with_text.len());
        self.tally(Tally::EntityBadLabel, with_text.iter().filter(|entity| entity.label.is_none()).count());
        let Some(facts) = &predicted.raw else { return };
        let tiers = [Tally::JsonValid, Tally::SchemaValid, Tally::RefsValid, Tally::FullyGrounded];
        for (tally, valid) in tiers.into_iter().zip(facts.valid) {
            self.tally(tally, usize::from(valid));
        }
        for grounding in facts.grounding.iter().flatten() {
            self.tally(Tally::NotSubstring, usize::from(*grounding <= Grounding::CaseDiffers));
            self.tally(Tally::NotSubstringIgnoringCase, usize::from(*grounding == Grounding::Absent));
            self.tally(Tally::NotTokenAligned, usize::from(*grounding <= Grounding::InsideTokens));
            self.tally(Tally::SurplusOrBadOccurrence, usize::from(*grounding == Grounding::Surplus));
        }
        self.tally(Tally::RelationMalformed, facts.relations_malformed as usize);
        self.tally(Tally::RelationUnresolved, facts.relations_unresolved as usize);
        for &fault in &facts.faults {
            *self.counts.faults.entry(fault).or_default() += 1;
        }
    }

    fn label_set(&mut self, family: Family, labels: &Labels) {
        let invalid = self.layout.slots(Family::Ner) - 1;
        let gold = set(labels.gold.iter().copied());
        let predicted = set(labels.predicted.iter().copied().filter(|&slot| slot != invalid));
        let matched = predicted.iter().filter(|slot| holds(&gold, slot)).count();
        self.add(family, 0, matched as u32, predicted.len(), gold.len());
    }

    fn label_multiset(&mut self, labels: &Labels) {
        let invalid = self.layout.slots(Family::Ner) - 1;
        let mut counts = vec![(0_u32, 0_u32); invalid + 1];
        for &slot in &labels.gold {
            counts[slot].0 += 1;
        }
        for &slot in &labels.predicted {
            counts[slot].1 += 1;
        }
        let matched = counts[..invalid].iter().map(|(gold, predicted)| gold.min(predicted)).sum();
        self.add(Family::LabelMultiset, 0, matched, labels.predicted.len(), labels.gold.len());
    }

    /// Relaxed matching of one unit; returns the word sets for that of the document.
    fn relaxed(&mut self, gold: &Items, predicted: &Items) -> (Vec<WordedItem>, Vec<WordedItem>) {
        let mut words = |items: &Items| -> Vec<WordedItem> {
            let with_text = items.entities.iter().filter_map(|item| Some((item.place.span(), item.text.as_ref()?)));
            with_text.map(|(span, text)| (span, self.words.set(text))).collect()
        };
        let (gold, predicted) = (words(gold), words(predicted));
        self.add(Family::RelaxedStrict, 0, strict_matches(&gold, &predicted), predicted.len(), gold.len());
        self.add(Family::RelaxedUnit, 0, greedy_matches(&gold, &predicted), predicted.len(), gold.len());
        (gold, predicted)
    }
}
