//! How the run was made, and what hosted systems cost.

use maud::{Markup, html};

use super::{format, tools};
use crate::{Alignment, Fact, RemoteSystem, RunSummary, Table, TrainingRow};

/// The facts at the top of the page.
pub(super) fn tiles(summary: &RunSummary) -> Markup {
    html! {
        @if !summary.facts.is_empty() {
            dl.tiles {
                @for fact in summary.facts.iter().filter(|fact| !fact.value.is_empty()) {
                    div { dt { (fact.name) } dd { (fact.value) } }
                }
            }
        }
    }
}

pub(super) fn section(summary: &RunSummary) -> Markup {
    let total: f64 = summary.stages.iter().map(|stage| stage.seconds).sum();
    let longest = summary.stages.iter().map(|stage| stage.seconds).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    html! {
        @if !summary.seeds.is_empty() {
            p { "Seeds: " (summary.seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")) }
        }
        @if !summary.training.is_empty() { h3 { "Training" } (training(summary)) }
        @if !summary.thresholds.is_empty() {
            h3 { "Thresholds" }
            p.note { "A list of an answer goes on while the probability that it does is above these thresholds, which were chosen on validation." }
            (facts(&summary.thresholds))
        }
        @if !summary.stages.is_empty() {
            h3 { "Time" }
            table.bars {
                tbody {
                    @for stage in &summary.stages {
                        tr {
                            th scope="row" { (stage.name) @if stage.reused { " " span.tag { "up to date" } } }
                            td.number { (format::duration(stage.seconds)) }
                            td.bar { span style={ "--v:" (format!("{:.3}", stage.seconds / longest)) } {} }
                        }
                    }
                }
                tfoot { tr { th scope="row" { "all stages" } td.number { (format::duration(total)) } td {} } }
            }
        }
        @if !summary.digests.is_empty() { details { summary { "Digests" } (facts(&summary.digests)) } }
        @if !summary.configuration.is_empty() {
            details { summary { "Resolved configuration" } pre { (summary.configuration) } }
        }
    }
}

/// What each training took.
fn training(summary: &RunSummary) -> Markup {
    let rate = |row: &TrainingRow| format!("{:e}", row.learning_rate);
    let columns = [
        ("System", Alignment::Left),
        ("Objective", Alignment::Left),
        ("Steps", Alignment::Right),
        ("Tokens trained", Alignment::Right),
        ("Reference tokens", Alignment::Right),
        ("Learning rate", Alignment::Right),
        ("Runs", Alignment::Right),
    ];
    let mut copy = Table::new(columns);
    for row in &summary.training {
        let counts = [row.steps, row.tokens, row.reference_tokens].map(|count| count.to_string());
        let names = [row.system.clone(), row.objective.clone()];
        copy.push(names.into_iter().chain(counts).chain([rate(row), row.runs.to_string()]));
    }
    let markup = html! {
        table.sortable {
            thead {
                tr { @for (name, alignment) in columns { th class=[(alignment != Alignment::Left).then_some("number")] { (name) } } }
            }
            tbody {
                @for row in &summary.training {
                    tr {
                        th scope="row" { (row.system) }
                        td { (row.objective) }
                        td.number data-v=(row.steps) { (format::count(row.steps)) }
                        td.number data-v=(row.tokens) { (format::count(row.tokens)) }
                        td.number data-v=(row.reference_tokens) { (format::count(row.reference_tokens)) }
                        td.number data-v=(row.learning_rate) { (rate(row)) }
                        td.number data-v=(row.runs) { (row.runs) }
                    }
                }
            }
        }
    };
    html! {
        (tools::table(&markup, &copy, &copy))
        p.note {
            "Tokens trained went forward and backward through the model. Reference tokens went forward only, through the reference "
            "(the checkpoint that training starts from) or another model whose log-probabilities the loss needs; they are counted "
            "for every system that needs them, although what is computed once is kept and shared."
        }
    }
}

fn facts(facts: &[Fact]) -> Markup {
    html! {
        div.scroll {
            table.facts {
                tbody { @for fact in facts { tr { th scope="row" { (fact.name) } td { (fact.value) } } } }
            }
        }
    }
}

/// Cost and latency of hosted systems.
pub(super) fn remote(systems: &[RemoteSystem]) -> Markup {
    html! {
        div.scroll {
            table {
                thead {
                    tr {
                        th { "System" } th { "Model" } th.number { "Calls" } th.number { "From cache" }
                        th.number { "Prompt tokens" } th.number { "Completion tokens" } th.number { "Cost" }
                        th.number { "Median" } th.number { "95 %" } th { "Outcomes" }
                    }
                }
                tbody { @for system in systems { (remote_row(system)) } }
            }
        }
        p.note { "Latency of paid calls, from sending to the last byte. Cost by the price table of the date shown." }
    }
}

fn remote_row(system: &RemoteSystem) -> Markup {
    let latency = |milliseconds: Option<f64>| milliseconds.map_or("–".to_owned(), |value| format!("{value:.0} ms"));
    html! {
        tr {
            th scope="row" { (system.name) }
            td { (system.model) }
            td.number { (format::count(system.calls)) }
            td.number { (format::count(system.reused)) }
            td.number {
                (format::count(system.prompt_tokens))
                @if system.cached_tokens > 0 { span.small { (format::count(system.cached_tokens)) " cached" } }
            }
            td.number { (format::count(system.completion_tokens)) }
            td.number {
                @match system.cost {
                    Some(cost) => { (format::fixed(cost, 2)) " " (system.currency) span.small { (system.prices_of) } }
                    None => span.hint { "no price" }
                }
            }
            td.number { (latency(system.latency_median_ms)) }
            td.number { (latency(system.latency_p95_ms)) }
            td {
                @for (index, (name, count)) in system.outcomes.iter().enumerate() {
                    @if index > 0 { ", " } (name) " " (format::count(*count))
                }
            }
        }
    }
}
