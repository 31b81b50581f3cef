//! A JSON reader for text that a model wrote.
//!
//! It differs from a general library in three ways that scoring needs: it keeps the position of every value,
//! the depth of nesting is limited by memory and not by the call stack, and it accepts exactly the grammar of
//! RFC 8259 (numbers of any size and unpaired surrogates included).

use std::borrow::Cow;

use crate::FaultKind;

/// The kind of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

/// A value: its bytes and where its subtree ends in the list of nodes.
#[derive(Clone, Copy, Debug)]
struct Node {
    shape: Shape,
    /// Whether it is a string with escapes.
    escaped: bool,
    start: usize,
    end: usize,
    next: usize,
}

/// A parsed text: nodes in document order, each container before its children, each object key
/// before its value.
pub(crate) struct Json<'a> {
    text: &'a str,
    nodes: Vec<Node>,
}

/// A value of a parsed text.
#[derive(Clone, Copy)]
pub(crate) struct Value<'a, 'b> {
    json: &'b Json<'a>,
    node: usize,
}

/// Where and how the grammar was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JsonFault {
    pub(crate) kind: FaultKind,
    pub(crate) byte: usize,
}

/// What may come next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    CommaOrEnd,
}

struct Reader<'a> {
    text: &'a str,
    position: usize,
    nodes: Vec<Node>,
    /// Open containers, outermost first.
    open: Vec<usize>,
}

impl<'a> Json<'a> {
    /// Reads a text that holds exactly one value, with whitespace around it.
    pub(crate) fn read(text: &'a str) -> Result<Self, JsonFault> {
        // Answers have a node every eight bytes or so.
        let nodes = Vec::with_capacity((text.len() / 8).min(1024));
        let mut reader = Reader { text, position: 0, nodes, open: Vec::with_capacity(8) };
        reader.skip_blanks();
        let rest = &text[reader.position..];
        if rest.is_empty() {
            return Err(JsonFault { kind: FaultKind::EmptyOutput, byte: reader.position });
        }
        if rest.starts_with("```") {
            return Err(JsonFault { kind: FaultKind::CodeFence, byte: reader.position });
        }
        reader.value()?;
        reader.skip_blanks();
        if reader.position < text.len() {
            return Err(JsonFault { kind: FaultKind::TrailingText, byte: reader.position });
        }
        Ok(Self { text, nodes: reader.nodes })
    }

