//! The texts of a document as numbers and as sets of words.

use std::hash::BuildHasher;
use std::ops::Range;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use rustc_hash::FxBuildHasher;
use tabpo_corpus::Span;

/// An item with a text: its place, if it has one, and the number of its text.
pub(crate) type WordedItem = (Option<Span>, u32);

/// The texts of a document as numbers, and the words of each, so that they can be compared without
/// looking at a string again. Made to be cleared and filled again and again.
#[derive(Default)]
pub(crate) struct Texts {
    /// The different texts, one behind the other.
    bytes: Vec<u8>,
    known: Vec<Text>,
    /// The numbers of texts by their hashes.
    numbers: HashTable<u32>,
    /// As `bytes`, in lower case.
    lowercase: Vec<u8>,
    /// The different words.
    words: Vec<Word>,
    /// The numbers of words by their hashes.
    word_numbers: HashTable<u32>,
    /// The word numbers of all texts, those of each sorted and without duplicates.
    sets: Vec<u32>,
}

struct Text {
    /// Its place in [`Texts::bytes`].
    bytes: Range<u32>,
    /// A bit for each of its words: that of the word's number modulo 64.
    bits: u64,
    /// The place of its words in [`Texts::sets`].
    words: Range<u32>,
}

struct Word {
    hash: u64,
    /// Where it stands in [`Texts::lowercase`].
    bytes: Range<u32>,
}

fn slice<'a, T>(items: &'a [T], range: &Range<u32>) -> &'a [T] {
    &items[range.start as usize..range.end as usize]
}

impl Texts {
    /// Forgets all texts.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.known.clear();
        self.numbers.clear();
        self.lowercase.clear();
        self.words.clear();
        self.word_numbers.clear();
        self.sets.clear();
    }

    /// The number of a text in normal form; equal texts have the same.
    pub(crate) fn number(&mut self, text: &str) -> u32 {
        let Self { bytes, known, numbers, .. } = self;
        let at = |number: u32| slice(bytes, &known[number as usize].bytes);
        let hash = |text: &[u8]| FxBuildHasher.hash_one(text);
        let text = text.as_bytes();
        match numbers.entry(hash(text), |&number| at(number) == text, |&number| hash(at(number))) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                let number = known.len() as u32;
                entry.insert(number);
                self.add(text);
                number
            }
        }
    }

    fn add(&mut self, text: &[u8]) {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(text);
        let first = self.lowercase.len();
        if text.is_ascii() {
            self.lowercase.extend_from_slice(text);
            self.lowercase[first..].make_ascii_lowercase();
        } else {
            let text = str::from_utf8(text).expect("a text was a string");
            self.lowercase.extend_from_slice(text.to_lowercase().as_bytes());
        }
        // In normal form, words are what is between single spaces.
        self.lowercase.push(b' ');
        let set = self.sets.len();
        let (mut bits, mut word, mut hash) = (0, first, 0_u64);
        for index in first..self.lowercase.len() {
            let byte = self.lowercase[index];
            if byte != b' ' {
                hash = hash.rotate_left(8) ^ u64::from(byte);
                continue;
            }
            if index > word {
                let number = self.word_number(hash, word as u32..index as u32);
                bits |= 1 << (number % 64);
                self.sets.push(number);
            }
            (word, hash) = (index + 1, 0);
        }
        // Texts mostly say a word once, and a new word has the highest number so far.
        if !self.sets[set..].is_sorted_by(|a, b| a < b) {
            self.sort_set_from(set);
        }
        let end = start + text.len() as u32;
        self.known.push(Text { bytes: start..end, bits, words: set as u32..self.sets.len() as u32 });
    }

    /// The number of a word of which `hash` has all bytes, the last eight in full.
    fn word_number(&mut self, hash: u64, bytes: Range<u32>) -> u32 {
        let Self { lowercase, words, word_numbers, .. } = self;
        // The table looks at the highest and at the lowest bits.
        let hash = FxBuildHasher.hash_one(hash);
        let is_same = |&number: &u32| {
            let word = &words[number as usize];
            word.hash == hash && slice(lowercase, &word.bytes) == slice(lowercase, &bytes)
        };
        match word_numbers.entry(hash, is_same, |&number| words[number as usize].hash) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                let number = words.len() as u32;
                entry.insert(number);
                words.push(Word { hash, bytes });
                number
            }
        }
    }

    /// Sorts the last word numbers and removes duplicates.
    fn sort_set_from(&mut self, start: usize) {
        self.sets[start..].sort_unstable();
        let mut end = start;
        for index in start..self.sets.len() {
            if index == start || self.sets[index] != self.sets[end - 1] {
                self.sets[end] = self.sets[index];
                end += 1;
            }
        }
        self.sets.truncate(end);
    }

    /// Whether a text has any words.
    pub(crate) fn has_words(&self, text: u32) -> bool {
        !self.known[text as usize].words.is_empty()
    }

    /// Whether two texts match: the set of lower-cased words of one contains the other's, or the sets
    /// have a Jaccard index of at least 0.6. An empty set is contained in every other.
    pub(crate) fn alike(&self, a: u32, b: u32) -> bool {
        let (a, b) = (&self.known[a as usize], &self.known[b as usize]);
        let common = a.bits & b.bits;
        let shared = if common == 0 {
            0
        } else if self.words.len() <= 64 {
            common.count_ones() as usize
        } else {
            shared(slice(&self.sets, &a.words), slice(&self.sets, &b.words))
        };
        let union = a.words.len() + b.words.len() - shared;
        // Jaccard >= 0.6, in integers.
        shared == a.words.len().min(b.words.len()) || 5 * shared >= 3 * union
    }
}

