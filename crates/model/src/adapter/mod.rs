//! Adapters as PEFT folders: `adapter_config.json` and `adapter_model.safetensors`.

mod base;
mod config;
mod read;
mod write;

pub use base::{find_base, is_adapter_folder};
pub use config::LoraConfig;
pub use read::AdapterFolder;
pub use write::write_adapter;

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
/// PEFT's prefix of the base model's tensor names.
const PREFIX: &str = "base_model.model.";
/// Embedding and head, which PEFT saves with an adapter if the vocabulary was resized or could not be
/// compared with the base's.
const SAVED_MODULES: [&str; 2] = ["model.embed_tokens.weight", "lm_head.weight"];
