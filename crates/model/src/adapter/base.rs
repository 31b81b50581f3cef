//! The model that an adapter belongs to.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::CONFIG;
use crate::folder::{FolderError, inside, read_json};
use crate::gguf::is_gguf_file;

/// Whether a folder holds an adapter.
pub fn is_adapter_folder(folder: &Path) -> bool {
    folder.join(CONFIG).exists() && !folder.join("config.json").exists()
}

/// Refuses a folder without an adapter, and suggests a nearby one if there is any.
pub(super) fn check(folder: &Path) -> Result<(), FolderError> {
    if folder.join(CONFIG).exists() {
        return Ok(());
    }
    let problem = if !folder.exists() {
        "there is no such folder".to_owned()
    } else if let Some(found) = inside(folder, CONFIG) {
        format!("is not an adapter: it has no {CONFIG}; did you mean {}?", found.display())
    } else if folder.join("config.json").exists() {
        format!("is a model, not an adapter: it has config.json and no {CONFIG}")
    } else {
        format!("is not an adapter: it has no {CONFIG}")
    };
    Err(FolderError::other_content(folder, problem))
}

/// The folder of the model under an adapter, from its `base_model_name_or_path`.
///
/// The path is resolved against the working directory and against the adapter's folder. If neither exists, the
/// base may have moved together with its adapter: the longest possible end of the path is looked for in the
/// folders above the adapter, the nearest first.
pub fn find_base(adapter: &Path) -> Result<PathBuf, FolderError> {
    check(adapter)?;
    let path = adapter.join(CONFIG);
    let settings = read_json(&path)?;
    let key = "base_model_name_or_path";
    let named = match settings.get(key) {
        Some(Value::String(named)) if !named.trim().is_empty() => PathBuf::from(named.trim()),
        Some(Value::String(_) | Value::Null) | None => {
            return Err(FolderError::setting(path, key, "is missing: name the base model as well as the adapter"));
        }
        Some(other) => return Err(FolderError::setting(path, key, format!("is {other}; a path is expected"))),
    };
    let is_model = |place: &Path| place.join("config.json").exists() || (is_gguf_file(place) && place.is_file());
    for candidate in [named.clone(), adapter.join(&named)] {
        if is_model(&candidate) {
            return Ok(candidate);
        }
    }
    let parts: Vec<_> = named.components().filter(|part| matches!(part, std::path::Component::Normal(_))).collect();
    let home = adapter.canonicalize().unwrap_or_else(|_| adapter.to_owned());
    for skipped in 0..parts.len() {
        let end: PathBuf = parts[skipped..].iter().collect();
        for above in home.ancestors() {
            let candidate = above.join(&end);
            if is_model(&candidate) {
                return Ok(candidate);
            }
        }
    }
    let named = named.display();
    let hint = if named.to_string().matches('/').count() == 1 {
        format!("; if that is its name on the Hugging Face Hub, fetch it with `hf download {named}`")
    } else {
        String::new()
    };
    Err(FolderError::setting(
        path,
        key,
        format!(
            "is `{named}`, which is not a model folder relative to here or to the adapter's folder: give the base as \
             the model and this folder as the adapter{hint}"
        ),
    ))
}
