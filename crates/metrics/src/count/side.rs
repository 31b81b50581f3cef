//! One side of a comparison, gold or predicted, in the forms that are compared.

use tabpo_ontology::EntityLabelId;

use super::Row;
use crate::items::{EntityItem, ItemPlace};
use crate::layout::Family;
use crate::relaxed::{Texts, WordedItem};

/// How often each entity label slot occurs among the items that have a text.
pub(super) type Labels = Vec<u32>;

/// The entities of one side of a unit.
pub(super) struct Side {
    /// The set of (place, label slot), sorted.
    pub(super) entities: Vec<(ItemPlace, u32)>,
    /// The set of (text, label slot), sorted.
    pub(super) labelled_texts: Vec<(u32, u32)>,
    pub(super) labels: Labels,
    /// The items with a text, in their order.
    pub(super) worded: Vec<WordedItem>,
}

impl Side {
    pub(super) fn new(entities: &[EntityItem], texts: &mut Texts, row: &Row) -> Self {
        let (mut labelled_texts, mut worded) = (Vec::new(), Vec::new());
        let mut labels = vec![0; row.layout.slots(Family::Ner)];
        for item in entities {
            let Some(text) = &item.text else { continue };
            let (text, slot) = (texts.number(text), entity_slot(item, row));
            labelled_texts.push((text, slot));
            labels[slot as usize] += 1;
            worded.push((item.place.span(), text));
        }
        let entities = set(entities.iter().map(|item| (item.place, entity_slot(item, row))));
        Self { entities, labelled_texts: set(labelled_texts), labels, worded }
    }

    /// Whether there is an entity at a place.
    pub(super) fn has_entity_at(&self, place: ItemPlace) -> bool {
        self.entities.binary_search_by_key(&place, |&(other, _)| other).is_ok()
    }
}

/// The label slot of an entity.
pub(super) fn entity_slot(item: &EntityItem, row: &Row) -> u32 {
    item.label.map_or_else(|| row.invalid_entity(), |label| EntityLabelId::index(label) as u32)
}

/// The items sorted and without duplicates.
pub(super) fn set<T: Ord>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.into_iter().collect();
    items.sort_unstable();
    items.dedup();
    items
}
