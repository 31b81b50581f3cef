//! Counting the entities of one unit.

use rustc_hash::FxHashMap;

use super::Row;
use super::side::{Side, entity_slot};
use crate::items::{Items, Place};
use crate::layout::{Family, Tally};

/// A place and a label slot.
type Entity = (Place, u32);

/// Compares places and labels, as sets and as lists, and texts.
///
/// Afterwards `typed` holds the places, sorted, that have a predicted label which is right.
pub(super) fn count(
    row: &mut Row,
    [gold, predicted]: [&Side; 2],
    [gold_items, predicted_items]: [&Items; 2],
    confusion: &mut FxHashMap<(u32, u32), u64>,
    typed: &mut Vec<Place>,
) {
    typed.clear();
    let mut matched = 0;
    let (mut gold_rest, mut predicted_rest) = (&gold.entities[..], &predicted.entities[..]);
    while let Some(place) = first_place(gold_rest, predicted_rest) {
        let (gold_here, predicted_here);
        (gold_here, gold_rest) = split(gold_rest, place);
        (predicted_here, predicted_rest) = split(predicted_rest, place);
        let located = !gold_here.is_empty() && !predicted_here.is_empty();
        row.add(
            Family::Span,
            0,
            u32::from(located),
            usize::from(!predicted_here.is_empty()),
            usize::from(!gold_here.is_empty()),
        );
        let mut right = 0;
        for &(_, slot) in predicted_here {
            let found = u32::from(gold_here.contains(&(place, slot)));
            row.add(Family::Ner, slot, found, 1, 0);
            right += found;
        }
        for &(_, slot) in gold_here {
            row.add(Family::Ner, slot, 0, 0, 1);
            if !located {
                continue;
            }
            let correct = predicted_here.contains(&(place, slot));
            row.tally(Tally::Located, 1);
            row.tally(Tally::LocatedCorrect, usize::from(correct));
            let written = if correct { Some(slot) } else { first_by_name(row, predicted_here) };
            if let Some(written) = written {
                *confusion.entry((slot, written)).or_default() += 1;
            }
        }
        if right > 0 {
            typed.push(place);
        }
        matched += right;
    }

    // A list matches as its set does, unless it says something twice.
    if predicted.entities.len() < predicted_items.entities.len() {
        let listed = predicted_items.entities.iter().map(|item| (item.place, entity_slot(item, row)));
        matched = listed.filter(|item| gold.entities.binary_search(item).is_ok()).count() as u32;
    }
    row.add(Family::ListNer, 0, matched, predicted_items.entities.len(), gold_items.entities.len());

    row.sets(Family::TextNer, &gold.labelled_texts, &predicted.labelled_texts, |&(_, slot)| slot);
}

/// The smaller of the first places of two sorted lists.
fn first_place(a: &[Entity], b: &[Entity]) -> Option<Place> {
    match (a.first(), b.first()) {
        (Some(&(a, _)), Some(&(b, _))) => Some(a.min(b)),
        (a, b) => a.or(b).map(|&(place, _)| place),
    }
}

/// What a sorted list has at a place that is not behind its first one, and the rest of the list.
fn split(entities: &[Entity], place: Place) -> (&[Entity], &[Entity]) {
    entities.split_at(entities.iter().take_while(|&&(other, _)| other == place).count())
}

/// The slot whose name comes first, an unknown label last.
fn first_by_name(row: &Row, entities: &[Entity]) -> Option<u32> {
    let names = row.layout.names(Family::Ner)?;
    let slots = entities.iter().map(|&(_, slot)| slot);
    slots.min_by_key(|&slot| (slot as usize + 1 == names.len(), &names[slot as usize]))
}
