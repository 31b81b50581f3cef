//! Which of several entities with the same text is meant.

use std::borrow::Cow;

use rustc_hash::FxHashMap;

use crate::occurrences::comparable;

/// The entities of an answer by their texts. Texts that differ only in blanks or composition are the same.
pub(crate) struct Namesakes<'t> {
    holders: FxHashMap<Cow<'t, str>, Vec<u32>>,
}

impl<'t> Namesakes<'t> {
    /// Those with these texts, in the order of the answer; `None` for one without.
    pub(crate) fn new(texts: impl Iterator<Item = Option<&'t str>>) -> Self {
        let mut holders: FxHashMap<Cow<'t, str>, Vec<u32>> = FxHashMap::default();
        for (index, text) in (0..).zip(texts) {
            if let Some(text) = text {
                holders.entry(comparable(text)).or_default().push(index);
            }
        }
        Self { holders }
    }

    /// The positions of the entities with this text, in order.
    pub(crate) fn with(&self, text: &str) -> &[u32] {
        self.holders.get(comparable(text).as_ref()).map_or(&[], Vec::as_slice)
    }

    /// The number of the entity at this position among those with its text, counted from 1; `None` where it is alone.
    pub(crate) fn number(&self, text: &str, position: u32) -> Option<u32> {
        let same = self.with(text);
        let index = same.iter().position(|&other| other == position).filter(|_| same.len() > 1)?;
        Some(index as u32 + 1)
    }

    /// The entity with this text and number.
    pub(crate) fn numbered(&self, text: &str, number: i64) -> Option<u32> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        self.with(text).get(index).copied()
    }
}
