//! Placing the texts of an answer in a source.

use std::borrow::Cow;

use rustc_hash::FxHashMap;
use tabpo_corpus::Span;

use crate::Grounding;
use crate::occurrences::{Source, comparable};

/// Places texts in a source, one after the other. The work does not grow with texts times tokens: every
/// different text is looked up once, in an index of the tokens.
pub(crate) struct Finder<'s, 'a> {
    source: &'s mut Source<'a>,
    /// The number of each text that was looked for.
    known: FxHashMap<Cow<'s, str>, u32>,
    texts: Vec<Text>,
    /// Tokens in the order of the texts that begin with them.
    index: Vec<u32>,
    /// How many texts without a place were searched for inside tokens.
    unplaced: usize,
    /// The sequences of letters in the source, once there are many such texts.
    grams: Option<Grams>,
    /// Where the last placed entity starts.
    position: u32,
}

/// How many texts without a place are searched for letter by letter before [`Grams`] are made.
const SEARCHES: usize = 64;

/// How many bytes of a text tokens are sorted by.
const SORTED: usize = 64;

/// The part of a text by which the index sorts it.
fn sort_key(text: &[u8]) -> &[u8] {
    &text[..text.len().min(SORTED)]
}

/// A text and its places.
pub(crate) struct Text {
    pub(crate) places: Vec<Span>,
    /// For each place the next one, itself included, that may be free (a union-find forest); empty until a
    /// place is taken.
    free: Vec<u32>,
    /// How well the source supports the text where it has no place; looked up once.
    grounding: Option<Grounding>,
}

impl Text {
    /// The first place from this one on that is not taken; their number if there is none.
    fn free_from(&mut self, place: usize) -> usize {
        if self.free.is_empty() {
            return place;
        }
        let mut found = place;
        while self.free[found] as usize != found {
            found = self.free[found] as usize;
        }
        // Path compression: the next search takes one step.
        let mut place = place;
        while place != found {
            place = std::mem::replace(&mut self.free[place], found as u32) as usize;
        }
        found
    }

    /// Takes a place.
    fn take(&mut self, place: usize) {
        if self.free.is_empty() {
            self.free = (0..=self.places.len() as u32).collect();
        }
        if self.free[place] as usize == place {
            self.free[place] += 1;
        }
    }
}

/// The sequences of four bytes in a text, as a Bloom filter with one hash: it may report a sequence that is
/// not there, but never misses one that is.
struct Grams {
    bits: Vec<u64>,
}

impl Grams {
    /// The binary logarithm of the table's size.
    const SIZE: u32 = 20;

    fn of(text: &str) -> Self {
        let mut grams = Self { bits: vec![0; 1 << (Self::SIZE - 6)] };
        grams.add(text);
        grams
    }

    fn add(&mut self, text: &str) {
        for bit in text.as_bytes().windows(4).map(Self::bit) {
            self.bits[bit / 64] |= 1 << (bit % 64);
        }
    }

    fn bit(gram: &[u8]) -> usize {
        let number = gram.iter().fold(0, |number: u32, &byte| number << 8 | u32::from(byte));
        (number.wrapping_mul(0x9e37_79b1) >> (32 - Self::SIZE)) as usize
    }

    fn may_hold(&self, text: &str) -> bool {
        text.as_bytes().windows(4).map(Self::bit).all(|bit| self.bits[bit / 64] >> (bit % 64) & 1 == 1)
    }
}

impl<'s, 'a> Finder<'s, 'a> {
    pub(crate) fn new(source: &'s mut Source<'a>) -> Self {
        let mut index: Vec<u32> = (0..source.token_count() as u32).collect();
        index.sort_by_key(|&token| sort_key(source.rest(token as usize)));
        Self { source, known: FxHashMap::default(), texts: Vec::new(), index, unplaced: 0, grams: None, position: 0 }
    }

    /// The number of a text, however it is written.
    pub(crate) fn find(&mut self, written: &'s str) -> u32 {
        let text = comparable(written);
        if let Some(&known) = self.known.get(&text) {
            return known;
        }
        let number = self.texts.len() as u32;
        self.texts.push(Text { places: self.search(&text), free: Vec::new(), grounding: None });
        self.known.insert(text, number);
        number
    }

    /// Every token-aligned occurrence of a text in the form in which texts are compared, from left to right;
    /// they may overlap. The 1-based position in this list is what the occurrence key of an answer means.
    fn search(&self, text: &str) -> Vec<Span> {
        let wanted = sort_key(text.as_bytes());
        if wanted.is_empty() {
            return Vec::new();
        }
        let key = |token: u32| sort_key(self.source.rest(token as usize));
        let first = self.index.partition_point(|&token| key(token) < wanted);
        let alike = self.index[first..].iter().take_while(|&&token| key(token).starts_with(wanted));
        let mut found: Vec<Span> = alike.filter_map(|&token| self.source.occurrence_at(token as usize, text)).collect();
        found.sort_unstable();
        found
    }

