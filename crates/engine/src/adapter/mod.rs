//! Adapters as PEFT folders: `adapter_config.json` and `adapter_model.safetensors`.

mod base;
mod read;
mod saved;
mod write;

pub use base::{find_base, is_adapter_folder};
pub use saved::SavedModules;

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
/// What PEFT puts before the names of the base model.
const PREFIX: &str = "base_model.model.";
