//! Jinja's filters, tests and functions that `minijinja` lacks or implements differently.

#![expect(clippy::needless_pass_by_value, reason = "the engine hands filters their arguments by value")]

use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::{methods, printf, python};

/// Adds them to an environment.
pub(super) fn add(environment: &mut Environment) {
    environment
        .add_filter("tojson", |state: &State, value: Value, options: Kwargs| python::to_json(state, &value, &options));
    environment.add_filter("string", |state: &State, value: Value| python::display(state, &value));
    environment.add_filter("format", |state: &State, template: String, values: Rest<Value>, named: Kwargs| {
        let values = if values.is_empty() && named.args().next().is_some() {
            Value::from(named)
        } else {
            Value::from(minijinja::value::Tuple::new(values.to_vec()))
        };
        printf::printf(state, &template, &values)
    });
    environment.add_filter("pprint", |state: &State, value: Value| python::representation(state, &value));
    environment.add_filter("join", join);
    environment.add_filter("center", |state: &mut State, text: Value, width: Option<i64>| {
        let text = Value::from(python::display(state, &text)?);
        methods::call(state, &text, "center", &[Value::from(width.unwrap_or(80))])
    });
    environment.add_filter("title", title);
    environment.add_filter("wordcount", word_count);
    environment.add_filter("truncate", truncate);
    environment.add_filter("striptags", |text: String| strip_tags(&text));
    environment.add_filter("forceescape", |text: String| escaped(&text));
    environment
        .add_filter("escape", |state: &State, value: Value| Ok::<_, Error>(escaped(&python::display(state, &value)?)));
    environment
        .add_filter("e", |state: &State, value: Value| Ok::<_, Error>(escaped(&python::display(state, &value)?)));
    environment.add_filter("urlencode", url_encode);
    environment.add_filter("filesizeformat", file_size);
    environment.add_filter("wordwrap", word_wrap);
    // As in Jinja, anything that has a length and can be indexed, including texts and objects.
    environment.add_test("sequence", |value: &Value| {
        matches!(value.kind(), ValueKind::String | ValueKind::Seq | ValueKind::Map)
    });
    // Unlike here, null is not iterable in Python.
    environment.add_test("iterable", |value: &Value| !value.is_none() && value.try_iter().is_ok());
    environment.add_test("callable", |value: &Value| value.kind() == ValueKind::Plain);
    environment.add_function("cycler", |items: Rest<Value>| minijinja_contrib::globals::cycler(items.to_vec()));
    environment.add_function("joiner", minijinja_contrib::globals::joiner);
    // The calls that `%` and `~` are rewritten to; see `source`.
    environment.add_function(super::source::MODULO, |state: &State, left: Value, right: Value| {
        printf::modulo(state, &left, &right)
    });
    environment.add_function(super::source::CONCATENATE, |state: &State, parts: Rest<Value>| {
        let mut out = String::new();
        for part in parts.iter() {
            let part = python::display(state, part)?;
            state.consume_fuel(part.len() as u64 / 64)?;
            out.push_str(&part);
        }
        Ok::<_, Error>(out)
    });
    environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
}

fn join(state: &State, items: Value, separator: Option<String>, options: Kwargs) -> Result<String, Error> {
    let separator = match separator {
        Some(separator) => separator,
        None => options.get::<Option<String>>("d")?.unwrap_or_default(),
    };
    let items = match options.get::<Option<Value>>("attribute")? {
        Some(attribute) => {
            let of = |item: Value| item.get_item(&attribute);
            items.try_iter()?.map(of).collect::<Result<Value, _>>()?
        }
        None => items,
    };
    options.assert_all_used()?;
    methods::joined(state, &items, &separator)
}

/// Upper case after white space, hyphens and opening brackets, lower case elsewhere.
fn title(state: &State, text: Value) -> Result<String, Error> {
    let text = python::display(state, &text)?;
    let mut out = String::with_capacity(text.len());
    let mut first = true;
    for c in text.chars() {
        if first {
            out.extend(c.to_uppercase());
        } else {
            out.extend(c.to_lowercase());
        }
        first = c.is_whitespace() || matches!(c, '-' | '(' | '{' | '[' | '<');
    }
    Ok(out)
}

/// Runs of letters, digits and underscores.
fn word_count(state: &State, text: Value) -> Result<usize, Error> {
    let text = python::display(state, &text)?;
    Ok(text.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty()).count())
}

