//! Whether a path leads to a model folder, and what to do if it does not.

use std::path::{Path, PathBuf};

use super::FolderError;
use crate::gguf::is_gguf_file;

/// Refuses what is neither a model folder nor a GGUF file, with advice for the usual mistakes: a name on the Hugging Face Hub, a file
/// of weights, a folder above the model's, an adapter.
pub fn check_model_folder(folder: &Path) -> Result<(), FolderError> {
    let wrong = |problem: String| Err(FolderError::other_content(folder, problem));
    if folder.join("config.json").exists() {
        return Ok(());
    }
    if folder.is_file() {
        if is_gguf_file(folder) {
            return Ok(());
        }
        let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        return wrong(format!("is a file: give its folder, {}, with config.json and tokenizer", parent.display()));
    }
    if !folder.exists() {
        return wrong(match hub_name(folder) {
            Some(name) => format!(
                "there is no such folder; it looks like a name on the Hugging Face Hub: fetch it with \
                 `hf download {name} --local-dir {}` and give that folder",
                name.rsplit('/').next().unwrap_or(name)
            ),
            None if is_gguf_file(folder) => "there is no such file".into(),
            None => "there is no such folder".into(),
        });
    }
    if folder.join("adapter_config.json").exists() {
        return wrong("is an adapter, not a model: its base model is needed here".into());
    }
    match inside(folder, "config.json") {
        Some(found) => {
            wrong(format!("is not a model folder: it has no config.json; did you mean {}?", found.display()))
        }
        None => wrong("is not a model folder: it has no config.json".into()),
    }
}

/// `OWNER/NAME`, as models are named on the Hub.
fn hub_name(path: &Path) -> Option<&str> {
    let name = path.to_str()?;
    let (owner, model) = name.split_once('/')?;
    let is_name = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    (is_name(owner) && is_name(model)).then_some(name)
}

/// The folder inside `folder` that contains `file`: `policy`, as in the output of a stage, or else the last one
/// (`checkpoint-200`).
pub(crate) fn inside(folder: &Path, file: &str) -> Option<PathBuf> {
    let policy = folder.join("policy");
    if policy.join(file).exists() {
        return Some(policy);
    }
    let folders = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = folders.filter(|path| path.join(file).exists()).collect();
    // By length first, so that checkpoint-1000 comes after checkpoint-200.
    found.sort_by_key(|path| (path.as_os_str().len(), path.clone()));
    found.pop()
}
