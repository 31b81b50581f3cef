//! Reference log-probs of an earlier session.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tabpo_fuzz::Scratch;
use tabpo_train::ReferenceCache;

static SCRATCH: LazyLock<Scratch> = LazyLock::new(Scratch::new);

fuzz_target!(|bytes: &[u8]| {
    let path = SCRATCH.write("reference.bin", bytes);
    let cache = ReferenceCache::open(&path).expect("damage is counted, not refused");
    assert!(cache.damaged_bytes() <= bytes.len() as u64);
    assert!(cache.is_empty() || cache.damaged_bytes() < bytes.len() as u64);
});
