//! Redacting the key in text from outside, in whatever form it appears.
//!
//! Endpoints and gateways repeat what they were sent: literally, with the escapes of JSON, URLs or HTML,
//! split over two header lines, in base64 or hexadecimal, or only in part. So text is searched twice, as
//! it is and with its escapes undone, for every stretch of at least half the key.

use std::collections::HashSet;

use serde_json::Value;

/// Replacement for the key in text from outside.
const REDACTED: &str = "[key]";
/// A key shorter than this is not a secret but a word such as `EMPTY`: it is redacted only as a whole.
const SHORT: usize = 8;
/// A stretch of this many bytes is redacted, however long the key is.
const LONGEST_STRETCH: usize = 24;
/// Text is searched in pieces of this many bytes, which overlap by [`OVERLAP`].
const PIECE: usize = 1 << 20;
const OVERLAP: usize = 16 << 10;

/// Finds one key.
pub(crate) struct Redactor {
    needles: Vec<Needle>,
}

/// One form of the key: its stretches of `width` bytes.
struct Needle {
    width: usize,
    stretches: HashSet<Vec<u8>>,
    /// Which bytes a stretch can start with.
    first: [bool; 256],
    /// Whether case is ignored.
    fold: bool,
    /// Whether a match is extended to the whole run of base64 characters around it.
    base64: bool,
}

/// Decoded bytes, each with its range in the text.
struct Decoded {
    bytes: Vec<u8>,
    places: Vec<(usize, usize)>,
}

impl Redactor {
    /// For a key of visible ASCII characters.
    pub(crate) fn new(key: &str) -> Self {
        let key = key.as_bytes();
        if key.len() < SHORT {
            return Self { needles: vec![Needle::new(key, key.len(), false, false)] };
        }
        let width = |length: usize| length.div_ceil(2).clamp(SHORT, LONGEST_STRETCH);
        let mut needles = vec![Needle::new(key, width(key.len()), true, false)];
        let digits = |byte: &u8| [byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]);
        let hexadecimal: Vec<u8> = key.iter().flat_map(digits).collect();
        needles.push(Needle::new(&hexadecimal, hexadecimal.len(), true, false));
        for before in 0..3 {
            for alphabet in [STANDARD, URL_SAFE] {
                let inner = base64_inside(key, before, alphabet);
                if inner.len() >= SHORT {
                    needles.push(Needle::new(&inner, width(inner.len()), false, true));
                }
            }
        }
        Self { needles }
    }

    /// The text with the key redacted.
    pub(crate) fn redact(&self, text: String) -> String {
        let bytes = text.as_bytes();
        let mut marks = Vec::new();
        let mut start = 0;
        loop {
            let end = bytes.len().min(start + PIECE);
            let piece = &bytes[start..end];
            let escaped = piece.iter().any(|byte| matches!(byte, b'\\' | b'%' | b'&' | b'\n' | b'\r'));
            let decoded = escaped.then(|| Decoded::of(piece));
            let found = |needle: &Needle| {
                let mut found = needle.find(piece, |place| (place, place + 1));
                if let Some(decoded) = &decoded {
                    found.append(&mut needle.find(&decoded.bytes, |place| decoded.places[place]));
                }
                if needle.base64 {
                    for mark in &mut found {
                        grow(piece, mark);
                    }
                }
                found
            };
            let all = self.needles.iter().flat_map(found);
            marks.extend(all.map(|(from, to)| (start + from, start + to)));
            if end == bytes.len() {
                break;
            }
            start = end - OVERLAP;
        }
        if marks.is_empty() { text } else { replaced(bytes, marks) }
    }

    /// The value with the key redacted in every string, names of fields included.
    pub(crate) fn redact_value(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.redact(text)),
            Value::Array(items) => Value::Array(items.into_iter().map(|item| self.redact_value(item)).collect()),
            Value::Object(fields) => {
                let fields = fields.into_iter();
                Value::Object(fields.map(|(name, value)| (self.redact(name), self.redact_value(value))).collect())
            }
            other => other,
        }
    }
}

impl Needle {
    fn new(form: &[u8], width: usize, fold: bool, base64: bool) -> Self {
        let form = if fold { form.to_ascii_lowercase() } else { form.to_vec() };
        let stretches: HashSet<Vec<u8>> = form.windows(width).map(<[u8]>::to_vec).collect();
        let mut first = [false; 256];
        for stretch in &stretches {
            first[usize::from(stretch[0])] = true;
            first[usize::from(stretch[0].to_ascii_uppercase())] |= fold;
        }
        Self { width, stretches, first, fold, base64 }
    }

