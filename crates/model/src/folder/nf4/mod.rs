//! Folders with 4-bit weights, as transformers saves them with bitsandbytes.

mod read;
mod save;

pub use save::{Nf4Options, save_nf4};

pub(super) use read::{Part, is_nested, matrix};

use serde_json::{Map, Value, json};

use super::FolderError;
use super::config::Keys;

/// Key of `config.json` that says how weights are quantised.
pub(super) const KEY: &str = "quantization_config";

/// What is added to the name of a matrix for what belongs to its codes.
const SCALES: &str = ".absmax";
const LEVELS: &str = ".quant_map";
const GROUPS: &str = ".nested_absmax";
const MAP: &str = ".nested_quant_map";
const STATE: &str = ".quant_state.bitsandbytes__nf4";
const STATE_FP4: &str = ".quant_state.bitsandbytes__fp4";

/// Refuses a `quantization_config` that is not NF4 of bitsandbytes.
pub(super) fn check_config(keys: &Keys<'_>) -> Result<(), FolderError> {
    /// What helps against quantised weights of another kind.
    const REMEDY: &str = "give the bf16 or f16 original, which `tabpo model quantise` makes 4-bit, or a GGUF file";
    let Some(found) = keys.get(KEY) else { return Ok(()) };
    let Some(object) = found.as_object() else {
        return Err(keys.error(KEY, format!("is {found}; an object is expected")));
    };
    let keys = Keys { path: keys.path, prefix: "quantization_config.", object };
    let is_4_bit = keys.flag("load_in_4bit", false)?;
    match keys.text("quant_method")? {
        Some("bitsandbytes") | None if is_4_bit => {}
        Some("bitsandbytes") => {
            let problem = "is not true: of bitsandbytes' quantised weights only 4-bit ones (NF4) are supported";
            return Err(keys.error("load_in_4bit", format!("{problem}; {REMEDY}")));
        }
        method => {
            let method = method.map_or_else(|| "is missing".to_owned(), |method| format!("is `{method}`"));
            let problem = "of quantised weights only `bitsandbytes` in 4 bits (NF4) is supported";
            return Err(keys.error("quant_method", format!("{method}; {problem}: {REMEDY}")));
        }
    }
    // bitsandbytes' own default is FP4.
    match keys.text("bnb_4bit_quant_type")?.unwrap_or("fp4") {
        "nf4" => Ok(()),
        other => Err(keys.error("bnb_4bit_quant_type", format!("is `{other}`; only `nf4` is supported: {REMEDY}"))),
    }
}

/// The `quantization_config` of a folder with NF4 weights, with the keys that transformers writes.
fn config_json(nested: bool) -> Value {
    json!({
        "quant_method": "bitsandbytes",
        "_load_in_4bit": true,
        "_load_in_8bit": false,
        "load_in_4bit": true,
        "load_in_8bit": false,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": nested,
        "bnb_4bit_compute_dtype": "bfloat16",
        "bnb_4bit_quant_storage": "uint8",
        "llm_int8_enable_fp32_cpu_offload": false,
        "llm_int8_has_fp16_weight": false,
        "llm_int8_skip_modules": null,
        "llm_int8_threshold": 6.0,
    })
}

/// Sets or removes how weights are quantised in the contents of a `config.json`.
pub(super) fn set_config(config: &mut Map<String, Value>, nested: Option<bool>) {
    config.shift_remove(KEY);
    if let Some(nested) = nested {
        config.insert(KEY.into(), config_json(nested));
    }
}
