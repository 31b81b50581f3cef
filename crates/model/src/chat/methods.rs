//! The methods of Python's `str`, `list`, `tuple` and `dict` that do not mutate their object; mutating ones
//! are forbidden in templates. Methods not defined here are left to `minijinja-contrib`.

use minijinja::value::{Kwargs, Tuple, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat;

use super::printf;
use super::python::display;

/// Called for methods that `minijinja` itself does not have.
pub(super) fn call(state: &mut State, value: &Value, method: &str, arguments: &[Value]) -> Result<Value, Error> {
    let own = match value.kind() {
        ValueKind::String => of_text(state, value.as_str().unwrap_or_default(), method, arguments)?,
        ValueKind::Seq => of_list(value, method, arguments)?,
        ValueKind::Map if method == "copy" => {
            let () = from_args(arguments)?;
            Some(value.clone())
        }
        _ => None,
    };
    own.map_or_else(|| pycompat::unknown_method_callback(state, value, method, arguments), Ok)
}

fn missing(method: &str) -> Error {
    Error::new(ErrorKind::MissingArgument, format!("{method} needs an argument"))
}

/// The positional and named arguments of a call.
struct Arguments<'a> {
    method: &'a str,
    positional: &'a [Value],
    named: Kwargs,
}

impl<'a> Arguments<'a> {
    fn new(method: &'a str, arguments: &'a [Value]) -> Result<Self, Error> {
        let (positional, named) = from_args(arguments)?;
        Ok(Self { method, positional, named })
    }

    fn value(&self, position: usize, name: &str) -> Result<Option<Value>, Error> {
        let given = match self.positional.get(position) {
            Some(value) => Some(value.clone()),
            None if self.named.has(name) => Some(self.named.get::<Value>(name)?),
            None => None,
        };
        Ok(given.filter(|value| !value.is_none() && !value.is_undefined()))
    }

    fn text(&self, position: usize, name: &str) -> Result<Option<String>, Error> {
        let wrong = |value: &Value| {
            let message = format!("{} expects a text, not {}", self.method, value.kind());
            Error::new(ErrorKind::InvalidOperation, message)
        };
        self.value(position, name)?
            .map(|value| value.as_str().map(str::to_owned).ok_or_else(|| wrong(&value)))
            .transpose()
    }

    fn needed(&self, position: usize, name: &str) -> Result<String, Error> {
        self.text(position, name)?.ok_or_else(|| missing(self.method))
    }

    fn number(&self, position: usize, name: &str) -> Result<Option<i64>, Error> {
        let wrong = || Error::new(ErrorKind::InvalidOperation, format!("{} expects a whole number", self.method));
        self.value(position, name)?.map(|value| value.as_i64().ok_or_else(wrong)).transpose()
    }

    fn none(&self) -> Result<(), Error> {
        if self.positional.is_empty() { self.named.assert_all_used() } else { Err(ErrorKind::TooManyArguments.into()) }
    }
}

fn of_text(state: &State, text: &str, method: &str, arguments: &[Value]) -> Result<Option<Value>, Error> {
    if method == "format" {
        return printf::str_format(state, text, arguments).map(|text| Some(text.into()));
    }
    let arguments = Arguments::new(method, arguments)?;
    let found = match method {
        "ljust" | "rjust" | "center" | "zfill" => padded(state, text, method, &arguments)?,
        "partition" | "rpartition" => {
            let separator = arguments.needed(0, "sep")?;
            let last = method == "rpartition";
            let split = if last { text.rsplit_once(&*separator) } else { text.split_once(&*separator) };
            let parts = match split {
                Some((before, after)) => [before, &separator, after],
                None if last => ["", "", text],
                None => [text, "", ""],
            };
            Value::from(Tuple::from(parts.map(Value::from)))
        }
        "find" | "rfind" | "index" | "rindex" => {
            let part = arguments.needed(0, "sub")?;
            let (window, first) = window(text, &arguments)?;
            let at = if method.starts_with('r') { window.rfind(&*part) } else { window.find(&*part) };
            match at {
                Some(at) => Value::from(first + window[..at].chars().count()),
                None if method.ends_with("find") => Value::from(-1),
                None => return Err(Error::new(ErrorKind::InvalidOperation, "substring not found")),
            }
        }
        "count" => {
            let part = arguments.needed(0, "sub")?;
            let (window, _) = window(text, &arguments)?;
            // Python counts the positions between characters.
            let count = if part.is_empty() { window.chars().count() + 1 } else { window.matches(&*part).count() };
            Value::from(count)
        }
        "startswith" | "endswith" => {
            let wanted = arguments.value(0, "prefix")?.ok_or_else(|| missing(method))?;
            let (window, _) = window(text, &arguments)?;
            let fits =
                |part: &str| if method == "startswith" { window.starts_with(part) } else { window.ends_with(part) };
            let no_text =
                || Error::new(ErrorKind::InvalidOperation, format!("{method} expects a text or a tuple of texts"));
            match wanted.as_str() {
                Some(part) => Value::from(fits(part)),
                None => {
                    let parts: Vec<Value> = wanted.try_iter().map_err(|_| no_text())?.collect();
                    let mut any = false;
                    for part in &parts {
                        any |= fits(part.as_str().ok_or_else(no_text)?);
                    }
                    Value::from(any)
                }
            }
        }
        "split" | "rsplit" => split(text, method == "rsplit", &arguments)?,
        "splitlines" => {
            let keep = arguments.value(0, "keepends")?.is_some_and(|keep| keep.is_true());
            lines(text, keep).into_iter().map(Value::from).collect()
        }
        "removeprefix" => Value::from(text.strip_prefix(&*arguments.needed(0, "prefix")?).unwrap_or(text)),
        "removesuffix" => Value::from(text.strip_suffix(&*arguments.needed(0, "suffix")?).unwrap_or(text)),
        "join" => {
            let items = arguments.value(0, "iterable")?.ok_or_else(|| missing(method))?;
            let mut parts = Vec::new();
            let mut size = 0;
            for item in items.try_iter()? {
                let Some(part) = item.as_str() else {
                    let message = format!("sequence item {}: expected str, {} found", parts.len(), item.kind());
                    return Err(Error::new(ErrorKind::InvalidOperation, message));
                };
                size += text.len() + part.len();
                parts.push(part.to_owned());
            }
            state.consume_fuel(size as u64 / 64)?;
            Value::from(parts.join(text))
        }
        "expandtabs" => expanded(state, text, arguments.number(0, "tabsize")?.unwrap_or(8))?,
        "format_map" => {
            let map = arguments.value(0, "mapping")?.ok_or_else(|| missing(method))?;
            let keys: Vec<Value> = map.try_iter()?.collect();
            let pairs = keys.iter().filter_map(|key| Some((key.as_str()?.to_owned(), map.get_item(key).ok()?)));
            let named: Kwargs = pairs.collect();
            Value::from(printf::str_format(state, text, &[named.into()])?)
        }
        _ => match without_arguments(text, method) {
            Some(value) => {
                arguments.none()?;
                value
            }
            None => return Ok(None),
        },
    };
    Ok(Some(found))
}

