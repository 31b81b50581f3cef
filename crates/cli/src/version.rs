//! What this program is: its version, the commit that it was built from, and what it uses of this machine.

use std::sync::LazyLock;

use tabpo_engine::Compute;

/// The commit that the program was built from; `None` if that is not known.
pub(crate) fn commit() -> Option<&'static str> {
    Some(env!("TABPO_COMMIT")).filter(|commit| !commit.is_empty())
}

/// What `tabpo --version` prints after the program's name: what a report of a fault should say.
pub(crate) fn long() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let features = features();
        let processor = if features.is_empty() {
            "no vector instructions beyond the target's own".to_owned()
        } else {
            features.join(" ")
        };
        let bf16 = Compute::bf16_instructions().unwrap_or("none: portable code");
        let cuda = if cfg!(feature = "cuda") { "built in" } else { "left out" };
        let lines = [
            ("commit", commit().unwrap_or("unknown")),
            ("target", env!("TABPO_TARGET")),
            ("processor", &processor),
            ("bf16", bf16),
            ("cuda", cuda),
        ];
        let lines = lines.map(|(name, value)| format!("{name:<10} {value}"));
        [&[env!("CARGO_PKG_VERSION").to_owned()], &lines[..]].concat().join("\n")
    });
    &TEXT
}

/// The features of this machine's processor that products and conversions depend on.
#[cfg(target_arch = "x86_64")]
fn features() -> Vec<&'static str> {
    let all = [
        ("sse4.2", is_x86_feature_detected!("sse4.2")),
        ("avx", is_x86_feature_detected!("avx")),
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("f16c", is_x86_feature_detected!("f16c")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512bw", is_x86_feature_detected!("avx512bw")),
        ("avx512bf16", is_x86_feature_detected!("avx512bf16")),
    ];
    all.into_iter().filter_map(|(name, present)| present.then_some(name)).collect()
}

/// The features of this machine's processor that products and conversions depend on.
#[cfg(target_arch = "aarch64")]
fn features() -> Vec<&'static str> {
    use std::arch::is_aarch64_feature_detected;
    let all = [
        ("neon", is_aarch64_feature_detected!("neon")),
        ("fp16", is_aarch64_feature_detected!("fp16")),
        ("bf16", is_aarch64_feature_detected!("bf16")),
        ("sve", is_aarch64_feature_detected!("sve")),
    ];
    all.into_iter().filter_map(|(name, present)| present.then_some(name)).collect()
}

/// The features of this machine's processor that products and conversions depend on.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn features() -> Vec<&'static str> {
    Vec::new()
}
