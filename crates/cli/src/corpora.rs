//! Options for reading corpora.

use std::path::Path;

use tabpo_corpus::{CorpusError, Format, Loaded, Notes, Problem};
use tabpo_ontology::Ontology;

use tabpo_pipeline::corpora;

use crate::error::CliError;
use crate::output::Context;

/// How corpora are read.
#[derive(clap::Args)]
pub(crate) struct ReadArgs {
    /// Make it an error that something in a corpus has to be skipped or changed, instead of counting it
    #[arg(long)]
    pub strict: bool,
}

impl ReadArgs {
    /// Reads a corpus and reports what was skipped or changed.
    pub(crate) fn read(
        &self,
        path: &Path,
        format: Option<Format>,
        ontology: &Ontology,
        context: &Context,
    ) -> Result<Loaded, CliError> {
        corpora::read(path, format, ontology, self.strict, context)
    }

    /// Reports what was skipped or changed while reading a corpus; with `--strict`, that is an error.
    pub(crate) fn heed(&self, path: &Path, notes: &Notes, context: &Context) -> Result<(), CliError> {
        corpora::heed(path, notes, self.strict, context)
    }
}

/// Whether the error is about a label that the ontology does not have.
pub(crate) fn has_unknown_label(error: &CorpusError) -> bool {
    matches!(error, CorpusError::Invalid { problem, .. } if matches!(**problem, Problem::UnknownLabel { .. }))
}
