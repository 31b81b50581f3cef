//! A row of the catalogue, and hyper-parameters that are read over its defaults.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{Formula, Needs, ObjectiveError, Ranges, error::nearest};

/// An objective of the catalogue.
#[derive(Debug)]
pub struct Entry {
    /// The name that a configuration chooses it by.
    pub name: &'static str,
    /// The loss of one pair in a line (notation of the crate's documentation).
    pub summary: &'static str,
    /// The paper or the public code that defines it.
    pub source: &'static str,
    /// Builds the formula from the defaults of this row and the hyper-parameters that were given.
    pub(crate) build: fn(&str, &Map<String, Value>) -> Result<Configured, ObjectiveError>,
}

impl Entry {
    /// Default hyper-parameters.
    pub fn defaults(&self) -> Map<String, Value> {
        self.configured().parameters
    }

    /// What it needs with its default hyper-parameters.
    pub fn needs(&self) -> Needs {
        self.configured().formula.needs()
    }

    /// The formula with its default hyper-parameters.
    pub(crate) fn configured(&self) -> Configured {
        (self.build)(self.name, &Map::new()).expect("the defaults of the catalogue are in range")
    }
}

/// A formula together with its hyper-parameters as data.
#[derive(Clone, Debug)]
pub(crate) struct Configured {
    pub(crate) parameters: Map<String, Value>,
    pub(crate) formula: Arc<dyn Formula>,
}

/// Reads the hyper-parameters in `given` over those of `defaults`; tables are merged key by key.
/// `objective` is named in errors.
pub(crate) fn configure<F>(
    objective: &str,
    defaults: &F,
    given: &Map<String, Value>,
) -> Result<Configured, ObjectiveError>
where
    F: Formula + Serialize + DeserializeOwned + 'static,
{
    let Ok(Value::Object(mut parameters)) = serde_json::to_value(defaults) else {
        unreachable!("a formula is a struct of named hyper-parameters");
    };
    let mut formula: F = read(&parameters).expect("a formula reads back what it wrote");
    for (key, value) in given {
        replace(objective, key, &mut parameters, key, value)?;
        // Read after each key, so that an error names the key at fault.
        formula = read(&parameters).map_err(|error| ObjectiveError::WrongType {
            objective: objective.to_owned(),
            parameter: key.clone(),
            message: message(&error),
        })?;
    }
    let mut ranges = Ranges::default();
    formula.ranges(&mut ranges);
    if let Some(violation) = ranges.violation {
        return Err(ObjectiveError::OutOfRange { objective: objective.to_owned(), violation });
    }
    Ok(Configured { parameters, formula: Arc::new(formula) })
}

/// The reader's message; an unknown name among strings is reworded, since "variant" means nothing to the
/// author of a configuration.
fn message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let reworded = text.strip_prefix("unknown variant ").and_then(|rest| rest.split_once(", expected "));
    reworded.map_or(text.clone(), |(found, expected)| format!("{found} is given, expected {expected}"))
}

fn read<F: DeserializeOwned>(parameters: &Map<String, Value>) -> Result<F, serde_json::Error> {
    serde_json::from_value(Value::Object(parameters.clone()))
}

/// Sets the known parameter `key` to `value`; `path` is its full name for messages.
fn replace(
    objective: &str,
    path: &str,
    parameters: &mut Map<String, Value>,
    key: &str,
    value: &Value,
) -> Result<(), ObjectiveError> {
    if !parameters.contains_key(key) {
        let names = || parameters.keys().map(String::as_str);
        return Err(ObjectiveError::UnknownParameter {
            objective: objective.to_owned(),
            found: path.to_owned(),
            nearest: nearest(key, names()).map(str::to_owned),
            known: names().collect::<Vec<_>>().join(", "),
        });
    }
    match (&mut parameters[key], value) {
        (Value::Object(inner), Value::Object(given)) => {
            for (key, value) in given {
                replace(objective, &format!("{path}.{key}"), inner, key, value)?;
            }
        }
        // Only an optional number may be null; the reader decides whether this one is optional.
        (default, given) if given.is_null() || kind(default) == kind(given) => *default = given.clone(),
        (default, given) => {
            return Err(ObjectiveError::WrongType {
                objective: objective.to_owned(),
                parameter: path.to_owned(),
                message: format!("{} is given, expected {}", describe(given), kind(default)),
            });
        }
    }
    Ok(())
}

/// The kind of value that a parameter with this default takes.
fn kind(default: &Value) -> &'static str {
    match default {
        // Every optional hyper-parameter is a number.
        Value::Null | Value::Number(_) => "a number",
        Value::Bool(_) => "true or false",
        Value::String(_) => "text in quotes",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}

/// A value of the wrong kind, as an error shows it.
fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) => format!("the text \"{}\"", text.escape_debug()),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a table".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}
