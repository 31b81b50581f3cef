//! `tabpo eval`: all scores of a prediction file.

use std::path::PathBuf;

use serde_json::json;
use tabpo_metrics::{Comparison, Counts, Evaluation, Family, Layout, Measure, Metric, Prf, Tally, Triple, compare};
use tabpo_ontology::Ontology;
use tabpo_report::{Alignment, Table, TableFormat};

use super::scoring::{GoldArgs, ScoreArgs, count_file};
use crate::error::{CliError, ResultExt};
use crate::output::{self, Context};
use crate::tables::{self, DASH, percent_or_dash};

/// Arguments of `tabpo eval`.
#[derive(clap::Args)]
pub(crate) struct EvalArgs {
    #[command(flatten)]
    gold: GoldArgs,
    /// The predictions: raw outputs of units, or items by offset; recognised by content
    #[arg(long, value_name = "FILE")]
    pred: PathBuf,
    #[command(flatten)]
    score: ScoreArgs,
}

/// Runs the command.
pub(crate) fn run(arguments: &EvalArgs, context: &Context) -> Result<(), CliError> {
    let ontology = Ontology::read(&arguments.gold.ontology).or_input()?;
    let counts = count_file(&arguments.gold, &ontology, &arguments.pred, context)?;
    let evaluation = Evaluation::of(&counts);
    let systems = [("predictions".to_owned(), vec![counts])];
    let score = &arguments.score;
    let comparison = compare(&systems, score.profile, score.resampling(context)).or_input()?;
    if let Some(reason) = comparison.without_intervals() {
        context.warn(format!("no intervals: {reason}"));
    }
    let counts = &systems[0].1[0];
    if score.json {
        let mut value = serde_json::to_value(&evaluation).expect("scores are plain data");
        let object = value.as_object_mut().expect("an evaluation is an object");
        let split = arguments.gold.gold.file_stem().map(|stem| stem.to_string_lossy());
        object.insert("gold_split".into(), json!(split));
        object.insert("profile".into(), json!(score.profile.name()));
        object.insert("resamples".into(), json!(score.resamples));
        object.insert("seed".into(), json!(score.seed));
        object.insert("intervals".into(), json!(comparison.systems[0].scores));
        return output::print_json(&value);
    }
    let metrics = score.profile.metrics(&counts.layout, evaluation.raw.is_some());
    let mut tables = vec![headline(&metrics, &comparison)];
    // Other formats are for papers, which need only the scores; on a terminal, details help.
    if score.format == TableFormat::Plain {
        tables.extend(metrics.iter().filter_map(|metric| per_label(counts, metric)));
        tables.extend(confusion(counts));
        tables.extend(emitted(&evaluation));
    }
    output::print(&tables.iter().map(|table| tables::rendered(table, score.format)).collect::<Vec<_>>().join("\n"))
}

/// A row for each metric: precision, recall, the score and its interval.
fn headline(metrics: &[Metric], comparison: &Comparison) -> Table {
    let mut table = Table::new([
        ("Metric", Alignment::Left),
        ("P", Alignment::Right),
        ("R", Alignment::Right),
        ("Score", Alignment::Right),
        ("95 % interval", Alignment::Right),
    ]);
    for (metric, estimate) in metrics.iter().zip(&comparison.systems[0].scores) {
        let is_share = matches!(metric.measure, Measure::Share(..));
        let part = |figure| if is_share { String::new() } else { percent_or_dash(figure) };
        table.push([
            metric.title.to_owned(),
            part(estimate.precision),
            part(estimate.recall),
            percent_or_dash(estimate.value),
            match (estimate.low, estimate.high) {
                (None, _) | (_, None) => DASH.to_owned(),
                (low, high) => format!("{} - {}", percent_or_dash(low), percent_or_dash(high)),
            },
        ]);
    }
    table
}

/// The labels of a metric's family, for micro-averaged families that have labels.
fn per_label(counts: &Counts, metric: &Metric) -> Option<Table> {
    let Measure::F1(family) = metric.measure else { return None };
    let names = counts.layout.names(family)?;
    let row = counts.table.pooled();
    let figures = [("P", Alignment::Right), ("R", Alignment::Right), ("F1", Alignment::Right)];
    let numbers = [("Right", Alignment::Right), ("Predicted", Alignment::Right), ("Gold", Alignment::Right)];
    let mut table = Table::new([(metric.title, Alignment::Left)].into_iter().chain(figures).chain(numbers));
    for (slot, name) in names.iter().enumerate() {
        let triple @ Triple { matched, predicted, gold } = counts.layout.triple(&row, family, slot);
        if predicted + gold > 0 {
            let Prf { p, r, f1 } = Prf::of(triple);
            let figures = [p, r, f1].map(percent_or_dash);
            let counts = [matched, predicted, gold].map(|count| count.to_string());
            table.push([name.clone()].into_iter().chain(figures).chain(counts));
        }
    }
    Some(table)
}

/// Gold labels by predicted labels at spans that both sides have.
fn confusion(counts: &Counts) -> Option<Table> {
    let names = Layout::names(&counts.layout, Family::Ner)?;
    let row = counts.table.pooled();
    if row[Tally::Located as usize] == 0 {
        return None;
    }
    let columns = names.iter().map(|name| (name.clone(), Alignment::Right));
    let mut table = Table::new([("Gold label at found spans".to_owned(), Alignment::Left)].into_iter().chain(columns));
    let (_invalid, labels) = names.split_last()?;
    for gold in labels {
        let cells = names.iter().map(|predicted| {
            let count = counts.confusion.get(&(gold.clone(), predicted.clone())).copied().unwrap_or(0);
            if count == 0 { String::new() } else { count.to_string() }
        });
        table.push([gold.clone()].into_iter().chain(cells));
    }
    Some(table)
}

/// What raw outputs contained, and what was wrong with them.
fn emitted(evaluation: &Evaluation) -> Option<Table> {
    let raw = evaluation.raw.as_ref()?;
    let mut table = Table::new([("Emitted", Alignment::Left), ("Count", Alignment::Right)]);
    table.push(["units".to_owned(), evaluation.units.to_string()]);
    for (name, tally) in
        [("entities", "ent_items"), ("relations", "rel_items"), ("relations without place", "rel_unresolved")]
    {
        table.push([name.to_owned(), raw.counts.get(tally).copied().unwrap_or(0).to_string()]);
    }
    for (fault, count) in &raw.faults {
        let name = serde_json::to_value(fault).expect("a fault kind is a name");
        table.push([format!("fault: {}", name.as_str().unwrap_or_default()), count.to_string()]);
    }
    Some(table)
}
