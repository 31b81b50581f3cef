//! The rotary settings of `config.json`.

use serde_json::{Value, json};

use super::FolderError;
use super::config::Keys;
use crate::config::RopeScaling;

const TYPES: &str = "default, linear, dynamic, llama3 and yarn are supported";

/// The rotary base and scaling, from `rope_parameters` (transformers 5) or from `rope_theta` and
/// `rope_scaling` (before).
pub(super) fn read(keys: &Keys<'_>, max_positions: usize) -> Result<(f64, RopeScaling), FolderError> {
    let nested = |prefix, key| match keys.get(key) {
        None => Ok(None),
        Some(Value::Object(object)) if object.is_empty() => Ok(None),
        Some(Value::Object(object)) => Ok(Some(Keys { path: keys.path, prefix, object })),
        Some(other) => Err(keys.error(key, format!("is {other}; an object is expected"))),
    };
    let scaling = match nested("rope_scaling.", "rope_scaling")? {
        Some(old) => Some(old),
        None => nested("rope_parameters.", "rope_parameters")?,
    };
    let theta = match scaling.map(|scaling| scaling.positive("rope_theta", false)).transpose()?.flatten() {
        Some(theta) => theta,
        None => keys.positive("rope_theta", false)?.unwrap_or(10_000.0),
    };
    // A pre-trained length beside the scaling takes precedence over one inside it.
    let original = keys.count("original_max_position_embeddings")?;
    let scaling = scaling.map_or(Ok(RopeScaling::None), |scaling| read_scaling(&scaling, original, max_positions))?;
    Ok((theta, scaling))
}

fn read_scaling(keys: &Keys<'_>, original: Option<usize>, max_positions: usize) -> Result<RopeScaling, FolderError> {
    if let Some(share) = keys.number("partial_rotary_factor")?.filter(|&share| share != 1.0) {
        return Err(keys.error("partial_rotary_factor", format!("is {share}; only 1 is supported")));
    }
    let kind = match keys.text("rope_type")? {
        Some(kind) => kind,
        None => keys.text("type")?.unwrap_or("default"),
    };
    let needed = |key: &str| -> Result<f64, FolderError> {
        keys.positive(key, false)?.ok_or_else(|| keys.error(key, format!("is missing from a scaling of type `{kind}`")))
    };
    let original = || match original {
        Some(length) => Ok::<_, FolderError>(length),
        None => Ok(keys.count("original_max_position_embeddings")?.unwrap_or(max_positions)),
    };
    match kind {
        "default" => Ok(RopeScaling::None),
        "linear" => Ok(RopeScaling::Linear { factor: needed("factor")? }),
        "dynamic" => Ok(RopeScaling::Dynamic { factor: needed("factor")? }),
        "llama3" => Ok(RopeScaling::Llama3 {
            factor: needed("factor")?,
            low_frequency_factor: needed("low_freq_factor")?,
            high_frequency_factor: needed("high_freq_factor")?,
            original_max_positions: original()?,
        }),
        "yarn" => {
            let original_max_positions = original()?;
            let factor = match keys.positive("factor", false)? {
                Some(factor) => factor,
                None => max_positions as f64 / original_max_positions as f64,
            };
            let magnitude = |weight: f64| if factor <= 1.0 { 1.0 } else { 0.1 * weight * factor.ln() + 1.0 };
            let set = |key| Ok::<_, FolderError>(keys.positive(key, true)?.filter(|&value| value != 0.0));
            let attention_factor =
                match (keys.positive("attention_factor", false)?, set("mscale")?, set("mscale_all_dim")?) {
                    (Some(given), _, _) => given,
                    (None, Some(scale), Some(scale_all)) => magnitude(scale) / magnitude(scale_all),
                    (None, _, _) => magnitude(1.0),
                };
            Ok(RopeScaling::Yarn {
                factor,
                original_max_positions,
                beta_fast: set("beta_fast")?.unwrap_or(32.0),
                beta_slow: set("beta_slow")?.unwrap_or(1.0),
                attention_factor,
                truncate: keys.flag("truncate", true)?,
            })
        }
        other => Err(keys.error("rope_type", format!("is `{other}`; {TYPES}"))),
    }
}

/// The value of `rope_scaling`.
pub(super) fn to_json(scaling: &RopeScaling) -> Value {
    match *scaling {
        RopeScaling::None => Value::Null,
        RopeScaling::Linear { factor } => json!({"rope_type": "linear", "factor": factor}),
        RopeScaling::Dynamic { factor } => json!({"rope_type": "dynamic", "factor": factor}),
        RopeScaling::Llama3 { factor, low_frequency_factor, high_frequency_factor, original_max_positions } => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low_frequency_factor,
            "high_freq_factor": high_frequency_factor,
            "original_max_position_embeddings": original_max_positions,
        }),
        RopeScaling::Yarn { factor, original_max_positions, beta_fast, beta_slow, attention_factor, truncate } => {
            json!({
                "rope_type": "yarn",
                "factor": factor,
                "original_max_position_embeddings": original_max_positions,
                "beta_fast": beta_fast,
                "beta_slow": beta_slow,
                "attention_factor": attention_factor,
                "truncate": truncate,
            })
        }
    }
}