/// How many numbers two sorted sets share.
fn shared(a: &[u32], b: &[u32]) -> usize {
    let (mut i, mut j, mut shared) = (0, 0, 0);
    while i < a.len() && j < b.len() {
        match a[i].cmp(&b[j]) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                shared += 1;
                i += 1;
                j += 1;
            }
        }
    }
    shared
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_share_a_number() {
        let mut texts = Texts::default();
        for _ in 0..2 {
            let names: Vec<String> = (0..100).map(|number| format!("Text {number}")).collect();
            for (number, name) in (0..).zip(&names) {
                assert_eq!(texts.number(name), number);
            }
            assert_eq!(texts.number("Text 42"), 42);
            assert_eq!(texts.number("text 42"), 100);
            texts.clear();
        }
    }

    #[test]
    fn words_are_told_apart_in_full() {
        let mut texts = Texts::default();
        // Their last eight bytes are the same, and the first ones cancel out when they are rotated.
        let words = ["ababcdefgh", "bbabcdefgh", "abcdefgh", "É", "é"];
        let numbers = words.map(|word| texts.number(word));
        for (index, &a) in numbers.iter().enumerate() {
            for (other, &b) in numbers.iter().enumerate() {
                assert_eq!(
                    texts.alike(a, b),
                    index == other || index.min(other) == 3,
                    "{} {}",
                    words[index],
                    words[other]
                );
            }
        }
    }

    #[test]
    fn texts_match_by_containment_or_overlap() {
        let mut texts = Texts::default();
        let mut alike_texts = |a: &str, b: &str| {
            let (a, b) = (texts.number(a), texts.number(b));
            texts.alike(a, b)
        };
        assert!(alike_texts("Optical Flow", "optical flow estimation"));
        assert!(alike_texts("a b c d", "b c d e"));
        assert!(!alike_texts("a b c", "c d e"));
        assert!(alike_texts("a b c x", "a b c y")); // 3 of 5
        assert!(!alike_texts("a b x", "a b y")); // 2 of 4
        assert!(alike_texts("", "anything"));
    }

    #[test]
    fn texts_match_alike_with_few_and_many_words() {
        let mut texts = Texts::default();
        let pairs = [("a b c d", "b c d e"), ("a b c", "c d e"), ("w0 w64", "w1 w65"), ("w0 w64", "w0")];
        let compare = |texts: &mut Texts| {
            pairs.map(|(a, b)| {
                let (a, b) = (texts.number(a), texts.number(b));
                texts.alike(a, b)
            })
        };
        assert_eq!(compare(&mut texts), [true, false, false, true]);
        for number in 0..200 {
            texts.number(&format!("w{number}"));
        }
        assert_eq!(compare(&mut texts), [true, false, false, true]);
        texts.clear();
        for number in 0..200 {
            texts.number(&format!("w{number}"));
        }
        assert_eq!(compare(&mut texts), [true, false, false, true]);
        // The bits of both words coincide, the words do not.
        let (a, b) = (texts.number("w0"), texts.number("w64"));
        assert!(!texts.alike(a, b));
    }
}
