//! Counting the relations of one unit.

use tabpo_corpus::Document;
use tabpo_ontology::RelationLabelId;

use super::Row;
use super::side::{Side, make_set, text_at};
use crate::items::{Items, Place, RelationItem, place_text};
use crate::layout::Family;
use crate::relaxed::Texts;

/// A relation reduced to what comparison needs: head, tail, type slot.
type Key = (Place, Place, u32);

/// The relations of both sides, gold first, in the forms that are compared.
#[derive(Default)]
pub(super) struct Scratch {
    keys: [Vec<Key>; 2],
    /// Those of symmetric types, rewritten.
    symmetric: [Vec<Key>; 2],
    pairs: [Vec<(Place, Place)>; 2],
    texts: [Vec<(u32, u32, u32)>; 2],
}

/// Families that are counted as `Rel` or `RelPlus` but for relations of symmetric types.
const DIRECTED: [(Family, [Family; 2]); 2] = [
    (Family::Rel, [Family::RelSymmetric, Family::RelDoubled]),
    (Family::RelPlus, [Family::RelPlusSymmetric, Family::RelPlusDoubled]),
];

/// Takes over, when all units of a document are counted, what families have in common: a relation
/// of a type that is not symmetric counts in the same way in all of them.
pub(super) fn share_directed(row: &mut Row) {
    let layout = row.layout;
    for slot in 0..layout.slots(Family::Rel) {
        if is_symmetric(row, slot as u32) {
            continue;
        }
        for (from, families) in DIRECTED {
            let from = layout.column(from, slot);
            for family in families {
                row.cells.copy_within(from..from + 3, layout.column(family, slot));
            }
        }
    }
}

fn is_symmetric(row: &Row, slot: u32) -> bool {
    slot < row.invalid_relation() && row.layout.is_symmetric(RelationLabelId(slot as u16))
}

fn key(row: &Row, item: &RelationItem) -> Key {
    let slot = item.label.map_or_else(|| row.invalid_relation(), |label| label.index() as u32);
    (item.head, item.tail, slot)
}

impl Scratch {
    /// Compares relations in all their ways; `typed` are the places with a right label, sorted.
    pub(super) fn count(
        &mut self,
        row: &mut Row,
        document: &Document,
        texts: &mut Texts,
        sides: [&Side; 2],
        items: [&Items; 2],
        typed: &[Place],
    ) {
        if items.iter().all(|items| items.relations.is_empty()) {
            return;
        }
        for (keys, items) in self.keys.iter_mut().zip(items) {
            keys.clear();
            keys.extend(items.relations.iter().map(|item| key(row, item)));
            make_set(keys);
        }
        let is_typed = |place: Place| typed.binary_search(&place).is_ok();
        let typed = |&(head, tail, _): &Key| is_typed(head) && is_typed(tail);
        let [gold, predicted] = &self.keys;
        let mut right = row.sets(Family::Rel, gold, predicted, |key| key.2);
        let mut right_plus = row.sets_where(Family::RelPlus, gold, predicted, |key| key.2, typed);

        let [gold_items, predicted_items] = items;
        let listed = &predicted_items.relations;
        // A list matches as its set does, unless it says something twice.
        if predicted.len() < listed.len() {
            let found = |key: &Key| gold.binary_search(key).is_ok();
            let keys = || listed.iter().map(|item| key(row, item)).filter(found);
            (right, right_plus) = (keys().count() as u32, keys().filter(typed).count() as u32);
        }
        let gold_count = gold_items.relations.len() + gold_items.repeated_relations;
        row.add(Family::ListRel, 0, right, listed.len(), gold_count);
        row.add(Family::ListRelPlus, 0, right_plus, listed.len(), gold_count);

        if self.keys.iter().flatten().any(|&(_, _, slot)| is_symmetric(row, slot)) {
            self.symmetric(row, sides[1], typed);
        }
        for (pairs, keys) in self.pairs.iter_mut().zip(&self.keys) {
            pairs.clear();
            pairs.extend(keys.iter().map(|&(a, b, _)| (a.min(b), a.max(b))));
            make_set(pairs);
        }
        row.sets(Family::Pair, &self.pairs[0], &self.pairs[1], |_| 0);
        self.texts(row, document, texts, sides, items);
    }

    /// Compares relations of symmetric types with their arguments in order of offset, and doubled:
    /// both directions.
    fn symmetric(&mut self, row: &mut Row, predicted: &Side, typed: impl Fn(&Key) -> bool + Copy) {
        let Self { keys: [gold_keys, predicted_keys], symmetric: [gold_set, predicted_set], .. } = self;
        let rewrite = |row: &Row, keys: &[Key], set: &mut Vec<Key>, form: &dyn Fn(Key) -> [Key; 2]| {
            set.clear();
            set.extend(keys.iter().filter(|key| is_symmetric(row, key.2)).flat_map(|&key| form(key)));
            set.sort_unstable();
            set.dedup();
        };
        let ordered = |(head, tail, slot): Key| [(head.min(tail), head.max(tail), slot); 2];
        // An argument that is no predicted entity has no type; its relation is left as written.
        let ordered_entities = |key: Key| {
            if predicted.has_entity_at(key.0) && predicted.has_entity_at(key.1) { ordered(key) } else { [key; 2] }
        };
        let doubled = |(head, tail, slot): Key| [(head, tail, slot), (tail, head, slot)];

        rewrite(row, gold_keys, gold_set, &ordered);
        rewrite(row, predicted_keys, predicted_set, &ordered);
        row.sets(Family::RelSymmetric, gold_set, predicted_set, |key| key.2);
        rewrite(row, predicted_keys, predicted_set, &ordered_entities);
        row.sets_where(Family::RelPlusSymmetric, gold_set, predicted_set, |key| key.2, typed);
        rewrite(row, gold_keys, gold_set, &doubled);
        rewrite(row, predicted_keys, predicted_set, &doubled);
        row.sets(Family::RelDoubled, gold_set, predicted_set, |key| key.2);
        row.sets_where(Family::RelPlusDoubled, gold_set, predicted_set, |key| key.2, typed);
    }

    /// Compares relations by the texts of their arguments; one without texts equals no other.
    fn texts(&mut self, row: &mut Row, document: &Document, texts: &mut Texts, sides: [&Side; 2], items: [&Items; 2]) {
        for index in 0..2 {
            let set = &mut self.texts[index];
            set.clear();
            let mut text = |place: Place| {
                let known = text_at(&sides[index].placed_texts, place);
                known.or_else(|| place_text(document, place).map(|text| texts.number(&text)))
            };
            for item in &items[index].relations {
                let (_, _, slot) = key(row, item);
                match text(item.head).zip(text(item.tail)) {
                    Some((head, tail)) => set.push((head, tail, slot)),
                    None => row.add(Family::TextRel, slot, 0, index, 1 - index),
                }
            }
            make_set(set);
        }
        row.sets(Family::TextRel, &self.texts[0], &self.texts[1], |key| key.2);
    }
}
