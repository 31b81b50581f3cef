//! Where a text stands in a unit.

use std::borrow::Cow;
use std::ops::Range;

use smallvec::SmallVec;
use tabpo_corpus::{Span, Unit};
use wide::u8x16;

use crate::first_map::FirstMap;

/// Where a text stands: mostly at few places.
pub(crate) type Places = SmallVec<[Span; 16]>;

/// The source of a unit prepared for look-ups: its text with every run of blanks turned into one
/// space, and the token boundaries in it.
pub(crate) struct Source<'a> {
    text: Cow<'a, str>,
    /// First document token of the unit.
    first_token: u32,
    /// Byte ranges of the tokens, counted so that `text` starts at `base`.
    tokens: Cow<'a, [Range<u32>]>,
    base: u32,
    /// The first bytes of every token, blanks behind it included: most differ from a text there already.
    heads: SmallVec<[Head; 64]>,
    lowercase: Option<String>,
}

impl<'a> Source<'a> {
    pub(crate) fn new(unit: &Unit<'a>) -> Self {
        let (span, document) = (unit.span(), unit.document);
        let tokens = &document.tokens[span.range()];
        let text = unit.text();
        if is_normal(text) {
            return Self::of(Cow::Borrowed(text), Cow::Borrowed(tokens), span.start);
        }
        let (mut text, mut ranges) = (String::new(), Vec::with_capacity(tokens.len()));
        let mut previous_end = None;
        for (index, token) in span.range().zip(tokens) {
            if previous_end.is_some_and(|end| end < token.start) {
                text.push(' ');
            }
            let start = text.len() as u32;
            push_normalised(&mut text, document.token(index));
            ranges.push(start..text.len() as u32);
            previous_end = Some(token.end);
        }
        Self::of(Cow::Owned(text), Cow::Owned(ranges), span.start)
    }

    /// A source with a text in normal form that starts where the first token does.
    fn of(text: Cow<'a, str>, tokens: Cow<'a, [Range<u32>]>, first_token: u32) -> Self {
        let base = tokens.first().map_or(0, |token| token.start);
        let head = |token: &Range<u32>| head(&text.as_bytes()[(token.start - base) as usize..]).0;
        let heads = tokens.iter().map(head).collect();
        Self { text, first_token, tokens, base, heads, lowercase: None }
    }

    /// Whether the text (in normal form) occurs anywhere, inside tokens too.
    pub(crate) fn contains(&self, text: &str) -> bool {
        self.text.contains(text)
    }

    /// As [`Source::contains`], letter case aside.
    pub(crate) fn contains_ignoring_case(&mut self, text: &str) -> bool {
        let lowercase = self.lowercase.get_or_insert_with(|| self.text.to_lowercase());
        lowercase.contains(&text.to_lowercase())
    }

    /// Lists every token-aligned occurrence of a text in normal form, from left to right; they may
    /// overlap. The 1-based position in this list is what the occurrence key of an answer means.
    pub(crate) fn occurrences(&self, text: &str, found: &mut Places) {
        found.clear();
        let (wanted, mask) = head(text.as_bytes());
        if mask == 0 {
            return;
        }
        let alike = self.heads.iter().enumerate().filter(|&(_, head)| head & mask == wanted);
        for (index, token) in alike.map(|(index, _)| (index, &self.tokens[index])) {
            if !self.text.as_bytes()[(token.start - self.base) as usize..].starts_with(text.as_bytes()) {
                continue;
            }
            let end = token.start + text.len() as u32;
            if let Ok(length) = self.tokens[index..].binary_search_by_key(&end, |token| token.end) {
                let first = self.first_token + index as u32;
                found.push(Span::new(first, first + length as u32 + 1));
            }
        }
    }
}

/// The first bytes of a text in one number.
type Head = u32;

/// The first bytes of a text, and which bits of the number they are: all, or fewer for a short text.
fn head(text: &[u8]) -> (Head, Head) {
    if let Some(bytes) = text.first_chunk() {
        return (Head::from_le_bytes(*bytes), Head::MAX);
    }
    let number = text.iter().rev().fold(0, |number, &byte| number << 8 | Head::from(byte));
    (number, (1 << (8 * text.len())) - 1)
}

