//! Recognises what is found in place of an expected file, and says what to do about it.

use std::path::Path;

/// How a Git LFS pointer begins.
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// Whether a file is the pointer that Git leaves if it has not fetched a large file.
pub(crate) fn is_lfs_pointer(bytes: &[u8]) -> bool {
    bytes.starts_with(POINTER)
}

/// The problem with a Git LFS pointer, and its remedy.
pub(crate) const POINTER_PROBLEM: &str = "is a Git LFS pointer, not the file: fetch it with `git lfs pull`";

/// What a file is instead of the expected JSON or text.
pub(crate) fn instead_of_text(bytes: &[u8]) -> Option<&'static str> {
    if bytes.is_empty() {
        return Some("is empty: download it again");
    }
    if is_lfs_pointer(bytes) {
        return Some(POINTER_PROBLEM);
    }
    is_web_page(bytes).then_some(WEB_PAGE)
}

const WEB_PAGE: &str = "is a web page, probably an error or login page that was saved in place of the file: download \
                        it again";

fn is_web_page(bytes: &[u8]) -> bool {
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).trim_start().to_ascii_lowercase();
    start.starts_with("<!doctype") || start.starts_with("<html")
}

/// What a file is instead of safetensors.
pub(super) fn instead_of_weights(bytes: &[u8]) -> Option<&'static str> {
    if is_lfs_pointer(bytes) {
        return Some(POINTER_PROBLEM);
    }
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"\x80\x02") {
        return Some("is a PyTorch checkpoint, not safetensors: convert it with save_pretrained of transformers");
    }
    if bytes.starts_with(b"GGUF") {
        return Some("is a GGUF file: give it the ending .gguf, and give the file itself as the model");
    }
    if is_web_page(bytes) {
        return Some(WEB_PAGE);
    }
    is_incomplete(bytes).then_some("is incomplete: download it again")
}

/// Whether a safetensors file ends before its header or its tensors do.
fn is_incomplete(bytes: &[u8]) -> bool {
    /// The library's own limit.
    const LONGEST_HEADER: u64 = 100_000_000;
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else { return true };
    let length = u64::from_le_bytes(*length);
    if length > LONGEST_HEADER {
        return false;
    }
    let Some(header) = rest.get(..length as usize) else {
        return rest.first() == Some(&b'{');
    };
    let Ok(header) = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(header) else { return false };
    let ends = header.values().filter_map(|tensor| tensor.get("data_offsets")?.get(1)?.as_u64());
    ends.max().is_some_and(|end| end > (rest.len() as u64) - length)
}

/// What a model folder has instead of safetensors.
pub(super) fn without_weights(folder: &Path) -> &'static str {
    let has = |name: &str| folder.join(name).exists();
    let has_ending = |endings: &[&str]| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.into_iter().any(|entry| {
            let name = entry.file_name().to_string_lossy().to_ascii_lowercase();
            endings.iter().any(|ending| name.ends_with(ending))
        })
    };
    if has("pytorch_model.bin") || has("pytorch_model.bin.index.json") || has_ending(&[".bin"]) {
        return "not found, only pytorch_model.bin (or shards of it): convert it to safetensors with save_pretrained \
                of transformers";
    }
    if has_ending(&[".pth", ".pt", ".ckpt"]) {
        return "not found, only a PyTorch checkpoint: convert it to safetensors with save_pretrained of transformers";
    }
    if has_ending(&[".gguf"]) {
        return "not found, only GGUF: give the .gguf file itself as the model";
    }
    if has_ending(&[".h5", ".msgpack"]) {
        return "not found, only weights of TensorFlow or Flax: convert them with save_pretrained of transformers";
    }
    if has_ending(&[".safetensors"]) {
        return "not found, nor is model.safetensors.index.json: for several files the index says which \
tensor is where; download it too";
    }
    "not found, nor is model.safetensors.index.json"
}
