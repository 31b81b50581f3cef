//! Writes values as Python does, because templates were written for Python.

use std::fmt::Write;

use minijinja::value::{Kwargs, Tuple, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

/// Values nested more deeply than this are not written; Python has a limit too.
const DEEPEST: usize = 200;

/// A text that grows while a template runs. Its growth consumes the template's fuel, because a few steps can
/// produce values whose text is unbounded.
pub(super) struct Text<'a> {
    pub(super) out: String,
    paid: usize,
    pay: &'a dyn Fn(u64) -> Result<(), Error>,
}

impl<'a> Text<'a> {
    /// An empty text; `pay` consumes fuel, as [`State::consume_fuel`] does.
    pub(super) fn new(pay: &'a dyn Fn(u64) -> Result<(), Error>) -> Self {
        Self { out: String::new(), paid: 0, pay }
    }

    /// Consumes fuel for `bytes` more before they are written.
    pub(super) fn reserve(&mut self, bytes: usize) -> Result<(), Error> {
        let wanted = self.out.len().saturating_add(bytes);
        if wanted > self.paid {
            (self.pay)((wanted - self.paid) as u64 / 64 + 4)?;
            self.paid = wanted.saturating_add(256);
        }
        Ok(())
    }

    /// Consumes fuel for visiting one value.
    fn visit(&self) -> Result<(), Error> {
        (self.pay)(1)
    }

    pub(super) fn push(&mut self, text: &str) -> Result<(), Error> {
        self.reserve(text.len())?;
        self.out.push_str(text);
        Ok(())
    }
}

fn too_deep() -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("a value is nested more than {DEEPEST} deep"))
}

/// The `tojson` filter of transformers: `json.dumps` with its separators and options, without
/// Jinja's HTML escapes.
pub(super) fn to_json(state: &State, value: &Value, options: &Kwargs) -> Result<Value, Error> {
    let indent = match options.get::<Option<Value>>("indent")? {
        Some(value) if value.is_none() || value.is_undefined() => None,
        Some(value) => Some(match (value.as_usize(), value.as_str()) {
            (Some(width), _) => {
                state.consume_fuel(width as u64 / 64)?;
                " ".repeat(width)
            }
            (None, Some(text)) => text.to_owned(),
            (None, None) => {
                return Err(Error::new(ErrorKind::InvalidOperation, "indent is neither a number nor a string"));
            }
        }),
        None => None,
    };
    let separators = options.get::<Option<Value>>("separators")?.filter(|value| !value.is_none());
    let separator = |position: usize, default: &str| match &separators {
        Some(pair) => pair
            .get_item_by_index(position)?
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "separators is not a pair of strings")),
        None => Ok(default.to_owned()),
    };
    let writer = JsonWriter {
        item_separator: separator(0, if indent.is_some() { "," } else { ", " })?,
        key_separator: separator(1, ": ")?,
        indent,
        ensure_ascii: options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sort_keys: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
    };
    options.assert_all_used()?;
    let pay = |fuel| state.consume_fuel(fuel);
    let mut text = Text::new(&pay);
    writer.write(&mut text, value, 0)?;
    Ok(Value::from(text.out))
}

struct JsonWriter {
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
    ensure_ascii: bool,
    sort_keys: bool,
}

impl JsonWriter {
    fn write(&self, out: &mut Text, value: &Value, depth: usize) -> Result<(), Error> {
        out.visit()?;
        if depth > DEEPEST {
            return Err(too_deep());
        }
        match value.kind() {
            ValueKind::None => out.push("null"),
            ValueKind::Bool => out.push(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => out.push(&number(value)),
            ValueKind::String => self.string(out, value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.list(out, ["[", "]"], &items, depth, |out, item| self.write(out, item, depth + 1))
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sort_keys {
                    keys.sort();
                }
                self.list(out, ["{", "}"], &keys, depth, |out, key| {
                    match key.as_str() {
                        Some(text) => self.string(out, text)?,
                        None => self.string(out, &key.to_string())?,
                    }
                    out.push(&self.key_separator)?;
                    self.write(out, &value.get_item(key)?, depth + 1)
                })
            }
            kind => Err(Error::new(
                ErrorKind::InvalidOperation,
                format!("a value of kind {kind} cannot be written as JSON"),
            )),
        }
    }

    fn list(
        &self,
        out: &mut Text,
        [open, close]: [&str; 2],
        items: &[Value],
        depth: usize,
        mut write: impl FnMut(&mut Text, &Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        out.push(open)?;
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                out.push(&self.item_separator)?;
            }
            self.line(out, depth + 1)?;
            write(out, item)?;
        }
        if !items.is_empty() {
            self.line(out, depth)?;
        }
        out.push(close)
    }

