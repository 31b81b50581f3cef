//! Character offsets of a text, checked against the words that a file repeats.

use std::ops::Range;

use tabpo_files::BYTE_ORDER_MARK;
use unicode_normalization::UnicodeNormalization;

use crate::Problem;

/// Whether a character shows nothing at the ends of tokens and between words: whitespace, or a byte order mark that was
/// left inside a text.
pub fn is_blank(c: char) -> bool {
    c.is_whitespace() || c == BYTE_ORDER_MARK
}

/// Half-open offsets as a file gives them: in characters (code points) unless stated otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Characters {
    pub(crate) start: i64,
    pub(crate) end: i64,
}

/// Translates between offsets and bytes of a text. Made once for a document: it takes linear time.
pub(crate) struct CharacterMap<'a> {
    pub(crate) text: &'a str,
    /// The byte of each offset, and the length of the text last. An offset inside a character (a low surrogate)
    /// has a byte inside that character.
    bytes: Vec<u32>,
}

impl<'a> CharacterMap<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let bytes = text.char_indices().map(|(byte, _)| byte as u32).chain([text.len() as u32]).collect();
        Self { text, bytes }
    }

    /// In UTF-16 units: what `JavaScript` counts.
    fn utf16(text: &'a str) -> Self {
        let mut bytes = Vec::with_capacity(text.len() + 1);
        for (byte, character) in text.char_indices() {
            bytes.push(byte as u32);
            bytes.extend((character.len_utf16() == 2).then_some(byte as u32 + 1));
        }
        bytes.push(text.len() as u32);
        Self { text, bytes }
    }

    /// The bytes of a non-empty range inside the text.
    pub(crate) fn bytes(&self, what: &'static str, at: Characters) -> Result<Range<usize>, Problem> {
        let range = self.bytes_or_empty(what, at)?;
        if range.is_empty() { Err(Problem::EmptySpan { what, found: found(at) }) } else { Ok(range) }
    }

    pub(crate) fn bytes_or_empty(&self, what: &'static str, at: Characters) -> Result<Range<usize>, Problem> {
        let last = self.bytes.len() as i64 - 1;
        if at.start < 0 || at.end > last {
            return Err(Problem::OutOfRange { what, found: found(at), bounds: format!("the text (0 to {last})") });
        }
        if at.end < at.start {
            return Err(Problem::EmptySpan { what, found: found(at) });
        }
        let [start, end] = [at.start, at.end].map(|offset| self.bytes[offset as usize] as usize);
        if !self.text.is_char_boundary(start) || !self.text.is_char_boundary(end) {
            return Err(Problem::malformed(format!("{what} {} begins or ends inside a character", found(at))));
        }
        Ok(start..end)
    }

    /// The text of a non-empty range.
    pub(crate) fn surface(&self, at: Characters) -> Result<&'a str, Problem> {
        self.bytes("the mention", at).map(|range| &self.text[range])
    }

    /// The offsets of a byte range on character boundaries.
    pub(crate) fn characters(&self, range: Range<usize>) -> Characters {
        let position = |byte: usize| {
            let found = self.bytes.binary_search(&(byte as u32));
            found.expect("spans of a document lie on character boundaries") as i64
        };
        Characters { start: position(range.start), end: position(range.end) }
    }
}

pub(crate) fn found(at: Characters) -> String {
    format!("[{}, {}]", at.start, at.end)
}

/// The offsets of a mention, and the words that the file repeats.
#[derive(Clone, Debug)]
pub(crate) struct Stated<'f> {
    /// The pieces of a mention; one for most.
    pub(crate) pieces: Vec<Characters>,
    /// Its words, those of several pieces concatenated; `None` if the file does not repeat them.
    pub(crate) words: Option<&'f str>,
}

/// The offsets of one document's mentions, checked against the words that the file repeats.
pub(crate) struct Offsets {
    /// From the first to the last character of each mention.
    pub(crate) spans: Vec<Characters>,
    /// Whether the file counts UTF-16 units; `spans` are characters nevertheless.
    pub(crate) utf16: bool,
}

