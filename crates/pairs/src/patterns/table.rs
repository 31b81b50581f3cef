//! A TOML table that knows the position of its keys and values.

use std::collections::HashMap;

use tabpo_ontology::Alternatives;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{PatternProblem, Words};

/// A problem and its byte offset.
pub(super) struct ProblemAt {
    pub(super) at: usize,
    pub(super) problem: PatternProblem,
}

pub(super) type Value<'a> = Spanned<DeValue<'a>>;

/// A table whose keys are all valid.
pub(super) struct Table<'a> {
    pub(super) entries: &'a DeTable<'a>,
    pub(super) at: usize,
    pub(super) place: &'static str,
}

impl<'a> Table<'a> {
    pub(super) fn new(
        entries: &'a DeTable<'a>,
        at: usize,
        place: &'static str,
        valid: &[&str],
    ) -> Result<Self, ProblemAt> {
        for key in entries.keys() {
            if !valid.contains(&key.get_ref().as_ref()) {
                return Err(unknown("key", key.get_ref(), key.span().start, valid.iter().copied()));
            }
        }
        Ok(Self { entries, at, place })
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Value<'a>> {
        self.entries.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }

    pub(super) fn required_string(&self, key: &'static str) -> Result<(&'a str, usize), ProblemAt> {
        let problem = PatternProblem::Missing { key, place: self.place };
        let value = self.get(key).ok_or(ProblemAt { at: self.at, problem })?;
        Ok((string(value, key)?, value.span().start))
    }

    pub(super) fn optional_string(&self, key: &'static str) -> Result<Option<(&'a str, usize)>, ProblemAt> {
        self.get(key).map(|value| Ok((string(value, key)?, value.span().start))).transpose()
    }

    pub(super) fn boolean(&self, key: &str) -> Result<Option<bool>, ProblemAt> {
        let read = |value: &Value| value.get_ref().as_bool().ok_or_else(|| wrong(key, "true or false", value));
        self.get(key).map(read).transpose()
    }

    /// A number above 0, or 1 if the key is missing.
    pub(super) fn weight(&self, key: &str) -> Result<f64, ProblemAt> {
        let Some(value) = self.get(key) else { return Ok(1.0) };
        let text = match value.get_ref() {
            DeValue::Integer(integer) => integer.as_str(),
            DeValue::Float(float) => float.as_str(),
            _ => return Err(wrong(key, "a number above 0", value)),
        };
        match text.replace('_', "").parse::<f64>() {
            Ok(number) if number > 0.0 && number.is_finite() => Ok(number),
            _ => Err(wrong(key, "a number above 0", value)),
        }
    }

    /// `[least, most]`.
    pub(super) fn bounds(&self, key: &str) -> Result<Option<(usize, usize)>, ProblemAt> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = |value: &Value| value.get_ref().as_integer().and_then(|integer| integer.as_str().parse().ok());
        let numbers = value.get_ref().as_array().map(|array| array.iter().map(number).collect::<Vec<Option<usize>>>());
        match numbers.as_deref() {
            Some([Some(least), Some(most)]) if least <= most => Ok(Some((*least, *most))),
            _ => Err(wrong(key, "[least, most]", value)),
        }
    }

    /// A list of strings with their byte offsets; a single string counts as a list of one.
    pub(super) fn strings(&self, key: &str) -> Result<Option<Vec<(&'a str, usize)>>, ProblemAt> {
        let Some(value) = self.get(key) else { return Ok(None) };
        strings(value, key).map(Some)
    }

    /// A list of words; an entry `@name` includes a list of the file.
    pub(super) fn words(&self, key: &str, lists: &HashMap<&str, Vec<&'a str>>) -> Result<Option<Words>, ProblemAt> {
        let Some(entries) = self.strings(key)? else { return Ok(None) };
        let mut words = Vec::new();
        for (entry, at) in entries {
            let Some(name) = entry.strip_prefix('@') else {
                words.push(entry);
                continue;
            };
            let Some(list) = lists.get(name) else {
                let mut valid: Vec<&str> = lists.keys().copied().collect();
                valid.sort_unstable();
                return Err(unknown("word list", name, at, valid));
            };
            words.extend(list);
        }
        Ok(Some(Words::new(words)))
    }
}

pub(super) fn strings<'a>(value: &'a Value<'a>, key: &str) -> Result<Vec<(&'a str, usize)>, ProblemAt> {
    match value.get_ref() {
        DeValue::String(text) => Ok(vec![(text, value.span().start)]),
        DeValue::Array(array) => array.iter().map(|entry| Ok((string(entry, key)?, entry.span().start))).collect(),
        _ => Err(wrong(key, "a string or a list of strings", value)),
    }
}

fn string<'a>(value: &'a Value<'a>, key: &str) -> Result<&'a str, ProblemAt> {
    value.get_ref().as_str().ok_or_else(|| wrong(key, "a string", value))
}

fn wrong(key: &str, expected: &'static str, value: &Value) -> ProblemAt {
    let found = match value.get_ref() {
        DeValue::Integer(integer) => integer.as_str().to_owned(),
        DeValue::Float(float) => float.as_str().to_owned(),
        other => other.type_str().to_owned(),
    };
    ProblemAt { at: value.span().start, problem: PatternProblem::Wrong { key: key.to_owned(), expected, found } }
}

/// The problem that a name is not among the valid ones.
pub(super) fn unknown<'a>(
    what: &'static str,
    found: &str,
    at: usize,
    valid: impl IntoIterator<Item = &'a str>,
) -> ProblemAt {
    let alternatives = Alternatives::to(found, valid);
    ProblemAt { at, problem: PatternProblem::Unknown { what, found: found.to_owned(), alternatives } }
}