    /// The outermost value.
    pub(crate) fn root(&self) -> Value<'a, '_> {
        Value { json: self, node: 0 }
    }
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.position).copied()
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.position += 1;
        }
    }

    /// The fault of an unexpected byte, or of the end of the text.
    fn unexpected<T>(&self) -> Result<T, JsonFault> {
        let kind = if self.position < self.text.len() { FaultKind::Syntax } else { FaultKind::Truncated };
        Err(JsonFault { kind, byte: self.position })
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonFault> {
        if self.peek() != Some(byte) {
            return self.unexpected();
        }
        self.position += 1;
        Ok(())
    }

    /// Reads one value with everything inside it.
    fn value(&mut self) -> Result<(), JsonFault> {
        let mut expect = Expect::Value;
        loop {
            self.skip_blanks();
            let byte = self.peek();
            match (expect, byte) {
                (Expect::ValueOrEnd | Expect::CommaOrEnd, Some(b']')) => {
                    if !self.close(Shape::Array) {
                        return self.unexpected();
                    }
                    expect = Expect::CommaOrEnd;
                }
                (Expect::KeyOrEnd | Expect::CommaOrEnd, Some(b'}')) => {
                    if !self.close(Shape::Object) {
                        return self.unexpected();
                    }
                    expect = Expect::CommaOrEnd;
                }
                (Expect::CommaOrEnd, Some(b',')) => {
                    self.position += 1;
                    let container = self.open.last().expect("a comma is only awaited inside a container");
                    expect = if self.nodes[*container].shape == Shape::Object { Expect::Key } else { Expect::Value };
                }
                (Expect::Key | Expect::KeyOrEnd, Some(b'"')) => {
                    self.string()?;
                    self.skip_blanks();
                    self.expect(b':')?;
                    expect = Expect::Value;
                }
                (Expect::Value | Expect::ValueOrEnd, Some(b'[')) => {
                    self.open_container(Shape::Array);
                    expect = Expect::ValueOrEnd;
                }
                (Expect::Value | Expect::ValueOrEnd, Some(b'{')) => {
                    self.open_container(Shape::Object);
                    expect = Expect::KeyOrEnd;
                }
                (Expect::Value | Expect::ValueOrEnd, Some(first)) => {
                    self.scalar(first)?;
                    expect = Expect::CommaOrEnd;
                }
                _ => return self.unexpected(),
            }
            if self.open.is_empty() {
                return Ok(());
            }
        }
    }

    fn open_container(&mut self, shape: Shape) {
        self.open.push(self.nodes.len());
        self.nodes.push(Node { shape, escaped: false, start: self.position, end: self.position, next: 0 });
        self.position += 1;
    }

    /// Closes the innermost container, if it has this shape.
    fn close(&mut self, shape: Shape) -> bool {
        let Some(&container) = self.open.last().filter(|&&container| self.nodes[container].shape == shape) else {
            return false;
        };
        self.open.pop();
        self.position += 1;
        let next = self.nodes.len();
        self.nodes[container].end = self.position;
        self.nodes[container].next = next;
        true
    }

    fn scalar(&mut self, first: u8) -> Result<(), JsonFault> {
        match first {
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.word("true", Shape::Bool),
            b'f' => self.word("false", Shape::Bool),
            b'n' => self.word("null", Shape::Null),
            _ => self.unexpected(),
        }
    }

    fn leaf(&mut self, shape: Shape, escaped: bool, start: usize) {
        let next = self.nodes.len() + 1;
        self.nodes.push(Node { shape, escaped, start, end: self.position, next });
    }

    fn word(&mut self, word: &str, shape: Shape) -> Result<(), JsonFault> {
        let start = self.position;
        for &byte in word.as_bytes() {
            self.expect(byte)?;
        }
        self.leaf(shape, false, start);
        Ok(())
    }

    fn number(&mut self) -> Result<(), JsonFault> {
        let start = self.position;
        if self.peek() == Some(b'-') {
            self.position += 1;
        }
        if self.peek() == Some(b'0') {
            self.position += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.position += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.position += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.position += 1;
            }
            self.digits()?;
        }
        self.leaf(Shape::Number, false, start);
        Ok(())
    }

    fn digits(&mut self) -> Result<(), JsonFault> {
        let start = self.position;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.position += 1;
        }
        if self.position == start { self.unexpected() } else { Ok(()) }
    }

    fn string(&mut self) -> Result<(), JsonFault> {
        let start = self.position;
        let bytes = self.text.as_bytes();
        let mut escaped = false;
        let mut end = start + 1;
        loop {
            match bytes.get(end) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.position = end;
                    self.escape()?;
                    end = self.position;
                }
                Some(b' '..) => end += 1,
                _ => {
                    self.position = end;
                    return self.unexpected();
                }
            }
        }
        self.position = end + 1;
        self.leaf(Shape::String, escaped, start);
        Ok(())
    }

    fn escape(&mut self) -> Result<(), JsonFault> {
        self.position += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.position += 1,
            Some(b'u') => {
                self.position += 1;
                for _ in 0..4 {
                    if !self.peek().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                        return self.unexpected();
                    }
                    self.position += 1;
                }
            }
            _ => return self.unexpected(),
        }
        Ok(())
    }
}

impl<'a, 'b> Value<'a, 'b> {
    fn get(self) -> &'b Node {
        &self.json.nodes[self.node]
    }

    pub(crate) fn shape(self) -> Shape {
        self.get().shape
    }

    /// The byte where the value starts.
    pub(crate) fn byte(self) -> usize {
        self.get().start
    }

    fn raw(self) -> &'a str {
        let node = self.get();
        &self.json.text[node.start..node.end]
    }

    /// The elements of an array, or the keys and values of an object in turn.
    pub(crate) fn children(self) -> impl Iterator<Item = Value<'a, 'b>> {
        let end = self.get().next;
        let json = self.json;
        let mut node = self.node + 1;
        std::iter::from_fn(move || {
            let child = (node < end).then_some(Value { json, node })?;
            node = json.nodes[node].next;
            Some(child)
        })
    }

    /// The members of an object.
    pub(crate) fn members(self) -> impl Iterator<Item = (Value<'a, 'b>, Value<'a, 'b>)> {
        let mut children = self.children();
        std::iter::from_fn(move || children.next().zip(children.next()))
    }

    /// The content of a string; unpaired surrogates become U+FFFD.
    pub(crate) fn string(self) -> Option<Cow<'a, str>> {
        let node = self.get();
        (node.shape == Shape::String).then(|| {
            let content = &self.json.text[node.start + 1..node.end - 1];
            if node.escaped { Cow::Owned(unescape(content)) } else { Cow::Borrowed(content) }
        })
    }

    /// The value of a number written without fraction and exponent; numbers out of range become
    /// the largest or smallest there is.
    pub(crate) fn integer(self) -> Option<i64> {
        let raw = self.raw();
        if self.shape() != Shape::Number || raw.contains(['.', 'e', 'E']) {
            return None;
        }
        Some(raw.parse().unwrap_or(if raw.starts_with('-') { i64::MIN } else { i64::MAX }))
    }
}

