//! Forest plots: each system's value with its interval, and the best control as a dashed line.

use maud::{Markup, html};

use super::chart::{Scale, ticks};
use super::format;
use crate::{Comparison, Estimate, ScoreUnit, SystemKind, SystemRow};

const WIDTH: f64 = 560.0;
const LABELS: f64 = 225.0;
const ROW: f64 = 22.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 26.0;

/// One panel for each metric on which at least one system has an interval.
pub(super) fn panels(comparison: &Comparison) -> Markup {
    let controls = comparison.systems.iter().any(|system| system.kind == SystemKind::Control);
    let shown = |column: &usize| rows(comparison, *column).iter().any(|(_, estimate)| estimate.interval.is_some());
    let columns: Vec<usize> = (0..comparison.metrics.len()).filter(shown).collect();
    html! {
        @if !columns.is_empty() {
            div.panels {
                @for &column in &columns {
                    @let (metric, rows) = (&comparison.metrics[column], rows(comparison, column));
                    figure {
                        figcaption { (metric.name) @if metric.lower_is_better { " (lower is better)" } }
                        (panel(comparison, column, &rows))
                    }
                }
            }
        }
        @if controls && !columns.is_empty() { p.note { "Dashed: the best control. Coloured: the systems under test." } }
    }
}

fn rows(comparison: &Comparison, column: usize) -> Vec<(&SystemRow, Estimate)> {
    let finite = |estimate: &Estimate| estimate.value.is_finite();
    let row = |system: &'_ SystemRow| system.scores.get(column).copied().flatten().filter(finite);
    comparison.systems.iter().filter_map(|system| row(system).map(|estimate| (system, estimate))).collect()
}

fn panel(comparison: &Comparison, column: usize, rows: &[(&SystemRow, Estimate)]) -> Markup {
    let metric = &comparison.metrics[column];
    let ends = |estimate: &Estimate| estimate.interval.unwrap_or((estimate.value, estimate.value));
    let low = rows.iter().map(|(_, estimate)| ends(estimate).0.min(estimate.value)).fold(f64::INFINITY, f64::min);
    let high = rows.iter().map(|(_, estimate)| ends(estimate).1.max(estimate.value)).fold(f64::NEG_INFINITY, f64::max);
    let (low, high) = if high > low { (low, high) } else { around(low, metric.unit) };
    let scale = Scale::padded(low, high, LABELS, WIDTH - 10.0);
    let foot = TOP + ROW * rows.len() as f64;
    let best_control = rows
        .iter()
        .filter(|(system, _)| system.kind == SystemKind::Control && !system.silent)
        .map(|(_, estimate)| estimate.value)
        .reduce(|best, value| if metric.lower_is_better { best.min(value) } else { best.max(value) });
    html! {
        svg viewBox={ "0 0 " (WIDTH) " " (foot + BOTTOM) } role="img" aria-label={ (metric.name) " with intervals" } {
            @for tick in ticks(scale.low, scale.high, 5) {
                @let x = scale.at(tick);
                line.grid x1=(x) x2=(x) y1=(TOP) y2=(foot) {}
                text.tick x=(x) y=(foot + 16.0) text-anchor="middle" { (format::score(tick, metric.unit)) }
            }
            @if let Some(value) = best_control {
                line.reference x1=(scale.at(value)) x2=(scale.at(value)) y1=(TOP) y2=(foot) {
                    title { "best control: " (format::score(value, metric.unit)) }
                }
            }
            @for (index, (system, estimate)) in rows.iter().enumerate() {
                @let y = TOP + ROW * (index as f64 + 0.5);
                @let class = if system.kind == SystemKind::System { "point" } else { "point quiet" };
                text.name x=(LABELS - 12.0) y=(y + 4.0) text-anchor="end" { (shortened(&system.name)) }
                g class=(class) {
                    title { (system.name) " " (format::score(estimate.value, metric.unit)) }
                    @if let Some((low, high)) = estimate.interval {
                        line x1=(scale.at(low)) x2=(scale.at(high)) y1=(y) y2=(y) {}
                    }
                    circle cx=(scale.at(estimate.value)) cy=(y) r="4" {}
                }
            }
        }
    }
}

/// The range of an axis for systems that all have the same value; shares do not go below 0.
fn around(value: f64, unit: ScoreUnit) -> (f64, f64) {
    match unit {
        ScoreUnit::Percent => {
            let low = (value - 0.05).max(0.0);
            (low, low + 0.1)
        }
        ScoreUnit::Number => (value, value),
    }
}

/// A name that fits next to a row; the full one is in the tooltip and in the table.
fn shortened(name: &str) -> String {
    const LONGEST: usize = 26;
    if name.chars().count() <= LONGEST {
        name.to_owned()
    } else {
        name.chars().take(LONGEST - 1).chain(['…']).collect()
    }
}
