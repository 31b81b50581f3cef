//! Python's string formatting: `%` and `str.format`.

use std::borrow::Cow;

use minijinja::formatting::{FormatStyle, format};
use minijinja::value::{Kwargs, Tuple, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};

use super::python::{Text, display, representation};

fn wrong(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

/// Charges fuel for the widths and precisions of a specification before anything of that size is allocated.
fn pay_for(state: &State, specification: &str) -> Result<(), Error> {
    let digits = specification.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
    let wanted = digits.fold(0_u64, |sum, digits| sum.saturating_add(digits.parse().unwrap_or(u64::MAX)));
    // Characters have up to four bytes, and both the text and its padded copy are allocated.
    state.consume_fuel((wanted / 8).saturating_add(4))
}

/// `left % right`: string formatting, or the remainder of numbers.
pub(super) fn modulo(state: &State, left: &Value, right: &Value) -> Result<Value, Error> {
    match left.as_str() {
        Some(template) => printf(state, template, right).map(Value::from),
        None => remainder(left, right),
    }
}

/// The remainder with the sign of the divisor.
fn remainder(left: &Value, right: &Value) -> Result<Value, Error> {
    let whole = |value: &Value| match value.kind() {
        ValueKind::Bool => Some(i64::from(value.is_true())),
        ValueKind::Number if value.is_integer() => value.as_i64(),
        _ => None,
    };
    if let (Some(left), Some(right)) = (whole(left), whole(right)) {
        let rest = left.checked_rem(right).ok_or_else(|| wrong("modulo by zero"))?;
        return Ok(Value::from(if rest != 0 && (rest < 0) != (right < 0) { rest + right } else { rest }));
    }
    let number = |value: &Value| {
        f64::try_from(value.clone())
            .map_err(|_| wrong(format!("`%` is not defined for {} and {}", left.kind(), right.kind())))
    };
    let (left, right) = (number(left)?, number(right)?);
    if right == 0.0 {
        return Err(wrong("modulo by zero"));
    }
    let rest = left % right;
    Ok(Value::from(if rest != 0.0 && (rest < 0.0) != (right < 0.0) { rest + right } else { rest }))
}

/// `template % values`.
pub(super) fn printf(state: &State, template: &str, values: &Value) -> Result<String, Error> {
    let is_tuple = values.downcast_object_ref::<Tuple>().is_some();
    let mut queue: Vec<Value> = if is_tuple { values.try_iter()?.collect() } else { vec![values.clone()] };
    queue.reverse();
    let mut by_key = false;
    let pay = |fuel| state.consume_fuel(fuel);
    let mut out = Text::new(&pay);
    let mut rest = template;
    while let Some(at) = rest.find('%') {
        out.push(&rest[..at])?;
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push("%")?;
            rest = after;
            continue;
        }
        let mut value = None;
        if let Some(keyed) = rest.strip_prefix('(') {
            let (key, after) = keyed.split_once(')').ok_or_else(|| wrong("incomplete format key"))?;
            value = Some(values.get_item(&Value::from(key))?);
            by_key = true;
            rest = after;
        }
        let mut next = || queue.pop().ok_or_else(|| wrong("not enough arguments for format string"));
        let mut flags = String::new();
        while let Some(c) = rest.chars().next().filter(|c| matches!(c, '0'..='9' | '-' | '+' | ' ' | '#' | '.' | '*')) {
            match c {
                '*' => flags.push_str(&next()?.to_string()),
                c => flags.push(c),
            }
            rest = &rest[1..];
        }
        rest = rest.trim_start_matches(['l', 'h', 'L']);
        let conversion = rest.chars().next().ok_or_else(|| wrong("incomplete format"))?;
        rest = &rest[conversion.len_utf8()..];
        let value = match value {
            Some(value) => value,
            None => next()?,
        };
        pay_for(state, &flags)?;
        let text = |text: String| format(FormatStyle::Printf, &format!("%{flags}s"), &[Value::from(text)]);
        out.push(&match conversion {
            's' => text(display(state, &value)?)?,
            'r' => text(representation(state, &value)?)?,
            'a' => text(ascii(&representation(state, &value)?))?,
            'i' | 'u' | 'd' => {
                let whole = match value.kind() {
                    ValueKind::Bool => Value::from(i64::from(value.is_true())),
                    ValueKind::Number if !value.is_integer() => {
                        Value::from(f64::try_from(value.clone())?.trunc() as i64)
                    }
                    ValueKind::Number => value,
                    kind => return Err(wrong(format!("%{conversion} format: a number is required, not {kind}"))),
                };
                format(FormatStyle::Printf, &format!("%{flags}d"), &[whole])?
            }
            'c' if value.as_str().is_some() => text(display(state, &value)?)?,
            'F' => format(FormatStyle::Printf, &format!("%{flags}f"), &[value])?,
            conversion => format(FormatStyle::Printf, &format!("%{flags}{conversion}"), &[value])?,
        })?;
    }
    out.push(rest)?;
    if !queue.is_empty() && !by_key && (is_tuple || values.kind() != ValueKind::Map) {
        return Err(wrong("not all arguments converted during string formatting"));
    }
    Ok(out.out)
}

