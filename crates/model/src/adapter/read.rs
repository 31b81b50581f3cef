//! Reading a PEFT folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use fancy_regex::Regex;
use serde_json::{Map, Value};

use super::{CONFIG, LoraConfig, PREFIX, SAVED_MODULES, WEIGHTS, base};
use crate::config::ModelConfig;
use crate::folder::{FolderError, TensorFile, read_json};
use crate::gguf::{adapter::GgufAdapter, is_gguf_file};
use crate::projection::Projection;
use crate::stored::StoredMatrix;

/// A PEFT folder with a `LoRA` adapter, or a GGUF file with one.
pub struct AdapterFolder {
    /// The settings, with targets and ranks taken from the tensors.
    pub config: LoraConfig,
    source: Source,
}

enum Source {
    Folder {
        file: TensorFile,
        /// The model's names of the adapter matrices that the file contains.
        adapted: BTreeSet<String>,
    },
    Gguf(Box<GgufAdapter>),
}

impl AdapterFolder {
    /// Opens the folder or GGUF file of an adapter for a model of this shape.
    ///
    /// Adapted projections and their ranks are taken from the tensors, which covers every way of writing
    /// `target_modules`, `layers_to_transform` and `rank_pattern`; alphas come from `lora_alpha` and
    /// `alpha_pattern`. A projection that is adapted in some blocks only has rank 1 in the others and no
    /// tensors there. Anything that would change the arithmetic (`DoRA`, trained biases, other modules) is
    /// refused.
    pub fn open(folder: &Path, model: &ModelConfig) -> Result<Self, FolderError> {
        if is_gguf_file(folder) {
            let (config, adapter) = GgufAdapter::open(folder, model)?;
            return Ok(Self { config, source: Source::Gguf(Box::new(adapter)) });
        }
        base::check(folder)?;
        let config_path = folder.join(CONFIG);
        let settings = read_json(&config_path)?;
        refuse_unsupported(&config_path, &settings)?;
        let mut config = read_settings(&config_path, &settings)?;
        let weights = folder.join(WEIGHTS);
        if !weights.exists() && folder.join("adapter_model.bin").exists() {
            return Err(FolderError::other_content(
                folder,
                format!(
                    "has only adapter_model.bin, not {WEIGHTS}: convert it by loading it with PEFT \
                     (PeftModel.from_pretrained) and saving it again with save_pretrained"
                ),
            ));
        }
        let file = TensorFile::open(&weights)?;
        check_saved_modules(&config_path, &settings, &file)?;
        let ranks = ranks(&file, model)?;
        config.targets = Projection::ALL
            .into_iter()
            .filter(|&projection| ranks.keys().any(|&(adapted, _)| adapted == projection))
            .collect();
        let alphas = patterns(&config_path, &settings, "alpha_pattern")?;
        let mut adapted = BTreeSet::new();
        for &projection in &config.targets {
            for layer in 0..model.layers {
                let path = projection.path(layer);
                let rank = match ranks.get(&(projection, layer)) {
                    Some(&rank) => {
                        adapted.extend(["A", "B"].map(|part| format!("{path}.lora_{part}.weight")));
                        rank
                    }
                    None => 1,
                };
                if let Some(alpha) = first_match(&config_path, &alphas, &path)? {
                    config.alpha_pattern.insert(path.clone(), alpha);
                }
                if rank != config.rank {
                    config.rank_pattern.insert(path, rank);
                }
            }
        }
        Ok(Self { config, source: Source::Folder { file, adapted } })
    }

    /// One matrix of the adapter (`model.layers.0.self_attn.q_proj.lora_A.weight`); `None` if the file does not have it,
    /// because its projection is not adapted in that block.
    pub fn matrix(&self, name: &str, shape: [usize; 2]) -> Result<Option<StoredMatrix>, FolderError> {
        let (file, adapted) = match &self.source {
            Source::Folder { file, adapted } => (file, adapted),
            Source::Gguf(adapter) => return adapter.matrix(name, shape),
        };
        if !adapted.contains(name) {
            return Ok(None);
        }
        let stored_name = format!("{PREFIX}{name}");
        let location = file.tensors.get(&stored_name).ok_or_else(|| FolderError::MissingTensor {
            path: file.path.clone(),
            name: stored_name.clone(),
            nearest: None,
        })?;
        file.matrix(&stored_name, location, shape).map(Some)
    }

    /// The embedding and the head that are saved with the adapter, each `[vocabulary, hidden]`, for a model of
    /// this width.
    pub fn saved_modules(&self, hidden: usize) -> Result<[Option<StoredMatrix>; 2], FolderError> {
        let Source::Folder { file, .. } = &self.source else { return Ok([None, None]) };
        let read = |name: &str| {
            let stored = format!("{PREFIX}{name}");
            let Some(location) = file.tensors.get(&stored) else { return Ok(None) };
            let rows = location.shape.first().copied().filter(|&rows| rows > 0).unwrap_or(1);
            file.matrix(&stored, location, [rows, hidden]).map(Some)
        };
        let [embedding, head] = SAVED_MODULES;
        Ok([read(embedding)?, read(head)?])
    }

    /// An error about the file of the adapter's weights.
    pub fn refusal(folder: &Path, problem: &str) -> FolderError {
        FolderError::other_content(folder.join(WEIGHTS), problem)
    }
}

