//! A quick reader of JSON as programs write it.
//!
//! It knows what data files are made of: objects, lists, strings, integers and null. Whatever is
//! unusual (a fraction, half of a surrogate pair, a fault) makes it give up with `None`, and the
//! caller then reads the text with a general library, which accepts it or says what is wrong. What it
//! does read, it reads as that library does.

use std::borrow::Cow;

/// Reads a text from its start to its end.
#[derive(Debug)]
pub struct PlainJson<'a> {
    text: &'a str,
    position: usize,
}

/// How many bytes stand for themselves in a string until the first that does not (a control byte, a
/// quote or a backslash), or all there are.
#[inline]
pub fn plain_length(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let is_zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let mut length = 0;
    // Eight bytes in one step: the lowest high bit of `special` belongs to the first special byte.
    while let Some(chunk) = bytes[length..].first_chunk::<8>() {
        let word = u64::from_le_bytes(*chunk);
        let quote = is_zero(word ^ (ONES * u64::from(b'"')));
        let backslash = is_zero(word ^ (ONES * u64::from(b'\\')));
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let special = (quote | backslash | control) & (ONES * 0x80);
        if special != 0 {
            return length + special.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    let is_plain = |&byte: &u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    length + bytes[length..].iter().take_while(|byte| is_plain(byte)).count()
}

/// Numbers with more digits are left to others.
const DIGITS: usize = 18;

impl<'a> PlainJson<'a> {
    /// A reader of a text.
    pub fn new(text: &'a str) -> Self {
        Self { text, position: 0 }
    }

    /// The next byte that is not blank.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(self.position) {
            self.position += 1;
        }
        bytes.get(self.position).copied()
    }

    /// Takes a byte if it is the next one, blanks aside.
    #[inline]
    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.position += usize::from(found);
        found
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.text.len() - self.position
    }

    /// Whether nothing but blanks is left.
    pub fn is_at_end(&mut self) -> bool {
        self.peek().is_none()
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
            if self.take(b'}') {
                return Some(());
            }
            self.take(b',').then_some(())?;
        }
    }

    /// A list; `element` reads one element.
    pub fn list(&mut self, mut element: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.take(b'[').then_some(())?;
        if self.take(b']') {
            return Some(());
        }
        loop {
            element(self)?;
            if self.take(b']') {
                return Some(());
            }
            self.take(b',').then_some(())?;
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

    /// A string, copied only if it has escapes.
    #[inline]
    pub fn string(&mut self) -> Option<Cow<'a, str>> {
        self.take(b'"').then_some(())?;
        let start = self.position;
        let rest = &self.text.as_bytes()[start..];
        let length = plain_length(rest);
        match rest.get(length) {
            Some(b'"') => {
                self.position += length + 1;
                Some(Cow::Borrowed(&self.text[start..start + length]))
            }
            Some(b'\\') => self.escaped_string().map(Cow::Owned),
            _ => None,
        }
    }

    /// The rest of a string that has escapes; none of them may be half of a surrogate pair.
    fn escaped_string(&mut self) -> Option<String> {
        let bytes = self.text.as_bytes();
        // Eight bytes are copied at a time, and those that are not plain then overwritten.
        let mut text: Vec<u8> = Vec::new();
        let (mut read, mut written) = (self.position, 0);
        loop {
            // Eight bytes, or fewer and the bytes of a character.
            if text.len() < written + 12 {
                text.resize((2 * text.len()).max((bytes.len() - read).min(512)) + 12, 0);
            }
            let plain = if let Some(chunk) = bytes[read..].first_chunk::<8>() {
                text[written..written + 8].copy_from_slice(chunk);
                plain_length(chunk)
            } else {
                let rest = &bytes[read..];
                text[written..written + rest.len()].copy_from_slice(rest);
                plain_length(rest)
            };
            read += plain;
            written += plain;
            match *bytes.get(read)? {
                b'\\' => {
                    let code = *bytes.get(read + 1)?;
                    read += 2;
                    if code == b'u' {
                        let digits = self.text.get(read..read + 4)?;
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
                _ if plain == 8 => {}
                _ => return None,
            }
        }
        self.position = read + 1;
        text.truncate(written);
        String::from_utf8(text).ok()
    }

    /// Passes over the rest of an object without looking at it, if the text ends with that object.
    /// What is in it may be faulty.
    pub fn skip_rest(&mut self) -> Option<()> {
        self.position = self.text[self.position..].trim_ascii_end().strip_suffix('}')?.len() + self.position;
        Some(())
    }
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
