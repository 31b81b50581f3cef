//! Reads corpora, and reports what had to be skipped or changed.

use std::path::Path;

use tabpo_corpus::{Format, Loaded, Notes};
use tabpo_ontology::Ontology;

use crate::{
    error::{Error, ResultExt},
    observer::Observer,
};

/// Reads a corpus and reports what was skipped or changed; if `strict`, that is an error.
pub fn read(
    path: &Path,
    format: Option<Format>,
    ontology: &Ontology,
    strict: bool,
    observer: &dyn Observer,
) -> Result<Loaded, Error> {
    let loaded = tabpo_corpus::read(path, format, ontology).or_input()?;
    heed(path, &loaded.notes, strict, observer)?;
    Ok(loaded)
}

/// Reports what was skipped or changed while reading a corpus; if `strict`, that is an error.
pub fn heed(path: &Path, notes: &Notes, strict: bool, observer: &dyn Observer) -> Result<(), Error> {
    if let Some((note, count)) = notes.iter().next().filter(|_| strict) {
        let place = notes.first_place(note).map_or(String::new(), |place| format!("; the first at {place}"));
        let message = format!("{}: {count} {note}{place}", path.display());
        return Err(Error::input(message).with_hint("without --strict (data.strict in a run), this is only counted"));
    }
    say_notes(path, "reading", notes, observer);
    Ok(())
}

/// Reports what was skipped or changed while reading or writing a corpus.
pub fn say_notes(path: &Path, doing: &str, notes: &Notes, observer: &dyn Observer) {
    for (note, count) in notes.iter() {
        observer.say(&format!("{doing} {}: {count} {note}", path.display()));
    }
}
