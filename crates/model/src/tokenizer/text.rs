//! Encodes text without control tokens, whatever it spells.
//!
//! A document may contain `</s>` or `<|end|>` as plain text. Before such a text is put into a prompt, these
//! spellings are marked ([`Tokenizer::mark`]). A template keeps the marks, and when the result is encoded, marks
//! are removed, marked spellings become plain text, and unmarked ones become control tokens. Nearly all texts
//! contain none and are encoded directly.

use std::borrow::Cow;
use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind};
use tokenizers::AddedToken;

use super::guard::guarded;
use super::{Encoding, Tokenizer};
use crate::folder::FolderError;

/// Follows the first character of a marked spelling. Unicode reserves such code points for internal use, so
/// that texts hardly ever contain them.
const MARK: char = '\u{fdef}';
/// Escapes either of the two if a text does contain it.
const ESCAPE: char = '\u{fdee}';

/// The control tokens of a tokenizer.
#[derive(Clone)]
pub(super) struct Controls {
    /// Finds their spellings.
    spellings: Option<AhoCorasick>,
    ids: Vec<u32>,
    /// The tokenizer that ignores control tokens, built when it is first needed.
    blind: std::sync::OnceLock<Box<tokenizers::Tokenizer>>,
}

impl Controls {
    /// The control tokens: those that are marked or named as special, and added tokens in angle or square
    /// brackets. Other added tokens (words, runs of white space) are ordinary text.
    pub(super) fn of(tokenizer: &tokenizers::Tokenizer, named: &[&str]) -> Self {
        let control = |token: &AddedToken| {
            let bracketed = |open, close| {
                token.content.len() > 2 && token.content.starts_with(open) && token.content.ends_with(close)
            };
            token.special || named.contains(&token.content.as_str()) || bracketed('<', '>') || bracketed('[', ']')
        };
        let added = tokenizer.get_added_tokens_decoder();
        let mut found: Vec<(u32, &str)> = added
            .iter()
            .filter(|(_, token)| control(token) && token.content.chars().any(|c| !c.is_whitespace()))
            .map(|(&id, token)| (id, token.content.as_str()))
            .collect();
        found.sort_unstable();
        let spellings = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(found.iter().map(|(_, content)| content))
            .ok()
            .filter(|_| !found.is_empty());
        Self { spellings, ids: found.iter().map(|&(id, _)| id).collect(), blind: std::sync::OnceLock::new() }
    }

    /// Whether a token is a control token.
    pub(super) fn contains(&self, id: u32) -> bool {
        self.ids.binary_search(&id).is_ok()
    }

    fn spelt_in<'t>(&'t self, text: &'t str) -> impl Iterator<Item = Range<usize>> + 't {
        self.spellings.iter().flat_map(move |spellings| spellings.find_iter(text)).map(|found| found.range())
    }
}

/// A text with its marks removed.
struct Unmarked {
    text: String,
    /// Positions of the marked words.
    words: Vec<Range<usize>>,
}

