//! What is wrong with the text of a configuration, in words of those who write one.

use std::{io, ops::Range, path::Path};

use toml::{Table, Value};

use crate::error::CliError;

/// Sections that every configuration has, with what must stand in them.
const SECTIONS: [(&str, Option<(&str, &str)>); 5] = [
    ("run", Some(("name", "name = \"first\""))),
    ("data", None),
    ("model", None),
    ("sft", None),
    ("preference", Some(("objectives", "objectives = [\"tab-po\"]"))),
];

/// Sections that may be left out.
const OPTIONAL: [&str; 6] = ["ontology", "adapter", "warmup", "pairs", "predict", "evaluate"];

/// The configuration file cannot be read.
pub fn unreadable(path: &Path, error: &io::Error) -> CliError {
    let told = CliError::input(format!("cannot read the configuration {}: {error}", path.display()));
    let folder = if path.is_dir() { Some(path) } else { path.parent() };
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let named = path.file_name().unwrap_or_default().to_string_lossy();
    if error.kind() == io::ErrorKind::InvalidData {
        return told.with_hint("a configuration is TOML in UTF-8");
    }
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut there: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| Path::new(name).extension().is_some_and(|end| end.eq_ignore_ascii_case("toml")))
        .collect();
    there.sort();
    let at = |name: &str| folder.join(name).strip_prefix("./").map_or(folder.join(name), Path::to_path_buf);
    // The ends are alike anyway, and a file with the right stem and another end is the nearest of all.
    let stem = |name: &str| Path::new(name).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let stems: Vec<String> = there.iter().map(|name| stem(name)).collect();
    let near = tabpo_ontology::nearest(&stem(&named), stems.iter().map(String::as_str));
    let near = near.and_then(|near| there.iter().find(|name| stem(name) == near));
    match near {
        Some(name) => told.with_hint(format!("did you mean {}?", at(name).display())),
        None if there.is_empty() => told,
        None => {
            let more = if there.len() > 5 { ", ..." } else { "" };
            there.truncate(5);
            let folder = if folder == Path::new(".") { "this folder".to_owned() } else { folder.display().to_string() };
            told.with_hint(format!("{folder} holds {}{more}", there.join(", ")))
        }
    }
}

/// The sections and keys without which there is no run, all that are missing at once; none if the text
/// is no TOML or nothing is missing.
pub fn missing(path: &Path, text: &str) -> Option<CliError> {
    let table: Table = toml::from_str(text).ok()?;
    // A name that is none may be a wrong spelling of the missing one, which is said with its line.
    let known = |name: &String| OPTIONAL.contains(&name.as_str()) || SECTIONS.iter().any(|(other, _)| other == name);
    if !table.keys().all(known) {
        return None;
    }
    let (mut sections, mut keys, mut wanted) = (Vec::new(), Vec::new(), Vec::new());
    for (name, needed) in SECTIONS {
        match (table.get(name), needed) {
            (None, needed) => {
                sections.push(format!("[{name}]"));
                wanted.push(match needed {
                    Some((_, example)) => format!("[{name}] with {example}"),
                    None => format!("[{name}]"),
                });
            }
            (Some(Value::Table(section)), Some((key, example))) if !section.contains_key(key) => {
                keys.push(format!("[{name}] has no `{key}`"));
                wanted.push(format!("{example} under [{name}]"));
            }
            _ => {}
        }
    }
    let sections = match sections.as_slice() {
        [] => None,
        [one] => Some(format!("the section {one} is missing")),
        several => Some(format!("the sections {} are missing", several.join(", "))),
    };
    let problems: Vec<String> = sections.into_iter().chain(keys).collect();
    if problems.is_empty() {
        return None;
    }
    let error = CliError::input(format!("{}: {}", path.display(), problems.join("; ")));
    Some(error.with_hint(format!("add {}; other keys have defaults", wanted.join(", "))))
}

