//! A quick reader of JSON as programs write it.
//!
//! It knows what data files are made of: objects, lists, strings, integers and null. Whatever is
//! unusual (a fraction, half of a surrogate pair, a fault) makes it give up with `None`, and the
//! caller then reads the text with a general library, which accepts it or says what is wrong. What it
//! does read, it reads as that library does.

use std::borrow::Cow;

use wide::u8x16;

/// Reads a text from its start to its end.
///
/// With `QUOTED` it is JSON inside a JSON string, read as it stands there: its quotes are written
/// `\"`, and whatever else has to be escaped there is unusual.
#[derive(Debug)]
pub struct PlainJson<'a, const QUOTED: bool = false> {
    text: &'a str,
    position: usize,
    /// How many bytes before `position` are not of the JSON but of the string that holds it.
    foreign: usize,
}

/// How many bytes are looked at in one step.
const STEP: usize = 16;

/// A bit for each of some bytes, the lowest for the first: whether it does not stand for itself in a
/// string, being a control byte, a quote or a backslash.
#[inline]
fn special(bytes: [u8; STEP]) -> u32 {
    let bytes = u8x16::new(bytes);
    let is = |byte| bytes.simd_eq(u8x16::splat(byte));
    (is(b'"') | is(b'\\') | bytes.simd_eq(bytes.min(u8x16::splat(0x1f)))).to_bitmask()
}

/// How many bytes stand for themselves in a string until the first that does not (a control byte, a
/// quote or a backslash), or all there are.
#[inline]
pub fn plain_length(bytes: &[u8]) -> usize {
    // Most strings end within the first step.
    match bytes.first_chunk().map_or(0, |chunk| special(*chunk)) {
        0 => long_plain_length(bytes),
        special => special.trailing_zeros() as usize,
    }
}

/// As [`plain_length`], for strings of any length.
fn long_plain_length(bytes: &[u8]) -> usize {
    let mut length = 0;
    while let Some(chunk) = bytes[length..].first_chunk() {
        let special = special(*chunk);
        if special != 0 {
            return length + special.trailing_zeros() as usize;
        }
        length += STEP;
    }
    let is_plain = |&byte: &u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    length + bytes[length..].iter().take_while(|byte| is_plain(byte)).count()
}

/// Numbers with more digits are left to others.
const DIGITS: usize = 18;

impl<'a> PlainJson<'a> {
    /// A reader of a text.
    pub fn new(text: &'a str) -> Self {
        Self { text, position: 0, foreign: 0 }
    }

