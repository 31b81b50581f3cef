//! `config.json` beside the weights of a small model.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tabpo_fuzz::{Folder, check_model};

static FOLDER: LazyLock<Folder> = LazyLock::new(|| Folder::new("llama"));

fuzz_target!(|bytes: &[u8]| {
    FOLDER.scratch().write("config.json", bytes);
    check_model(FOLDER.path(), None);
});
