//! Writing a PEFT folder.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{CONFIG, PREFIX, WEIGHTS};
use crate::config::ModelConfig;
use crate::folder::{FolderError, SavedTensor, write_json, write_safetensors};
use crate::lora::Lora;
use crate::model::TensorRef;
use crate::real::Real;
use crate::weights::StoredType;

impl<R: Real> Lora<R> {
    /// Writes the adapter, in f32, with embedding and head if they are its own, as a folder that PEFT loads. `base` is what
    /// `base_model_name_or_path` is to say: where the model under the adapter is found.
    pub fn save(&self, folder: &Path, model: &ModelConfig, base: &str) -> Result<(), FolderError> {
        let tensors = self.shapes(model).into_iter().zip(self.parameters()).map(|((name, shape), values)| {
            let tensor = SavedTensor { tensor: TensorRef::Vector(values), shape, stored: StoredType::F32 };
            (format!("{PREFIX}{name}"), tensor)
        });
        let saved = self.saved.tensors().map(|(name, matrix)| {
            let shape = vec![matrix.rows(), matrix.columns()];
            (name, SavedTensor { tensor: TensorRef::Matrix(matrix), shape, stored: StoredType::F32 })
        });
        write_safetensors(&folder.join(WEIGHTS), tensors.chain(saved).collect())?;
        write_json(&folder.join(CONFIG), &self.settings(model, base))
    }

    fn settings(&self, model: &ModelConfig, base: &str) -> Value {
        // Patterns with the whole path of a module: PEFT takes the first that fits, this program the
        // longest, and whole paths mean the same to both.
        let (mut ranks, mut alphas) = (Map::new(), Map::new());
        for &projection in &self.config.targets {
            for layer in 0..model.layers {
                let (rank, scale) = self.config.rank_and_scale(projection, layer);
                let alpha = scale * if self.config.rslora { (rank as f64).sqrt() } else { rank as f64 };
                let path = projection.path(layer);
                if rank != self.config.rank {
                    ranks.insert(path.clone(), json!(rank));
                }
                if (alpha - self.config.alpha).abs() > 1e-9 * self.config.alpha.abs() {
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
            "r": self.config.rank,
            "lora_alpha": whole_if_possible(self.config.alpha),
            "lora_dropout": self.config.dropout,
            "use_rslora": self.config.rslora,
            "use_dora": false,
            "bias": "none",
            "fan_in_fan_out": false,
            "init_lora_weights": true,
            "target_modules": self.config.targets.iter().map(|target| target.module()).collect::<Vec<_>>(),
            "rank_pattern": ranks,
            "alpha_pattern": alphas,
            "modules_to_save": null,
            "layers_to_transform": null,
            "layers_pattern": null,
        })
    }
}

/// PEFT declares alpha as an integer; other values are written as they are.
fn whole_if_possible(value: f64) -> Value {
    if value.fract() == 0.0 { json!(value as i64) } else { json!(value) }
}