    /// Reads a string that holds JSON without copying it: `read` reads the value in it. When that
    /// gives up, nothing is read.
    pub fn quoted<T>(&mut self, read: impl FnOnce(&mut PlainJson<'a, true>) -> Option<T>) -> Option<T> {
        self.is_next(b'"').then_some(())?;
        let start = self.position + 1;
        let mut inside = PlainJson { text: self.text, position: start, foreign: start };
        let value = read(&mut inside)?;
        inside.is_at_end().then(|| {
            self.position = inside.position + 1;
            value
        })
    }
}

impl<'a, const QUOTED: bool> PlainJson<'a, QUOTED> {
    /// The next byte that is not blank.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(&byte) = bytes.get(self.position) {
            let is_blank = byte <= b' ' && matches!(byte, b' ' | b'\n' | b'\r' | b'\t');
            // In a string, control bytes are faults.
            if !is_blank || (QUOTED && byte != b' ') {
                return Some(byte);
            }
            self.position += 1;
        }
        None
    }

    /// Takes a quote if it is next.
    #[inline]
    fn take_quote(&mut self) -> bool {
        let found = self.is_string();
        if found {
            self.go_behind_quote(self.position);
        }
        found
    }

    /// Goes on behind a quote at this place.
    #[inline]
    fn go_behind_quote(&mut self, quote: usize) {
        self.position = quote + 1 + usize::from(QUOTED);
        self.foreign += usize::from(QUOTED);
    }

    /// Whether a quote stands at a place, blanks not passed over.
    #[inline]
    fn is_quote_at(&self, position: usize) -> bool {
        let byte = self.text.as_bytes().get(position);
        if QUOTED {
            byte == Some(&b'\\') && self.text.as_bytes().get(position + 1) == Some(&b'"')
        } else {
            byte == Some(&b'"')
        }
    }

    /// Whether the next thing is a string.
    #[inline]
    pub fn is_string(&mut self) -> bool {
        self.peek();
        self.is_quote_at(self.position)
    }

    /// Goes on behind an element of a container: true if there is another one, false at `end`.
    #[inline]
    fn goes_on(&mut self, end: u8) -> Option<bool> {
        let next = self.peek()?;
        self.position += 1;
        (next == b',' || next == end).then_some(next == b',')
    }

    /// Whether the next byte is this one, blanks aside.
    #[inline]
    fn is_next(&mut self, byte: u8) -> bool {
        self.peek() == Some(byte)
    }

    /// The byte of the JSON where the next thing that is not blank starts.
    #[inline]
    pub fn position(&mut self) -> usize {
        self.peek();
        self.position - self.foreign
    }

    /// Takes a byte if it is the next one, blanks aside.
    #[inline]
    fn take(&mut self, byte: u8) -> bool {
        let found = self.is_next(byte);
        self.position += usize::from(found);
        found
    }

    /// How many bytes of the text are left.
    pub fn remaining(&self) -> usize {
        self.text.len() - self.position
    }

    /// Whether nothing but blanks is left.
    pub fn is_at_end(&mut self) -> bool {
        if QUOTED { self.is_next(b'"') } else { self.peek().is_none() }
    }

    /// Reads `null`, or whatever `read` reads.
    pub fn nullable<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.peek() != Some(b'n') {
            return read(self).map(Some);
        }
        self.text[self.position..].starts_with("null").then(|| self.position += 4)?;
        Some(None)
    }

    /// An object; `member` reads the value of a key.
    pub fn object(&mut self, mut member: impl FnMut(&mut Self, &str) -> Option<()>) -> Option<()> {
        self.take(b'{').then_some(())?;
        if self.take(b'}') {
            return Some(());
        }
        loop {
            let key = self.string()?;
            self.take(b':').then_some(())?;
            member(self, &key)?;
            if !self.goes_on(b'}')? {
                return Some(());
            }
        }
    }

    /// An object with keys in the order of `keys`, each of which may be missing; `member` reads the
    /// value of a key, given by its position.
    #[inline]
    pub fn ordered_object(
        &mut self,
        keys: &[&str],
        mut member: impl FnMut(&mut Self, usize) -> Option<()>,
    ) -> Option<()> {
        self.take(b'{').then_some(())?;
        if self.take(b'}') {
            return Some(());
        }
        let mut next = 0;
        loop {
            self.take_quote().then_some(())?;
            let index = next + keys[next..].iter().position(|key| self.ends_string(key))?;
            self.take(b':').then_some(())?;
            member(self, index)?;
            next = index + 1;
            if !self.goes_on(b'}')? {
                return Some(());
            }
        }
    }

    /// Whether the rest of a string is this text, which has no escapes; goes on behind it if so.
    #[inline]
    fn ends_string(&mut self, text: &str) -> bool {
        let end = self.position + text.len();
        let found = self.is_quote_at(end) && self.text.as_bytes()[self.position..end] == *text.as_bytes();
        if found {
            self.go_behind_quote(end);
        }
        found
    }

    /// A list; `element` reads one element.
    pub fn list(&mut self, mut element: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.take(b'[').then_some(())?;
        if self.take(b']') {
            return Some(());
        }
        loop {
            element(self)?;
            if !self.goes_on(b']')? {
                return Some(());
            }
        }
    }

    /// A list of this many integers and then a string.
    pub fn numbers_and_name<const N: usize>(&mut self) -> Option<([i64; N], Cow<'a, str>)> {
        self.take(b'[').then_some(())?;
        let mut numbers = [0; N];
        for number in &mut numbers {
            *number = self.integer()?;
            self.take(b',').then_some(())?;
        }
        let name = self.string()?;
        self.take(b']').then_some((numbers, name))
    }

    /// A list of two integers.
    #[inline]
    pub fn pair(&mut self) -> Option<(i64, i64)> {
        self.take(b'[').then_some(())?;
        let first = self.integer()?;
        self.take(b',').then_some(())?;
        let second = self.integer()?;
        self.take(b']').then_some((first, second))
    }

    /// An integer.
    #[inline]
    pub fn integer(&mut self) -> Option<i64> {
        let negative = self.take(b'-');
        let bytes = self.text.as_bytes();
        let start = self.position;
        let mut value = 0_i64;
        while let Some(digit @ b'0'..=b'9') = bytes.get(self.position) {
            value = value.wrapping_mul(10).wrapping_add(i64::from(digit - b'0'));
            self.position += 1;
        }
        let is_integer = !matches!(bytes.get(self.position), Some(b'.' | b'e' | b'E'));
        let length = self.position - start;
        let is_plain = length == 1 || (length > 1 && length <= DIGITS && bytes[start] != b'0');
        let is_minus_zero = negative && value == 0;
        (is_integer && is_plain && !is_minus_zero).then_some(if negative { -value } else { value })
    }

    /// A string as in [`PlainJson::string`], and the bytes from its start on, more than it has, that
    /// are cheaper to copy than a string of some length; not for a string that has escapes, nor close
    /// to the end.
    #[inline]
    pub fn string_and_chunk(&mut self) -> Option<(Cow<'a, str>, Option<&'a [u8; STEP]>)> {
        let start = self.position();
        let string = self.string()?;
        let chunk = match string {
            Cow::Borrowed(_) => self.text.as_bytes()[start + 1..].first_chunk(),
            Cow::Owned(_) => None,
        };
        Some((string, chunk))
    }

    /// A string, copied only if it has escapes.
    #[expect(clippy::inline_always, reason = "it is most of what reading is, and compilers hesitate")]
    #[inline(always)]
    pub fn string(&mut self) -> Option<Cow<'a, str>> {
        self.take_quote().then_some(())?;
        match self.plain_string() {
            Some(text) => Some(Cow::Borrowed(text)),
            None if QUOTED => None,
            None => {
                let (text, end) = escaped_string(self.text, self.position)?;
                self.position = end;
                Some(Cow::Owned(text))
            }
        }
    }

    /// The rest of a string that has no escapes; `None`, and nothing is read, for any other.
    #[inline]
    fn plain_string(&mut self) -> Option<&'a str> {
        let start = self.position;
        let end = start + plain_length(&self.text.as_bytes()[start..]);
        self.is_quote_at(end).then(|| {
            self.go_behind_quote(end);
            &self.text[start..end]
        })
    }

    /// Passes over the rest of an object without looking at it, if the text ends with that object.
    /// What is in it may be faulty.
    pub fn skip_rest(&mut self) -> Option<()> {
        self.position = self.text[self.position..].trim_ascii_end().strip_suffix('}')?.len() + self.position;
        Some(())
    }
}

