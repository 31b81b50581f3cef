//! `tabpo pairs stats`: summarises a pair file.

use std::path::PathBuf;

use tabpo_pairs::{Distances, PairStats, StatsCollector};
use tabpo_report::{Alignment, Table};

use super::{read_errors, read_pairs};
use crate::{
    error::CliError,
    output,
    tables::{self, percent},
};

/// Arguments of `tabpo pairs stats`.
#[derive(clap::Args)]
pub(crate) struct StatsArgs {
    /// The pair file
    file: PathBuf,
    /// Error modes to compare label changes with
    #[arg(long, value_name = "FILE")]
    errors: Option<PathBuf>,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: &StatsArgs) -> Result<(), CliError> {
    let errors = arguments.errors.as_deref().map(read_errors).transpose()?;
    let mut collector = StatsCollector::default();
    for record in read_pairs(&arguments.file)? {
        collector.add(&record?);
    }
    let stats = collector.finish(errors.as_ref());
    if stats.pairs == 0 {
        return Err(CliError::input(format!("{} holds no pairs", arguments.file.display())));
    }
    if arguments.json { output::print_json(&stats) } else { output::print(&stats_text(&stats)) }
}

fn stats_text(stats: &PairStats) -> String {
    let distance_columns =
        ["Median distance", "Mean", "90 %", "Max", "Scaffold first %"].map(|name| (name, Alignment::Right));
    let lead = [("Kind", Alignment::Left), ("Pairs", Alignment::Right), ("Share %", Alignment::Right)];
    let mut kinds = Table::new(lead.into_iter().chain(distance_columns));
    let distances = |of: &Distances, scaffold_first: f64| {
        let mean = format!("{:.1}", of.mean);
        [of.median.to_string(), mean, of.ninth_decile.to_string(), of.largest.to_string(), percent(scaffold_first)]
    };
    for kind in &stats.kinds {
        let lead = [kind.kind.name().to_owned(), kind.count.to_string(), percent(kind.share)];
        kinds.push(lead.into_iter().chain(distances(&kind.distances, kind.scaffold_first)));
    }
    let lead = ["all".to_owned(), stats.pairs.to_string(), percent(1.0)];
    kinds.push(lead.into_iter().chain(distances(&stats.distances, stats.scaffold_first)));
    let mut sources =
        Table::new([("Source", Alignment::Left), ("Pairs", Alignment::Right), ("Share %", Alignment::Right)]);
    for source in &stats.sources {
        sources.push([source.name.clone(), source.count.to_string(), percent(source.share)]);
    }
    for pattern in &stats.patterns {
        sources.push([format!("pattern {}", pattern.name), pattern.count.to_string(), percent(pattern.share)]);
    }
    let columns = [
        ("Kind", Alignment::Left),
        ("From", Alignment::Left),
        ("To", Alignment::Left),
        ("Pairs", Alignment::Right),
        ("Share %", Alignment::Right),
        ("Of errors %", Alignment::Right),
    ];
    let mut changes = Table::new(columns);
    for change in &stats.changes {
        changes.push([
            change.kind.name().to_owned(),
            change.from.clone().unwrap_or_default(),
            change.to.clone().unwrap_or_default(),
            change.count.to_string(),
            percent(change.share),
            change.error_share.map_or_else(String::new, percent),
        ]);
    }
    let variation = |name: &str, distance: Option<f64>| {
        distance.map_or_else(String::new, |distance| {
            format!("{name} from modes: {} points (total variation) from the errors\n", percent(distance))
        })
    };
    format!(
        "{}\n{}\n{}\n{} pairs of {} examples; {} % of the gold answer precedes the first difference; {} % differ first in scaffolding\n{}{}",
        tables::shown(&kinds),
        tables::shown(&sources),
        tables::shown(&changes),
        stats.pairs,
        stats.examples,
        percent(stats.prefix_shared),
        percent(stats.scaffold_first),
        variation("Label changes", stats.label_distance),
        variation("Relation type changes", stats.relation_distance),
    )
}
