//! Answers kept from an earlier job.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tabpo_fuzz::Scratch;
use tabpo_remote::ResponseCache;

static SCRATCH: LazyLock<Scratch> = LazyLock::new(Scratch::new);

fuzz_target!(|bytes: &[u8]| {
    SCRATCH.write("responses.jsonl", bytes);
    let read = || ResponseCache::open(SCRATCH.path()).expect("damage is set aside, not refused");
    let kept = read().len();
    // What was damaged is gone, and nothing else.
    let again = read();
    assert_eq!((again.len(), again.damage().count()), (kept, 0));
    for entry in std::fs::read_dir(SCRATCH.path()).expect("the folder can be listed").flatten() {
        let _ = std::fs::remove_file(entry.path());
    }
});