fn without_arguments(text: &str, method: &str) -> Option<Value> {
    let all = |test: fn(char) -> bool| Value::from(!text.is_empty() && text.chars().all(test));
    Some(match method {
        "casefold" => Value::from(text.to_lowercase().replace('ß', "ss")),
        "swapcase" => {
            let swapped = |c: char| -> String {
                if c.is_uppercase() { c.to_lowercase().collect() } else { c.to_uppercase().collect() }
            };
            Value::from(text.chars().map(swapped).collect::<String>())
        }
        "title" => Value::from(titled(text)),
        "capitalize" => {
            let mut rest = text.chars();
            let first: String = rest.next().into_iter().flat_map(char::to_uppercase).collect();
            Value::from(first + &rest.as_str().to_lowercase())
        }
        "isdecimal" => all(|c| c.is_ascii_digit() || (c.is_numeric() && c.to_digit(36).is_none() && is_decimal(c))),
        "isprintable" => Value::from(text.chars().all(super::python::is_printable)),
        "isidentifier" => {
            let first = text.chars().next().is_some_and(|c| c == '_' || c.is_alphabetic());
            Value::from(first && text.chars().all(|c| c == '_' || c.is_alphanumeric()))
        }
        "istitle" => {
            let cased = text.chars().any(|c| c.is_uppercase() || c.is_lowercase());
            Value::from(cased && titled(text) == text)
        }
        _ => return None,
    })
}

/// Whether a character is a decimal digit of another script; they come in runs of ten.
fn is_decimal(c: char) -> bool {
    const ZEROS: [u32; 12] = [0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xe50, 0xff10];
    ZEROS.iter().any(|&zero| (zero..zero + 10).contains(&u32::from(c)))
}

/// Python's `str.title`: every run of letters starts in upper case, also after an apostrophe.
fn titled(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        let cased = c.is_uppercase() || c.is_lowercase();
        match (cased, inside) {
            (true, false) => out.extend(c.to_uppercase()),
            (true, true) => out.extend(c.to_lowercase()),
            (false, _) => out.push(c),
        }
        inside = cased;
    }
    out
}

fn padded(state: &State, text: &str, method: &str, arguments: &Arguments) -> Result<Value, Error> {
    let width = arguments.number(0, "width")?.ok_or_else(|| missing(method))?;
    let fill = arguments.text(1, "fillchar")?.unwrap_or_else(|| " ".to_owned());
    let mut characters = fill.chars();
    let (Some(fill), None) = (characters.next(), characters.next()) else {
        return Err(Error::new(ErrorKind::InvalidOperation, "the fill character must be exactly one character long"));
    };
    let length = text.chars().count();
    let count = usize::try_from(width).unwrap_or(0).saturating_sub(length);
    state.consume_fuel(count as u64 / 16)?;
    let run = |count: usize| fill.to_string().repeat(count);
    Ok(Value::from(match method {
        "ljust" => format!("{text}{}", run(count)),
        "rjust" => format!("{}{text}", run(count)),
        "center" => {
            // If the padding is odd, the left side gets the extra character only if the width is odd too.
            let left = count / 2 + (count & usize::try_from(width).unwrap_or(0) & 1);
            format!("{}{text}{}", run(left), run(count - left))
        }
        _ => {
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['+', '-'])));
            format!("{sign}{}{digits}", "0".repeat(count))
        }
    }))
}

