//! Strings as numbers.

use std::ops::Range;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use rustc_hash::FxBuildHasher;
use std::hash::BuildHasher;

/// Gives every different string the next number. Made to be cleared and filled again and again: the
/// strings are copied into one buffer.
#[derive(Default)]
pub(crate) struct Interner {
    bytes: Vec<u8>,
    /// Where each string stands in `bytes`.
    strings: Vec<Range<usize>>,
    numbers: HashTable<u32>,
}

fn hash(string: &[u8]) -> u64 {
    FxBuildHasher.hash_one(string)
}

impl Interner {
    /// Forgets all strings.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.strings.clear();
        self.numbers.clear();
    }

    /// The number of a string.
    pub(crate) fn number(&mut self, string: &[u8]) -> u32 {
        let Self { bytes, strings, numbers } = self;
        let at = |number: u32| &bytes[strings[number as usize].clone()];
        let found = numbers.entry(hash(string), |&number| at(number) == string, |&number| hash(at(number)));
        match found {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                let number = strings.len() as u32;
                entry.insert(number);
                strings.push(bytes.len()..bytes.len() + string.len());
                bytes.extend_from_slice(string);
                number
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_strings_share_a_number() {
        let mut interner = Interner::default();
        for _ in 0..2 {
            let names: Vec<String> = (0..100).map(|number| format!("s{number}")).collect();
            for (number, name) in (0..).zip(&names) {
                assert_eq!(interner.number(name.as_bytes()), number);
            }
            assert_eq!(interner.number(b"s42"), 42);
            interner.clear();
        }
    }
}