/// Refuses settings under which the adapter would not be `W x + s B A x`.
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
    // Initialisations that move part of the base model into the adapter; PEFT subtracts that part from the
    // base again when it loads the adapter.
    if let Some(Value::String(kind)) = settings.get("init_lora_weights") {
        let kind = kind.to_ascii_lowercase();
        if ["pissa", "olora", "corda", "loftq", "lora_ga"].iter().any(|changing| kind.starts_with(changing)) {
            let problem = format!("is \"{kind}\", which changes the base model; convert the adapter to plain LoRA");
            return Err(FolderError::setting(path, "init_lora_weights", problem));
        }
    }
    for (key, value) in settings {
        let listed = matches!(
            key.as_str(),
            "layer_replication"
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
    let alpha = number("lora_alpha")?.unwrap_or(8.0);
    if alpha.abs() > f64::from(f32::MAX) {
        return Err(FolderError::setting(path, "lora_alpha", format!("is {alpha}, more than a weight can hold")));
    }
    let mut config = LoraConfig::new(rank as usize, alpha);
    config.dropout = number("lora_dropout")?.unwrap_or(0.0);
    config.rslora = settings.get("use_rslora") == Some(&Value::Bool(true));
    Ok(config)
}

/// Refuses `modules_to_save` with modules other than embedding and head, or without their tensors.
fn check_saved_modules(path: &Path, settings: &Map<String, Value>, file: &TensorFile) -> Result<(), FolderError> {
    let key = "modules_to_save";
    let Some(Value::Array(modules)) = settings.get(key) else { return Ok(()) };
    for module in modules {
        let module = module.as_str().unwrap_or_default();
        let name = match module.rsplit('.').next() {
            Some("embed_tokens") => "model.embed_tokens.weight",
            Some("lm_head") => "lm_head.weight",
            _ => {
                let problem = format!("names `{module}`; only `embed_tokens` and `lm_head` are supported");
                return Err(FolderError::setting(path, key, problem));
            }
        };
        if !file.tensors.contains_key(&format!("{PREFIX}{name}")) {
            let problem = format!("names `{module}`, but {} has no tensor `{PREFIX}{name}`", file.path.display());
            return Err(FolderError::setting(path, key, problem));
        }
    }
    Ok(())
}

/// The rank of every adapted module. Both of its matrices must exist with shapes that match the model and each
/// other, so that a rank never exceeds what the file holds.
fn ranks(file: &TensorFile, model: &ModelConfig) -> Result<BTreeMap<(Projection, usize), usize>, FolderError> {
    let modules: BTreeMap<String, (Projection, usize)> = Projection::ALL
        .into_iter()
        .flat_map(|projection| (0..model.layers).map(move |layer| (projection.path(layer), (projection, layer))))
        .collect();
    let mut ranks = BTreeMap::new();
    for name in file.tensors.keys() {
        let own = name.strip_prefix(PREFIX);
        if own.is_some_and(|name| SAVED_MODULES.contains(&name)) {
            continue;
        }
        let path =
            own.and_then(|name| name.strip_suffix(".lora_A.weight").or_else(|| name.strip_suffix(".lora_B.weight")));
        let Some((path, &module)) = path.and_then(|path| Some((path, modules.get(path)?))) else {
            return Err(FolderError::ExtraTensor {
                path: file.path.clone(),
                name: name.clone(),
                architecture: "LoRA adapter of the model's linear projections".into(),
            });
        };
        if ranks.contains_key(&module) {
            continue;
        }
        let shape_of = |part: &str| {
            let name = format!("{PREFIX}{path}.lora_{part}.weight");
            match file.tensors.get(&name) {
                Some(location) => Ok((name, location.shape.clone())),
                None => Err(FolderError::MissingTensor { path: file.path.clone(), name, nearest: None }),
            }
        };
        let [outputs, inputs] = module.0.shape(model);
        let (name, shape) = shape_of("A")?;
        let rank = shape.first().copied().unwrap_or(0).max(1);
        for ((name, found), expected) in [((name, shape), [rank, inputs]), (shape_of("B")?, [outputs, rank])] {
            if found != expected {
                let path = file.path.clone();
                return Err(FolderError::Shape { path, name, found, expected: expected.to_vec() });
            }
        }
        ranks.insert(module, rank);
    }
    if ranks.is_empty() {
        return Err(FolderError::other_content(&file.path, "contains no LoRA matrices"));
    }
    Ok(ranks)
}

/// A pattern object of PEFT, in the order of the file.
fn patterns(path: &Path, settings: &Map<String, Value>, key: &str) -> Result<Vec<(Regex, f64)>, FolderError> {
    let Some(Value::Object(object)) = settings.get(key) else { return Ok(Vec::new()) };
    let read = |(pattern, value): (&String, &Value)| {
        let wrong = |problem: String| FolderError::setting(path, format!("{key}.{pattern}"), problem);
        let alpha = value.as_f64().ok_or_else(|| wrong(format!("is {value}; a number is expected")))?;
        // As in PEFT's `get_pattern_key`: the end of a module's path after a dot, or all of it.
        let regex = Regex::new(&format!(r"^(.*\.)?({pattern})$"))
            .map_err(|error| wrong(format!("is not a valid regular expression: {error}")))?;
        Ok((regex, alpha))
    };
    object.iter().map(read).collect()
}

/// The value of the first pattern that matches the path of a module.
fn first_match(config: &Path, patterns: &[(Regex, f64)], path: &str) -> Result<Option<f64>, FolderError> {
    for (regex, value) in patterns {
        let found = regex.is_match(path).map_err(|error| {
            FolderError::setting(config, "alpha_pattern", format!("cannot be matched with {path}: {error}"))
        })?;
        if found {
            return Ok(Some(*value));
        }
    }
    Ok(None)
}