/// The part of a text between the positions given by the second and third argument, and where it starts.
fn window<'t>(text: &'t str, arguments: &Arguments) -> Result<(&'t str, usize), Error> {
    let length = text.chars().count() as i64;
    let resolved = |position: Option<i64>, default: i64| match position {
        None => default,
        Some(position) if position < 0 => (position + length).max(0),
        Some(position) => position.min(length),
    };
    let first = resolved(arguments.number(1, "start")?, 0);
    let last = resolved(arguments.number(2, "end")?, length).max(first);
    let byte = |position: i64| text.char_indices().nth(position as usize).map_or(text.len(), |(at, _)| at);
    Ok((&text[byte(first)..byte(last)], first as usize))
}

fn split(text: &str, from_end: bool, arguments: &Arguments) -> Result<Value, Error> {
    let separator = arguments.text(0, "sep")?;
    let most = arguments.number(1, "maxsplit")?.and_then(|most| usize::try_from(most).ok());
    let parts: Vec<&str> = match (&separator, most) {
        (Some(separator), _) if separator.is_empty() => {
            return Err(Error::new(ErrorKind::InvalidOperation, "empty separator"));
        }
        (Some(separator), None) => text.split(&**separator).collect(),
        (Some(separator), Some(most)) if from_end => {
            let mut parts: Vec<&str> = text.rsplitn(most.saturating_add(1), &**separator).collect();
            parts.reverse();
            parts
        }
        (Some(separator), Some(most)) => text.splitn(most.saturating_add(1), &**separator).collect(),
        (None, None) => text.split_whitespace().collect(),
        (None, Some(most)) => split_at_blanks(text, most, from_end),
    };
    Ok(parts.into_iter().map(Value::from).collect())
}

/// Splits at most `most` times at runs of white space, from the start or from the end.
fn split_at_blanks(text: &str, most: usize, from_end: bool) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let cut = if from_end { rest.rfind(char::is_whitespace) } else { rest.find(char::is_whitespace) };
        let Some(at) = cut.filter(|_| parts.len() < most) else {
            parts.push(if from_end { rest.trim_end() } else { rest });
            break;
        };
        if from_end {
            let width = rest[at..].chars().next().map_or(1, char::len_utf8);
            parts.push(&rest[at + width..]);
            rest = rest[..at].trim_end();
        } else {
            parts.push(&rest[..at]);
            rest = rest[at..].trim_start();
        }
    }
    if from_end {
        parts.reverse();
    }
    parts
}

/// The lines of a text, at every line end that Python recognises.
fn lines(text: &str, keep: bool) -> Vec<&str> {
    let ends = |c: char| {
        matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
    };
    let mut found = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let Some((at, c)) = rest.char_indices().find(|&(_, c)| ends(c)) else {
            found.push(rest);
            break;
        };
        let width = if rest[at..].starts_with("\r\n") { 2 } else { c.len_utf8() };
        found.push(&rest[..if keep { at + width } else { at }]);
        rest = &rest[at + width..];
    }
    found
}

fn expanded(state: &State, text: &str, size: i64) -> Result<Value, Error> {
    let size = usize::try_from(size).unwrap_or(0);
    let tabs = text.matches('\t').count();
    state.consume_fuel((tabs.saturating_mul(size) / 64) as u64)?;
    let (mut out, mut column) = (String::with_capacity(text.len()), 0);
    for c in text.chars() {
        match c {
            '\t' if size == 0 => {}
            '\t' => {
                let count = size - column % size;
                out.extend(std::iter::repeat_n(' ', count));
                column += count;
            }
            c => {
                out.push(c);
                column = if matches!(c, '\n' | '\r') { 0 } else { column + 1 };
            }
        }
    }
    Ok(Value::from(out))
}

fn of_list(value: &Value, method: &str, arguments: &[Value]) -> Result<Option<Value>, Error> {
    match method {
        "index" => {
            let (wanted,): (&Value,) = from_args(arguments)?;
            let at = value.try_iter()?.position(|item| item == *wanted);
            let missing = || Error::new(ErrorKind::InvalidOperation, "the value is not in the list");
            at.map(|at| Some(Value::from(at))).ok_or_else(missing)
        }
        "copy" => {
            let () = from_args(arguments)?;
            Ok(Some(value.clone()))
        }
        _ => Ok(None),
    }
}

/// `separator.join` for filters: every item is converted with `str`.
pub(super) fn joined(state: &State, items: &Value, separator: &str) -> Result<String, Error> {
    let mut out = String::new();
    for (index, item) in items.try_iter()?.enumerate() {
        let part = display(state, &item)?;
        state.consume_fuel((part.len() + separator.len()) as u64 / 64)?;
        if index > 0 {
            out.push_str(separator);
        }
        out.push_str(&part);
    }
    Ok(out)
}
