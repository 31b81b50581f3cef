//! An objective chosen by name.

use std::str::FromStr;
use std::sync::Arc;

use serde::de::{DeserializeOwned, Error as _};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use tabpo_ontology::nearest;

use crate::{Completion, Evaluation, Formula, Needs, Normaliser, ObjectiveError, Pair, PairLoss, Ranges, WeightSource};
use crate::{Entry, catalogue};

/// An objective with its hyper-parameters, ready to evaluate pairs.
///
/// In configuration files and on the command line it is a name, `"dpo"`, or a table,
/// `{name = "dpo", beta = 0.5}`; hyper-parameters that are not given keep their defaults.
#[derive(Clone, Debug)]
pub struct Objective {
    name: &'static str,
    parameters: Map<String, Value>,
    formula: Arc<dyn Formula>,
}

impl Objective {
    /// The objective called `name` with its default hyper-parameters.
    ///
    /// # Errors
    /// [`ObjectiveError::UnknownObjective`], with the nearest name.
    pub fn new(name: &str) -> Result<Self, ObjectiveError> {
        Self::with(name, &Map::new())
    }

    /// The objective called `name`; `given` hyper-parameters replace the defaults. Nested tables
    /// are merged key by key.
    ///
    /// # Errors
    /// An unknown name, an unknown hyper-parameter, a value of the wrong kind or out of range.
    pub fn with(name: &str, given: &Map<String, Value>) -> Result<Self, ObjectiveError> {
        let entry =
            catalogue().iter().find(|entry| entry.name == name).ok_or_else(|| ObjectiveError::UnknownObjective {
                found: name.to_owned(),
                nearest: nearest(name, catalogue().iter().map(|entry| entry.name)).map(str::to_owned),
            })?;
        (entry.build)(entry, given)
    }

    /// The name in the catalogue.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Every hyper-parameter with the value in force.
    pub fn parameters(&self) -> &Map<String, Value> {
        &self.parameters
    }

    /// What the inputs must hold.
    pub fn needs(&self) -> Needs {
        self.formula.needs()
    }

    /// The pair's share of the batch loss and its gradient. `normaliser` holds the totals of the
    /// whole batch, so the results of a batch's pairs are simply added.
    ///
    /// # Panics
    /// If a vector that [`Objective::needs`] asks for, the roles or the difference mask of a
    /// completion has another length than its policy log-probs.
    pub fn evaluate(&self, pair: &Pair, normaliser: &Normaliser) -> PairLoss {
        let needs = self.needs();
        assert_lengths(&pair.chosen, needs);
        assert_lengths(&pair.rejected, needs);
        let mut sheet = Evaluation::new(pair, normaliser, needs.kl);
        self.formula.evaluate(&mut sheet);
        sheet.finish()
    }
}

fn assert_lengths(completion: &Completion, needs: Needs) {
    let n = completion.len();
    let require = |needed: bool, length: usize, what: &str| {
        assert!(!needed || length == n, "{length} {what} for {n} tokens");
    };
    require(true, completion.roles.len(), "roles");
    require(true, completion.differs.len(), "difference flags");
    require(needs.weights != WeightSource::None, completion.weights.len(), "weights");
    require(needs.reference, completion.reference.len(), "reference log-probs");
    require(needs.kl, completion.kl.len(), "KL values");
    require(needs.third, completion.third.len(), "third-model log-probs");
}

/// Builds an objective from its formula with default values and the values that were given.
pub(crate) fn configure<F>(entry: &Entry, defaults: &F, given: &Map<String, Value>) -> Result<Objective, ObjectiveError>
where
    F: Formula + Serialize + DeserializeOwned + 'static,
{
    let name = entry.name;
    let Ok(Value::Object(mut parameters)) = serde_json::to_value(defaults) else {
        unreachable!("a formula is a struct of named hyper-parameters");
    };
    let mut formula: F = read(&parameters).expect("a formula reads back what it wrote");
    for (key, value) in given {
        replace(name, key, &mut parameters, key, value)?;
        // Read after each key, so that an error names the key at fault.
        formula = read(&parameters).map_err(|error| ObjectiveError::WrongType {
            objective: name.to_owned(),
            parameter: key.clone(),
            message: message(value, &error.to_string()),
        })?;
    }
    let mut ranges = Ranges::default();
    formula.ranges(&mut ranges);
    if let Some((parameter, value, expected)) = ranges.violation {
        return Err(ObjectiveError::OutOfRange { objective: name.to_owned(), parameter, value, expected });
    }
    Ok(Objective { name, parameters, formula: Arc::new(formula) })
}

/// A reader's message about a value, without the words of the program's language.
fn message(value: &Value, message: &str) -> String {
    let (problem, expected) = message.rsplit_once(", expected ").unwrap_or((message, ""));
    if let Some(found) = problem.strip_prefix("unknown variant ") {
        return format!("{found} is given, expected {expected}");
    }
    let expected = match expected {
        "f64" | "f32" => "a number",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number of at least 0",
        "a boolean" => "true or false",
        "a string" | "string" | "string or map" => "text in quotes",
        "" => return message.to_owned(),
        object if object.starts_with("struct ") => "a table",
        other => other,
    };
    let found = match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) => format!("the text \"{}\"", text.escape_debug()),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a table".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    };
    format!("{found} is given, expected {expected}")
}

fn read<F: DeserializeOwned>(parameters: &Map<String, Value>) -> Result<F, serde_json::Error> {
    serde_json::from_value(Value::Object(parameters.clone()))
}

/// Puts `value` in the place of the known parameter `key`; tables are merged. `path` is the full
/// name for messages.
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
        (place, value) => *place = value.clone(),
    }
    Ok(())
}

/// The first of the catalogue, `tab-po`.
impl Default for Objective {
    fn default() -> Self {
        catalogue()[0].objective()
    }
}

impl PartialEq for Objective {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.parameters == other.parameters
    }
}

impl FromStr for Objective {
    type Err = ObjectiveError;

    fn from_str(name: &str) -> Result<Self, ObjectiveError> {
        Self::new(name)
    }
}

impl Serialize for Objective {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.parameters.len() + 1))?;
        map.serialize_entry("name", self.name)?;
        // An unset optional hyper-parameter is left out: not every format can write null.
        for (key, value) in self.parameters.iter().filter(|(_, value)| !value.is_null()) {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl TryFrom<Value> for Objective {
    type Error = ObjectiveError;

    fn try_from(value: Value) -> Result<Self, ObjectiveError> {
        match value {
            Value::String(name) => Self::new(&name),
            Value::Object(mut map) => match map.remove("name") {
                Some(Value::String(name)) => Self::with(&name, &map),
                _ => Err(ObjectiveError::NoName),
            },
            _ => Err(ObjectiveError::NoName),
        }
    }
}

impl<'de> Deserialize<'de> for Objective {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(Value::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
