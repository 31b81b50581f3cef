//! Names are equal in any Unicode composition: `é` may be one character, or an `e` with an accent.

use std::borrow::Cow;

use unicode_normalization::{UnicodeNormalization, is_nfc};

/// A name in canonical composition (NFC), the form in which names are compared. Whatever is shown or
/// written keeps the composition of its source.
pub fn canonical_name(name: &str) -> Cow<'_, str> {
    if name.is_ascii() || is_nfc(name) { Cow::Borrowed(name) } else { Cow::Owned(name.nfc().collect()) }
}

/// The first id that has exactly this name, or else the first that has it in another composition.
pub(crate) fn find_named<'n, Id: Copy, Names: IntoIterator<Item = &'n str>>(
    mut ids: impl Iterator<Item = Id> + Clone,
    names: impl Fn(Id) -> Names,
    name: &str,
) -> Option<Id> {
    let exact = ids.clone().find(|&id| names(id).into_iter().any(|other| other == name));
    if exact.is_some() || name.is_ascii() {
        return exact;
    }
    let wanted = canonical_name(name);
    ids.find(|&id| names(id).into_iter().any(|other| canonical_name(other) == wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_composed() {
        let labels = ["Ger\u{e4}t", "Gera\u{308}t", "Caf\u{e9}", "\u{2126}"];
        let find = |name: &str| find_named(0..labels.len(), |id: usize| [labels[id]], name);
        assert_eq!((find("Ger\u{e4}t"), find("Gera\u{308}t")), (Some(0), Some(1)));
        assert_eq!((find("Cafe\u{301}"), find("\u{3a9}")), (Some(2), Some(3)));
        assert_eq!((find("Cafe"), find("caf\u{e9}")), (None, None));
        assert_eq!(canonical_name("Cafe\u{301}"), "Caf\u{e9}");
    }
}
