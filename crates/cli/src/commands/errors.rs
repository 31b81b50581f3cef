//! `tabpo errors`: the ways in which predictions are wrong.

use std::borrow::Borrow;
use std::path::{Path, PathBuf};

use tabpo_corpus::{CorpusError, Document};
use tabpo_metrics::modes::{EXAMPLES, ErrorModes, ModeKind, measure};
use tabpo_metrics::{EvaluationError, Predictions};
use tabpo_ontology::Ontology;
use tabpo_report::{Alignment, Table};

use super::scoring::{GoldArgs, Scoring, score};
use crate::error::{CliError, ResultExt};
use crate::output::{self, Context};
use crate::range;
use crate::tables::{self, percent_or_dash, shorten};
use crate::writing;

/// Arguments of `tabpo errors`.
#[derive(clap::Args)]
pub(crate) struct ErrorsArgs {
    #[command(flatten)]
    gold: GoldArgs,
    /// The predictions: raw outputs of units, or items by offset; recognised by content
    #[arg(long, value_name = "FILE")]
    pred: PathBuf,
    /// Write them to this file too: the input of `pairs build`
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Examples to keep for each mode
    #[arg(long, value_name = "N", default_value_t = EXAMPLES, value_parser = range::COUNT.or_none().parser::<usize>(), allow_negative_numbers = true)]
    examples: usize,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

struct Measuring {
    examples: usize,
}

impl Scoring for Measuring {
    type Output = ErrorModes;

    fn run<D: Borrow<Document> + Sync>(
        &self,
        gold: impl IntoIterator<Item = Result<D, CorpusError>>,
        predictions: &mut Predictions,
        ontology: &Ontology,
    ) -> Result<ErrorModes, EvaluationError> {
        measure(gold, predictions, ontology, self.examples)
    }
}

/// Runs the command.
pub(crate) fn run(arguments: &ErrorsArgs, context: &Context) -> Result<(), CliError> {
    let ontology = Ontology::read(&arguments.gold.ontology).or_input()?;
    let measuring = Measuring { examples: arguments.examples };
    let modes = score(&measuring, &arguments.gold, &ontology, &arguments.pred, context)?;
    for note in &modes.notes {
        context.warn(format!("{}: {note}", arguments.pred.display()));
    }
    let out = arguments.out.as_deref();
    if let Some(out) = out {
        let mut text = serde_json::to_vec_pretty(&modes).expect("error modes are plain data");
        text.push(b'\n');
        let mut file = writing::create(out)?;
        writing::add(&mut file, &text, out)?;
        writing::finish(file, out)?;
        context.say(format!("written to {}", out.display()));
    }
    // Without a file, there is nothing for the result to accompany.
    let beside = out.unwrap_or(Path::new(""));
    if arguments.json {
        return output::print_json_beside(beside, &modes);
    }
    output::print_beside(beside, &format!("{}\n{}", tables::shown(&kinds(&modes)), tables::shown(&commonest(&modes))))
}

/// The count of each kind.
fn kinds(modes: &ErrorModes) -> Table {
    let mut table = Table::new([("Kind", Alignment::Left), ("Count", Alignment::Right)]);
    for kind in ModeKind::ALL {
        table.push([kind.name().to_owned(), modes.count(kind).to_string()]);
    }
    table
}

/// The most common modes, each with an example.
fn commonest(modes: &ErrorModes) -> Table {
    const SHOWN: usize = 20;
    let mut table = Table::new([
        ("Mode", Alignment::Left),
        ("Gold", Alignment::Left),
        ("Predicted", Alignment::Left),
        ("Count", Alignment::Right),
        ("Rate %", Alignment::Right),
        ("Example", Alignment::Left),
    ]);
    let mut sorted: Vec<_> = modes.modes.iter().collect();
    sorted.sort_by_key(|mode| std::cmp::Reverse(mode.count));
    for mode in sorted.into_iter().take(SHOWN) {
        let name = |label: &Option<String>, subtype: &Option<String>| match (label, subtype) {
            (Some(label), Some(subtype)) => format!("{label}/{subtype}"),
            (Some(label), None) => label.clone(),
            (None, _) => String::new(),
        };
        let example = mode.examples.first().map_or(String::new(), |example| {
            let parts = [example.gold.as_deref(), example.predicted.as_deref()];
            parts.into_iter().flatten().collect::<Vec<_>>().join(" -> ")
        });
        table.push([
            mode.kind.name().to_owned(),
            name(&mode.gold, &mode.gold_subtype),
            name(&mode.predicted, &mode.predicted_subtype),
            mode.count.to_string(),
            percent_or_dash(modes.rate(mode)),
            shorten(&example),
        ]);
    }
    table
}
