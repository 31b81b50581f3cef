//! A PEFT folder: `adapter_config.json`, and behind a separator `adapter_model.safetensors`.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tabpo_fuzz::{Folder, Scratch, check_model, parts};
use tabpo_model::find_base;

static FOLDER: LazyLock<Folder> = LazyLock::new(|| Folder::new("llama"));
static ADAPTER: LazyLock<Scratch> = LazyLock::new(|| FOLDER.scratch().inside("adapter"));

fuzz_target!(|bytes: &[u8]| {
    let [config, weights] = parts(bytes);
    ADAPTER.write("adapter_config.json", config);
    ADAPTER.write_or_remove("adapter_model.safetensors", weights);
    let _ = find_base(ADAPTER.path()).map_err(|error| error.to_string());
    check_model(FOLDER.path(), Some(ADAPTER.path()));
});
