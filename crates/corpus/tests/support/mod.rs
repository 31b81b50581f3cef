//! Reading files of a few lines.

use std::fs;

use tabpo_corpus::{Document, Notes, read};
use tabpo_ontology::Ontology;

/// Birds and trees.
pub(crate) fn ontology() -> Ontology {
    let text = r#"
        [[entity]]
        name = "Bird"
        [[entity]]
        name = "Tree"
        [[relation]]
        name = "nests-in"
        [[relation]]
        name = "near"
        symmetric = true
    "#;
    Ontology::parse(text, "test").unwrap()
}

/// A name and what the file holds.
pub(crate) type File<'f> = (&'f str, &'f [u8]);

/// Reads files of a folder: the folder itself if there are several.
pub(crate) fn load(files: &[File]) -> Result<(Vec<Document>, Notes), String> {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let path = match files {
        [(name, _)] if !name.contains('/') && !name.contains(".txt") => directory.path().join(name),
        _ => directory.path().to_path_buf(),
    };
    let loaded = read(&path, None, &ontology())
        .map_err(|error| with_causes(&error).replace(&directory.path().display().to_string(), ""))?;
    Ok((loaded.documents, loaded.notes))
}

/// An error with its causes, as a program shows it.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Reads one file.
pub(crate) fn load_text(name: &str, content: &str) -> Result<(Vec<Document>, Notes), String> {
    load(&[(name, content.as_bytes())])
}

/// The words of the mentions.
pub(crate) fn words(document: &Document) -> Vec<&str> {
    document.mentions.iter().map(|mention| document.span_text(mention.span)).collect()
}

/// Head, tail and type of each relation.
pub(crate) fn links(document: &Document) -> Vec<(u32, u32, u16)> {
    document.relations.iter().map(|relation| (relation.head, relation.tail, relation.label.0)).collect()
}

/// The notes as they are shown.
pub(crate) fn shown(notes: &Notes) -> Vec<String> {
    notes.iter().map(|(note, count)| format!("{count} {note}")).collect()
}
