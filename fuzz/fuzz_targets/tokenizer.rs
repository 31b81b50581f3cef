//! The files of a tokenizer behind each other: `tokenizer.json`, `tokenizer_config.json`,
//! `added_tokens.json`, `special_tokens_map.json` and `generation_config.json`.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tabpo_fuzz::{Scratch, check_tokenizer, parts, quiet_guards};

static SCRATCH: LazyLock<Scratch> = LazyLock::new(|| {
    quiet_guards();
    Scratch::new()
});

fuzz_target!(|bytes: &[u8]| {
    let [tokenizer, config, added, special, generation] = parts(bytes);
    SCRATCH.write("tokenizer.json", tokenizer);
    SCRATCH.write_or_remove("tokenizer_config.json", config);
    SCRATCH.write_or_remove("added_tokens.json", added);
    SCRATCH.write_or_remove("special_tokens_map.json", special);
    SCRATCH.write_or_remove("generation_config.json", generation);
    check_tokenizer(SCRATCH.path());
});
