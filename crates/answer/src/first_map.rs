//! A map for the few items of an answer.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

/// Entries up to which searching a list is faster than hashing.
const FEW: usize = 16;

/// A map that keeps the first value that each key is given: a list while it is small, hashed once it
/// is not, so that an answer of any size takes linear time.
pub(crate) struct FirstMap<K, V> {
    few: SmallVec<[(K, V); FEW]>,
    many: FxHashMap<K, V>,
}

impl<K, V> Default for FirstMap<K, V> {
    fn default() -> Self {
        Self { few: SmallVec::new(), many: FxHashMap::default() }
    }
}

impl<K: Eq + Hash, V: Copy> FirstMap<K, V> {
    /// The value of a key.
    pub(crate) fn get(&self, key: &K) -> Option<V> {
        if self.many.is_empty() {
            return self.few.iter().find(|(other, _)| other == key).map(|&(_, value)| value);
        }
        self.many.get(key).copied()
    }

    /// Gives a key its value unless it has one; returns the value that it then has.
    pub(crate) fn first(&mut self, key: K, value: V) -> V {
        if let Some(value) = self.get(&key) {
            return value;
        }
        if self.many.is_empty() && self.few.len() < FEW {
            self.few.push((key, value));
        } else {
            self.many.extend(self.few.drain(..));
            self.many.insert(key, value);
        }
        value
    }
}

/// A text as a key: short texts are compared in one step.
#[derive(Clone, Debug)]
pub(crate) struct Name<'a> {
    /// The first eight bytes, in one number; fewer for a shorter text.
    prefix: u64,
    text: Cow<'a, str>,
}

impl<'a> Name<'a> {
    pub(crate) fn new(text: Cow<'a, str>) -> Self {
        let prefix = text.bytes().take(8).fold(0, |prefix, byte| prefix << 8 | u64::from(byte));
        Self { prefix, text }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Name<'_> {
    fn eq(&self, other: &Self) -> bool {
        let is_short = self.text.len() <= 8;
        self.prefix == other.prefix && self.text.len() == other.text.len() && (is_short || self.text == other.text)
    }
}

impl Eq for Name<'_> {}

impl Hash for Name<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_first_values_whatever_its_size() {
        let mut map = FirstMap::default();
        for key in 0..3 * FEW {
            assert_eq!(map.get(&key), None);
            assert_eq!(map.first(key, key + 1), key + 1);
            assert_eq!(map.first(key, 0), key + 1);
        }
        assert!((0..3 * FEW).all(|key| map.get(&key) == Some(key + 1)));
    }

    #[test]
    fn names_are_equal_if_their_texts_are() {
        let texts = ["", "\0", "a", "a\0", "\0a", "abcdefgh", "abcdefghi", "abcdefghj", "abcdefg"];
        for a in texts {
            for b in texts {
                assert_eq!(Name::new(a.into()) == Name::new(b.into()), a == b, "{a:?} {b:?}");
            }
        }
    }
}
