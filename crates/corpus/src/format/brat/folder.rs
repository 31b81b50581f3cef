//! Folders as annotators leave them.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::{CorpusError, Notes};

/// What a folder of texts and annotation holds.
pub(super) struct Folder {
    /// The texts, by name.
    pub(super) texts: Vec<PathBuf>,
    /// Annotation without a text of the same name.
    orphans: usize,
    /// Folders in it that hold texts.
    nested: Vec<String>,
}

/// Extensions of annotation: brat's own, and the two files of the `BioNLP` shared tasks.
const ANNOTATION: [&str; 3] = ["ann", "a1", "a2"];

fn extension(path: &Path) -> Option<&str> {
    path.extension()?.to_str()
}

/// The files and folders of a folder, by name, without hidden ones, which file managers create.
fn entries(directory: &Path) -> Result<Vec<PathBuf>, CorpusError> {
    let failed = |source| CorpusError::read(directory, source);
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            paths.push(entry.path());
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

fn is_text(path: &Path) -> bool {
    extension(path) == Some("txt") && path.to_str().is_some() && !path.is_dir()
}

impl Folder {
    /// Lists a folder. One without texts is an error that says what it holds instead.
    pub(super) fn list(directory: &Path) -> Result<Self, CorpusError> {
        let paths = entries(directory)?;
        let texts: Vec<PathBuf> = paths.iter().filter(|path| is_text(path)).cloned().collect();
        let stems: BTreeSet<PathBuf> = texts.iter().map(|path| path.with_extension("")).collect();
        let orphans = paths.iter().filter(|path| extension(path).is_some_and(|name| ANNOTATION.contains(&name)));
        let orphans = orphans.filter(|path| !stems.contains(&path.with_extension(""))).count();
        let mut nested = Vec::new();
        for path in paths.iter().filter(|path| path.is_dir()) {
            if let (Some(name), Ok(inner)) = (path.file_name(), entries(path))
                && inner.iter().any(|path| is_text(path))
            {
                nested.push(name.to_string_lossy().into_owned());
            }
        }
        if texts.is_empty() {
            let reason = reason(&paths, orphans, &nested);
            return Err(CorpusError::NoDocuments { path: directory.to_path_buf(), reason });
        }
        Ok(Self { texts, orphans, nested })
    }

    /// Counts what the folder holds besides.
    pub(super) fn note_unread(&self, notes: &mut Notes) {
        for _ in 0..self.orphans {
            notes.ignore("annotation files without their `.txt`");
        }
        for name in &self.nested {
            notes.ignore(format!("texts of the folder `{name}` in it"));
        }
    }

    /// The annotation files of a text with their content; none if it has none.
    #[expect(clippy::unused_self, reason = "a text belongs to the folder")]
    pub(super) fn annotations_of(&self, text: &Path) -> Result<Vec<(PathBuf, String)>, CorpusError> {
        let read = |path: PathBuf| {
            let content = tabpo_files::read_text(&path).map_err(|source| CorpusError::read(&path, source))?;
            Ok((path, content))
        };
        let own = text.with_extension(ANNOTATION[0]);
        if own.exists() {
            return Ok(vec![read(own)?]);
        }
        let shared = ANNOTATION[1..].iter().map(|name| text.with_extension(name));
        shared.filter(|path| path.exists()).map(read).collect()
    }
}

/// Why a folder has no documents.
fn reason(paths: &[PathBuf], orphans: usize, nested: &[String]) -> String {
    if !nested.is_empty() {
        return format!("no `.txt` here; there are some in {}: name one folder", nested.join(", "));
    }
    if orphans > 0 {
        return format!("{orphans} annotation files, but no `.txt` beside them; brat keeps each text in one");
    }
    let lines = paths.iter().find(|path| extension(path).is_some_and(|name| matches!(name, "json" | "jsonl")));
    if let Some(name) = lines.and_then(|path| path.file_name()) {
        return format!("no `.txt` here; name a file, {} for example", name.display());
    }
    match paths.len() {
        0 => "it is empty".to_owned(),
        count => format!("none of its {count} entries is a `.txt`"),
    }
}