    /// The ranges of stretches of the key; `place` maps an index of `bytes` to a range of the text.
    fn find(&self, bytes: &[u8], place: impl Fn(usize) -> (usize, usize)) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        let mut lower = Vec::with_capacity(self.width);
        for (index, window) in bytes.windows(self.width).enumerate() {
            if !self.first[usize::from(window[0])] {
                continue;
            }
            let known = if self.fold {
                lower.clear();
                lower.extend(window.iter().map(u8::to_ascii_lowercase));
                self.stretches.contains(&lower)
            } else {
                self.stretches.contains(window)
            };
            if known {
                found.push((place(index).0, place(index + self.width - 1).1));
            }
        }
        found
    }
}

impl Decoded {
    /// Undoes the escapes of JSON (also of JSON inside JSON), URLs and HTML, and line breaks with the
    /// indentation after them.
    fn of(text: &[u8]) -> Self {
        let mut decoded = Self { bytes: Vec::with_capacity(text.len()), places: Vec::with_capacity(text.len()) };
        let mut at = 0;
        while at < text.len() {
            let (byte, length) = unit(&text[at..]);
            if matches!(byte, b'\r' | b'\n') {
                at += length;
                at += text[at..].iter().take_while(|&&byte| matches!(byte, b' ' | b'\t')).count();
                continue;
            }
            decoded.bytes.push(byte);
            decoded.places.push((at, at + length));
            at += length;
        }
        decoded
    }
}

/// The first byte of a text, decoded, and the length of its encoding.
fn unit(text: &[u8]) -> (u8, usize) {
    let coded = match text[0] {
        b'\\' => {
            let slashes = text.iter().take_while(|&&byte| byte == b'\\').count();
            match text.get(slashes) {
                Some(b'u') => hexadecimal(text, slashes + 1, 4),
                Some(b'x') => hexadecimal(text, slashes + 1, 2),
                Some(b'n') => Some((b'\n', slashes + 1)),
                Some(b'r') => Some((b'\r', slashes + 1)),
                Some(&byte) if byte.is_ascii_punctuation() => Some((byte, slashes + 1)),
                _ => None,
            }
        }
        b'%' => {
            // `%252F` is `%2F` in a URL inside a URL.
            let again = text[1..].chunks(2).take_while(|pair| *pair == b"25").count();
            hexadecimal(text, 1 + 2 * again, 2)
        }
        b'&' => entity(text),
        _ => None,
    };
    coded.unwrap_or((text[0], 1))
}

/// The ASCII character with the code of `digits` hexadecimal digits at `at`, and where they end.
fn hexadecimal(text: &[u8], at: usize, digits: usize) -> Option<(u8, usize)> {
    let digits = std::str::from_utf8(text.get(at..at + digits)?).ok()?;
    let code = u32::from_str_radix(digits, 16).ok()?;
    let byte = u8::try_from(code).ok().filter(u8::is_ascii)?;
    Some((byte, at + digits.len()))
}

