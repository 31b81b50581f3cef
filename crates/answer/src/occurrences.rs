//! Where a text stands in a unit.

use std::borrow::Cow;
use std::ops::Range;

use smallvec::SmallVec;
use tabpo_corpus::{Span, Unit};
use unicode_normalization::UnicodeNormalization;
use wide::u8x16;

/// Where a text stands: mostly at few places.
pub(crate) type Places = SmallVec<[Span; 16]>;

/// The source of a unit prepared for look-ups: its text in the form in which texts are compared, and the
/// token boundaries in it.
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
            push_comparable(&mut text, document.token(index));
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

    /// Whether the text (in the form in which texts are compared) occurs anywhere, inside tokens too.
    pub(crate) fn contains(&self, text: &str) -> bool {
        self.text.contains(text)
    }

    /// As [`Source::contains`], letter case aside.
    pub(crate) fn contains_ignoring_case(&mut self, text: &str) -> bool {
        self.lowercase().contains(&text.to_lowercase())
    }

    /// The text.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The text in lower case.
    pub(crate) fn lowercase(&mut self) -> &str {
        self.lowercase.get_or_insert_with(|| self.text.to_lowercase())
    }

    /// Lists every token-aligned occurrence of a text in the form in which texts are compared, from left to
    /// right; they may overlap. The 1-based position in this list is what the occurrence key of an answer
    /// means.
    pub(crate) fn occurrences(&self, text: &str, found: &mut Places) {
        found.clear();
        let (wanted, mask) = head(text.as_bytes());
        if mask == 0 {
            return;
        }
        let alike = self.heads.iter().enumerate().filter(|&(_, head)| head & mask == wanted);
        found.extend(alike.filter_map(|(index, _)| self.occurrence_at(index, text)));
    }

    /// The occurrence of a text that begins with a token of the unit, if there is one.
    pub(crate) fn occurrence_at(&self, index: usize, text: &str) -> Option<Span> {
        let token = &self.tokens[index];
        self.rest(index).starts_with(text.as_bytes()).then_some(())?;
        let end = token.start + text.len() as u32;
        let length = self.tokens[index..].binary_search_by_key(&end, |token| token.end).ok()?;
        let first = self.first_token + index as u32;
        Some(Span::new(first, first + length as u32 + 1))
    }

    /// The text from a token of the unit on.
    pub(crate) fn rest(&self, index: usize) -> &[u8] {
        &self.text.as_bytes()[(self.tokens[index].start - self.base) as usize..]
    }

    /// How many tokens there are.
    pub(crate) fn token_count(&self) -> usize {
        self.tokens.len()
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

/// A text with every run of blanks turned into one space and none at the ends: how texts are shown.
pub fn normalise(text: &str) -> Cow<'_, str> {
    if is_normal(text) {
        return Cow::Borrowed(text);
    }
    let mut normal = String::with_capacity(text.len());
    for (index, word) in text.split_whitespace().enumerate() {
        if index > 0 {
            normal.push(' ');
        }
        normal.push_str(word);
    }
    Cow::Owned(normal)
}

/// A text in the form in which texts are compared: blanks as in [`normalise`], characters decomposed, so
/// that texts that Unicode calls canonically equivalent are equal.
pub fn comparable<'t>(text: impl Into<Cow<'t, str>>) -> Cow<'t, str> {
    let text = text.into();
    if is_normal(&text) {
        return text;
    }
    let mut form = String::with_capacity(text.len());
    push_comparable(&mut form, &text);
    Cow::Owned(form)
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

fn push_comparable(form: &mut String, text: &str) {
    if is_normal(text) {
        form.push_str(text);
        return;
    }
    for (index, word) in text.split_whitespace().enumerate() {
        if index > 0 {
            form.push(' ');
        }
        if word.is_ascii() { form.push_str(word) } else { form.extend(word.nfd()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equivalent_texts_are_compared_as_equal() {
        let pairs =
            [("caf\u{e9}  noir", "cafe\u{301} noir"), ("\u{212b}", "A\u{30a}"), ("\u{1ed9}", "o\u{323}\u{302}")];
        for (a, b) in pairs {
            assert_eq!(comparable(a), comparable(b));
        }
        assert_ne!(comparable("cafe"), comparable("caf\u{e9}"));
        assert_eq!(normalise("e\u{301}  x"), "e\u{301} x");
    }

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
}
