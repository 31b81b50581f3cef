//! Error messages about the text of a configuration, in the terms of the person who wrote it.

use std::{io, path::Path};

use toml::{Table, Value};

use super::read::{Expected, Found, Problem, ReadError};
use crate::error::Error;

/// The required sections, each with its required key and an example of it.
const SECTIONS: [(&str, Option<(&str, &str)>); 5] = [
    ("run", Some(("name", "name = \"first\""))),
    ("data", None),
    ("model", None),
    ("sft", None),
    ("preference", Some(("objectives", "objectives = [\"tab-po\"]"))),
];

/// The optional sections.
const OPTIONAL: [&str; 6] = ["ontology", "adapter", "warmup", "pairs", "predict", "evaluate"];

/// The error for a configuration file that cannot be read, with the name that was probably meant.
pub(super) fn unreadable(path: &Path, error: &io::Error) -> Error {
    let unreadable = Error::input(format!("cannot read the configuration {}: {error}", path.display()));
    let folder = if path.is_dir() { Some(path) } else { path.parent() };
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let named = path.file_name().unwrap_or_default().to_string_lossy();
    if error.kind() == io::ErrorKind::InvalidData {
        return unreadable.with_hint("a configuration is TOML in UTF-8");
    }
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut there: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| Path::new(name).extension().is_some_and(|end| end.eq_ignore_ascii_case("toml")))
        .collect();
    there.sort();
    let at = |name: &str| folder.join(name).strip_prefix("./").map_or(folder.join(name), Path::to_path_buf);
    // Stems are compared: a file with the right stem and another extension is the best match of all.
    let stem = |name: &str| Path::new(name).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let stems: Vec<String> = there.iter().map(|name| stem(name)).collect();
    let near = tabpo_ontology::nearest(&stem(&named), stems.iter().map(String::as_str));
    let near = near.and_then(|near| there.iter().find(|name| stem(name) == near));
    match near {
        Some(name) => unreadable.with_hint(format!("did you mean {}?", at(name).display())),
        None if there.is_empty() => unreadable,
        None => {
            let more = if there.len() > 5 { ", ..." } else { "" };
            there.truncate(5);
            let folder = if folder == Path::new(".") { "this folder".to_owned() } else { folder.display().to_string() };
            unreadable.with_hint(format!("{folder} holds {}{more}", there.join(", ")))
        }
    }
}

/// The error that names every required section and key that is missing; `None` if nothing is, or if the text is not
/// valid TOML.
pub(super) fn missing(path: &Path, text: &str) -> Option<Error> {
    let table: Table = toml::from_str(text).ok()?;
    // An unknown name may be a misspelling of the missing one. The error about it names the line.
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
    let error = Error::input(format!("{}: {}", path.display(), problems.join("; ")));
    Some(error.with_hint(format!("add {}; other keys have defaults", wanted.join(", "))))
}

/// The error for a configuration file that is not valid.
pub(super) fn in_file(path: &Path, text: &str, error: &ReadError) -> Error {
    let line = error.span.as_ref().map(|span| text.get(..span.start).unwrap_or(text).matches('\n').count());
    let content = line.and_then(|line| text.lines().nth(line)).unwrap_or_default().trim();
    let place = line.map_or_else(String::new, |line| format!(":{}: `{content}`", line + 1));
    let at = |message: &str| Error::input(format!("{}{place}: {message}", path.display()));
    if let Some(format) = other_format(path, text) {
        return at("this is not TOML").with_hint(format!(
            "a configuration is TOML, this looks like {format}: [sft] opens a section, steps = 150 sets a key"
        ));
    }
    let assigned = content.split_once('=').map(|(key, value)| (key.trim(), value.trim()));
    if let Some((key, value)) = assigned
        && let Some(word) = bare_word(value)
    {
        return at("text needs quotes")
            .with_hint(format!("write {key} = {}", value.replacen(word, &format!("\"{word}\""), 1)));
    }
    if let Problem::Kind { found: Found::List, .. } = error.problem
        && let Some(name) = content.strip_prefix("[[").and_then(|rest| rest.split("]]").next())
    {
        return at("double brackets make a list, expected a section").with_hint(format!("write [{name}]"));
    }
    let thing = if content.starts_with('[') { "section" } else { "key" };
    let (message, hint) = described(&error.problem, thing, assigned);
    with_hint(at(&message), hint)
}

