//! Digests of files and folders that a run reads.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use tabpo_model::{gguf_files, is_gguf_file};

use crate::error::{Error, ResultExt};

/// blake3 of a file's content, in hexadecimal.
pub(crate) fn file_digest(path: &Path) -> std::io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// The digest of an optional file of the configuration; empty if there is none.
pub(crate) fn input_digest(path: Option<&Path>) -> Result<String, Error> {
    let Some(path) = path else { return Ok(String::new()) };
    file_digest(path).map_err(|error| Error::input(format!("cannot read {}: {error}", path.display())))
}

/// The extensions of the files in a model folder that may be read.
const MODEL_FILES: [&str; 5] = ["json", "safetensors", "jinja", "model", "txt"];

/// A digest of those files in a model folder that may be read, or of a GGUF file with the other parts of a split one.
/// Other files, such as a README, do not count.
pub(crate) fn folder_digest(folder: &Path) -> Result<String, Error> {
    if is_gguf_file(folder) {
        let files = gguf_files(folder).or_input()?;
        let digests: Vec<String> = files.iter().map(|file| input_digest(Some(file))).collect::<Result<_, _>>()?;
        return Ok(digests.join("-"));
    }
    let entries = std::fs::read_dir(folder)
        .map_err(|error| Error::input(format!("cannot read the folder {}: {error}", folder.display())))?;
    // Templates are the only files in subfolders that are read.
    let templates = std::fs::read_dir(folder.join("additional_chat_templates")).into_iter().flatten();
    let entries = entries.chain(templates);
    let mut files: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_file() && is_read(path)).collect();
    files.sort();
    let mut hasher = blake3::Hasher::new();
    for file in files {
        hasher
            .update(file.file_name().unwrap_or_default().as_encoded_bytes())
            .update(input_digest(Some(&file))?.as_bytes());
    }
    Ok(hasher.finalize().to_hex().to_string())
}

fn is_read(path: &Path) -> bool {
    path.extension().is_some_and(|extension| MODEL_FILES.iter().any(|read| extension == *read))
}
