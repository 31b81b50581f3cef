//! F1 by label and system.

use maud::{Markup, html};

use super::format;
use crate::{LabelScores, ScoreUnit};

pub(super) fn section(tables: &[LabelScores]) -> Markup {
    html! {
        @for table in tables {
            h3 { (table.title) }
            div.scroll {
                table.labels {
                    thead {
                        tr {
                            th { "Label" }
                            th.number { "Gold" }
                            @for system in &table.systems { th.number { (system.name) } }
                        }
                    }
                    tbody { @for (row, label) in table.labels.iter().enumerate() { (label_row(table, row, label)) } }
                }
            }
        }
        p.note { "F1 times 100, shaded by its value. A dash means that neither gold nor predictions have the label." }
    }
}

fn label_row(table: &LabelScores, row: usize, label: &str) -> Markup {
    html! {
        tr {
            th scope="row" { (label) }
            td.number { @if let Some(&support) = table.support.get(row) { (format::count(support)) } }
            @for system in &table.systems {
                @if let Some(f1) = system.f1.get(row).copied().flatten() {
                    td.number.shade style={ "--v:" (format!("{f1:.3}")) } { (format::score(f1, ScoreUnit::Percent)) }
                } @else {
                    td.number { span.hint { "–" } }
                }
            }
        }
    }
}
