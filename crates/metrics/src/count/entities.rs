//! Counting the entities of one unit.

use super::Row;
use super::side::{Side, entity_slot, set};
use crate::items::{ItemPlace, Items};
use crate::layout::{Family, Tally};

/// A place and a label slot.
type Entity = (ItemPlace, u32);

/// Compares places and labels, as sets and as lists, and texts. Returns the places, sorted, with a predicted
/// label that is right.
pub(super) fn count(
    row: &mut Row,
    [gold_side, predicted_side]: &[Side; 2],
    [gold_items, predicted_items]: [&Items; 2],
    confusion: &mut Vec<(u32, u32)>,
) -> Vec<ItemPlace> {
    let (gold, predicted) = (&gold_side.entities[..], &predicted_side.entities[..]);
    let is_right = |entity: &Entity| gold.binary_search(entity).is_ok();
    row.sets(Family::Ner, gold, predicted, |&(_, slot)| slot);
    let [gold_places, predicted_places] =
        [gold, predicted].map(|entities| set(entities.iter().map(|&(place, _)| place)));
    row.sets(Family::Span, &gold_places, &predicted_places, |_| 0);
    for &(place, slot) in gold {
        if predicted_side.has_entity_at(place) {
            let correct = predicted.binary_search(&(place, slot)).is_ok();
            row.tally(Tally::Located, 1);
            row.tally(Tally::LocatedCorrect, usize::from(correct));
            let written = if correct { Some(slot) } else { first_by_name(row, predicted, place) };
            confusion.extend(written.map(|written| (slot, written)));
        }
    }
    let listed = predicted_items.entities.iter().map(|item| (item.place, entity_slot(item, row)));
    let matched = listed.filter(is_right).count() as u32;
    row.add(Family::ListNer, 0, matched, predicted_items.entities.len(), gold_items.entities.len());
    row.sets(Family::TextNer, &gold_side.labelled_texts, &predicted_side.labelled_texts, |&(_, slot)| slot);
    predicted.iter().filter(|entity| is_right(entity)).map(|&(place, _)| place).collect()
}

/// The slot at a place whose name comes first, an unknown label last.
fn first_by_name(row: &Row, entities: &[Entity], place: ItemPlace) -> Option<u32> {
    let names = row.layout.names(Family::Ner)?;
    let first = entities.partition_point(|&(other, _)| other < place);
    let slots = entities[first..].iter().take_while(|&&(other, _)| other == place).map(|&(_, slot)| slot);
    slots.min_by_key(|&slot| (slot as usize + 1 == names.len(), &names[slot as usize]))
}
