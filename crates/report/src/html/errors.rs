//! Error modes: heat maps of confusions, and counts of the other kinds.

use maud::{Markup, html};

use super::format;
use super::texts::{Wanted, link};
use crate::{Confusion, ErrorModes, Texts};

pub(super) fn section(systems: &[ErrorModes], texts: Option<&Texts>) -> Markup {
    html! {
        p.note {
            "Rows are gold, columns are predictions; a cell shows its count, and its shade grows with its share of the row. "
            "The diagonal is correct. "
            @if texts.is_some() { "A count leads to its texts." }
        }
        @for (index, system) in systems.iter().enumerate() {
            details.errors open[index == 0] {
                summary { (system.system) }
                div.panels {
                    @for confusion in &system.confusions { (heat_map(confusion, &system.system, texts)) }
                    @if !system.kinds.is_empty() { (kinds(system, texts)) }
                }
            }
        }
    }
}

fn heat_map(confusion: &Confusion, system: &str, texts: Option<&Texts>) -> Markup {
    html! {
        figure {
            figcaption { (confusion.title) }
            div.scroll {
                table.heat {
                    thead {
                        tr {
                            th {}
                            @for name in &confusion.predicted { th { span { (name) } } }
                        }
                    }
                    tbody {
                        @for (row, name) in confusion.gold.iter().enumerate() {
                            tr {
                                th scope="row" { (name) }
                                @for column in 0..confusion.predicted.len() { (heat_cell(confusion, row, column, system, texts)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn heat_cell(confusion: &Confusion, row: usize, column: usize, system: &str, texts: Option<&Texts>) -> Markup {
    let counts = confusion.counts.get(row).map_or(&[][..], Vec::as_slice);
    let count = counts.get(column).copied().unwrap_or(0);
    let total: u64 = counts.iter().sum();
    let share = if total == 0 { 0.0 } else { count as f64 / total as f64 };
    let (gold, predicted) = (&confusion.gold[row], &confusion.predicted[column]);
    let correct = gold == predicted;
    let wanted = Wanted { system, kind: &confusion.kind, correct, gold: Some(gold), predicted: Some(predicted) };
    // The square root keeps rare confusions visible next to a full diagonal.
    html! {
        td class=(if correct { "right" } else { "wrong" }) style={ "--v:" (format!("{:.3}", share.sqrt())) }
            title={
                (gold) " as " (predicted) ": " (count) " of " (total)
                @if total > 0 { " (" (format::fixed(share * 100.0, 1)) " %)" }
            } {
            @if count > 0 { (link(texts, wanted, &html! { (format::count(count)) })) }
        }
    }
}

fn kinds(errors: &ErrorModes, texts: Option<&Texts>) -> Markup {
    let kinds = &errors.kinds;
    let wanted = |kind| Wanted { system: &errors.system, kind, ..Wanted::default() };
    let most = kinds.iter().map(|(_, count)| *count).max().unwrap_or(0).max(1);
    html! {
        figure {
            figcaption { "Errors by kind" }
            table.bars {
                tbody {
                    @for (name, count) in kinds {
                        tr {
                            th scope="row" { (name) }
                            td.number { (link(texts, wanted(name), &html! { (format::count(*count)) })) }
                            td.bar { span style={ "--v:" (format!("{:.3}", *count as f64 / most as f64)) } {} }
                        }
                    }
                }
            }
        }
    }
}
