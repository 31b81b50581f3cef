//! Where a text occurs in a unit.

use std::borrow::Cow;
use std::ops::Range;

use tabpo_corpus::{Span, Unit, is_blank};
use unicode_normalization::UnicodeNormalization;

/// The source of a unit prepared for look-ups: its text in the form in which texts are compared, and the
/// token boundaries in it.
pub(crate) struct Source<'a> {
    text: Cow<'a, str>,
    /// First document token of the unit.
    first_token: u32,
    /// Byte ranges of the tokens, counted so that `text` starts at `base`.
    tokens: Cow<'a, [Range<u32>]>,
    base: u32,
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
        Self { text, first_token, tokens, base, lowercase: None }
    }

    /// Whether the text (in the form in which texts are compared) occurs anywhere, inside tokens too.
    pub(crate) fn contains(&self, text: &str) -> bool {
        self.text.contains(text)
    }

    /// As [`Source::contains`], ignoring letter case.
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

/// A text with single spaces between words and none at the ends: how texts are shown.
pub fn normalise(text: &str) -> Cow<'_, str> {
    if is_normal(text) {
        return Cow::Borrowed(text);
    }
    let mut normal = String::with_capacity(text.len());
    for (index, word) in words(text).enumerate() {
        if index > 0 {
            normal.push(' ');
        }
        normal.push_str(word);
    }
    Cow::Owned(normal)
}

/// A text in the form in which texts are compared: spaces as in [`normalise`], and characters decomposed, so
/// that canonically equivalent texts are equal.
pub fn comparable<'t>(text: impl Into<Cow<'t, str>>) -> Cow<'t, str> {
    let text = text.into();
    if is_normal(&text) {
        return text;
    }
    let mut form = String::with_capacity(text.len());
    push_comparable(&mut form, &text);
    Cow::Owned(form)
}

/// Whether a text is printable ASCII with single spaces between words: the common case, in which nothing has
/// to be copied.
fn is_normal(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_printable = bytes.iter().all(|byte| matches!(byte, b' '..=b'~'));
    is_printable
        && bytes.first().is_some_and(|&byte| byte != b' ')
        && bytes.last() != Some(&b' ')
        && !text.contains("  ")
}

/// What blanks separate, as readers of documents see it.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_blank).filter(|word| !word.is_empty())
}

fn push_comparable(form: &mut String, text: &str) {
    if is_normal(text) {
        form.push_str(text);
        return;
    }
    for (index, word) in words(text).enumerate() {
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
        assert_eq!(normalise("optical\u{feff} flow\u{feff}"), "optical flow");
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
