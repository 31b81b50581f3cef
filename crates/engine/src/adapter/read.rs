//! Reading a PEFT folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value};

use super::{CONFIG, PREFIX, WEIGHTS};
use crate::config::ModelConfig;
use crate::folder::{FolderError, TensorFile, read_json};
use crate::lora::{Lora, LoraConfig};
use crate::model::Projection;
use crate::real::Real;

impl<R: Real> Lora<R> {
    /// Opens a PEFT folder with a `LoRA` adapter for a model of this shape.
    ///
    /// Which projections are adapted and with which rank is taken from the tensors, so that every
    /// way of writing `target_modules` and `rank_pattern` is understood; alphas come from
    /// `lora_alpha` and `alpha_pattern`. What would change the arithmetic otherwise (`DoRA`, trained
    /// biases, `modules_to_save`) is refused.
    pub fn open(folder: &Path, model: &ModelConfig) -> Result<Self, FolderError> {
        let config_path = folder.join(CONFIG);
        let settings = read_json(&config_path)?;
        refuse_unsupported(&config_path, &settings)?;
        let mut config = read_settings(&config_path, &settings)?;
        let file = TensorFile::open(&folder.join(WEIGHTS))?;
        let ranks = ranks(&file, model)?;
        config.targets = targets(&file.path, &ranks, model)?;
        let alphas = patterns(&config_path, &settings, "alpha_pattern")?;
        for (&(projection, layer), &rank) in &ranks {
            let path = projection.path(layer);
            if let Some(alpha) = first_match(&alphas, &path) {
                config.alpha_pattern.insert(path.clone(), alpha);
            }
            if rank != config.rank {
                config.rank_pattern.insert(path, rank);
            }
        }
        let mut lora = Self::zeros(model, config);
        let shapes = lora.shapes(model);
        for ((name, shape), values) in shapes.into_iter().zip(lora.parameters_mut()) {
            let stored_name = format!("{PREFIX}{name}");
            let place = file.tensors.get(&stored_name).ok_or_else(|| FolderError::MissingTensor {
                path: file.path.clone(),
                name: stored_name.clone(),
                nearest: None,
            })?;
            values.copy_from_slice(file.matrix(&stored_name, place, [shape[0], shape[1]])?.make_owned());
        }
        Ok(lora)
    }
}

/// Settings under which the adapter would not be `W x + s B A x`.
fn refuse_unsupported(path: &Path, settings: &Map<String, Value>) -> Result<(), FolderError> {
    let is_off = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    match settings.get("peft_type") {
        Some(Value::String(kind)) if kind == "LORA" => {}
        other => {
            let found = other.unwrap_or(&Value::Null);
            return Err(FolderError::setting(path, "peft_type", format!("is {found}; only \"LORA\" is supported")));
        }
    }
    if let Some(bias) = settings.get("bias").filter(|bias| !is_off(bias) && *bias != "none") {
        return Err(FolderError::setting(path, "bias", format!("is {bias}; only \"none\" is supported")));
    }
    for (key, value) in settings {
        let listed = matches!(
            key.as_str(),
            "modules_to_save"
                | "layers_to_transform"
                | "layer_replication"
                | "fan_in_fan_out"
                | "lora_bias"
                | "target_parameters"
                | "trainable_token_indices"
                | "alora_invocation_tokens"
                | "arrow_config"
                | "kasa_config"
                | "monteclora_config"
                | "velora_config"
        );
        let variant = key.starts_with("use_") && key != "use_rslora";
        if (listed || variant) && !is_off(value) {
            return Err(FolderError::setting(
                path,
                key,
                format!("is {value}; it must be null or false: only plain LoRA and rsLoRA are supported"),
            ));
        }
    }
    Ok(())
}