impl Tokenizer {
    /// The text with a mark inside every spelling of a control token, so that [`Tokenizer::encode_marked`]
    /// treats it as text. Borrowed if there is none.
    pub fn mark<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut words = self.controls.spelt_in(text).peekable();
        if words.peek().is_none() && !has_marks(text) {
            return text.into();
        }
        let second =
            |word: Range<usize>| text[word.start..].char_indices().nth(1).map_or(word.end, |(at, _)| word.start + at);
        let mut words = words.map(second).peekable();
        let mut marked = String::with_capacity(text.len() + 16);
        for (at, c) in text.char_indices() {
            if words.next_if_eq(&at).is_some() {
                marked.push(MARK);
            }
            if matches!(c, MARK | ESCAPE) {
                marked.push(ESCAPE);
            }
            marked.push(c);
        }
        // A word of one character at the end of the text.
        marked.extend(words.next().map(|_| MARK));
        marked.into()
    }

    /// A text without the marks of [`Tokenizer::mark`].
    pub fn unmark(text: &str) -> Cow<'_, str> {
        if has_marks(text) { without_marks(text).0.into() } else { text.into() }
    }

    /// Tokens of plain text: nothing in it becomes a control token.
    pub fn encode_text(&self, text: &str) -> Result<Vec<u32>, FolderError> {
        let marked = self.mark(text);
        if has_marks(&marked) { Ok(self.encode_marked(&marked)?.ids) } else { self.encode(&marked) }
    }

    /// Tokens of a text with marks, with byte ranges in the text without them.
    pub fn encode_marked(&self, marked: &str) -> Result<Encoding, FolderError> {
        if !has_marks(marked) {
            return self.encode_with_offsets(marked);
        }
        let Unmarked { text, words } = self.unmarked(marked);
        // Actual control tokens: those that no marked word overlaps.
        let meant: Vec<Range<usize>> = self
            .controls
            .spelt_in(&text)
            .filter(|found| !words.iter().any(|word| word.start < found.end && found.start < word.end))
            .collect();
        let mut encoding = Encoding::default();
        let mut start = 0;
        for control in meant.iter().map(Some).chain([None]) {
            let end = control.map_or(text.len(), |control| control.start);
            self.append_words(&mut encoding, &text, start..end)?;
            if let Some(control) = control {
                let token = self.encode(&text[control.clone()])?;
                encoding.ranges.extend(token.iter().map(|_| control.clone()));
                encoding.ids.extend(token);
                start = control.end;
            }
        }
        Ok(encoding)
    }

    fn unmarked(&self, marked: &str) -> Unmarked {
        let (text, starts) = without_marks(marked);
        let word = |&start: &usize| {
            let found = self.controls.spelt_in(&text[start..]).next().filter(|found| found.start == 0);
            start..start + found.map_or(1, |found| found.end)
        };
        let words = starts.iter().map(word).collect();
        Unmarked { text, words }
    }

    /// Appends the tokens of plain text between control tokens.
    fn append_words(&self, encoding: &mut Encoding, text: &str, stretch: Range<usize>) -> Result<(), FolderError> {
        if stretch.is_empty() {
            return Ok(());
        }
        let blind = self.controls.blind.get_or_init(|| Box::new(self.without_controls()));
        // Some tokenizers prepend a space to a text, but not to what follows a control token. A line feed,
        // which is always a token of its own, marks that this is not the beginning.
        let lead = if self.position_free || encoding.ids.is_empty() || !self.blank_at_start_only() { "" } else { "\n" };
        let words = format!("{lead}{}", &text[stretch.clone()]);
        let found = guarded(|| blind.encode(words.as_str(), false)).map_err(|problem| self.refused(&problem))?;
        let mut end = stretch.start;
        for (&id, &(token_start, token_end)) in found.get_ids().iter().zip(found.get_offsets()) {
            if token_end <= lead.len() {
                continue;
            }
            let position_in_text = |offset: usize| stretch.start + offset.saturating_sub(lead.len());
            let start = position_in_text(token_start).min(end);
            end = position_in_text(token_end).max(end);
            if self.controls.contains(id) && self.special.unknown.as_deref().and_then(|u| self.token_id(u)) != Some(id)
            {
                return Err(self.refused(&format!("cannot encode `{}` as plain text", &text[start..end])));
            }
            encoding.ids.push(id);
            encoding.ranges.push(start..end);
        }
        Ok(())
    }

    /// Whether a space is prepended to a text, but not to what follows a control token.
    fn blank_at_start_only(&self) -> bool {
        let Some(control) = self.controls.ids.first().and_then(|&id| self.token(id)) else { return false };
        let tokens = |text: &str| self.encode(text).unwrap_or_default();
        let (alone, after) = (tokens("a"), tokens(&format!("{control}a")));
        !after.ends_with(&alone)
    }

    /// The tokenizer with every control token marked as special and special tokens not recognised in texts.
    /// Grammars exclude special tokens too.
    pub(crate) fn without_controls(&self) -> tokenizers::Tokenizer {
        let mut blind = self.inner.clone();
        let tokens: Vec<AddedToken> = blind
            .get_added_tokens_decoder()
            .into_iter()
            .filter(|(id, token)| self.controls.contains(*id) && !token.special)
            .map(|(_, token)| token.special(true))
            .collect();
        blind.add_tokens(&tokens);
        blind.set_encode_special_tokens(true);
        blind
    }
}

fn has_marks(text: &str) -> bool {
    // Both begin with the same byte, which few texts contain.
    text.as_bytes().contains(&0xef) && text.contains([MARK, ESCAPE])
}

/// A text without its marks, and the positions where marked words begin.
fn without_marks(marked: &str) -> (String, Vec<usize>) {
    let mut text = String::with_capacity(marked.len());
    let mut starts = Vec::new();
    let mut characters = marked.chars();
    while let Some(c) = characters.next() {
        match c {
            MARK => starts.push(text.char_indices().next_back().map_or(0, |(at, _)| at)),
            ESCAPE => text.extend(characters.next()),
            c => text.push(c),
        }
    }
    (text, starts)
}
