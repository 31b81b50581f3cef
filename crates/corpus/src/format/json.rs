//! JSON as tools write it: names that are numbers, lone surrogates, and errors with their place.

use std::{borrow::Cow, collections::BTreeMap, fmt, path::Path};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, Visitor},
};
use serde_json::value::RawValue;

use crate::CorpusError;

/// A name: a string, or a number as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(pub String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StringOrNumber;

        impl Visitor<'_> for StringOrNumber {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a string or a whole number")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Name, E> {
                Ok(Name(name.to_owned()))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Name, E> {
                Ok(Name(number.to_string()))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Name, E> {
                Ok(Name(number.to_string()))
            }
        }

        deserializer.deserialize_any(StringOrNumber)
    }
}

/// An error of the JSON parser in the text that begins with line `first_line` of a file.
pub(crate) fn json_error(path: &Path, first_line: usize, text: &str, error: &serde_json::Error) -> CorpusError {
    CorpusError::Json {
        path: path.to_path_buf(),
        line: first_line + error.line().saturating_sub(1),
        column: error.column(),
        message: json_message(text, error),
    }
}

/// What is wrong with a JSON text, and in which field: the parser's message without its own " at line 1
/// column 5" and without names of Rust types.
pub fn json_message(text: &str, error: &serde_json::Error) -> String {
    let whole = error.to_string();
    let suffix = format!(" at line {} column {}", error.line(), error.column());
    let mut message = whole.strip_suffix(&suffix).unwrap_or(&whole).to_owned();
    for (rust, plain) in [
        ("expected i64", "expected a whole number"),
        ("expected u64", "expected a whole number of 0 or more"),
        ("expected u32", "expected a whole number of 0 or more"),
        ("expected a sequence", "expected a list"),
        ("expected a map", "expected an object"),
        ("expected a tuple of size", "expected a list of this length:"),
        ("expected a boolean", "expected true or false"),
        ("type: sequence", "type: a list"),
        ("type: map", "type: an object"),
    ] {
        message = message.replace(rust, plain);
    }
    if let Some(name) = message.split("expected struct ").nth(1) {
        message = message.replace(&format!("struct {}", name.to_owned()), "an object");
    }
    if let Some(plain) = syntax_fault(text, error, &message) {
        message = plain;
    }
    let field = if error.is_data() { field_at(text, offset(text, error)) } else { String::new() };
    if field.is_empty() { message } else { format!("`{field}`: {message}") }
}

/// A plain message for a syntax error, where the parser only names the rule that was broken.
fn syntax_fault(text: &str, error: &serde_json::Error, message: &str) -> Option<String> {
    if error.is_eof() {
        let is_line = text.trim_start().starts_with('{') && !text.trim().contains('\n');
        return Some(if is_line {
            "the line ends in the middle of its object: the file was cut short, or the object spans several lines; \
             `jq -c . FILE` puts every object on one line"
                .to_owned()
        } else {
            "it ends in the middle of the JSON: was it cut short?".to_owned()
        });
    }
    let at = offset(text, error).saturating_sub(1);
    let is_whole = |text: &str| serde_json::from_str::<IgnoredAny>(text);
    if message.starts_with("control character") {
        let is_cut = is_whole(text.trim_end()).is_err_and(|error| error.is_eof());
        let plain = "a string contains a line break or another control character; JSON writes `\\n`, `\\t` and so on";
        return Some(if is_cut { "the line ends inside a string: was it cut off?" } else { plain }.to_owned());
    }
    let (before, rest) = (text.get(..at)?, text.get(at..)?);
    match message {
        "trailing characters" if is_whole(before).is_ok() => Some(match rest.chars().next()? {
            '{' | '[' => {
                "another value follows on the same line; `jq -c . FILE` puts every object on one line".to_owned()
            }
            other => format!("`{other}` follows the value, which should end the line"),
        }),
        "expected value" | "invalid number" => {
            // The parser may have read the sign.
            let from_sign = before.strip_suffix('-').map_or(rest, |before| &text[before.len()..]);
            let stands = |word: &&str| from_sign.starts_with(*word) || rest.starts_with(*word);
            let word = ["-Infinity", "Infinity", "NaN"].into_iter().find(stands)?;
            Some(format!("`{word}` is not a number in JSON; write `null` or a number"))
        }
        _ => None,
    }
}

/// The byte that the parser had reached.
fn offset(text: &str, error: &serde_json::Error) -> usize {
    let lines = text.split_inclusive('\n').take(error.line().saturating_sub(1));
    lines.map(str::len).sum::<usize>() + error.column()
}