    fn line(&self, out: &mut Text, depth: usize) -> Result<(), Error> {
        let Some(indent) = &self.indent else { return Ok(()) };
        out.reserve(1 + indent.len().saturating_mul(depth))?;
        out.push("\n")?;
        (0..depth).try_for_each(|_| out.push(indent))
    }

    fn string(&self, text: &mut Text, content: &str) -> Result<(), Error> {
        text.reserve(content.len() + 2)?;
        let out = &mut text.out;
        out.push('"');
        for c in content.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                c if u32::from(c) < 0x20 || (self.ensure_ascii && !(' '..='~').contains(&c)) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        write!(out, "\\u{unit:04x}").expect("writing to a string succeeds");
                    }
                }
                c => out.push(c),
            }
        }
        out.push('"');
        text.reserve(0)
    }
}

/// A number as Python's `repr` prints it: floats with the fewest digits that round-trip to the same
/// number, always with a point or an exponent, the latter below 1e-4 and from 1e16 on.
fn number(value: &Value) -> String {
    let float = match f64::try_from(value.clone()) {
        Ok(float) if !value.is_integer() => float,
        _ => return value.to_string(),
    };
    if !float.is_finite() {
        return format!("{float}").to_lowercase();
    }
    let scientific = format!("{float:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>() {
        Ok(exponent) if exponent < -4 => format!("{digits}e-{:02}", -exponent),
        Ok(exponent) if exponent >= 16 => format!("{digits}e+{exponent}"),
        _ => format!("{float:?}"),
    }
}

/// What `{{ value }}` prints: `str(value)` in Python.
pub(super) fn display(state: &State, value: &Value) -> Result<String, Error> {
    Ok(match value.kind() {
        ValueKind::String => value.as_str().unwrap_or_default().to_owned(),
        ValueKind::Undefined => String::new(),
        _ => representation(state, value)?,
    })
}

/// `repr(value)` in Python.
pub(super) fn representation(state: &State, value: &Value) -> Result<String, Error> {
    let pay = |fuel| state.consume_fuel(fuel);
    let mut text = Text::new(&pay);
    represent(&mut text, value, 0)?;
    Ok(text.out)
}

fn represent(out: &mut Text, value: &Value, depth: usize) -> Result<(), Error> {
    out.visit()?;
    if depth > DEEPEST {
        return Err(too_deep());
    }
    match value.kind() {
        ValueKind::None => out.push("None"),
        ValueKind::Bool => out.push(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number => out.push(&number(value)),
        ValueKind::String => out.push(&quoted(value.as_str().unwrap_or_default())),
        ValueKind::Seq => {
            let is_tuple = value.downcast_object_ref::<Tuple>().is_some();
            let close = match (is_tuple, value.len()) {
                (true, Some(1)) => ",)",
                (true, _) => ")",
                (false, _) => "]",
            };
            out.push(if is_tuple { "(" } else { "[" })?;
            for (index, item) in value.try_iter()?.enumerate() {
                if index > 0 {
                    out.push(", ")?;
                }
                represent(out, &item, depth + 1)?;
            }
            out.push(close)
        }
        ValueKind::Map => {
            out.push("{")?;
            for (index, key) in value.try_iter()?.enumerate() {
                if index > 0 {
                    out.push(", ")?;
                }
                represent(out, &key, depth + 1)?;
                out.push(": ")?;
                represent(out, &value.get_item(&key)?, depth + 1)?;
            }
            out.push("}")
        }
        _ => out.push(&value.to_string()),
    }
}

/// Whether Python's `repr` leaves a character as it is: it is not a control or format character, and not
/// white space other than a space.
pub(super) fn is_printable(c: char) -> bool {
    let format = matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    c == ' ' || !(c.is_control() || c.is_whitespace() || format)
}

fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => out.extend(['\\', c]),
            c if is_printable(c) => out.push(c),
            c => match u32::from(c) {
                code @ ..=0xff => out.push_str(&format!("\\x{code:02x}")),
                code @ ..=0xffff => out.push_str(&format!("\\u{code:04x}")),
                code => out.push_str(&format!("\\U{code:08x}")),
            },
        }
    }
    out.push(quote);
    out
}
