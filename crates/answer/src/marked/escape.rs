//! Escapes, by which texts and names are told from marks.

pub(super) use tabpo_ontology::marked_name as name;

/// A text of the source.
pub(super) fn text(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => written.push_str("\\n"),
            '\r' => written.push_str("\\r"),
            '\\' | '[' | ']' | '|' => written.extend(['\\', character]),
            other => written.push(other),
        }
    }
    written
}

/// A character as it is written, and how many bytes it takes. `None` at the end, and for a backslash there.
pub(super) fn next(written: &str) -> Option<Next> {
    let mut characters = written.chars();
    let first = characters.next()?;
    if first != '\\' {
        return Some(Next { character: first, escaped: false, length: first.len_utf8() });
    }
    let second = characters.next()?;
    let character = match second {
        'n' => '\n',
        'r' => '\r',
        other => other,
    };
    Some(Next { character, escaped: true, length: 1 + second.len_utf8() })
}

/// A character that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Next {
    pub(super) character: char,
    /// Whether a backslash stood before it, so that it is no mark.
    pub(super) escaped: bool,
    /// Its length as written, in bytes.
    pub(super) length: usize,
}

impl Next {
    /// Whether it is this mark.
    pub(super) fn is(self, mark: char) -> bool {
        !self.escaped && self.character == mark
    }
}

/// What is written without its escapes.
pub(super) fn unescaped(mut written: &str) -> String {
    let mut out = String::with_capacity(written.len());
    while let Some(next) = next(written) {
        out.push(next.character);
        written = &written[next.length..];
    }
    out
}

/// The parts of a written text between marks of one kind.
pub(super) fn split(written: &str, mark: char) -> Vec<&str> {
    let (mut parts, mut start, mut at) = (Vec::new(), 0, 0);
    while let Some(next) = next(&written[at..]) {
        if next.is(mark) {
            parts.push(&written[start..at]);
            start = at + next.length;
        }
        at += next.length;
    }
    parts.push(&written[start..]);
    parts
}
