//! An objective, chosen from the catalogue or written by the user.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::Error as _;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::entry::{Configured, Entry};
use crate::error::nearest;
use crate::{
    Completion, Evaluation, Formula, Grouping, Needs, Normaliser, ObjectiveError, Pair, PairLoss, WeightSource,
    catalogue,
};

/// An objective with its hyper-parameters, ready to evaluate pairs.
///
/// In configuration files and on the command line it is a name, `"dpo"`, or a table,
/// `{name = "dpo", beta = 0.5}`; hyper-parameters that are not given keep their defaults. A program
/// can also define its own, see [`Objective::custom`].
#[derive(Clone, Debug)]
pub struct Objective {
    name: Cow<'static, str>,
    configured: Configured,
    is_custom: bool,
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
        Ok(Self { name: entry.name.into(), configured: (entry.build)(entry.name, given)?, is_custom: false })
    }

    /// An objective of your own. `evaluate` adds its terms for one pair to the [`Evaluation`], from
    /// inputs that `needs` asks for. Terms written with [`Dual`](crate::Dual) numbers are
    /// differentiated automatically.
    ///
    /// `name` appears in logs and errors. A custom objective has no hyper-parameters of its own (the
    /// closure captures them) and is equal only to its clones. It is written as its name, which
    /// cannot be read back.
    ///
    /// ```
    /// use tabpo_objective::{Baseline, Form, Needs, Objective};
    ///
    /// // The squared hinge, max(0, 1 − β(P_c − P_r))².
    /// let beta = 0.2;
    /// let squared_hinge = Objective::custom("squared-hinge", Needs::PAIR, move |pair| {
    ///     let scores = pair.scores(Form::Sum, Baseline::Zero);
    ///     pair.preference(&scores, (-(beta * scores.margin()) + 1.0).positive_part().square());
    /// });
    /// assert_eq!(squared_hinge.name(), "squared-hinge");
    /// ```
    pub fn custom(
        name: impl Into<String>,
        needs: Needs,
        evaluate: impl Fn(&mut Evaluation<'_>) + Send + Sync + 'static,
    ) -> Self {
        let formula = Arc::new(Custom { needs, evaluate });
        Self { name: name.into().into(), configured: Configured { parameters: Map::new(), formula }, is_custom: true }
    }

    /// The name in the catalogue, or of the custom objective.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Every hyper-parameter with its value.
    pub fn parameters(&self) -> &Map<String, Value> {
        &self.configured.parameters
    }

    /// What the inputs must hold.
    pub fn needs(&self) -> Needs {
        self.configured.formula.needs()
    }

    /// The pair's share of the batch loss and its gradient. `normaliser` holds the totals of the
    /// whole batch, so the results of a batch's pairs are simply added.
    ///
    /// # Panics
    /// If the roles, the difference mask or a vector that [`Objective::needs`] asks for differs in length
    /// from the policy log-probs of its completion.
    pub fn evaluate(&self, pair: &Pair, normaliser: &Normaliser) -> PairLoss {
        let mut losses = self.evaluate_example(std::slice::from_ref(pair), normaliser);
        losses.pop().expect("one pair has one loss")
    }

    /// The shares of the pairs of one example, all of which have the same chosen completion. Most objectives
    /// evaluate each pair by itself; some weigh the rejected completions of an example against each other.
    ///
    /// # Panics
    /// As [`Objective::evaluate`].
    pub fn evaluate_example(&self, pairs: &[Pair], normaliser: &Normaliser) -> Vec<PairLoss> {
        let needs = self.needs();
        for pair in pairs {
            assert_lengths(&pair.chosen, needs);
            assert_lengths(&pair.rejected, needs);
        }
        let mut terms: Vec<_> = pairs.iter().map(|pair| Evaluation::new(pair, normaliser, needs.kl)).collect();
        self.configured.formula.evaluate_example(&mut terms);
        terms.into_iter().map(Evaluation::finish).collect()
    }

    /// How the moving loss of a label weighs its tokens, for objectives that take their weights from it.
    pub fn grouping(&self) -> Option<Grouping> {
        self.configured.formula.grouping()
    }

    /// Whether the objective takes the F1 that a model reaches ([`Credit`](crate::Credit)) and at least one of its
    /// two values is not set.
    pub fn lacks_f1(&self) -> bool {
        F1_PARAMETERS.iter().any(|name| self.parameters().get(*name).is_some_and(Value::is_null))
    }

    /// Refuses a decoding that stops lists at a threshold of its own, for objectives that train where lists end.
    ///
    /// # Errors
    /// [`ObjectiveError::ThresholdTwice`].
    pub fn allow_threshold(&self) -> Result<(), ObjectiveError> {
        if self.configured.formula.moves_list_ends() {
            return Err(ObjectiveError::ThresholdTwice { objective: self.name.to_string() });
        }
        Ok(())
    }

    /// The objective with the F1 of entities and that of relations, each from 0 to 1, where they are not set.
    ///
    /// # Errors
    /// [`ObjectiveError::OutOfRange`].
    pub fn with_f1(&self, entities: f64, relations: f64) -> Result<Self, ObjectiveError> {
        let mut parameters = self.parameters().clone();
        for (name, f1) in F1_PARAMETERS.iter().zip([entities, relations]) {
            if let Some(unset) = parameters.get_mut(*name).filter(|value| value.is_null()) {
                *unset = f1.into();
            }
        }
        Self::with(&self.name, &parameters)
    }
}

/// The hyper-parameters for the F1 of entities and of relations.
const F1_PARAMETERS: [&str; 2] = ["entity_f1", "relation_f1"];

/// A formula from a closure.
struct Custom<F> {
    needs: Needs,
    evaluate: F,
}

impl<F> fmt::Debug for Custom<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Custom").field("needs", &self.needs).finish_non_exhaustive()
    }
}

impl<F: Fn(&mut Evaluation<'_>) + Send + Sync> Formula for Custom<F> {
    fn needs(&self) -> Needs {
        self.needs
    }

    fn evaluate(&self, terms: &mut Evaluation<'_>) {
        (self.evaluate)(terms);
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
    require(needs.guide, completion.guide.len(), "log-probs of the guide model");
    assert!(completion.decisions.iter().all(|(t, _)| *t < n), "a decision beyond {n} tokens");
    assert!(completion.items.iter().flat_map(|item| &item.tokens).all(|t| *t < n), "an item beyond {n} tokens");
}

/// With the default hyper-parameters.
impl From<&Entry> for Objective {
    fn from(entry: &Entry) -> Self {
        Self { name: entry.name.into(), configured: entry.configured(), is_custom: false }
    }
}

/// The first of the catalogue, `tab-po`.
impl Default for Objective {
    fn default() -> Self {
        Self::from(&catalogue()[0])
    }
}

impl PartialEq for Objective {
    fn eq(&self, other: &Self) -> bool {
        if self.is_custom || other.is_custom {
            return Arc::ptr_eq(&self.configured.formula, &other.configured.formula);
        }
        self.name == other.name && self.parameters() == other.parameters()
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
        let mut map = serializer.serialize_map(Some(self.parameters().len() + 1))?;
        map.serialize_entry("name", &self.name)?;
        // An unset optional hyper-parameter is left out: not every format can write null.
        for (key, value) in self.parameters().iter().filter(|(_, value)| !value.is_null()) {
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
