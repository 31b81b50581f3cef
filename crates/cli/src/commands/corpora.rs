//! What the commands that read corpora share: what was left out is said, or stops the command.

use std::path::Path;

use tabpo_corpus::{CorpusError, Format, Loaded, Notes, Problem};
use tabpo_ontology::Ontology;

use crate::error::{CliError, ResultExt};
use crate::output::Context;

/// How corpora are read.
#[derive(clap::Args)]
pub struct ReadArgs {
    /// Stop where something in a corpus would be left out or changed, instead of counting it
    #[arg(long)]
    pub strict: bool,
}

impl ReadArgs {
    /// Reads a corpus and says what was left out or changed.
    pub fn read(
        &self,
        path: &Path,
        format: Option<Format>,
        ontology: &Ontology,
        context: &Context,
    ) -> Result<Loaded, CliError> {
        let loaded = tabpo_corpus::read(path, format, ontology).or_input()?;
        self.heed(path, &loaded.notes, context)?;
        Ok(loaded)
    }

    /// Says what reading a corpus left out or changed; with `--strict` that is an error.
    pub fn heed(&self, path: &Path, notes: &Notes, context: &Context) -> Result<(), CliError> {
        if let Some((note, count)) = notes.iter().next().filter(|_| self.strict) {
            let place = notes.first_place(note).map_or(String::new(), |place| format!("; the first at {place}"));
            let message = format!("{}: {count} {note}{place}", path.display());
            return Err(CliError::input(message).with_hint("without --strict this is counted and gone on with"));
        }
        say_notes(path, "reading", notes, context);
        Ok(())
    }
}

/// Says what reading or writing a corpus changed or left out.
pub fn say_notes(path: &Path, doing: &str, notes: &Notes, context: &Context) {
    for (note, count) in notes.iter() {
        context.say(format!("{doing} {}: {count} {note}", path.display()));
    }
}

/// Whether a corpus was refused for a label that the ontology lacks.
pub fn has_unknown_label(error: &CorpusError) -> bool {
    matches!(error, CorpusError::Invalid { problem, .. } if matches!(**problem, Problem::UnknownLabel { .. }))
}