fn read_settings(path: &Path, settings: &Map<String, Value>) -> Result<LoraConfig, FolderError> {
    let number = |key: &str| match settings.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_f64()
            .map(Some)
            .ok_or_else(|| FolderError::setting(path, key, format!("is {value}; a number is expected"))),
    };
    let rank = number("r")?.unwrap_or(8.0);
    if rank < 1.0 || rank.fract() != 0.0 {
        return Err(FolderError::setting(path, "r", format!("is {rank}; a whole number above 0 is expected")));
    }
    let mut config = LoraConfig::new(rank as usize, number("lora_alpha")?.unwrap_or(8.0));
    config.dropout = number("lora_dropout")?.unwrap_or(0.0);
    config.rslora = settings.get("use_rslora") == Some(&Value::Bool(true));
    Ok(config)
}

/// The rank of every adapted module, from the shapes of its A matrix.
fn ranks(file: &TensorFile, model: &ModelConfig) -> Result<BTreeMap<(Projection, usize), usize>, FolderError> {
    let modules: BTreeMap<String, (Projection, usize)> = Projection::ALL
        .into_iter()
        .flat_map(|projection| (0..model.layers).map(move |layer| (projection.path(layer), (projection, layer))))
        .collect();
    let mut ranks = BTreeMap::new();
    for (name, place) in &file.tensors {
        let module = name.strip_prefix(PREFIX).and_then(|name| {
            name.strip_suffix(".lora_A.weight")
                .map(|path| (path, true))
                .or_else(|| name.strip_suffix(".lora_B.weight").map(|path| (path, false)))
        });
        let module = module.and_then(|(path, is_a)| modules.get(path).map(|&module| (module, is_a)));
        let Some((module, is_a)) = module else {
            return Err(FolderError::ExtraTensor {
                path: file.path.clone(),
                name: name.clone(),
                architecture: "LoRA adapter of the model's linear projections".into(),
            });
        };
        if is_a {
            ranks.insert(module, place.shape.first().copied().unwrap_or(0));
        }
    }
    Ok(ranks)
}

/// The adapted projections; each has to be adapted in every block.
fn targets(
    path: &Path,
    ranks: &BTreeMap<(Projection, usize), usize>,
    model: &ModelConfig,
) -> Result<Vec<Projection>, FolderError> {
    let found: BTreeSet<Projection> = ranks.keys().map(|&(projection, _)| projection).collect();
    for &projection in &found {
        if let Some(layer) = (0..model.layers).find(|&layer| !ranks.contains_key(&(projection, layer))) {
            return Err(FolderError::MissingTensor {
                path: path.into(),
                name: format!("{PREFIX}{}.lora_A.weight", projection.path(layer)),
                nearest: None,
            });
        }
    }
    Ok(Projection::ALL.into_iter().filter(|projection| found.contains(projection)).collect())
}

/// A pattern object of PEFT, in the order of the file.
fn patterns(path: &Path, settings: &Map<String, Value>, key: &str) -> Result<Vec<(String, f64)>, FolderError> {
    let Some(Value::Object(object)) = settings.get(key) else { return Ok(Vec::new()) };
    let mut patterns = Vec::new();
    for (pattern, value) in object {
        let Some(value) = value.as_f64() else {
            return Err(FolderError::setting(
                path,
                format!("{key}.{pattern}"),
                format!("is {value}; a number is expected"),
            ));
        };
        if pattern.contains(|c: char| !(c.is_alphanumeric() || matches!(c, '.' | '_' | '^'))) {
            let problem = "is a regular expression; write the end of a module's path, `layers.0.self_attn.q_proj`";
            return Err(FolderError::setting(path, format!("{key}.{pattern}"), problem));
        }
        patterns.push((pattern.clone(), value));
    }
    Ok(patterns)
}

/// The value of the first pattern that is the path, or ends it after a dot, as PEFT matches them.
fn first_match(patterns: &[(String, f64)], path: &str) -> Option<f64> {
    let matches = |pattern: &str| match pattern.strip_prefix('^') {
        Some(whole) => path == whole,
        None => path.strip_suffix(pattern).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')),
    };
    patterns.iter().find(|(pattern, _)| matches(pattern)).map(|(_, value)| *value)
}