/// `template.format(...)`.
pub(super) fn str_format(state: &State, template: &str, arguments: &[Value]) -> Result<String, Error> {
    let (values, named): (&[Value], Kwargs) = from_args(arguments)?;
    let mut fields = Fields { state, values, named: &named, next: 0 };
    let pay = |fuel| state.consume_fuel(fuel);
    let mut out = Text::new(&pay);
    fields.write(&mut out, template, 0)?;
    Ok(out.out)
}

/// The replacement fields of one format string.
struct Fields<'a, 's, 't> {
    state: &'a State<'s, 't>,
    values: &'a [Value],
    named: &'a Kwargs,
    /// The next value of fields without a name.
    next: usize,
}

impl Fields<'_, '_, '_> {
    fn write(&mut self, out: &mut Text, template: &str, depth: usize) -> Result<(), Error> {
        let mut rest = template;
        while let Some(at) = rest.find(['{', '}']) {
            out.push(&rest[..at])?;
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                out.push(brace)?;
                rest = after;
                continue;
            }
            if brace == "}" || depth > 1 {
                return Err(wrong("Single '}' encountered in format string"));
            }
            let end = closing(rest).ok_or_else(|| wrong("expected '}' before end of string"))?;
            let field = &rest[..end];
            rest = &rest[end + 1..];
            self.field(out, field, depth)?;
        }
        out.push(rest)
    }

    fn field(&mut self, out: &mut Text, field: &str, depth: usize) -> Result<(), Error> {
        let (name, specification) = field.split_once(':').unwrap_or((field, ""));
        let (name, conversion) = name.split_once('!').unwrap_or((name, ""));
        let mut value = self.value(name)?;
        value = match conversion {
            "" => value,
            "s" => Value::from(display(self.state, &value)?),
            "r" => Value::from(representation(self.state, &value)?),
            "a" => Value::from(ascii(&representation(self.state, &value)?)),
            other => return Err(wrong(format!("Unknown conversion specifier '{other}'"))),
        };
        if specification.is_empty() {
            return out.push(&display(self.state, &value)?);
        }
        let state = self.state;
        let pay = |fuel| state.consume_fuel(fuel);
        let mut resolved = Text::new(&pay);
        self.write(&mut resolved, specification, depth + 1)?;
        pay_for(self.state, &resolved.out)?;
        out.push(&format(FormatStyle::StrFormat, &format!("{{:{}}}", resolved.out), &[value])?)
    }

    /// The value of `0`, `name`, `name.attribute` or `name[item]`; an empty name takes the next value.
    fn value(&mut self, name: &str) -> Result<Value, Error> {
        let end = name.find(['.', '[']).unwrap_or(name.len());
        let (first, mut path) = name.split_at(end);
        let position = match first {
            "" => {
                self.next += 1;
                Some(self.next - 1)
            }
            first => first.parse().ok(),
        };
        let mut value = match position {
            Some(position) => {
                self.values.get(position).cloned().ok_or_else(|| wrong(format!("no value for field {position}")))?
            }
            None if self.named.has(first) => self.named.get::<Value>(first)?,
            None => return Err(wrong(format!("no value for field `{first}`"))),
        };
        while !path.is_empty() {
            let (key, rest) = if let Some(inner) = path.strip_prefix('[') {
                inner.split_once(']').ok_or_else(|| wrong("Missing ']' in format string"))?
            } else {
                let inner = &path[1..];
                inner.split_at(inner.find(['.', '[']).unwrap_or(inner.len()))
            };
            let key = key.parse::<i64>().map_or_else(|_| Value::from(key), Value::from);
            value = value.get_item(&key)?;
            path = rest;
        }
        Ok(value)
    }
}

/// The position of the brace that closes a field, skipping nested ones.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Python's `ascii`: a representation with everything but ASCII escaped.
fn ascii(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match u32::from(c) {
            ..=0x7f => out.push(c),
            code @ ..=0xff => out.push_str(&format!("\\x{code:02x}")),
            code @ ..=0xffff => out.push_str(&format!("\\u{code:04x}")),
            code => out.push_str(&format!("\\U{code:08x}")),
        }
        out
    })
}