/// The rest of a string that has escapes, from `start` on, and where it ends; no escape may be half of
/// a surrogate pair.
///
/// Not a method: a reader whose address is given away is read from memory again and again.
#[inline(never)]
fn escaped_string(json: &str, start: usize) -> Option<(String, usize)> {
    let bytes = json.as_bytes();
    let mut text: Vec<u8> = Vec::new();
    let (mut read, mut written) = (start, 0);
    loop {
        // Some bytes are copied in one step, and what follows the plain ones among them is then
        // written over. There is always room for a step and a character.
        if text.len() < written + STEP + 4 {
            text.resize((2 * text.len()).max((bytes.len() - read).min(512)) + STEP + 4, 0);
        }
        let plain = if let Some(chunk) = bytes[read..].first_chunk::<STEP>() {
            text[written..written + STEP].copy_from_slice(chunk);
            (special(*chunk) | 1 << STEP).trailing_zeros() as usize
        } else {
            let rest = &bytes[read..];
            text[written..written + rest.len()].copy_from_slice(rest);
            plain_length(rest)
        };
        read += plain;
        written += plain;
        if plain == STEP {
            continue;
        }
        match *bytes.get(read)? {
            b'\\' => {
                let code = *bytes.get(read + 1)?;
                read += 2;
                if code == b'u' {
                    let digits = json.get(read..read + 4)?;
                    let is_hexadecimal = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
                    let number = u32::from_str_radix(digits, 16).ok().filter(|_| is_hexadecimal)?;
                    written += char::from_u32(number)?.encode_utf8(&mut text[written..]).len();
                    read += 4;
                } else {
                    text[written] = unescaped(code)?;
                    written += 1;
                }
            }
            b'"' => break,
            _ => return None,
        }
    }
    text.truncate(written);
    Some((String::from_utf8(text).ok()?, read + 1))
}