impl Offsets {
    /// Accepts the offsets if the text has the words there: as characters or, if only that fits all mentions,
    /// as UTF-16 units. Fails with the position of the first mention that does not fit.
    pub(crate) fn check(map: &CharacterMap, mentions: &[Stated]) -> Result<Self, (usize, Problem)> {
        let fault = match first_fault(map, mentions) {
            Ok(spans) => return Ok(Self { spans, utf16: false }),
            Err(fault) => fault,
        };
        if mentions.iter().any(|mention| mention.words.is_some()) && map.text.chars().any(|c| c.len_utf16() == 2) {
            let utf16 = CharacterMap::utf16(map.text);
            if let Ok(spans) = first_fault(&utf16, mentions) {
                let characters = |at| {
                    let range = utf16.bytes_or_empty("the mention", at).expect("spans that were looked at");
                    map.characters(range)
                };
                return Ok(Self { spans: spans.into_iter().map(characters).collect(), utf16: true });
            }
        }
        Err(fault)
    }
}

/// The span of every mention, if the text holds its words there.
fn first_fault(map: &CharacterMap, mentions: &[Stated]) -> Result<Vec<Characters>, (usize, Problem)> {
    let spans =
        mentions.iter().enumerate().map(|(index, mention)| span(map, mention).map_err(|problem| (index, problem)));
    spans.collect()
}

fn span(map: &CharacterMap, mention: &Stated) -> Result<Characters, Problem> {
    let mut sorted = mention.pieces.clone();
    sorted.sort_unstable_by_key(|piece| (piece.start, piece.end));
    let at = Characters { start: sorted[0].start, end: sorted.iter().map(|piece| piece.end).max().unwrap_or(0) };
    let joined = |pieces: &[Characters]| {
        let pieces = pieces.iter().map(|&piece| map.surface(piece)).collect::<Result<Vec<_>, _>>();
        pieces.map(|pieces| pieces.join(" "))
    };
    let actual = joined(&mention.pieces).map_err(|problem| {
        match mention.words.and_then(|words| explain_shift(map, at, words)) {
            Some(shift) => Problem::malformed(format!("{problem}; {shift}")),
            None => problem,
        }
    })?;
    if let Some(words) = mention.words
        && !same_words(words, &actual)
        && !same_words(words, &joined(&sorted)?)
    {
        return Err(Problem::TextMismatch {
            found: format!("{} to {}", at.start, at.end),
            actual,
            stated: words.to_owned(),
            shift: explain_shift(map, at, words),
        });
    }
    map.surface(at)?;
    Ok(at)
}

/// Whether the words that a file states are those of the text, apart from the kind of whitespace, whitespace
/// at the ends, and how characters are composed. Tools write line breaks as spaces or (Label Studio does) as
/// a backslash and an `n`, and Windows line breaks as one character.
fn same_words(stated: &str, actual: &str) -> bool {
    let alike = |stated: &str| {
        same_but_blanks(stated, actual)
            || (actual.contains("\r\n")
                && same_but_blanks(&stated.replace("\r\n", "\n"), &actual.replace("\r\n", "\n")))
    };
    alike(stated) || (stated.contains("\\n") && alike(&stated.replace("\\r\\n", "\n").replace("\\n", "\n")))
}

fn same_but_blanks(a: &str, b: &str) -> bool {
    let blanks = |c: char| if c.is_whitespace() { ' ' } else { c };
    let same = |a: &str, b: &str| a.chars().map(blanks).eq(b.chars().map(blanks));
    if same(a, b) {
        return true;
    }
    let (a, b) = (a.trim(), b.trim());
    !a.is_empty() && (same(a, b) || a.nfd().map(blanks).eq(b.nfd().map(blanks)))
}

/// How many occurrences are considered to explain a shift.
const OCCURRENCES: usize = 100;

