//! The section of a system with its own settings.

use std::fmt;

use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor},
};

use super::{ThresholdChoice, schema::names};
use crate::range;

/// A system with its own settings.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct SystemSection {
    /// The objective; by default, the one with the system's name.
    pub objective: Option<String>,
    /// Its learning rate; by default, that of `preference.train`.
    #[schemars(transform = range::LEARNING_RATE.stated())]
    pub learning_rate: Option<f64>,
    /// Whether it trains until it has used as many FLOPs as the most expensive preference method, instead of for a
    /// number of steps.
    #[schemars(default)]
    pub equal_flops: bool,
    /// Whether it is also compared with tuned thresholds: none or tuned; by default, as `predict.threshold` says.
    #[schemars(default, schema_with = "names::threshold")]
    pub threshold: Option<ThresholdChoice>,
    /// Hyper-parameters of the objective.
    #[serde(flatten)]
    pub parameters: serde_json::Map<String, serde_json::Value>,
}

/// Written by hand because the derived one, with `flatten`, buffers values and loses which kind was expected.
impl<'de> Deserialize<'de> for SystemSection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;

        impl<'de> Visitor<'de> for Keys {
            type Value = SystemSection;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a section")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SystemSection, A::Error> {
                let mut section = SystemSection::default();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "objective" => section.objective = map.next_value()?,
                        "learning_rate" => section.learning_rate = map.next_value()?,
                        "equal_flops" => section.equal_flops = map.next_value()?,
                        "threshold" => section.threshold = map.next_value()?,
                        _ => {
                            section.parameters.insert(key, map.next_value()?);
                        }
                    }
                }
                Ok(section)
            }
        }

        deserializer.deserialize_map(Keys)
    }
}
