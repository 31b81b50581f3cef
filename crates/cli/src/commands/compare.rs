//! `tabpo compare`: several systems on the same documents.

use std::fs::File;
use std::path::{Path, PathBuf};

use tabpo_metrics::{Comparison, Counts, PairDifferences, compare};
use tabpo_ontology::Ontology;
use tabpo_report::{Alignment, Format, Table};

use super::scoring::{GoldArgs, ScoreArgs, count_file};
use crate::error::{CliError, ResultExt};
use crate::output::{self, Context};
use crate::tables;

/// Arguments of `tabpo compare`.
#[derive(clap::Args)]
pub struct CompareArgs {
    #[command(flatten)]
    gold: GoldArgs,
    /// The systems; one name given several times is one system with several training seeds
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
pub fn run(arguments: &CompareArgs, context: &Context) -> Result<(), CliError> {
    let ontology = Ontology::read(&arguments.gold.ontology).or_input()?;
    check_seeds(&arguments.pred)?;
    let mut systems: Vec<(String, Vec<Counts>)> = Vec::new();
    for (name, path) in &arguments.pred {
        let counts = count_file(&arguments.gold, &ontology, path, context)?;
        match systems.iter_mut().find(|(other, _)| other == name) {
            Some((_, runs)) => runs.push(counts),
            None => systems.push((name.clone(), vec![counts])),
        }
    }
    let score = &arguments.score;
    let comparison = compare(&systems, score.profile, score.resampling()).or_input()?;
    if let Some(reason) = comparison.without_intervals() {
        context.warn(format!("no intervals and no p-values: {reason}"));
    }
    if score.json {
        return output::print_json(&comparison);
    }
    let mut shown = vec![tables::comparison(&comparison)];
    if comparison.systems.iter().any(|system| system.runs > 1) {
        shown.push(spread(&comparison));
    }
    let mut text: Vec<String> = shown.iter().map(|table| table.render(score.format)).collect();
    for pair in &comparison.differences {
        let table = differences(&comparison, pair).render(score.format);
        // The other formats name the pair in the header.
        let heading =
            if score.format == Format::Plain { format!("{} minus {}\n", pair.a, pair.b) } else { String::new() };
        text.push(heading + &table);
    }
    output::print(&text.join("\n"))
}

/// Refuses the same predictions as two seeds of one system: they would count as evidence twice.
fn check_seeds(predictions: &[(String, PathBuf)]) -> Result<(), CliError> {
    let mut seen: Vec<(&str, blake3::Hash, &Path)> = Vec::new();
    for (name, path) in predictions {
        let several = predictions.iter().filter(|(other, _)| other == name).count() > 1;
        // A pipe can be read only once, and is read to be scored.
        if !several || !path.is_file() {
            continue;
        }
        let mut hasher = blake3::Hasher::new();
        let file = File::open(path).and_then(|mut file| std::io::copy(&mut file, &mut hasher));
        file.map_err(|error| CliError::input(format!("cannot read {}: {error}", path.display())))?;
        let digest = hasher.finalize();
        if let Some((_, _, first)) = seen.iter().find(|(other, content, _)| other == name && *content == digest) {
            let same = if *first == path {
                "is given twice".to_owned()
            } else {
                format!("is the same as {}", first.display())
            };
            return Err(CliError::input(format!("--pred {name}={}: the file {same}", path.display()))
                .with_hint("each file of one system is one training seed, and counts once"));
        }
        seen.push((name, digest, path));
    }
    Ok(())
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

/// One row a metric: the difference, its interval and its p-values.
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
