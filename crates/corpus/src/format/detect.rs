//! Recognising the format of a file by its content.

use std::io::{BufRead, BufReader, Read};

use serde::de::IgnoredAny;
use serde_json::Value;
use tabpo_files::without_mark;

use super::{Format, json::json_error, others, source::Source};
use crate::CorpusError;

/// How the documents of a JSON file are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// One on each line.
    Lines,
    /// In a list, or over several lines.
    Objects,
}

/// The first non-blank line of a file, its number, and whether anything follows it; `None` for an empty file.
fn first_line(source: &Source) -> Result<Option<(usize, String, bool)>, CorpusError> {
    let path = source.path;
    let failed = |source| CorpusError::read(path, source);
    let mut file = BufReader::new(source.open()?);
    let mut bytes = Vec::new();
    let mut offset = 0;
    for number in 1.. {
        bytes.clear();
        if file.read_until(b'\n', &mut bytes).map_err(failed)? == 0 {
            break;
        }
        if let Some(name) = others::of_bytes(&bytes).filter(|_| number == 1) {
            return Err(others::error(path, name));
        }
        let line = without_mark(tabpo_files::utf8(&bytes, number, offset).map_err(failed)?).trim();
        if !line.is_empty() {
            let line = line.to_owned();
            let mut rest = Vec::new();
            file.by_ref().take(1 << 10).read_to_end(&mut rest).map_err(failed)?;
            return Ok(Some((number, line, !rest.trim_ascii().is_empty())));
        }
        offset += bytes.len() as u64;
    }
    Ok(None)
}

/// How the documents of a file are laid out.
pub(crate) fn layout(source: &Source) -> Result<Layout, CorpusError> {
    let Some((_, line, more)) = first_line(source)? else { return Ok(Layout::Lines) };
    // A pair of a text and its annotation, one on each line.
    if serde_json::from_str::<Value>(&line).is_ok_and(|value| is_pair(&value)) {
        return Ok(Layout::Lines);
    }
    let is_cut = || serde_json::from_str::<IgnoredAny>(&line).is_err_and(|error| error.is_eof());
    Ok(if line.starts_with('[') || more && line.starts_with('{') && is_cut() { Layout::Objects } else { Layout::Lines })
}

/// Recognises the format of a file or directory.
pub(crate) fn detect(source: &Source) -> Result<Format, CorpusError> {
    let path = source.path;
    if path.is_dir() {
        return Ok(Format::Brat);
    }
    let unknown = |reason: String| CorpusError::UnknownFormat { path: path.to_path_buf(), reason };
    if let Some(name) = others::of_extension(path) {
        return Err(others::error(path, name));
    }
    if path.extension().is_some_and(|extension| others::is_conll(&extension.to_string_lossy())) {
        return Ok(Format::Conll);
    }
    let Some((number, line, more)) = first_line(source)? else { return Err(unknown("it is empty".into())) };
    if !line.starts_with(['[', '{']) {
        if is_pubtator(&line) {
            return Ok(Format::PubTator);
        }
        if others::is_column_line(&line) {
            return Ok(Format::Conll);
        }
        return Err(match others::of_line(&line) {
            Some(name) => others::error(path, name),
            None => {
                let plain = path.extension().is_some_and(|extension| extension == "txt");
                let folder =
                    "; plain texts are read from a folder of `.txt` files, with or without `.ann`: name the folder";
                let start = line.chars().take(20).collect::<String>();
                unknown(format!("it begins with `{start}`{}", if plain { folder } else { "" }))
            }
        });
    }
    let mut text = line;
    let first = |text: &str| serde_json::Deserializer::from_str(text).into_iter::<Value>().next();
    let mut value = first(&text);
    // A list, or an object over several lines, is looked at as a whole.
    if more && matches!(&value, Some(Err(error)) if error.is_eof()) {
        text = source.text()?.into_owned();
        value = first(&text);
    }
    let value = match value.expect("the text is not blank") {
        Ok(value) => value,
        // A lone surrogate does not hide the format.
        Err(error) => match super::json::mend_surrogates(&text).and_then(|(text, _)| first(&text)) {
            Some(Ok(value)) => value,
            _ => return Err(json_error(path, number, &text, &error)),
        },
    };
    let first = match &value {
        pair @ Value::Array(_) if is_pair(pair) => pair,
        Value::Array(list) => match list.first() {
            None => return Ok(Format::LabelStudio),
            Some(first) => first,
        },
        object => object,
    };
    if let Some(format) = of_value(first) {
        return Ok(format);
    }
    Err(match others::of_value(first) {
        Some(name) => others::error(path, name),
        None => unknown(format!("{}; {}", described(first), others::WANTED)),
    })
}

fn described(value: &Value) -> String {
    match value.as_object() {
        Some(object) if object.is_empty() => "its first object has no field".to_owned(),
        Some(object) => {
            let names = object.keys().take(8).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            format!("its first object has neither `sentences` nor `text` but {names}")
        }
        None => "its first entry is not an object".to_owned(),
    }
}

/// Whether a line is the title or the text of an abstract, as `PubTator` writes them.
fn is_pubtator(line: &str) -> bool {
    let mut parts = line.splitn(3, '|');
    let key = parts.next().is_some_and(|key| !key.is_empty() && !key.contains(char::is_whitespace));
    key && matches!(parts.next(), Some("t" | "a")) && parts.next().is_some()
}

/// Whether a value is a text with its annotation, as in spaCy's training data.
fn is_pair(value: &Value) -> bool {
    value.as_array().is_some_and(|list| list.len() == 2 && list[0].is_string() && list[1].is_object())
}

/// The format that has such objects.
fn of_value(value: &Value) -> Option<Format> {
    if is_pair(value) {
        return Some(Format::Spacy);
    }
    let object = value.as_object()?;
    let has = |field: &str| object.contains_key(field);
    let first_has = |list: &str, field: &str| value[list][0].get(field).is_some();
    if value["data"].is_object() {
        return Some(Format::LabelStudio);
    }
    if others::of_value(value).is_some() {
        return None;
    }
    let plain = has("doc_key") && has("entities") || has("sentences");
    if has("tokenized_text") && !plain {
        return Some(Format::Gliner);
    }
    if has("text") && has("ents") && !plain {
        return Some(Format::Spacy);
    }
    if has("text") && !plain && (has("_input_hash") || has("_task_hash") || has("spans")) {
        return Some(Format::Prodigy);
    }
    if has("sentence") && has("doc_key") && value["sentence"].is_array() {
        return Some(Format::CrossRe);
    }
    if has("sentence") && has("doc_id") && value["sentence"].is_string() && value["ner"].is_array() {
        return Some(Format::SciEr);
    }
    if has("tokens") && has("entities") && value["tokens"][0].is_string() && !has("text") && !has("sentences") {
        return Some(Format::Spert);
    }
    if has("sentences") && !has("text") {
        return Some(Format::Dygie);
    }
    let labels = ["label", "labels", "annotations"].iter().any(|field| has(field));
    if value["data"].is_string() && (labels || has("entities")) {
        return Some(Format::Doccano);
    }
    if !has("text") {
        return None;
    }
    let doccano = labels || first_has("entities", "start_offset") || has("id") && !first_has("entities", "start");
    Some(if doccano { Format::Doccano } else { Format::Jsonl })
}
