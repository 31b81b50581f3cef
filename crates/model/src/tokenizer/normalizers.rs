//! Checks the normalizers of a tokenizer file before the library uses them.

use serde::Deserialize;
use serde_json::Value;

/// The most bytes that one byte may become; usual normalizers produce a few (a space becomes `▁`).
const MOST_GROWTH: usize = 1024;

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    normalizer: Value,
}

/// Checks that the normalizers claim no more than the file holds and let no text grow beyond [`MOST_GROWTH`] times
/// its size.
///
/// The library allocates whatever size a `precompiled_charsmap` claims, and replaces without a limit.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    // The library itself rejects anything else.
    let Ok(File { normalizer }) = serde_json::from_slice(bytes) else { return Ok(()) };
    let growth = growth(&normalizer)?;
    if growth > MOST_GROWTH {
        return Err(format!(
            "`normalizer` lets a text grow more than {MOST_GROWTH} times: its Replace and Prepend insert too much"
        ));
    }
    Ok(())
}

/// The most bytes that one byte may become.
fn growth(normalizer: &Value) -> Result<usize, String> {
    let length = |key: &str| normalizer.get(key).and_then(Value::as_str).map_or(0, str::len);
    if let Some(charsmap) = normalizer.get("precompiled_charsmap").and_then(Value::as_str) {
        check_charsmap(charsmap)?;
    }
    let inner = normalizer.get("normalizers").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let own = match normalizer.get("pattern") {
        Some(pattern) => {
            // A regular expression may match one byte, or the empty text before each.
            let matched = pattern.get("String").and_then(Value::as_str).map_or(1, |text| text.len().max(1));
            length("content").div_ceil(matched).max(1)
        }
        None => length("prepend").saturating_add(1),
    };
    inner.iter().try_fold(own, |product, inner| Ok(product.saturating_mul(growth(inner)?)))
}

/// Checks that a charsmap in base 64 holds the trie whose size in bytes is in its first four bytes.
fn check_charsmap(charsmap: &str) -> Result<(), String> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    // Six digits of six bits hold the four bytes; the library rejects fewer or other digits.
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
