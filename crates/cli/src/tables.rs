//! Results as tables.

use tabpo_metrics::Comparison;
use tabpo_report::{Alignment, Table};

/// Systems by metrics: the figure in per cent with its 95 % interval.
pub fn comparison(comparison: &Comparison) -> Table {
    let metrics = comparison.metrics.iter().map(|metric| (metric.title.clone(), Alignment::Right));
    let mut table = Table::new(std::iter::once(("System".to_owned(), Alignment::Left)).chain(metrics));
    for system in &comparison.systems {
        let name = if system.runs > 1 { format!("{} ({} seeds)", system.name, system.runs) } else { system.name.clone() };
        let scores = system.scores.iter().map(|score| {
            format!("{} [{}, {}]", percent(score.value), percent(score.low), percent(score.high))
        });
        table.push(std::iter::once(name).chain(scores));
    }
    table
}

/// A fraction in per cent with one decimal.
pub fn percent(fraction: f64) -> String {
    format!("{:.1}", 100.0 * fraction)
}
