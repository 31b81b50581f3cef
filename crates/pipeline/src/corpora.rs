//! Reading corpora: what was left out is reported, or is an error.

use std::path::Path;

use tabpo_corpus::{Format, Loaded, Notes};
use tabpo_ontology::Ontology;

use crate::{
    error::{Error, ResultExt},
    observer::Observer,
};

/// Reads a corpus and reports what was left out or changed.
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

/// Reports what reading a corpus left out or changed; with `strict` that is an error.
pub fn heed(path: &Path, notes: &Notes, strict: bool, observer: &dyn Observer) -> Result<(), Error> {
    if let Some((note, count)) = notes.iter().next().filter(|_| strict) {
        let place = notes.first_place(note).map_or(String::new(), |place| format!("; the first at {place}"));
        let message = format!("{}: {count} {note}{place}", path.display());
        return Err(
            Error::input(message).with_hint("without --strict (data.strict in a run) this is counted and gone on with")
        );
    }
    say_notes(path, "reading", notes, observer);
    Ok(())
}

/// Reports what reading or writing a corpus changed or left out.
pub fn say_notes(path: &Path, doing: &str, notes: &Notes, observer: &dyn Observer) {
    for (note, count) in notes.iter() {
        observer.say(&format!("{doing} {}: {count} {note}", path.display()));
    }
}