/// The error for a replacement given with `--set` that is not valid.
pub(super) fn in_replacement(replacement: &str, error: &ReadError) -> Error {
    let (message, hint) = described(&error.problem, "key", None);
    with_hint(Error::input(format!("--set {replacement}: {message}")), hint)
}

fn with_hint(error: Error, hint: Option<String>) -> Error {
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// The format of a file that should be TOML but looks like another one, judging by its name and first line.
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

/// The first unquoted word in a value or a list that TOML requires to be quoted.
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

/// Describes a problem, with a hint. `thing` is what the line holds, a key or a section; `assigned` is the key and the
/// value on that line, if it has them.
fn described(problem: &Problem, thing: &str, assigned: Option<(&str, &str)>) -> (String, Option<String>) {
    let nearest = |found: &str, known: &[&str]| {
        let near = tabpo_ontology::nearest(found, known.iter().copied());
        near.map(|near| format!("did you mean `{near}`?"))
    };
    match problem {
        Problem::UnknownKey { found, known } => {
            (format!("unknown {thing} `{found}`, expected {}", one_of(known)), nearest(found, known))
        }
        Problem::UnknownValue { found, known } => {
            (format!("unknown value `{found}`, expected {}", one_of(known)), nearest(found, known))
        }
        Problem::Missing(key) => (format!("the key `{key}` is missing"), None),
        Problem::Other(message) => (message.clone(), None),
        Problem::Kind { found, expected } => {
            (format!("{} is given, expected {}", shown(found), named(expected)), remedy(found, expected, assigned))
        }
    }
}

/// How a value of the wrong kind should have been written.
fn remedy(found: &Found, expected: &Expected, assigned: Option<(&str, &str)>) -> Option<String> {
    // In a list, the faulty value is only one of several.
    let assign = |value: String| match assigned {
        Some((key, whole)) if !whole.starts_with(['[', '{']) => format!("{key} = {value}"),
        _ => value,
    };
    match (found, expected) {
        (Found::Text(text), Expected::Unsigned | Expected::Whole | Expected::Number | Expected::Truth)
            if text.parse::<f64>().is_ok() || ["true", "false"].contains(&text.as_str()) =>
        {
            Some(format!("without quotes: {}", assign(text.clone())))
        }
        (Found::Plain(value), Expected::Text) => Some(format!("in quotes: {}", assign(format!("\"{value}\"")))),
        (Found::Text(text), Expected::List) => Some(format!("write a list: {}", assign(format!("[\"{text}\"]")))),
        (Found::Plain(value), Expected::List) => Some(format!("write a list: {}", assign(format!("[{value}]")))),
        _ => None,
    }
}

fn one_of(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.as_slice() {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        [one, other] => format!("{one} or {other}"),
        several => format!("one of {}", several.join(", ")),
    }
}

fn shown(found: &Found) -> String {
    match found {
        Found::Text(text) => format!("the text \"{text}\""),
        Found::Plain(text) => text.clone(),
        Found::List => "a list".to_owned(),
        Found::Section => "a section".to_owned(),
    }
}

fn named(expected: &Expected) -> String {
    match expected {
        Expected::Unsigned => "a whole number of at least 0".to_owned(),
        Expected::Whole => "a whole number".to_owned(),
        Expected::Number => "a number".to_owned(),
        Expected::Truth => "true or false".to_owned(),
        Expected::Text => "text in quotes".to_owned(),
        Expected::List => "a list in square brackets".to_owned(),
        Expected::Section => "a section".to_owned(),
        Expected::OneOf(names) => one_of(names),
    }
}