/// A text with every run of blanks turned into one space and none at the ends: the form in which
/// texts are compared.
pub fn normalise(text: &str) -> Cow<'_, str> {
    if is_normal(text) {
        return Cow::Borrowed(text);
    }
    let mut normal = String::with_capacity(text.len());
    push_normalised(&mut normal, text);
    Cow::Owned(normal)
}

/// Whether a text is plain ASCII in normal form already: the common case, told without copying.
fn is_normal(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (Some(b'!'..=b'~'), Some(b'!'..=b'~')) = (bytes.first(), bytes.last()) else { return false };
    let Some(last) = bytes.last_chunk() else {
        let mut few = [b'x'; STEP];
        few[..bytes.len()].copy_from_slice(bytes);
        return is_normal_within(few);
    };
    // Neighbouring steps share a byte, so that two blanks are always found in one of them.
    let mut start = 0;
    while let Some(step) = bytes[start..].first_chunk() {
        if !is_normal_within(*step) {
            return false;
        }
        start += STEP - 1;
    }
    is_normal_within(*last)
}

/// How many bytes are looked at in one step.
const STEP: usize = 16;

/// Whether some bytes are plain ASCII without two blanks side by side.
#[inline]
fn is_normal_within(bytes: [u8; STEP]) -> bool {
    let bytes = u8x16::new(bytes);
    let is = |byte| bytes.simd_eq(u8x16::splat(byte));
    let controls = bytes.simd_eq(bytes.min(u8x16::splat(0x1f)));
    let blanks = is(b' ').to_bitmask();
    // The highest bit of a byte is set outside of ASCII.
    (bytes | controls | is(0x7f)).to_bitmask() == 0 && blanks & (blanks << 1) == 0
}

fn push_normalised(normal: &mut String, text: &str) {
    if is_normal(text) {
        normal.push_str(text);
        return;
    }
    for (index, word) in text.split_whitespace().enumerate() {
        if index > 0 {
            normal.push(' ');
        }
        normal.push_str(word);
    }
}

/// The default alignment, monotone leftmost: an entity takes the leftmost occurrence of its text
/// that does not start before the previous aligned entity and is not taken; failing that, the
/// leftmost one not taken.
#[derive(Default)]
pub(crate) struct Alignment {
    taken: FirstMap<Span, ()>,
    /// Start of the previous aligned entity.
    position: u32,
}

impl Alignment {
    /// The occurrence that the next entity gets by default.
    pub(crate) fn default_choice(&self, occurrences: &[Span]) -> Option<Span> {
        let free = |span: &&Span| self.taken.get(span).is_none();
        let ahead = occurrences.partition_point(|span| span.start < self.position);
        occurrences[ahead..].iter().find(free).or_else(|| occurrences[..ahead].iter().find(free)).copied()
    }

    /// Records where the next entity was placed.
    pub(crate) fn place(&mut self, span: Span) {
        self.taken.first(span, ());
        self.position = span.start;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_form_collapses_blanks() {
        assert_eq!(normalise("  optical \n flow\t"), "optical flow");
        assert_eq!(normalise(" \n "), "");
    }

    #[test]
    fn normal_form_is_recognised_byte_by_byte() {
        for length in 1..50 {
            let text = "! ~a".chars().cycle().take(length).collect::<String>();
            assert_eq!(is_normal(&text), !text.ends_with(' '), "{text}");
            let letters = "a".repeat(length);
            for byte in 0..=length {
                for odd in ["\0", "\t", "\u{1f}", "\u{7f}", "é", "  "] {
                    let text = format!("{}{odd}{}", &letters[..byte], &letters[byte..]);
                    assert!(!is_normal(&text), "{text:?}");
                }
            }
        }
    }

    #[test]
    fn default_choice_moves_forward_then_wraps() {
        let occurrences = [Span::new(1, 2), Span::new(4, 5), Span::new(7, 8)];
        let mut alignment = Alignment::default();
        let mut taken = Vec::new();
        alignment.place(Span::new(3, 4));
        for _ in 0..3 {
            let span = alignment.default_choice(&occurrences).expect("three occurrences for three entities");
            alignment.place(span);
            taken.push(span.start);
        }
        assert_eq!(taken, [4, 7, 1]);
        assert_eq!(alignment.default_choice(&occurrences), None);
    }
}
