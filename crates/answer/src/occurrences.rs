//! Where a text stands in a unit.

use std::borrow::Cow;

use rustc_hash::FxHashSet;
use tabpo_corpus::{Span, Unit};

/// The source of a unit prepared for look-ups: its text with every run of blanks turned into one
/// space, and the token boundaries in it.
pub(crate) struct Source<'a> {
    text: Cow<'a, str>,
    /// First document token of the unit.
    first_token: u32,
    /// Byte ranges of the tokens in `text`.
    starts: Vec<usize>,
    ends: Vec<usize>,
    lowercase: Option<String>,
}

impl<'a> Source<'a> {
    pub(crate) fn new(unit: &Unit<'a>) -> Self {
        let (span, document) = (unit.span(), unit.document);
        let tokens = &document.tokens[span.range()];
        let text = unit.text();
        if is_normal(text) {
            let first = tokens[0].start;
            return Self {
                text: Cow::Borrowed(text),
                first_token: span.start,
                starts: tokens.iter().map(|token| (token.start - first) as usize).collect(),
                ends: tokens.iter().map(|token| (token.end - first) as usize).collect(),
                lowercase: None,
            };
        }
        let (mut text, mut starts, mut ends) = (String::new(), Vec::new(), Vec::new());
        let mut previous_end = None;
        for (index, token) in span.range().zip(tokens) {
            if previous_end.is_some_and(|end| end < token.start) {
                text.push(' ');
            }
            starts.push(text.len());
            push_normalised(&mut text, document.token(index));
            ends.push(text.len());
            previous_end = Some(token.end);
        }
        Self { text: Cow::Owned(text), first_token: span.start, starts, ends, lowercase: None }
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

    /// Every token-aligned occurrence of a text in normal form, from left to right; they may
    /// overlap. The 1-based position in this list is what the occurrence key of an answer means.
    pub(crate) fn occurrences(&self, text: &str) -> Vec<Span> {
        if text.is_empty() {
            return Vec::new();
        }
        let mut found = Vec::new();
        for (index, &start) in self.starts.iter().enumerate() {
            if !self.text[start..].starts_with(text) {
                continue;
            }
            if let Ok(length) = self.ends[index..].binary_search(&(start + text.len())) {
                let first = self.first_token + index as u32;
                found.push(Span::new(first, first + length as u32 + 1));
            }
        }
        found
    }
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
    let mut after_blank = true;
    for &byte in text.as_bytes() {
        let blank = byte == b' ';
        if !(b' '..=b'~').contains(&byte) || (blank && after_blank) {
            return false;
        }
        after_blank = blank;
    }
    !after_blank
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
    taken: FxHashSet<Span>,
    /// Start of the previous aligned entity.
    position: u32,
}

impl Alignment {
    /// The occurrence that the next entity gets by default.
    pub(crate) fn default_choice(&self, occurrences: &[Span]) -> Option<Span> {
        let free = |span: &&Span| !self.taken.contains(span);
        let ahead = occurrences.partition_point(|span| span.start < self.position);
        occurrences[ahead..].iter().find(free).or_else(|| occurrences[..ahead].iter().find(free)).copied()
    }

    /// Records where the next entity was placed.
    pub(crate) fn place(&mut self, span: Span) {
        self.taken.insert(span);
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
