//! Counting the relations of one unit.

use tabpo_corpus::Document;
use tabpo_ontology::RelationLabelId;

use super::Row;
use super::side::{Side, set};
use crate::items::{ItemPlace, Items, RelationItem, place_text};
use crate::layout::Family;
use crate::relaxed::Texts;

/// A relation reduced to what comparison needs: head, tail, type slot.
type Key = (ItemPlace, ItemPlace, u32);

/// Compares relations in all their ways; `typed` are the places with a right label, sorted.
pub(super) fn count(
    row: &mut Row,
    document: &Document,
    texts: &mut Texts,
    predicted_side: &Side,
    items: [&Items; 2],
    typed: &[ItemPlace],
) {
    let is_typed = |place: ItemPlace| typed.binary_search(&place).is_ok();
    let typed = |&(head, tail, _): &Key| is_typed(head) && is_typed(tail);
    let slot = |key: &Key| key.2;
    let [gold, predicted] = &items.map(|items| set(items.relations.iter().map(|item| key(row, item))));
    row.sets(Family::Rel, gold, predicted, slot);
    row.sets_where(Family::RelPlus, gold, predicted, slot, typed);

    let [gold_items, predicted_items] = items;
    let listed = predicted_items.relations.iter().map(|item| key(row, item));
    let right: Vec<Key> = listed.filter(|key| gold.binary_search(key).is_ok()).collect();
    let right_plus = right.iter().filter(|key| typed(key)).count();
    let counts = (predicted_items.relations.len(), gold_items.relations.len() + gold_items.repeated_relations);
    row.add(Family::ListRel, 0, right.len() as u32, counts.0, counts.1);
    row.add(Family::ListRelPlus, 0, right_plus as u32, counts.0, counts.1);

    // Relations of symmetric types with their arguments in order of offset.
    let symmetric: Vec<bool> = (0..row.layout.slots(Family::Rel) as u32).map(|slot| is_symmetric(row, slot)).collect();
    let ordered = |&(head, tail, slot): &Key| {
        if symmetric[slot as usize] { (head.min(tail), head.max(tail), slot) } else { (head, tail, slot) }
    };
    // An argument that is not a predicted entity has no type; its relation is left as written.
    let has_entities = |key: &Key| predicted_side.has_entity_at(key.0) && predicted_side.has_entity_at(key.1);
    let ordered_gold = set(gold.iter().map(ordered));
    row.sets(Family::RelSymmetric, &ordered_gold, &set(predicted.iter().map(ordered)), slot);
    let ordered_entities = set(predicted.iter().map(|key| if has_entities(key) { ordered(key) } else { *key }));
    row.sets_where(Family::RelPlusSymmetric, &ordered_gold, &ordered_entities, slot, typed);

    // Relations of symmetric types in both directions.
    let doubled = |keys: &[Key]| {
        let reversed =
            keys.iter().filter(|key| symmetric[key.2 as usize]).map(|&(head, tail, slot)| (tail, head, slot));
        set(keys.iter().copied().chain(reversed))
    };
    let (gold_doubled, predicted_doubled) = (doubled(gold), doubled(predicted));
    row.sets(Family::RelDoubled, &gold_doubled, &predicted_doubled, slot);
    row.sets_where(Family::RelPlusDoubled, &gold_doubled, &predicted_doubled, slot, typed);

    let pairs = |keys: &[Key]| set(keys.iter().map(|&(a, b, _)| (a.min(b), a.max(b))));
    row.sets(Family::Pair, &pairs(gold), &pairs(predicted), |_| 0);

    let [gold_texts, predicted_texts] = [0, 1].map(|side| {
        let mut text = |place| place_text(document, place).map(|text| texts.number(&text));
        let mut worded = Vec::new();
        for item in &items[side].relations {
            let (_, _, slot) = key(row, item);
            match text(item.head).zip(text(item.tail)) {
                Some((head, tail)) => worded.push((head, tail, slot)),
                // Without texts it equals no other.
                None => row.add(Family::TextRel, slot, 0, side, 1 - side),
            }
        }
        set(worded)
    });
    row.sets(Family::TextRel, &gold_texts, &predicted_texts, |key| key.2);
}

fn is_symmetric(row: &Row, slot: u32) -> bool {
    slot < row.invalid_relation() && row.layout.is_symmetric(RelationLabelId(slot as u16))
}

fn key(row: &Row, item: &RelationItem) -> Key {
    let slot = item.label.map_or_else(|| row.invalid_relation(), |label| label.index() as u32);
    (item.head, item.tail, slot)
}
