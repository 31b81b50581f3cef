//! `tabpo compare`: several systems on the same documents.

use std::path::{Path, PathBuf};

use tabpo_metrics::{Comparison, Counts, PairDifferences, compare};
use tabpo_ontology::Ontology;
use tabpo_report::{Alignment, Table, TableFormat};

use super::scoring::{GoldArgs, ScoreArgs, count_file};
use crate::error::{CliError, ResultExt};
use crate::output::{self, Context};
use crate::tables;

/// Arguments of `tabpo compare`.
#[derive(clap::Args)]
pub(crate) struct CompareArgs {
    #[command(flatten)]
    gold: GoldArgs,
    /// The systems; several files with the same name are one system with several training seeds
    #[arg(long, value_name = "NAME=FILE", required = true, num_args = 1.., value_parser = named_file)]
    pred: Vec<(String, PathBuf)>,
    #[command(flatten)]
    score: ScoreArgs,
}

fn named_file(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => Ok((name.to_owned(), path.into())),
        _ => Err("write NAME=FILE".to_owned()),
    }
}

/// Runs the command.
pub(crate) fn run(arguments: &CompareArgs, context: &Context) -> Result<(), CliError> {
    let ontology = Ontology::read(&arguments.gold.ontology).or_input()?;
    let mut systems: Vec<(String, Vec<Counts>)> = Vec::new();
    for (name, path) in runs(&arguments.pred, context)? {
        let counts = count_file(&arguments.gold, &ontology, path, context)?;
        match systems.iter_mut().find(|(other, _)| other == name) {
            Some((_, runs)) => runs.push(counts),
            None => systems.push((name.clone(), vec![counts])),
        }
    }
    let score = &arguments.score;
    let comparison = compare(&systems, score.profile, score.resampling(context)).or_input()?;
    if let Some(reason) = comparison.without_intervals() {
        context.warn(format!("no intervals and no p-values: {reason}"));
    }
    if score.json {
        return output::print_json(&comparison);
    }
    let mut shown = vec![tables::comparison(&comparison)];
    shown.extend(tables::precision_and_recall(&comparison));
    if comparison.systems.iter().any(|system| system.runs > 1) {
        shown.push(spread(&comparison));
    }
    let mut text: Vec<String> = shown.iter().map(|table| tables::rendered(table, score.format)).collect();
    for pair in &comparison.differences {
        let table = tables::rendered(&differences(&comparison, pair), score.format);
        // In the other formats, the header names the pair.
        let heading =
            if score.format == TableFormat::Plain { format!("{} minus {}\n", pair.a, pair.b) } else { String::new() };
        text.push(heading + &table);
    }
    output::print(&text.join("\n"))
}

/// The prediction files, each with its system. It is an error to name a file twice for one system. Another file with the
/// same content does not count as another seed and is skipped with a warning.
fn runs<'p>(pred: &'p [(String, PathBuf)], context: &Context) -> Result<Vec<&'p (String, PathBuf)>, CliError> {
    let mut seen: Vec<(&str, PathBuf, Option<blake3::Hash>)> = Vec::new();
    let mut runs = Vec::with_capacity(pred.len());
    for run in pred {
        let (name, path) = run;
        let place = path.canonicalize().unwrap_or_else(|_| path.clone());
        let of_system = || seen.iter().filter(|(system, ..)| system == name);
        if of_system().any(|(_, other, _)| *other == place) {
            let message = format!("--pred names {} twice for `{}`", path.display(), name.escape_debug());
            return Err(CliError::input(message).with_hint("one file is one seed; name it once"));
        }
        let digest = digest(&place);
        let twin = digest.and_then(|digest| of_system().find(|(_, _, other)| *other == Some(digest)));
        if let Some((_, other, _)) = twin {
            context.warn(format!(
                "{}: the same predictions as {}, which counts as one seed of `{}`",
                path.display(),
                other.display(),
                name.escape_debug()
            ));
        } else {
            seen.push((name, place, digest));
            runs.push(run);
        }
    }
    Ok(runs)
}

/// The digest of a file's content; `None` if it is not a regular file, which may be readable only once, or cannot be
/// read, which is reported later.
fn digest(path: &Path) -> Option<blake3::Hash> {
    if !path.is_file() {
        return None;
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(std::fs::File::open(path).ok()?).ok()?;
    Some(hasher.finalize())
}

/// Mean and standard deviation over training seeds.
fn spread(comparison: &Comparison) -> Table {
    let metrics = comparison.metrics.iter().map(|metric| (metric.title.clone(), Alignment::Right));
    let mut table = Table::new([("Mean (sd) over seeds".to_owned(), Alignment::Left)].into_iter().chain(metrics));
    for system in &comparison.systems {
        let cells = system.scores.iter().map(|score| {
            let sd = score.sd.map_or(String::new(), |sd| format!(" ({})", tables::percent(sd)));
            format!("{}{sd}", tables::percent_or_dash(score.mean))
        });
        table.push([system.name.clone()].into_iter().chain(cells));
    }
    table
}

/// A row for each metric: the difference, its interval and its p-values.
fn differences(comparison: &Comparison, pair: &PairDifferences) -> Table {
    let mut table = Table::new([
        (format!("{} - {}", pair.a, pair.b), Alignment::Left),
        ("Difference".to_owned(), Alignment::Right),
        ("95 % interval".to_owned(), Alignment::Right),
        ("p (bootstrap, one-sided)".to_owned(), Alignment::Right),
        ("p (randomisation)".to_owned(), Alignment::Right),
        ("p (Holm)".to_owned(), Alignment::Right),
    ]);
    let dash = || tables::DASH.to_owned();
    let signed = |fraction: f64| format!("{:+.1}", 100.0 * fraction);
    let p_value = |p: Option<f64>| p.map_or_else(dash, |p| format!("{p:.4}"));
    for (metric, difference) in comparison.metrics.iter().zip(&pair.differences) {
        table.push([
            metric.title.clone(),
            difference.difference.map_or_else(dash, signed),
            difference
                .low
                .zip(difference.high)
                .map_or_else(dash, |(low, high)| format!("{} to {}", signed(low), signed(high))),
            p_value(difference.p_bootstrap),
            p_value(difference.p_randomisation),
            p_value(difference.p_holm),
        ]);
    }
    table
}
