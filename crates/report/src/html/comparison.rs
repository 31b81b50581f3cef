//! The comparison: scores, their intervals, and tested differences.

use maud::{Markup, html};

use super::{forest, format, grid, tools};
use crate::{Alignment, Comparison, MetricColumn, SystemKind, SystemRow, Table, Term};

pub(super) fn section(comparison: &Comparison) -> Markup {
    html! {
        p { (comparison.scope) }
        (scores(comparison))
        (tools::terms("What the columns mean", comparison.metrics.iter().map(term)))
        (forest::panels(comparison))
        @if !comparison.contrasts.is_empty() { (grid::section(comparison)) }
        @if !comparison.method.is_empty() { p.note { (comparison.method) } }
    }
}

fn term(metric: &MetricColumn) -> Term {
    Term { name: metric.name.clone(), meaning: metric.meaning.clone() }
}

fn scores(comparison: &Comparison) -> Markup {
    let best: Vec<Option<f64>> = (0..comparison.metrics.len()).map(|column| best_value(comparison, column)).collect();
    let table = html! {
        table.scores.sortable {
            thead {
                tr {
                    th { "System" }
                    @for metric in &comparison.metrics {
                        th.number title=(metric.meaning) {
                            (metric.name) @if metric.lower_is_better { span.hint title="lower is better" { " ↓" } }
                        }
                    }
                }
            }
            tbody {
                @for system in &comparison.systems {
                    tr class=(kind_class(system.kind)) {
                        th scope="row" { (system.name) (kind_tag(system.kind)) }
                        @for (column, metric) in comparison.metrics.iter().enumerate() {
                            (score_cell(system, column, metric, best[column].filter(|_| !system.silent)))
                        }
                    }
                }
            }
        }
    };
    let (shown, data) = copies(comparison);
    html! {
        (tools::table(&table, &shown, &data))
        @if best.iter().any(Option::is_some) {
            p.note { "Bold: the best value of a column, which need not be distinguishable from the next." }
        }
    }
}

/// The scores with their intervals as text, and every number in a column of its own.
fn copies(comparison: &Comparison) -> (Table, Table) {
    let named = |name: &str| (name.to_owned(), Alignment::Left);
    let parts = ["", " low", " high", " sd", " precision", " recall"];
    let metrics = || comparison.metrics.iter();
    let mut shown = Table::new(
        [named("System")].into_iter().chain(metrics().map(|metric| (metric.name.clone(), Alignment::Right))),
    );
    let columns = metrics().flat_map(|metric| parts.map(|part| (format!("{}{part}", metric.name), Alignment::Decimal)));
    let mut data = Table::new([named("system")].into_iter().chain(columns));
    for system in &comparison.systems {
        let estimate = |column: usize| system.scores.get(column).copied().flatten();
        let name = || [system.name.clone()].into_iter();
        shown.push(name().chain(metrics().enumerate().map(|(column, metric)| match estimate(column) {
            Some(one) => {
                let interval = one.interval.map(|ends| format!(" {}", format::interval(ends, metric.unit)));
                format::score(one.value, metric.unit) + &interval.unwrap_or_default()
            }
            None => "–".to_owned(),
        })));
        data.push(name().chain((0..comparison.metrics.len()).flat_map(|column| {
            let one = estimate(column);
            let number = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
            let (interval, parts) = (one.and_then(|one| one.interval), one.and_then(|one| one.precision_and_recall));
            [
                number(one.map(|one| one.value)),
                number(interval.map(|ends| ends.0)),
                number(interval.map(|ends| ends.1)),
                number(one.and_then(|one| one.deviation)),
                number(parts.map(|parts| parts.0)),
                number(parts.map(|parts| parts.1)),
            ]
        })));
    }
    (shown, data)
}

fn score_cell(system: &SystemRow, column: usize, metric: &MetricColumn, best: Option<f64>) -> Markup {
    let Some(estimate) = system.scores.get(column).copied().flatten() else {
        return html! { td.number { span.hint { "–" } } };
    };
    let value = format::score(estimate.value, metric.unit);
    html! {
        td.number data-v=[estimate.value.is_finite().then_some(estimate.value)] {
            @if best == Some(estimate.value) { strong { (value) } } @else { (value) }
            @for small in format::small_print(&estimate, metric.unit) { span.small { (small) } }
            @if let Some((precision, recall)) = estimate.precision_and_recall {
                span.small { "P " (format::score(precision, metric.unit)) " R " (format::score(recall, metric.unit)) }
            }
        }
    }
}

/// The best value of the systems that extract anything, unless all values are the same.
fn best_value(comparison: &Comparison, column: usize) -> Option<f64> {
    let value = |system: &SystemRow| system.scores.get(column).copied().flatten().map(|estimate| estimate.value);
    let all: Vec<f64> = comparison.systems.iter().filter_map(value).filter(|value| !value.is_nan()).collect();
    let speaking = comparison.systems.iter().filter(|system| !system.silent);
    let values = speaking.filter_map(value).filter(|value| !value.is_nan());
    let lower_is_better = comparison.metrics[column].lower_is_better;
    let best = values.reduce(|best, value| if lower_is_better { best.min(value) } else { best.max(value) })?;
    all.iter().any(|value| *value != best).then_some(best)
}

fn kind_class(kind: SystemKind) -> &'static str {
    match kind {
        SystemKind::Checkpoint => "checkpoint",
        SystemKind::Control => "control",
        SystemKind::System => "system",
        SystemKind::Remote => "remote",
    }
}

fn kind_tag(kind: SystemKind) -> Markup {
    let name = match kind {
        SystemKind::Checkpoint => "checkpoint",
        SystemKind::Control => "control",
        SystemKind::System => return html! {},
        SystemKind::Remote => "hosted",
    };
    html! { " " span.tag { (name) } }
}
