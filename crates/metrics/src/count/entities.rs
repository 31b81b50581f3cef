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
    [gold_side, predicted_side]: [&Side; 2],
    [gold_items, predicted_items]: [&Items; 2],
    confusion: &mut FxHashMap<(u32, u32), u64>,
    typed: &mut Vec<Place>,
) {
    typed.clear();
    let (gold, predicted) = (&gold_side.entities[..], &predicted_side.entities[..]);
    let mut matched = 0;
    for (index, &(place, slot)) in predicted.iter().enumerate() {
        let right = gold.binary_search(&(place, slot)).is_ok();
        row.add(Family::Ner, slot, u32::from(right), 1, 0);
        matched += u32::from(right);
        if right && typed.last() != Some(&place) {
            typed.push(place);
        }
        if is_first_at(predicted, index) {
            row.add(Family::Span, 0, u32::from(has_place(gold, place)), 1, 0);
        }
    }
    for (index, &(place, slot)) in gold.iter().enumerate() {
        row.add(Family::Ner, slot, 0, 0, 1);
        row.add(Family::Span, 0, 0, 0, usize::from(is_first_at(gold, index)));
        if has_place(predicted, place) {
            let correct = predicted.binary_search(&(place, slot)).is_ok();
            row.tally(Tally::Located, 1);
            row.tally(Tally::LocatedCorrect, usize::from(correct));
            let written = if correct { Some(slot) } else { first_by_name(row, predicted, place) };
            if let Some(written) = written {
                *confusion.entry((slot, written)).or_default() += 1;
            }
        }
    }

    // A list matches as its set does, unless it says something twice.
    if predicted.len() < predicted_items.entities.len() {
        let listed = predicted_items.entities.iter().map(|item| (item.place, entity_slot(item, row)));
        matched = listed.filter(|item| gold.binary_search(item).is_ok()).count() as u32;
    }
    row.add(Family::ListNer, 0, matched, predicted_items.entities.len(), gold_items.entities.len());

    row.sets(Family::TextNer, &gold_side.labelled_texts, &predicted_side.labelled_texts, |&(_, slot)| slot);
}

/// Whether an entity stands at a place; entities are sorted.
fn has_place(entities: &[Entity], place: Place) -> bool {
    entities.binary_search_by_key(&place, |&(other, _)| other).is_ok()
}

/// Whether no entity before this one has its place; entities are sorted.
fn is_first_at(entities: &[Entity], index: usize) -> bool {
    index == 0 || entities[index - 1].0 != entities[index].0
}

/// The slot at a place whose name comes first, an unknown label last.
fn first_by_name(row: &Row, entities: &[Entity], place: Place) -> Option<u32> {
    let names = row.layout.names(Family::Ner)?;
    let slots = entities.iter().filter(|&&(other, _)| other == place).map(|&(_, slot)| slot);
    slots.min_by_key(|&slot| (slot as usize + 1 == names.len(), &names[slot as usize]))
}
