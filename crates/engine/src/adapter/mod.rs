//! Adapters as PEFT folders: `adapter_config.json` and `adapter_model.safetensors`.

mod read;
mod write;

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
/// What PEFT puts before the names of the base model.
const PREFIX: &str = "base_model.model.";
