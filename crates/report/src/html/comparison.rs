//! The comparison: scores and tested differences.

use maud::{Markup, html};

use super::{forest, format};
use crate::{Comparison, Contrast, MetricColumn, ScoreUnit, SystemKind, SystemRow, Verdict};

pub(super) fn section(comparison: &Comparison) -> Markup {
    html! {
        p { (comparison.scope) }
        (scores(comparison))
        (forest::panels(comparison))
        @if !comparison.contrasts.is_empty() {
            h3 { "Against the controls" }
            (reading(comparison))
            p.note {
                "Each cell: system minus control, its interval, and the Holm-adjusted p-value. "
                "A difference counts as distinguishable below p = " (format::fixed(comparison.alpha, 2)) ". "
                (mark(Verdict::Better)) " " (mark(Verdict::Worse)) " " (mark(Verdict::Undecided))
            }
            @for metric in &comparison.metrics { (contrasts(comparison, metric)) }
        }
        @if !comparison.method.is_empty() { p.note { (comparison.method) } }
    }
}

fn scores(comparison: &Comparison) -> Markup {
    let best: Vec<Option<f64>> = (0..comparison.metrics.len()).map(|column| best_value(comparison, column)).collect();
    html! {
        div.scroll {
            table.scores {
                thead {
                    tr {
                        th { "System" }
                        @for metric in &comparison.metrics {
                            th.number { (metric.name) @if metric.lower_is_better { span.hint title="lower is better" { " ↓" } } }
                        }
                    }
                }
                tbody {
                    @for system in &comparison.systems {
                        tr class=(kind_class(system.kind)) {
                            th scope="row" { (system.name) (kind_tag(system.kind)) }
                            @for (column, metric) in comparison.metrics.iter().enumerate() {
                                td.number { (score_cell(system, column, metric, best[column].filter(|_| !system.silent))) }
                            }
                        }
                    }
                }
            }
        }
        @if best.iter().any(Option::is_some) {
            p.note { "Bold: the best value of a column, which need not be distinguishable from the next." }
        }
    }
}

fn score_cell(system: &SystemRow, column: usize, metric: &MetricColumn, best: Option<f64>) -> Markup {
    let Some(estimate) = system.scores.get(column).copied().flatten() else { return html! { span.hint { "–" } } };
    let value = format::score(estimate.value, metric.unit);
    html! {
        @if best == Some(estimate.value) { strong { (value) } } @else { (value) }
        @if let Some(small) = format::small_print(&estimate, metric.unit) { span.small { (small) } }
        @if let Some((precision, recall)) = estimate.precision_and_recall {
            span.small { "P " (format::score(precision, metric.unit)) " R " (format::score(recall, metric.unit)) }
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

/// The result in one sentence for each metric and control.
fn reading(comparison: &Comparison) -> Markup {
    html! {
        ul.reading {
            @for metric in &comparison.metrics {
                @for control in controls(comparison, metric) {
                    @let list = of(comparison, metric, control);
                    @let named = |wanted| names(&list, comparison, metric, wanted);
                    li {
                        strong { (metric.name) } " against " em { (control) } ": "
                        @if let Some(better) = named(Verdict::Better) { (mark(Verdict::Better)) " " (better) ". " }
                        @if let Some(worse) = named(Verdict::Worse) { (mark(Verdict::Worse)) " " (worse) ". " }
                        @if let Some(rest) = named(Verdict::Undecided) { (mark(Verdict::Undecided)) " " (rest) "." }
                    }
                }
            }
        }
    }
}

fn names(list: &[&Contrast], comparison: &Comparison, metric: &MetricColumn, wanted: Verdict) -> Option<String> {
    let verdict = |contrast: &Contrast| contrast.verdict(comparison.alpha, metric.lower_is_better);
    let names: Vec<&str> =
        list.iter().filter(|contrast| verdict(contrast) == wanted).map(|contrast| contrast.system.as_str()).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

fn contrasts(comparison: &Comparison, metric: &MetricColumn) -> Markup {
    let controls = controls(comparison, metric);
    let mut systems: Vec<&str> = Vec::new();
    for contrast in comparison.contrasts.iter().filter(|contrast| contrast.metric == metric.name) {
        if !systems.contains(&contrast.system.as_str()) {
            systems.push(&contrast.system);
        }
    }
    html! {
        @if !systems.is_empty() {
            div.scroll {
                table.contrasts {
                    thead {
                        tr { th { (metric.name) } @for control in &controls { th { "− " (control) } } }
                    }
                    tbody {
                        @for system in systems {
                            tr {
                                th scope="row" { (system) }
                                @for control in &controls { td { (contrast_cell(comparison, metric, system, control)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn contrast_cell(comparison: &Comparison, metric: &MetricColumn, system: &str, control: &str) -> Markup {
    let list = of(comparison, metric, control);
    let Some(contrast) = list.iter().find(|contrast| contrast.system == system) else {
        return html! { span.hint { "–" } };
    };
    let unit: ScoreUnit = metric.unit;
    html! {
        span.difference { (format::difference(contrast.difference, unit)) } " "
        (mark(contrast.verdict(comparison.alpha, metric.lower_is_better)))
        span.small {
            @if let Some(ends) = contrast.interval { (format::interval(ends, unit)) " " }
            (format::p_value(contrast.p_adjusted))
        }
    }
}

fn of<'a>(comparison: &'a Comparison, metric: &MetricColumn, control: &str) -> Vec<&'a Contrast> {
    let fits = |contrast: &&Contrast| contrast.metric == metric.name && contrast.control == control;
    comparison.contrasts.iter().filter(fits).collect()
}

/// The controls that a metric was tested against, in order of the contrasts.
fn controls<'a>(comparison: &'a Comparison, metric: &MetricColumn) -> Vec<&'a str> {
    let mut controls: Vec<&str> = Vec::new();
    for contrast in comparison.contrasts.iter().filter(|contrast| contrast.metric == metric.name) {
        if !controls.contains(&contrast.control.as_str()) {
            controls.push(&contrast.control);
        }
    }
    controls
}

fn mark(verdict: Verdict) -> Markup {
    match verdict {
        Verdict::Better => html! { span.mark.better { "▲ better" } },
        Verdict::Worse => html! { span.mark.worse { "▼ worse" } },
        Verdict::Undecided => html! { span.mark.undecided { "≈ not distinguishable" } },
    }
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
