//! Preference pairs to leaf through.

use tabpo_pairs::{Kind, PairRecord};
use tabpo_report::PairView;

/// At most `count` items, evenly spaced.
pub(super) fn evenly<T>(items: &[T], count: usize) -> impl Iterator<Item = &T> {
    let stride = items.len().div_ceil(count.max(1)).max(1);
    items.iter().step_by(stride)
}

/// A pair as the page shows it.
pub(super) fn view(pair: &PairRecord) -> PairView {
    let edit = &pair.edit;
    let place = match pair.sent {
        Some(sentence) => format!("{}, sentence {sentence}", pair.doc_key),
        None => pair.doc_key.clone(),
    };
    let source = match &edit.pattern {
        Some(pattern) => format!("{} {pattern}", edit.source),
        None => edit.source.to_string(),
    };
    // A reversed relation keeps its type, and head and tail change places.
    let ends: Vec<&str> = edit.item.split(' ').collect();
    let (item, from, to) = match (edit.kind, ends.as_slice()) {
        (Kind::Direction, [head, .., tail]) => {
            let name = edit.from.as_deref().unwrap_or_default();
            (String::new(), edit.item.clone(), format!("{tail} {name} {head}"))
        }
        _ => (edit.item.clone(), edit.from.clone().unwrap_or_default(), edit.to.clone().unwrap_or_default()),
    };
    PairView {
        id: pair.id.clone(),
        place,
        text: pair.prompt.clone(),
        chosen: pair.chosen.clone(),
        rejected: pair.rejected.clone(),
        kind: edit.kind.to_string(),
        source,
        item,
        from,
        to,
        distance: Some(u64::from(pair.distance_tokens)),
        weight: Some(pair.weight),
    }
}