/// An ASCII character written as an HTML entity.
fn entity(text: &[u8]) -> Option<(u8, usize)> {
    const NAMED: [(&[u8], u8); 9] = [
        (b"amp", b'&'),
        (b"lt", b'<'),
        (b"gt", b'>'),
        (b"quot", b'"'),
        (b"apos", b'\''),
        (b"plus", b'+'),
        (b"sol", b'/'),
        (b"equals", b'='),
        (b"lowbar", b'_'),
    ];
    let end = text.iter().take(10).position(|&byte| byte == b';')?;
    let name = &text[1..end];
    if let Some(&(_, byte)) = NAMED.iter().find(|(known, _)| *known == name) {
        return Some((byte, end + 1));
    }
    let number = std::str::from_utf8(name).ok()?.strip_prefix('#')?;
    let code = match number.strip_prefix(['x', 'X']) {
        Some(digits) => u32::from_str_radix(digits, 16).ok()?,
        None => number.parse().ok()?,
    };
    u8::try_from(code).ok().filter(u8::is_ascii).map(|byte| (byte, end + 1))
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The base64 characters of a key that do not depend on what surrounds it, if `before` bytes (mod 3)
/// precede it, as in the `user:key` of basic authentication.
fn base64_inside(key: &[u8], before: usize, alphabet: &[u8; 64]) -> Vec<u8> {
    let bit = |index: usize| {
        let (byte, place) = (index / 8, 7 - index % 8);
        let byte = byte.checked_sub(before).and_then(|at| key.get(at)).copied().unwrap_or(0);
        usize::from(byte >> place & 1)
    };
    let (first, end) = ((8 * before).div_ceil(6), 8 * (before + key.len()) / 6);
    let six = |character: usize| (0..6).fold(0, |value, index| value << 1 | bit(6 * character + index));
    (first..end).map(|character| alphabet[six(character)]).collect()
}

/// Extends a match to the whole run of base64 characters.
fn grow(text: &[u8], mark: &mut (usize, usize)) {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"+/-_=".contains(&byte);
    mark.0 -= text[..mark.0].iter().rev().take_while(|&&byte| inside(byte)).count();
    mark.1 += text[mark.1..].iter().take_while(|&&byte| inside(byte)).count();
}

/// The text with each run of matches replaced.
fn replaced(text: &[u8], mut marks: Vec<(usize, usize)>) -> String {
    marks.sort_unstable();
    let mut result = Vec::with_capacity(text.len());
    let mut done = 0;
    let mut marks = marks.into_iter().peekable();
    while let Some((from, mut to)) = marks.next() {
        while let Some(next) = marks.next_if(|next| next.0 <= to) {
            to = to.max(next.1);
        }
        result.extend_from_slice(&text[done..from]);
        result.extend_from_slice(REDACTED.as_bytes());
        done = to;
    }
    result.extend_from_slice(&text[done..]);
    String::from_utf8_lossy(&result).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KEY: &str = "sk-Ab7/invented+Xy=93_Qz";

    fn redact(text: &str) -> String {
        Redactor::new(KEY).redact(text.to_owned())
    }

    #[test]
    fn the_key_is_redacted_in_every_form() {
        for form in [
            KEY.to_owned(),
            KEY.to_uppercase(),
            KEY.replace('/', r"\/"),
            KEY.replace('/', r"\\\/").replace('+', r"\\u002B"),
            KEY.bytes().fold(String::new(), |all, byte| format!("{all}\\u{byte:04x}")),
            KEY.replace('/', "%2f").replace('+', "%2B").replace('=', "%253D"),
            KEY.replace('/', "&#x2F;").replace('+', "&#43;").replace('=', "&equals;"),
            KEY.bytes().fold(String::new(), |all, byte| format!("{all}{byte:02X}")),
            "sk-Ab7/inven\r\n ted+Xy=93_Qz".to_owned(),
            r"sk-Ab7/inven\r\n\tted+Xy=93_Qz".replace(r"\t", "  "),
            "[key]".to_owned(),
        ] {
            assert_eq!(redact(&format!("sent „{form}“ now")), "sent „[key]“ now", "{form}");
        }
    }

    #[test]
    fn basic_authentication_is_found_for_any_user_name() {
        // base64 of `:KEY`, `me:KEY`, `user:KEY` and of `KEY:`.
        for form in [
            "OnNrLUFiNy9pbnZlbnRlZCtYeT05M19Reg==",
            "bWU6c2stQWI3L2ludmVudGVkK1h5PTkzX1F6",
            "dXNlcjpzay1BYjcvaW52ZW50ZWQrWHk9OTNfUXo=",
            "c2stQWI3L2ludmVudGVkK1h5PTkzX1F6Og==",
        ] {
            assert_eq!(redact(&format!("Basic {form}, no")), "Basic [key], no");
        }
    }

    #[test]
    fn a_part_of_the_key_is_redacted_and_a_few_letters_are_not() {
        assert_eq!(redact("wrong key: sk-Ab7/invented+X..."), "wrong key: [key]...");
        assert_eq!(redact("invented sk-Ab7 and Qz"), "invented sk-Ab7 and Qz");
        let short = Redactor::new("EMPTY");
        assert_eq!(short.redact("an empty cell, EMPTY".into()), "an empty cell, [key]");
        let halves = Redactor::new("0123456789abcdef").redact_value(json!({"a": ["01234567", "89abcdef"]}));
        assert_eq!(halves, json!({"a": ["[key]", "[key]"]}));
    }

    #[test]
    fn long_texts_are_searched_across_pieces() {
        let before = "é".repeat(PIECE / 2 - 5);
        assert_eq!(redact(&format!("{before}{KEY}{before}")), format!("{before}[key]{before}"));
        let value = Redactor::new(KEY).redact_value(json!({KEY: [1, {"b": format!("x{KEY}")}]}));
        assert_eq!(value, json!({"[key]": [1, {"b": "x[key]"}]}));
    }
}