/// Resolves the escapes of a string that the grammar accepts.
fn unescape(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(escape) = rest.find('\\') {
        text.push_str(&rest[..escape]);
        let code = rest.as_bytes()[escape + 1];
        rest = &rest[escape + 2..];
        match code {
            b'b' => text.push('\u{8}'),
            b'f' => text.push('\u{c}'),
            b'n' => text.push('\n'),
            b'r' => text.push('\r'),
            b't' => text.push('\t'),
            b'u' => {
                let (first, after) = hex_unit(rest);
                rest = after;
                let second = rest.strip_prefix("\\u").map(hex_unit);
                let paired = second.and_then(|(second, after)| {
                    char::decode_utf16([first, second]).next()?.ok().filter(|c| *c as u32 > 0xffff).zip(Some(after))
                });
                if let Some((character, after)) = paired {
                    text.push(character);
                    rest = after;
                } else {
                    text.push(char::from_u32(u32::from(first)).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
            }
            plain => text.push(char::from(plain)),
        }
    }
    text.push_str(rest);
    text
}

/// Four hexadecimal digits and what follows them.
fn hex_unit(text: &str) -> (u16, &str) {
    let (digits, rest) = text.split_at(4);
    (u16::from_str_radix(digits, 16).expect("the grammar was checked"), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> Option<FaultKind> {
        Json::read(text).err().map(|fault| fault.kind)
    }

    #[test]
    fn grammar() {
        for text in ["{}", " [1,-0,2.5e+3,1e999,true,null]\r\n", r#"{"a":{"b":[[],{}]},"a":"\u00e9\ud800"}"#, "0"] {
            assert_eq!(kind(text), None, "{text}");
        }
        for text in ["[1,]", "{,}", "[01]", "{\"a\" 1}", "NaN", "[1}", "['a']", "\"\t\"", "{\"a\":1,}", "]", "{1:2}"] {
            assert_eq!(kind(text), Some(FaultKind::Syntax), "{text}");
        }
        for text in ["[", "{\"a", "{\"a\":", "tru", "-", "[1", "\"\\u12", "1.", "{\"a\":1"] {
            assert_eq!(kind(text), Some(FaultKind::Truncated), "{text}");
        }
        assert_eq!(kind(" \n"), Some(FaultKind::EmptyOutput));
        assert_eq!(kind("```json\n{}\n```"), Some(FaultKind::CodeFence));
        assert_eq!(Json::read("{} x").err(), Some(JsonFault { kind: FaultKind::TrailingText, byte: 3 }));
    }

    #[test]
    fn strings_and_integers() {
        let json = Json::read(r#"["a\"\\\/\n\u00e9\ud83d\ude00\ud800x", 12, 1.0, 99999999999999999999, "é"]"#)
            .unwrap_or_else(|fault| panic!("{fault:?}"));
        let values: Vec<_> = json.root().children().collect();
        assert_eq!(values[0].string().as_deref(), Some("a\"\\/\né\u{1f600}\u{fffd}x"));
        assert_eq!(values[1].integer(), Some(12));
        assert_eq!(values[2].integer(), None);
        assert_eq!(values[3].integer(), Some(i64::MAX));
        assert_eq!(values[4].string().as_deref(), Some("é"));
    }

    #[test]
    fn deep_nesting_needs_no_stack() {
        let depth = 1_000_000;
        let text = "[".repeat(depth) + &"]".repeat(depth);
        assert!(Json::read(&text).is_ok());
        assert_eq!(kind(&text[..depth]), Some(FaultKind::Truncated));
    }
}