/// Why the words of a mention may be elsewhere, or where they are, if they occur at all.
fn explain_shift(map: &CharacterMap, at: Characters, words: &str) -> Option<String> {
    let places = map.text.match_indices(words).take(OCCURRENCES);
    let mut places: Vec<(usize, i64)> = places
        .map(|(byte, _)| (byte, map.characters(byte..byte).start))
        .filter(|&(_, place)| place != at.start)
        .collect();
    places.sort_by_key(|&(_, place)| place.abs_diff(at.start));
    let reason = |&(byte, place): &(usize, i64)| {
        let before = &map.text[..byte];
        let (shift, count) = (place - at.start, |pattern: &str| before.matches(pattern).count() as i64);
        let (lines, windows_lines) = (count("\n"), count("\r\n"));
        let wide = before.chars().filter(|c| c.len_utf16() == 2).count() as i64;
        if windows_lines > 0 && shift == windows_lines || lines > 0 && windows_lines == 0 && shift == -lines {
            Some("shifted by one for each line: Windows line breaks?")
        } else if wide > 0 && shift == -wide {
            Some("shifted by one for every character beyond U+FFFF: offsets in UTF-16 units?")
        } else if at.start == byte as i64 {
            Some("that would fit if bytes were counted; offsets count characters")
        } else if shift.abs() == 1 && before.starts_with(BYTE_ORDER_MARK) {
            Some("shifted by one: the text begins with a byte order mark")
        } else {
            None
        }
    };
    if let Some(reason) = places.iter().find_map(reason) {
        return Some(reason.to_owned());
    }
    let &(_, place) = places.first()?;
    let (distance, direction) = (place.abs_diff(at.start), if place > at.start { "further on" } else { "earlier" });
    let end = place + words.chars().count() as i64;
    Some(format!("it is {distance} characters {direction}, at {place} to {end}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, mentions: &[(i64, i64, &str)]) -> Result<(Vec<String>, bool), String> {
        let stated = |&(start, end, words): &(i64, i64, _)| Stated {
            pieces: vec![Characters { start, end }],
            words: Some(words),
        };
        let map = CharacterMap::new(text);
        let mentions: Vec<Stated> = mentions.iter().map(stated).collect();
        let offsets = Offsets::check(&map, &mentions).map_err(|(_, problem)| problem.to_string())?;
        let surface = |&at: &Characters| map.surface(at).expect("checked").to_owned();
        Ok((offsets.spans.iter().map(surface).collect(), offsets.utf16))
    }

    #[test]
    fn offsets_are_accepted_where_the_words_are() {
        let words = |words: &[&str], utf16| Ok((words.iter().map(|&word| word.to_owned()).collect(), utf16));
        assert_eq!(check("a 🔧 drill", &[(4, 9, "drill")]), words(&["drill"], false));
        assert_eq!(check("a 🔧 drill 🔧 saw", &[(5, 10, "drill"), (14, 17, "saw")]), words(&["drill", "saw"], true));
        assert_eq!(check("a🔧saw", &[(1, 3, "🔧")]), words(&["🔧"], true));
        assert_eq!(check("old\nsaw", &[(0, 7, "old saw")]), words(&["old\nsaw"], false));
        assert_eq!(check("cafe\u{301} here", &[(0, 5, "caf\u{e9}")]), words(&["cafe\u{301}"], false));
        for (text, stated) in [
            ("old\nsaw", "old\\nsaw"),
            ("old\r\nsaw", "old\nsaw"),
            ("old\r\nsaw", "old\\nsaw"),
            ("old\r\nsaw", "old\\r\\nsaw"),
            ("o\\n\nsaw", "o\\n\nsaw"),
        ] {
            let end = text.chars().count() as i64;
            assert_eq!(check(text, &[(0, end, stated)]), words(&[text], false), "{text:?} {stated:?}");
        }
        assert!(check("oldnsaw.", &[(0, 8, "old\\nsaw.")]).is_err());
        // One mention in each unit: the file contradicts itself.
        assert!(check("a 🔧 drill 🔧 saw", &[(4, 9, "drill"), (14, 17, "saw")]).is_err());
        // Words elsewhere are found after such characters, in both units.
        for text in ["🔧 drill 🔧 saw", "🔧🔧🔧 saw", "saw 🔧🔧"] {
            let error = check(text, &[(0, 1, "saw")]).unwrap_err();
            assert!(error.contains("not `saw`"), "{text}: {error}");
        }
    }

    #[test]
    fn shifts_are_explained() {
        let cases = [
            ("one\r\ntwo saws", (4, 7, "two"), "shifted by one for each line: Windows line breaks?"),
            ("one\ntwo\nsaw", (10, 11, "saw"), "shifted by one for each line: Windows line breaks?"),
            ("é saw", (3, 5, "saw"), "if bytes were counted"),
            ("\u{feff}a saw", (2, 5, "saw"), "a byte order mark"),
            ("the old saw", (3, 6, "saw"), "it is 5 characters further on, at 8 to 11"),
            ("saw the old", (4, 7, "saw"), "it is 4 characters earlier, at 0 to 3"),
        ];
        for (text, mention, expected) in cases {
            let error = check(text, &[mention]).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let error = check("the old saw", &[(3, 6, "drill")]).unwrap_err();
        assert_eq!(error, "the text at 3 to 6 is ` ol`, not `drill`");
    }
}
