//! Writing a PEFT folder.

use std::path::Path;

use safetensors::View;
use serde_json::{Map, Value, json};

use super::{CONFIG, LoraConfig, PREFIX, WEIGHTS};
use crate::config::ModelConfig;
use crate::folder::{FolderError, write_json, write_safetensors};

/// Writes an adapter as a folder that PEFT loads. `tensors` are its matrices under the model's names, with embedding
/// and head if the adapter has its own; `base` becomes `base_model_name_or_path`: where the base model is found.
pub fn write_adapter<V: View>(
    folder: &Path,
    config: &LoraConfig,
    model: &ModelConfig,
    base: &str,
    tensors: Vec<(String, V)>,
) -> Result<(), FolderError> {
    let tensors = tensors.into_iter().map(|(name, tensor)| (format!("{PREFIX}{name}"), tensor));
    write_safetensors(&folder.join(WEIGHTS), tensors.collect())?;
    write_json(&folder.join(CONFIG), &settings(config, model, base))
}

fn settings(config: &LoraConfig, model: &ModelConfig, base: &str) -> Value {
    // PEFT uses the first pattern that matches, this library the longest; patterns that are whole paths
    // mean the same to both.
    let (mut ranks, mut alphas) = (Map::new(), Map::new());
    for &projection in &config.targets {
        for layer in 0..model.layers {
            let (rank, scale) = config.rank_and_scale(projection, layer);
            let alpha = scale * if config.rslora { (rank as f64).sqrt() } else { rank as f64 };
            let path = projection.path(layer);
            if rank != config.rank {
                ranks.insert(path.clone(), json!(rank));
            }
            if (alpha - config.alpha).abs() > 1e-9 * config.alpha.abs() {
                alphas.insert(path, json!(alpha));
            }
        }
    }
    json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "revision": null,
        "inference_mode": true,
        "r": config.rank,
        "lora_alpha": whole_if_possible(config.alpha),
        "lora_dropout": config.dropout,
        "use_rslora": config.rslora,
        "use_dora": false,
        "bias": "none",
        "fan_in_fan_out": false,
        "init_lora_weights": true,
        "target_modules": config.targets.iter().map(|target| target.module()).collect::<Vec<_>>(),
        "rank_pattern": ranks,
        "alpha_pattern": alphas,
        "modules_to_save": null,
        "layers_to_transform": null,
        "layers_pattern": null,
    })
}

/// PEFT declares alpha as an integer; other values are written as they are.
fn whole_if_possible(value: f64) -> Value {
    if value.fract() == 0.0 { json!(value as i64) } else { json!(value) }
}