/// The innermost value that holds a byte, as `entities[2].start`; empty for the text as a whole.
fn field_at(text: &str, offset: usize) -> String {
    let mut name = String::new();
    let mut value = text;
    loop {
        let holds = |child: &&RawValue| {
            // A raw value borrows from the text, so its address gives its position.
            let start = child.get().as_ptr() as usize - text.as_ptr() as usize;
            // The parser may have stopped before the bracket of a list or object where it expected something else.
            let unread = start == offset && child.get().starts_with(['[', '{']);
            (start < offset || unread) && offset <= start + child.get().len()
        };
        let fields = serde_json::from_str::<BTreeMap<Cow<str>, &RawValue>>(value).unwrap_or_default();
        let found = fields.into_iter().find(|(_, child)| holds(child));
        if let Some((key, child)) = found {
            let dot = if name.is_empty() { "" } else { "." };
            name.push_str(&format!("{dot}{key}"));
            value = child.get();
            continue;
        }
        let items = serde_json::from_str::<Vec<&RawValue>>(value).unwrap_or_default();
        match items.into_iter().enumerate().find(|(_, child)| holds(child)) {
            Some((index, child)) => {
                name.push_str(&format!("[{index}]"));
                value = child.get();
            }
            None => return name,
        }
    }
}

/// The JSON text with U+FFFD for every lone surrogate escape, and how many there are; `None` if there are
/// none. Programs that cut texts at UTF-16 units write them.
pub fn mend_surrogates(json: &str) -> Option<(String, u64)> {
    let unit = |at: usize| -> Option<u16> {
        let escape = json.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(escape, 16).ok()
    };
    let bytes = json.as_bytes();
    let (mut mended, mut kept, mut count) = (String::new(), 0, 0);
    let mut at = 0;
    while let Some(backslash) = memchr::memchr(b'\\', &bytes[at..]) {
        at += backslash;
        match unit(at) {
            Some(0xd800..=0xdbff) if matches!(unit(at + 6), Some(0xdc00..=0xdfff)) => at += 12,
            Some(0xd800..=0xdfff) => {
                mended.push_str(&json[kept..at]);
                mended.push_str("\\ufffd");
                count += 1;
                at += 6;
                kept = at;
            }
            // An escape of a single character, the backslash itself for example.
            _ => at += 2,
        }
        at = at.min(bytes.len());
    }
    (count > 0).then(|| {
        mended.push_str(&json[kept..]);
        (mended, count)
    })
}

/// The values of a text that holds several in a row or all in one list, each with the line in which it begins
/// (counted from 1). Fails at the first value that cannot be read.
pub(crate) fn values<'t>(path: &Path, text: &'t str) -> Result<Vec<(usize, &'t str)>, CorpusError> {
    let all = if text.trim_start().starts_with('[') {
        serde_json::from_str::<Vec<&RawValue>>(text)
    } else {
        serde_json::Deserializer::from_str(text).into_iter().collect()
    };
    let all = all.map_err(|error| json_error(path, 1, text, &error))?;
    let (mut line, mut counted) = (1, 0);
    let with_line = |raw: &'t RawValue| {
        let at = raw.get().as_ptr() as usize - text.as_ptr() as usize;
        line += memchr::memchr_iter(b'\n', &text.as_bytes()[counted..at]).count();
        counted = at;
        (line, raw.get())
    };
    Ok(all.into_iter().map(with_line).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lone_surrogates_are_replaced() {
        let mend = mend_surrogates;
        assert_eq!(mend("\"\\ud83d\\ude00 \\n \\u00e9\""), None);
        assert_eq!(mend("\"\\uD83D\""), Some(("\"\\ufffd\"".to_owned(), 1)));
        let both = "\"\\ude00\\ud83d\\ud83d\\ude00\\\\\\ud83d x\"";
        assert_eq!(mend(both), Some(("\"\\ufffd\\ufffd\\ud83d\\ude00\\\\\\ufffd x\"".to_owned(), 3)));
        // The backslash before the `u` is escaped itself.
        assert_eq!(mend("\"\\\\ud83d\""), None);
        assert_eq!(mend("\"\\ud8"), None);
        assert_eq!(mend("é\\"), None);
    }

    #[test]
    fn faults_name_their_field() {
        let message = |text: &str| {
            let error = serde_json::from_str::<BTreeMap<String, Vec<(i64, Name)>>>(text).unwrap_err();
            json_message(text, &error)
        };
        let error = message("{\"a\": [],\n \"b\": [[1, \"x\"], [\"2\", \"y\"]]}");
        assert_eq!(error, "`b[1][0]`: invalid type: string \"2\", expected a whole number");
        let error = message(r#"{"a": [[1, null]]}"#);
        assert_eq!(error, "`a[0][1]`: invalid type: null, expected a string or a whole number");
        assert_eq!(message(r#"{"a": {}}"#), "`a`: invalid type: an object, expected a list");
        assert!(message(r#"{"a": "#).contains("jq -c ."));
        let faults = [
            ("{} {}", "another value follows"),
            ("{},", "`,` follows the value"),
            ("{\"a\": NaN}", "`NaN` is not a number in JSON"),
            ("{\"a\": -Infinity}", "`-Infinity` is not a number"),
            ("{\"a\": [[1", "the line ends in the middle of its object"),
            ("[1,\n", "invalid type"),
            ("{\"a\": \"cut\n", "was it cut off?"),
            ("{\"a\t\": 1}", "JSON writes"),
        ];
        for (text, expected) in faults {
            assert!(message(text).contains(expected), "{text:?}: {}", message(text));
        }
    }
}
