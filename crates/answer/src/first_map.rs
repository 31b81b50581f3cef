//! A map for the few items of an answer.

use std::borrow::Borrow;
use std::hash::Hash;

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
    pub(crate) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        if self.many.is_empty() {
            return self.few.iter().find(|(other, _)| other.borrow() == key).map(|&(_, value)| value);
        }
        self.many.get(key).copied()
    }

    /// Gives a key its value unless it has one; returns whether it had none.
    pub(crate) fn insert(&mut self, key: K, value: V) -> bool {
        if self.get::<K>(&key).is_some() {
            return false;
        }
        if self.many.is_empty() && self.few.len() < FEW {
            self.few.push((key, value));
        } else {
            self.many.extend(self.few.drain(..));
            self.many.insert(key, value);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_first_values_whatever_its_size() {
        let mut map = FirstMap::default();
        for key in 0..3 * FEW {
            assert_eq!(map.get::<usize>(&key), None);
            assert!(map.insert(key, key + 1));
            assert!(!map.insert(key, 0));
        }
        assert!((0..3 * FEW).all(|key| map.get::<usize>(&key) == Some(key + 1)));
    }
}