    /// How well the source supports a text that was not placed.
    pub(crate) fn grounding(&mut self, number: u32, written: &str) -> Grounding {
        let Text { places, grounding, .. } = &mut self.texts[number as usize];
        if !places.is_empty() {
            return Grounding::Surplus;
        }
        *grounding.get_or_insert_with(|| {
            let text: Cow<str> = comparable(written);
            self.unplaced += 1;
            if self.unplaced > SEARCHES {
                // Most texts that a source lacks have a sequence of letters that it lacks.
                let grams = self.grams.get_or_insert_with(|| {
                    let mut grams = Grams::of(self.source.text());
                    grams.add(self.source.lowercase());
                    grams
                });
                // The case of a letter may change how others are lower-cased, so both forms are checked.
                if !grams.may_hold(&text) && !grams.may_hold(&text.to_lowercase()) {
                    return Grounding::Absent;
                }
            }
            if self.source.contains(&text) {
                Grounding::InsideTokens
            } else if self.source.contains_ignoring_case(&text) {
                Grounding::CaseDiffers
            } else {
                Grounding::Absent
            }
        })
    }

    /// The places of a text, from left to right.
    pub(crate) fn places(&self, number: u32) -> &[Span] {
        &self.texts[number as usize].places
    }

    /// The place that the next entity with a text gets by default, monotone leftmost: the leftmost one that
    /// does not start before the last placed entity and is not taken; failing that, the leftmost one not
    /// taken.
    pub(crate) fn default_choice(&mut self, number: u32) -> Option<Span> {
        let text = &mut self.texts[number as usize];
        let ahead = text.places.partition_point(|span| span.start < self.position);
        let place = text.free_from(ahead);
        let place = if place < text.places.len() { place } else { text.free_from(0) };
        text.places.get(place).copied()
    }

    /// Records where the next entity, which has this text, was placed.
    pub(crate) fn place(&mut self, number: u32, span: Span) {
        let text = &mut self.texts[number as usize];
        if let Ok(place) = text.places.binary_search(&span) {
            text.take(place);
        }
        self.position = span.start;
    }
}

#[cfg(test)]
mod tests {
    use tabpo_corpus::{Document, Unit};

    use super::*;

    fn document(tokens: &[&str]) -> Document {
        let mut document = Document::default();
        for token in tokens {
            if !document.text.is_empty() {
                document.text.push(' ');
            }
            let start = document.text.len() as u32;
            document.text.push_str(token);
            document.tokens.push(start..document.text.len() as u32);
        }
        document
    }

    #[test]
    fn default_choice_moves_forward_then_wraps() {
        let document = document(&["x", "a", "b", "y", "a", "b", "z", "a", "b"]);
        let mut source = Source::new(&Unit { document: &document, sentence: None });
        let mut finder = Finder::new(&mut source);
        let (other, text) = (finder.find("y"), finder.find("a b"));
        finder.place(other, Span::new(3, 4));
        let mut taken = Vec::new();
        for _ in 0..3 {
            let span = finder.default_choice(text).expect("three occurrences for three entities");
            finder.place(text, span);
            taken.push(span.start);
        }
        assert_eq!(taken, [4, 7, 1]);
        assert_eq!(finder.default_choice(text), None);
    }

    #[test]
    fn the_index_finds_what_a_scan_finds() {
        let words = ["a", "ab", "abc", "abcd", "abcde", "b", "\u{e9}", "e\u{301}", "a"];
        let tokens: Vec<&str> = (0..400).map(|number| words[number * number % 31 % words.len()]).collect();
        let document = document(&tokens);
        let unit = Unit { document: &document, sentence: None };
        let stretches = [1, 2, 3, 40].map(|length| tokens.windows(length).map(|words| words.join(" ")));
        let texts: Vec<String> = stretches.into_iter().flatten().chain(["bcde ab".to_owned()]).collect();
        let (mut source, scanned) = (Source::new(&unit), Source::new(&unit));
        let mut finder = Finder::new(&mut source);
        for text in &texts {
            let wanted = comparable(text.as_str());
            let expected: Vec<Span> =
                (0..tokens.len()).filter_map(|token| scanned.occurrence_at(token, &wanted)).collect();
            let number = finder.find(text);
            assert_eq!(finder.places(number), expected, "{text}");
            assert_eq!(expected.is_empty(), text == "bcde ab", "{text}");
        }
    }

    #[test]
    fn many_texts_without_a_place_are_judged_as_few_are() {
        let document = document(&["Parsers", "parse", "caf\u{e9}", "phrases"]);
        let unit = Unit { document: &document, sentence: None };
        let texts = ["arse", "Parse", "PHRASES", "lexers", "cafe\u{301}s", "AFE\u{301}", "e ca", "xy", ""];
        let (mut source, mut other) = (Source::new(&unit), Source::new(&unit));
        let (mut few, mut many) = (Finder::new(&mut source), Finder::new(&mut other));
        many.unplaced = SEARCHES;
        let mut found = Vec::new();
        for text in texts {
            let [first, second] = [&mut few, &mut many].map(|finder| {
                let number = finder.find(text);
                finder.grounding(number, text)
            });
            assert_eq!(first, second, "{text}");
            found.push(first);
        }
        assert!(many.grams.is_some() && few.grams.is_none());
        assert_eq!(
            found[..4],
            [Grounding::InsideTokens, Grounding::InsideTokens, Grounding::CaseDiffers, Grounding::Absent]
        );
    }

    #[test]
    fn a_text_that_is_asked_for_often_is_looked_for_once() {
        let count = 20_000;
        let document = document(&vec!["a"; count]);
        let mut source = Source::new(&Unit { document: &document, sentence: None });
        let mut finder = Finder::new(&mut source);
        for number in 0..2 * count {
            let text = finder.find("a");
            let span = finder.default_choice(text);
            assert_eq!(span, (number < count).then(|| Span::new(number as u32, number as u32 + 1)));
            if let Some(span) = span {
                finder.place(text, span);
            }
        }
        assert_eq!(finder.texts.len(), 1);
    }
}
