//! Counting the sub-labels of one unit.

use tabpo_ontology::SubtypeId;

use super::Row;
use super::side::set;
use crate::items::{EntityItem, Items};
use crate::layout::{Family, Tally};

/// Compares (place, label, sub-label) and (place, sub-label).
pub(super) fn count(row: &mut Row, gold: &Items, predicted: &Items) {
    let layout = row.layout;
    let (invalid_both, invalid_subtype) = (layout.slots(Family::NerBoth) - 1, layout.slots(Family::NerSubtype) - 1);
    let both = |item: &EntityItem| {
        let slot = match (item.label, item.subtype) {
            (Some(label), None) if layout.label_has_subtypes(label.index()) => invalid_both,
            (Some(label), subtype) => layout.both_slot(label.index(), subtype.map(SubtypeId::index)),
            (None, _) => invalid_both,
        };
        (item.place, slot as u32)
    };
    let subtype = |item: &EntityItem| match (item.label, item.subtype) {
        (Some(label), Some(subtype)) => Some((item.place, layout.subtype_slot(label.index(), subtype.index()) as u32)),
        (Some(label), None) if !layout.label_has_subtypes(label.index()) => None,
        _ => Some((item.place, invalid_subtype as u32)),
    };
    let gold_both = set(gold.entities.iter().map(both));
    let predicted_both = set(predicted.entities.iter().map(both));
    row.sets(Family::NerBoth, &gold_both, &predicted_both, |&(_, slot)| slot);
    let gold_subtypes = set(gold.entities.iter().filter_map(subtype));
    let predicted_subtypes = set(predicted.entities.iter().filter_map(subtype));
    row.sets(Family::NerSubtype, &gold_subtypes, &predicted_subtypes, |&(_, slot)| slot);

    let labelled = |item: &EntityItem| Some((item.place, item.label?));
    let predicted_labels = set(predicted.entities.iter().filter_map(labelled));
    let gold_with_subtype = set(gold.entities.iter().filter_map(|item| Some((item.place, item.label?, item.subtype?))));
    for (place, label, subtype) in gold_with_subtype {
        if predicted_labels.binary_search(&(place, label)).is_ok() {
            let slot = layout.both_slot(label.index(), Some(subtype.index())) as u32;
            row.tally(Tally::SubtypeLocated, 1);
            row.tally(Tally::SubtypeCorrect, usize::from(predicted_both.binary_search(&(place, slot)).is_ok()));
        }
    }
}