/// What the escape of one letter stands for.
#[inline]
fn unescaped(code: u8) -> Option<u8> {
    match code {
        b'"' | b'\\' | b'/' => Some(code),
        b'b' => Some(8),
        b'f' => Some(12),
        b'n' => Some(b'\n'),
        b'r' => Some(b'\r'),
        b't' => Some(b'\t'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &str) -> Option<Cow<'_, str>> {
        let mut json = PlainJson::new(text);
        json.string().filter(|_| json.is_at_end())
    }

    #[test]
    fn plain_bytes() {
        for special in ["\"", "\\", "\u{1f}", "\0"] {
            for length in 0..30 {
                let text = "é~ !".chars().cycle().take(length).collect::<String>();
                assert_eq!(plain_length(text.as_bytes()), text.len());
                for rest in ["", "plain again", "\"\\\n"] {
                    assert_eq!(plain_length(format!("{text}{special}{rest}").as_bytes()), text.len());
                }
            }
        }
    }

    #[test]
    fn strings() {
        for (text, expected) in [
            (r#""""#, ""),
            (r#" "plain é" "#, "plain é"),
            (r#""a\"\\\/\b\f\n\r\tz""#, "a\"\\/\u{8}\u{c}\n\r\tz"),
            (r#""\u00e9\u20AC""#, "é€"),
            (r#""1234567\u20AC1234567\u20AC\u20AC\u20AC""#, "1234567€1234567€€€"),
            (r#""a longer one, with \"quotes\" and a \\ in it, é""#, "a longer one, with \"quotes\" and a \\ in it, é"),
        ] {
            assert_eq!(string(text).as_deref(), Some(expected), "{text}");
        }
        for text in [r#""open"#, "\"\t\"", r#""\x""#, r#""\u12""#, r#""\ud83d\ude00""#, r#""\u+123""#, "a", r#""\"#] {
            assert_eq!(string(text), None, "{text}");
        }
    }

    #[test]
    fn long_strings_with_escapes() {
        for length in [1, 100, 1000, 5000] {
            let content = "\\n€\\u20AC".repeat(length);
            assert_eq!(string(&format!("\"{content}\"")).as_deref(), Some(&*"\n€€".repeat(length)));
        }
    }

    #[test]
    fn integers() {
        for (text, expected) in [("0", 0), ("-7", -7), (" 120", 120), ("999999999999999999", 999999999999999999)] {
            assert_eq!(PlainJson::new(text).integer(), Some(expected), "{text}");
        }
        for text in ["", "-", "-0", "01", "1.0", "1e3", "9999999999999999999", "x", "+1", "- 1"] {
            assert_eq!(PlainJson::new(text).integer(), None, "{text}");
        }
    }

    #[test]
    fn objects_and_lists() {
        let mut json = PlainJson::new(r#" {"a" : [[1, 2, "x"], [3,4,"y"]], "b": null, "c": [[5,6]], "d": []} "#);
        let mut seen = Vec::new();
        let read = json.object(|json, key| match key {
            "a" => json.list(|json| {
                seen.push(format!("{:?}", json.numbers_and_name::<2>()?));
                Some(())
            }),
            "b" => json.nullable(PlainJson::integer).map(|value| seen.push(format!("{value:?}"))),
            "c" => json.list(|json| json.pair().map(|pair| seen.push(format!("{pair:?}")))),
            _ => json.list(|_| None),
        });
        assert_eq!(read, Some(()));
        assert!(json.is_at_end());
        assert_eq!(seen, ["([1, 2], \"x\")", "([3, 4], \"y\")", "None", "(5, 6)"]);
        for text in ["{", "{}{", "{\"a\":1,}", "{\"a\":1 \"b\":2}", "{\"a\"}", "{1:2}", "{a:1}"] {
            let mut json = PlainJson::new(text);
            let read = json.object(|json, _| json.integer().map(|_| ()));
            assert!(read.is_none() || !json.is_at_end(), "{text}");
        }
        for text in ["[", "[1,]", "[1 2]", "[[1]]", "[nul]", "[,1]"] {
            let mut json = PlainJson::new(text);
            assert_eq!(json.list(|json| json.nullable(PlainJson::integer).map(|_| ())), None, "{text}");
        }
    }

    #[test]
    fn the_rest_of_an_object_can_be_passed_over() {
        let mut json = PlainJson::new("{\"a\":1,\"b\":[whatever]} \n");
        let read = json.object(|json, key| if key == "a" { json.integer().map(|_| ()) } else { json.skip_rest() });
        assert!(read.is_some() && json.is_at_end());
        let mut json = PlainJson::new("{\"a\":1");
        assert_eq!(json.object(|json, _| json.skip_rest()), None);
    }
}
