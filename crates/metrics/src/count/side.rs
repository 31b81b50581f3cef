//! One side of a comparison, gold or predicted, brought into the forms that are compared.

use tabpo_ontology::EntityLabelId;

use super::Row;
use crate::items::{EntityItem, Place};
use crate::layout::{Family, Layout};
use crate::relaxed::{Texts, WordedItem};

/// How often each entity label slot occurs among the items that have a text.
pub(super) type Labels = Vec<u32>;

/// The entities of one side, of the unit and of the document so far.
pub(super) struct Side {
    /// The set of (place, label slot), sorted.
    pub(super) entities: Vec<(Place, u32)>,
    /// The set of (text, label slot), sorted.
    pub(super) labelled_texts: Vec<(u32, u32)>,
    /// The places in the source and their texts, sorted.
    pub(super) placed_texts: Vec<(Place, u32)>,
    pub(super) labels: Labels,
    /// The items with a text, in their order.
    pub(super) worded: Vec<WordedItem>,
    pub(super) document_labels: Labels,
    pub(super) document_worded: Vec<WordedItem>,
}

impl Side {
    pub(super) fn new(layout: &Layout) -> Self {
        let labels = vec![0; layout.slots(Family::Ner)];
        Self {
            entities: Vec::new(),
            labelled_texts: Vec::new(),
            placed_texts: Vec::new(),
            labels: labels.clone(),
            worded: Vec::new(),
            document_labels: labels,
            document_worded: Vec::new(),
        }
    }

    pub(super) fn start_document(&mut self) {
        self.document_labels.fill(0);
        self.document_worded.clear();
    }

    /// Takes in the entities of a unit. `known` are places whose texts have numbers already, sorted:
    /// what stands at the same place has the same text.
    pub(super) fn start_unit(&mut self, entities: &[EntityItem], known: &[(Place, u32)], texts: &mut Texts, row: &Row) {
        self.entities.clear();
        self.labelled_texts.clear();
        self.placed_texts.clear();
        self.labels.fill(0);
        self.worded.clear();
        for item in entities {
            let slot = entity_slot(item, row);
            self.entities.push((item.place, slot));
            if let Some(text) = &item.text {
                let text = text_at(known, item.place).unwrap_or_else(|| texts.number(text));
                let span = item.place.span();
                self.labelled_texts.push((text, slot));
                self.labels[slot as usize] += 1;
                self.worded.push((span, text));
                if span.is_some() {
                    self.placed_texts.push((item.place, text));
                }
            }
        }
        make_set(&mut self.entities);
        make_set(&mut self.labelled_texts);
        make_set(&mut self.placed_texts);
    }

    /// Adds the unit to the document.
    pub(super) fn end_unit(&mut self) {
        for (sum, count) in self.document_labels.iter_mut().zip(&self.labels) {
            *sum += count;
        }
        self.document_worded.extend_from_slice(&self.worded);
    }

    /// Whether an entity stands at a place.
    pub(super) fn has_entity_at(&self, place: Place) -> bool {
        self.entities.binary_search_by_key(&place, |&(other, _)| other).is_ok()
    }
}

/// The text of a place in a sorted list.
pub(super) fn text_at(known: &[(Place, u32)], place: Place) -> Option<u32> {
    let found = known.binary_search_by_key(&place, |&(other, _)| other).ok()?;
    Some(known[found].1)
}

/// The label slot of an entity.
pub(super) fn entity_slot(item: &EntityItem, row: &Row) -> u32 {
    item.label.map_or_else(|| row.invalid_entity(), |label| EntityLabelId::index(label) as u32)
}

/// Sorts and removes duplicates.
pub(super) fn make_set<T: Ord>(items: &mut Vec<T>) {
    if !items.is_sorted_by(|a, b| a < b) {
        items.sort_unstable();
        items.dedup();
    }
}
