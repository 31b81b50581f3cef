//! The tested differences from the controls as one grid: systems by metrics, a group of rows for each control.

use maud::{Markup, html};

use super::{format, tools};
use crate::{Alignment, Comparison, Contrast, MetricColumn, Table, Verdict};

pub(super) fn section(comparison: &Comparison) -> Markup {
    let columns: Vec<&MetricColumn> = comparison
        .metrics
        .iter()
        .filter(|metric| comparison.contrasts.iter().any(|contrast| contrast.metric == metric.name))
        .collect();
    let controls = distinct(comparison.contrasts.iter().map(|contrast| contrast.control.as_str()));
    // Not every system is compared with every control.
    let systems = |control: &str| {
        let own = comparison.contrasts.iter().filter(|contrast| contrast.control == control);
        distinct(own.map(|contrast| contrast.system.as_str()))
    };
    let find = |system: &str, control: &str, metric: &MetricColumn| {
        comparison
            .contrasts
            .iter()
            .find(|contrast| contrast.system == system && contrast.control == control && contrast.metric == metric.name)
    };
    let mut shown = Table::new(
        [("Control".to_owned(), Alignment::Left), ("System".to_owned(), Alignment::Left)]
            .into_iter()
            .chain(columns.iter().map(|metric| (metric.name.clone(), Alignment::Right))),
    );
    let mut data = Table::new([
        ("control", Alignment::Left),
        ("system", Alignment::Left),
        ("metric", Alignment::Left),
        ("difference", Alignment::Decimal),
        ("low", Alignment::Decimal),
        ("high", Alignment::Decimal),
        ("p_adjusted", Alignment::Decimal),
    ]);
    for control in &controls {
        for system in &systems(control) {
            let cell = |metric: &&MetricColumn| {
                find(system, control, metric).map_or("–".to_owned(), |one| plain(one, metric))
            };
            let names = [(*control).to_owned(), (*system).to_owned()];
            shown.push(names.into_iter().chain(columns.iter().map(cell)));
            for contrast in columns.iter().filter_map(|metric| find(system, control, metric)) {
                let end = |pick: fn((f64, f64)) -> f64| {
                    contrast.interval.map_or(String::new(), |ends| pick(ends).to_string())
                };
                data.push([
                    contrast.control.clone(),
                    contrast.system.clone(),
                    contrast.metric.clone(),
                    contrast.difference.to_string(),
                    end(|ends| ends.0),
                    end(|ends| ends.1),
                    contrast.p_adjusted.to_string(),
                ]);
            }
        }
    }
    let grid = html! {
        table.grid.sortable role="grid" aria-label="Differences from the controls" {
            thead {
                tr { th { "System" } @for metric in &columns { th.number title=(metric.meaning) { (metric.name) (arrow(metric)) } } }
            }
            @for (group, control) in controls.iter().enumerate() {
                tbody {
                    tr.group { th colspan=(columns.len() + 1) scope="rowgroup" { "minus " (control) } }
                    @for (row, system) in systems(control).iter().enumerate() {
                        tr {
                            th scope="row" { (system) }
                            @for (column, metric) in columns.iter().enumerate() {
                                @match find(system, control, metric) {
                                    Some(contrast) => (cell(comparison, contrast, metric, group + row + column == 0)),
                                    None => td { span.hint { "–" } },
                                }
                            }
                        }
                    }
                }
            }
        }
    };
    html! {
        h3 { "Against the controls" }
        p.note {
            "System minus control. " span.mark.better { "▲ better" } ", " span.mark.worse { "▼ worse" } ": the interval of the "
            "difference excludes 0, and its p-value, Holm-adjusted over the metrics of a pair, is below "
            (format::fixed(comparison.alpha, 2)) "; " span.mark.undecided { "≈ no difference is shown" }
            ". Point at a cell, or reach it with the arrow keys, for interval and p-value. With many systems, some will differ "
            "by chance: p-values are not adjusted over systems."
        }
        (tools::table(&grid, &shown, &data))
    }
}

fn cell(comparison: &Comparison, contrast: &Contrast, metric: &MetricColumn, first: bool) -> Markup {
    let (class, sign, word) = match contrast.verdict(comparison.alpha, metric.lower_is_better) {
        Verdict::Better => ("better", "▲", "better"),
        Verdict::Worse => ("worse", "▼", "worse"),
        Verdict::Undecided => ("undecided", "≈", "no difference is shown"),
    };
    let difference = format::difference(contrast.difference, metric.unit);
    let interval = contrast.interval.map(|ends| format::interval(ends, metric.unit));
    html! {
        td class={ "number " (class) } role="gridcell" tabindex=(if first { "0" } else { "-1" }) data-v=(contrast.difference) {
            span aria-hidden="true" { (sign) " " (difference) @if let Some(interval) = &interval { span.small.paper { (interval) } } }
            span.tip {
                (contrast.system) " minus " (contrast.control) ", " (metric.name) ": " strong { (difference) }
                @if let Some(interval) = &interval { ", 95 % interval " (interval) }
                ", " (format::p_value(contrast.p_adjusted)) ": " (word)
            }
        }
    }
}

/// A cell as text: the difference and its interval.
fn plain(contrast: &Contrast, metric: &MetricColumn) -> String {
    let interval = contrast.interval.map(|ends| format!(" {}", format::interval(ends, metric.unit)));
    format!("{}{}", format::difference(contrast.difference, metric.unit), interval.unwrap_or_default())
}

fn arrow(metric: &MetricColumn) -> Markup {
    html! { @if metric.lower_is_better { span.hint title="lower is better" { " ↓" } } }
}

/// Every name once, in the order of its first occurrence.
fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut found: Vec<&str> = Vec::new();
    for name in names {
        if !found.contains(&name) {
            found.push(name);
        }
    }
    found
}
