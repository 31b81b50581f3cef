//! Chat templates.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tabpo_fuzz::{check_template, fixture, quiet_guards};
use tabpo_model::Tokenizer;

static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
    quiet_guards();
    Tokenizer::open(&fixture("tokenizer")).expect("the fixture is a tokenizer")
});

fuzz_target!(|bytes: &[u8]| {
    if let Ok(source) = std::str::from_utf8(bytes) {
        check_template(source, &TOKENIZER);
    }
});
