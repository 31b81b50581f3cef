//! Shared by `eval`, `compare` and `errors`: reading gold and predictions, and formats of tables.

use std::borrow::Borrow;
use std::path::{Path, PathBuf};

use tabpo_corpus::{CorpusError, Document, Format};
use tabpo_metrics::{Counts, EvaluationError, Predictions, Profile, Resampling, count};
use tabpo_ontology::Ontology;
use tabpo_report::TableFormat;

use crate::corpora::ReadArgs;
use crate::error::{CliError, ResultExt};
use crate::output::Context;
use crate::range;

/// The gold side of a comparison.
#[derive(clap::Args)]
pub(crate) struct GoldArgs {
    /// The ontology file
    #[arg(long, value_name = "FILE")]
    pub ontology: PathBuf,
    /// The gold corpus: a file, or a directory of brat files
    #[arg(long, value_name = "FILE")]
    pub gold: PathBuf,
    /// The format of the gold corpus; by default, recognised by content
    #[arg(long, value_name = "FORMAT")]
    pub gold_format: Option<Format>,
    #[command(flatten)]
    pub read: ReadArgs,
}

/// How scores are computed and shown.
#[derive(clap::Args)]
pub(crate) struct ScoreArgs {
    /// How to count: default, pure, spert, plmarker or tabpo
    #[arg(long, value_name = "NAME", default_value = "default", value_parser = profile)]
    pub profile: Profile,
    /// Resamples of the bootstrap and rounds of the randomisation test
    #[arg(long, value_name = "N", default_value_t = Resampling::default().resamples, value_parser = range::RESAMPLES.or_none().parser::<u32>(), allow_negative_numbers = true)]
    pub resamples: u32,
    /// The seed of both
    #[arg(long, value_name = "N", default_value_t = Resampling::default().seed)]
    pub seed: u64,
    /// Write JSON
    #[arg(long)]
    pub json: bool,
    /// How to write tables: table, markdown, latex or csv
    #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = table_format)]
    pub format: TableFormat,
}

impl ScoreArgs {
    /// The settings of the resampling; warns if there are too few resamples.
    pub(crate) fn resampling(&self, context: &Context) -> Resampling {
        if (1..100).contains(&self.resamples) {
            context.warn(format!(
                "{} resamples are too few for intervals and p-values; 1000 or more are usual",
                self.resamples
            ));
        }
        Resampling { resamples: self.resamples, seed: self.seed }
    }
}

fn profile(name: &str) -> Result<Profile, String> {
    let names = Profile::ALL.map(Profile::name);
    Profile::named(name).ok_or_else(|| {
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        format!("valid: {}", names.join(", "))
    })
}

fn table_format(name: &str) -> Result<TableFormat, String> {
    TableFormat::named(name).ok_or_else(|| format!("valid: {}", TableFormat::ALL.map(TableFormat::name).join(", ")))
}

/// A computation over gold documents and their predictions.
pub(crate) trait Scoring {
    /// The result.
    type Output;

    /// Runs the computation.
    fn run<D: Borrow<Document> + Sync>(
        &self,
        gold: impl IntoIterator<Item = Result<D, CorpusError>>,
        predictions: &mut Predictions,
        ontology: &Ontology,
    ) -> Result<Self::Output, EvaluationError>;
}

/// Opens gold and predictions and runs a scoring over them. Gold is streamed where its format has
/// one document a line.
pub(crate) fn score<S: Scoring>(
    scoring: &S,
    arguments: &GoldArgs,
    ontology: &Ontology,
    predictions: &Path,
    context: &Context,
) -> Result<S::Output, CliError> {
    let gold = &arguments.gold;
    let open = || Predictions::open(predictions).or_input();
    if let Some(mut documents) = tabpo_corpus::stream(gold, arguments.gold_format, ontology).or_input()? {
        let output = scoring.run(&mut documents, &mut open()?, ontology).or_input()?;
        arguments.read.heed(gold, documents.notes(), context)?;
        return Ok(output);
    }
    let loaded = arguments.read.read(gold, arguments.gold_format, ontology, context)?;
    scoring.run(loaded.documents.iter().map(Ok), &mut open()?, ontology).or_input()
}

struct Counting;

impl Scoring for Counting {
    type Output = Counts;

    fn run<D: Borrow<Document> + Sync>(
        &self,
        gold: impl IntoIterator<Item = Result<D, CorpusError>>,
        predictions: &mut Predictions,
        ontology: &Ontology,
    ) -> Result<Counts, EvaluationError> {
        count(gold, predictions, ontology)
    }
}

/// The counts of a prediction file; what a reader should know is written to stderr.
pub(crate) fn count_file(
    arguments: &GoldArgs,
    ontology: &Ontology,
    predictions: &Path,
    context: &Context,
) -> Result<Counts, CliError> {
    let counts = score(&Counting, arguments, ontology, predictions, context)?;
    for note in &counts.notes {
        context.warn(format!("{}: {note}", predictions.display()));
    }
    Ok(counts)
}