/// Something in the file is wrong. `span` is where, in bytes; `message` is the parser's.
pub fn in_file(path: &Path, text: &str, span: Option<Range<usize>>, message: &str) -> CliError {
    let line = span.map(|span| text.get(..span.start).unwrap_or(text).matches('\n').count());
    let content = line.and_then(|line| text.lines().nth(line)).unwrap_or_default().trim();
    let place = line.map_or_else(String::new, |line| format!(":{}: `{content}`", line + 1));
    if let Some(format) = other_format(path, text) {
        return CliError::input(format!("{}{place}: this is not TOML", path.display())).with_hint(format!(
            "a configuration is TOML, this looks like {format}: [sft] opens a section, steps = 150 sets a key"
        ));
    }
    let assigned = content.split_once('=').map(|(key, value)| (key.trim(), value.trim()));
    if let Some((key, value)) = assigned
        && let Some(word) = bare_word(value)
    {
        return CliError::input(format!("{}{place}: text needs quotes", path.display()))
            .with_hint(format!("write {key} = {}", value.replacen(word, &format!("\"{word}\""), 1)));
    }
    if let Some(name) = content.strip_prefix("[[").and_then(|rest| rest.split("]]").next())
        && message.trim().starts_with("invalid ")
    {
        return CliError::input(format!("{}{place}: double brackets make a list, expected a section", path.display()))
            .with_hint(format!("write [{name}]"));
    }
    let section = content.starts_with('[');
    let (message, hint) = plain(message, assigned);
    let message = if section { message.replacen("unknown key", "unknown section", 1) } else { message };
    let error = CliError::input(format!("{}{place}: {message}", path.display()));
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// A replacement of `--set` does not fit.
pub fn in_replacement(replacement: &str, message: &str) -> CliError {
    let (message, hint) = plain(message, None);
    let error = CliError::input(format!("--set {replacement}: {message}"));
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// What a file is that should be TOML, judged by its name and beginning.
fn other_format(path: &Path, text: &str) -> Option<&'static str> {
    let end = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or_default();
    match end.as_str() {
        "yaml" | "yml" => Some("YAML"),
        "json" | "jsonl" => Some("JSON"),
        _ if first.starts_with('{') => Some("JSON"),
        _ if first == "---" || first.ends_with(':') => Some("YAML"),
        _ if first.split_once(": ").is_some_and(|(key, _)| !key.contains(['=', '"', '\'', '['])) => Some("YAML"),
        _ => None,
    }
}

/// The first word of a value, or of a list, that stands without quotes where TOML wants them.
fn bare_word(value: &str) -> Option<&str> {
    let inner = value.trim_start_matches('[');
    let mut words = if inner.len() == value.len() { vec![inner] } else { inner.split([',', ']']).collect() };
    words.truncate(64);
    words.into_iter().map(str::trim).find_map(|word| {
        let word = word.split(" #").next().unwrap_or_default().trim();
        let starts = word.chars().next().is_some_and(|c| c.is_alphabetic() || matches!(c, '/' | '.' | '~' | '_'));
        let quoted = word.contains(['"', '\'']);
        (starts && !quoted && !["true", "false", "inf", "nan"].contains(&word)).then_some(word)
    })
}

/// A parser's message without the words of the program's language, and what would be right.
/// `assigned` are the key and the value of the line, where it has them.
fn plain(message: &str, assigned: Option<(&str, &str)>) -> (String, Option<String>) {
    let mut message = message.trim().replace('\n', ", ");
    for (rust, plain) in [("unknown field ", "unknown key "), ("unknown variant ", "unknown value ")] {
        if let Some(rest) = message.strip_prefix(rust) {
            message = format!("{plain}{rest}");
        }
    }
    if let Some(near) = nearest_in(&message) {
        let hint = format!("did you mean `{near}`?");
        return (message, Some(hint));
    }
    if message == "wanted string or table" {
        return ("expected text in quotes".to_owned(), None);
    }
    if let Some(field) = message.strip_prefix("missing field ") {
        return (format!("the key {field} is missing"), None);
    }
    let wrong = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
    let Some((found, expected)) = wrong.and_then(|wrong| wrong.rsplit_once(", expected ")) else {
        return (message, None);
    };
    let (found, expected) = (Found::of(found), Expected::of(expected));
    // Of a list, the value at fault is only a part.
    let assign = |value: String| match assigned {
        Some((key, whole)) if !whole.starts_with(['[', '{']) => format!("{key} = {value}"),
        _ => value,
    };
    let hint = match (&found, &expected) {
        (Found::Text(text), Expected::Whole(_) | Expected::Number | Expected::Truth)
            if text.parse::<f64>().is_ok() || ["true", "false"].contains(&text.as_str()) =>
        {
            Some(format!("without quotes: {}", assign(text.clone())))
        }
        (Found::Plain(value), Expected::Text) => Some(format!("in quotes: {}", assign(format!("\"{value}\"")))),
        (Found::Text(text), Expected::List) => Some(format!("write a list: {}", assign(format!("[\"{text}\"]")))),
        (Found::Plain(value), Expected::List) => Some(format!("write a list: {}", assign(format!("[{value}]")))),
        _ => None,
    };
    (format!("{} is given, expected {}", found.words(), expected.words()), hint)
}

/// Serde's messages list what was expected ("unknown field `stpes`, expected one of `steps`, ..."):
/// the nearest of them to the first quoted word.
fn nearest_in(message: &str) -> Option<&str> {
    let (head, expected) = message.split_once("expected")?;
    let found = head.split('`').nth(1)?;
    tabpo_ontology::nearest(found, expected.split('`').skip(1).step_by(2))
}

/// What a parser says that it found.
enum Found {
    Text(String),
    /// A number or a truth value.
    Plain(String),
    Other(String),
}

impl Found {
    fn of(text: &str) -> Self {
        let quoted = |quote| Some((text.find(quote)?, text.rfind(quote)?)).filter(|(from, to)| from < to);
        match (quoted('"'), quoted('`')) {
            (Some((from, to)), _) if text.starts_with("string") => Self::Text(text[from + 1..to].to_owned()),
            (_, Some((from, to))) => Self::Plain(text[from + 1..to].to_owned()),
            _ => Self::Other(match text {
                "sequence" => "a list".to_owned(),
                "map" => "a section".to_owned(),
                other => other.to_owned(),
            }),
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Text(text) => format!("the text \"{text}\""),
            Self::Plain(text) | Self::Other(text) => text.clone(),
        }
    }
}

/// What a parser says that it expected.
enum Expected {
    /// A whole number of at least this.
    Whole(Option<u8>),
    Number,
    Truth,
    Text,
    List,
    Section,
    Other(String),
}

impl Expected {
    fn of(text: &str) -> Self {
        match text.trim_start_matches("a ") {
            "usize" | "u64" | "u32" | "u16" | "u8" => Self::Whole(Some(0)),
            "i64" | "i32" | "isize" | "integer" => Self::Whole(None),
            nonzero if nonzero.starts_with("nonzero") || nonzero.starts_with("non-zero") => Self::Whole(Some(1)),
            "f64" | "f32" => Self::Number,
            "boolean" | "bool" => Self::Truth,
            "string" | "borrowed string" | "path string" | "str" => Self::Text,
            "sequence" => Self::List,
            map if map == "map" || map.starts_with("struct") || map.starts_with("internally tagged") => Self::Section,
            _ => Self::Other(text.to_owned()),
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Whole(None) => "a whole number".to_owned(),
            Self::Whole(Some(least)) => format!("a whole number of at least {least}"),
            Self::Number => "a number".to_owned(),
            Self::Truth => "true or false".to_owned(),
            Self::Text => "text in quotes".to_owned(),
            Self::List => "a list in square brackets".to_owned(),
            Self::Section => "a section".to_owned(),
            Self::Other(text) => text.clone(),
        }
    }
}
