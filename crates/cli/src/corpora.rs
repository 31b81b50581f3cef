//! Reading corpora: what was left out is said, or stops the program.

use std::path::Path;

use tabpo_corpus::{CorpusError, Format, Loaded, Notes, Problem};
use tabpo_ontology::Ontology;

use tabpo_pipeline::corpora;

use crate::error::CliError;
use crate::output::Context;

/// How corpora are read.
#[derive(clap::Args)]
pub(crate) struct ReadArgs {
    /// Stop where something in a corpus would be left out or changed, instead of counting it
    #[arg(long)]
    pub strict: bool,
}

impl ReadArgs {
    /// Reads a corpus and says what was left out or changed.
    pub(crate) fn read(
        &self,
        path: &Path,
        format: Option<Format>,
        ontology: &Ontology,
        context: &Context,
    ) -> Result<Loaded, CliError> {
        corpora::read(path, format, ontology, self.strict, context)
    }

    /// Says what reading a corpus left out or changed; with `--strict` that is an error.
    pub(crate) fn heed(&self, path: &Path, notes: &Notes, context: &Context) -> Result<(), CliError> {
        corpora::heed(path, notes, self.strict, context)
    }
}

/// Whether a corpus was refused for a label that the ontology lacks.
pub(crate) fn has_unknown_label(error: &CorpusError) -> bool {
    matches!(error, CorpusError::Invalid { problem, .. } if matches!(**problem, Problem::UnknownLabel { .. }))
}