fn truncate(text: String, values: Rest<Value>, options: Kwargs) -> Result<String, Error> {
    let given = |position: usize, name: &str| match values.get(position) {
        Some(value) => Ok(Some(value.clone())),
        None => options.get::<Option<Value>>(name),
    };
    let number = |value: Option<Value>, default: usize| value.and_then(|value| value.as_usize()).unwrap_or(default);
    let length = number(given(0, "length")?, 255);
    let kill = given(1, "killwords")?.is_some_and(|kill| kill.is_true());
    let end = given(2, "end")?.and_then(|end| end.as_str().map(str::to_owned)).unwrap_or_else(|| "...".to_owned());
    let leeway = number(given(3, "leeway")?, 5);
    options.assert_all_used()?;
    let characters: Vec<char> = text.chars().collect();
    if characters.len() <= length.saturating_add(leeway) {
        return Ok(text);
    }
    let kept: String = characters.iter().take(length.saturating_sub(end.chars().count())).collect();
    let kept = if kill { kept.as_str() } else { kept.rsplit_once(' ').map_or(kept.as_str(), |(before, _)| before) };
    Ok(format!("{kept}{end}"))
}

/// The text without tags and comments, with runs of white space collapsed.
fn strip_tags(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        out.push_str(&rest[..at]);
        let end = if rest[at..].starts_with("<!--") {
            rest[at..].find("-->").map(|end| end + 3)
        } else {
            rest[at..].find('>').map(|end| end + 1)
        };
        let Some(end) = end else {
            out.push_str(&rest[at..]);
            rest = "";
            break;
        };
        rest = &rest[at + end..];
    }
    out.push_str(rest);
    let text = out.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&#34;", "\"").replace("&quot;", "\"");
    text.replace("&#39;", "'").replace("&nbsp;", "\u{a0}").replace("&amp;", "&")
}

/// HTML escapes of five characters, as in `markupsafe`.
fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('\'', "&#39;").replace('"', "&#34;")
}

fn url_encode(state: &State, value: Value) -> Result<String, Error> {
    let quote = |text: &str, plus: bool| {
        text.bytes().fold(String::new(), |mut out, byte| {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => out.push(char::from(byte)),
                b'/' if !plus => out.push('/'),
                b' ' if plus => out.push('+'),
                byte => out.push_str(&format!("%{byte:02X}")),
            }
            out
        })
    };
    if value.kind() != ValueKind::Map {
        return Ok(quote(&python::display(state, &value)?, false));
    }
    let pair = |key: Value| {
        let content = value.get_item(&key)?;
        Ok(format!(
            "{}={}",
            quote(&python::display(state, &key)?, true),
            quote(&python::display(state, &content)?, true)
        ))
    };
    Ok(value.try_iter()?.map(pair).collect::<Result<Vec<_>, Error>>()?.join("&"))
}

fn file_size(value: Value, binary: Option<bool>) -> Result<String, Error> {
    let bytes = match value.as_str() {
        Some(text) => {
            text.trim().parse().map_err(|_| Error::new(ErrorKind::InvalidOperation, "not a number of bytes"))?
        }
        None => f64::try_from(value)?,
    };
    let binary = binary.unwrap_or(false);
    let base = if binary { 1024.0 } else { 1000.0 };
    let names = if binary {
        ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"]
    } else {
        ["kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"]
    };
    if bytes == 1.0 {
        return Ok("1 Byte".into());
    }
    if bytes < base {
        return Ok(format!("{} Bytes", bytes.trunc()));
    }
    let mut unit = base * base;
    for name in names {
        if bytes < unit || name.starts_with('Y') {
            return Ok(format!("{:.1} {name}", base * bytes / unit));
        }
        unit *= base;
    }
    unreachable!("the last name ends the search")
}

/// Wraps every line at spaces to at most `width` characters.
fn word_wrap(text: String, width: Option<usize>, break_long_words: Option<bool>, wrapstring: Option<String>) -> String {
    let width = width.unwrap_or(79).max(1);
    let break_long = break_long_words.unwrap_or(true);
    let end = wrapstring.unwrap_or_else(|| "\n".to_owned());
    let wrap = |line: &str| {
        let (mut lines, mut current) = (Vec::new(), String::new());
        for word in line.split(' ') {
            let mut word: Vec<char> = word.chars().collect();
            if !current.is_empty() && current.chars().count() + 1 + word.len() > width {
                lines.push(std::mem::take(&mut current));
            } else if !current.is_empty() {
                current.push(' ');
            }
            while break_long && word.len() > width {
                let rest = word.split_off(width);
                lines.push(word.into_iter().collect());
                word = rest;
            }
            current.extend(word);
        }
        lines.push(current);
        lines.join(&end)
    };
    text.lines().map(wrap).collect::<Vec<_>>().join(&end)
}
