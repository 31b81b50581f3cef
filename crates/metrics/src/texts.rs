//! The texts of a document as numbers and as sets of words.

use std::hash::BuildHasher;
use std::ops::Range;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use rustc_hash::FxBuildHasher;
use tabpo_corpus::Span;
use wide::u8x16;

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
    words: Words,
}

/// The set of words of a text.
#[derive(Clone, Copy)]
pub(crate) struct Words {
    /// A bit for each word: that of its number modulo 64.
    bits: u64,
    /// Where their numbers start in [`Texts::sets`].
    start: u32,
    count: u32,
}

impl Words {
    /// Whether there are none.
    pub(crate) fn is_empty(self) -> bool {
        self.count == 0
    }
}

struct Word {
    /// Its first eight bytes in one number; fewer for a shorter word.
    head: u64,
    /// Where it stands in [`Texts::lowercase`].
    bytes: Range<u32>,
}

/// How many bytes are looked at in one step.
const STEP: usize = 16;

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
        let end = self.lowercase.len();
        // Blanks behind the text let it be read in whole steps.
        self.lowercase.extend_from_slice(&[b' '; STEP]);
        let (set, mut bits, mut word) = (self.sets.len(), 0, first);
        // In normal form, words are what is between single spaces.
        for step in (first..=end).step_by(STEP) {
            let mut blanks = self.blanks(step);
            while blanks != 0 {
                let blank = step + blanks.trailing_zeros() as usize;
                blanks &= blanks - 1;
                if blank > word {
                    let number = self.word_number(word as u32..blank as u32);
                    bits |= 1 << (number % 64);
                    self.sets.push(number);
                }
                word = blank + 1;
            }
        }
        self.lowercase.truncate(end);
        // Texts mostly say a word once, and a new word has the highest number so far.
        if !self.sets[set..].is_sorted_by(|a, b| a < b) {
            self.sort_set_from(set);
        }
        let text = start..start + text.len() as u32;
        let words = Words { bits, start: set as u32, count: (self.sets.len() - set) as u32 };
        self.known.push(Text { bytes: text, words });
    }

    /// A bit for each byte of a step: whether it is a blank.
    fn blanks(&self, start: usize) -> u32 {
        let bytes = self.lowercase[start..].first_chunk().copied().unwrap_or([b' '; STEP]);
        u8x16::new(bytes).simd_eq(u8x16::splat(b' ')).to_bitmask()
    }

    /// The number of a word that stands in [`Texts::lowercase`] with eight bytes or more behind it.
    fn word_number(&mut self, bytes: Range<u32>) -> u32 {
        let Self { lowercase, words, word_numbers, .. } = self;
        let is_short = bytes.len() <= 8;
        let all = lowercase[bytes.start as usize..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let head = if is_short { all & (u64::MAX >> (64 - 8 * bytes.len())) } else { all };
        let hash = |word: &Word| {
            if word.bytes.len() <= 8 {
                FxBuildHasher.hash_one(word.head)
            } else {
                FxBuildHasher.hash_one(slice(lowercase, &word.bytes))
            }
        };
        let word = Word { head, bytes };
        let is_same = |&number: &u32| {
            let other = &words[number as usize];
            // The head is all of a short word.
            other.head == word.head
                && other.bytes.len() == word.bytes.len()
                && (is_short || slice(lowercase, &other.bytes) == slice(lowercase, &word.bytes))
        };
        match word_numbers.entry(hash(&word), is_same, |&number| hash(&words[number as usize])) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                let number = words.len() as u32;
                entry.insert(number);
                words.push(word);
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

    /// The words of a text.
    pub(crate) fn words(&self, text: u32) -> Words {
        self.known[text as usize].words
    }

    /// Whether two texts match: the set of lower-cased words of one contains the other's, or the sets
    /// have a Jaccard index of at least 0.6. An empty set is contained in every other.
    pub(crate) fn alike(&self, a: Words, b: Words) -> bool {
        let common = a.bits & b.bits;
        if common == 0 {
            return a.is_empty() || b.is_empty();
        }
        let shared = if self.words.len() <= 64 {
            common.count_ones()
        } else {
            let numbers = |words: Words| slice(&self.sets, &(words.start..words.start + words.count));
            shared(numbers(a), numbers(b))
        };
        let union = a.count + b.count - shared;
        // Jaccard >= 0.6, in integers.
        shared == a.count.min(b.count) || 5 * shared >= 3 * union
    }
}

/// How many numbers two sorted sets share.
fn shared(a: &[u32], b: &[u32]) -> u32 {
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

    fn words_of(texts: &mut Texts, text: &str) -> Words {
        let number = texts.number(text);
        texts.words(number)
    }

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
        let words = ["abcdefgh", "abcdefg", "abcdefghi", "abcdefghj", "bcdefgh", "a b\0", "É", "é"];
        let sets = words.map(|word| words_of(&mut texts, word));
        for (index, &a) in sets.iter().enumerate() {
            for (other, &b) in sets.iter().enumerate() {
                assert_eq!(
                    texts.alike(a, b),
                    index == other || index.min(other) == 6,
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
            let (a, b) = (words_of(&mut texts, a), words_of(&mut texts, b));
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
                let (a, b) = (words_of(texts, a), words_of(texts, b));
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
        let (a, b) = (words_of(&mut texts, "w0"), words_of(&mut texts, "w64"));
        assert!(!texts.alike(a, b));
    }
}
