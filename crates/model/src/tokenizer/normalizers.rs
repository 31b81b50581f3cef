//! Normalizers of a tokenizer file, checked before the library makes anything of them.

use serde::Deserialize;
use serde_json::Value;

/// What normalizers may make of one byte; real ones make some bytes of it (a blank becomes `▁`).
const MOST_GROWTH: usize = 1024;

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    normalizer: Value,
}

/// Whether the normalizers claim no more than the file holds and let no text grow beyond [`MOST_GROWTH`] times
/// its size; else what is wrong.
///
/// The library reserves what a `precompiled_charsmap` says of its own size, and replaces without a limit.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    // What is no such object is the library's to refuse.
    let Ok(File { normalizer }) = serde_json::from_slice(bytes) else { return Ok(()) };
    let growth = growth(&normalizer)?;
    if growth > MOST_GROWTH {
        return Err(format!(
            "`normalizer` lets a text grow more than {MOST_GROWTH} times: its Replace and Prepend insert too much"
        ));
    }
    Ok(())
}

/// The bytes that may become of one byte.
fn growth(normalizer: &Value) -> Result<usize, String> {
    let length = |key: &str| normalizer.get(key).and_then(Value::as_str).map_or(0, str::len);
    if let Some(charsmap) = normalizer.get("precompiled_charsmap").and_then(Value::as_str) {
        check_charsmap(charsmap)?;
    }
    let inner = normalizer.get("normalizers").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let own = match normalizer.get("pattern") {
        Some(pattern) => {
            // An expression may match one byte, or none before each.
            let matched = pattern.get("String").and_then(Value::as_str).map_or(1, |text| text.len().max(1));
            length("content").div_ceil(matched).max(1)
        }
        None => length("prepend").saturating_add(1),
    };
    inner.iter().try_fold(own, |product, inner| Ok(product.saturating_mul(growth(inner)?)))
}

/// Whether a charsmap in base 64 holds the trie whose size in bytes its first four bytes give.
fn check_charsmap(charsmap: &str) -> Result<(), String> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    // Six digits of six bits hold the four bytes; what has fewer, or others, the library refuses.
    let Some(digits) = charsmap.as_bytes().get(..6) else { return Ok(()) };
    let Some(bits) = digits.iter().try_fold(0_u64, |bits, &byte| Some(bits << 6 | u64::from(digit(byte)?))) else {
        return Ok(());
    };
    let size = u32::try_from(bits >> 4).map_or(u32::MAX, u32::swap_bytes);
    let held = charsmap.len() / 4 * 3;
    if size as usize > held {
        return Err(format!(
            "`precompiled_charsmap` says that its trie has {size} bytes, but it holds at most {held}: the file is damaged"
        ));
    }
    Ok(())
}
