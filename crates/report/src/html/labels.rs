//! F1 by label and system.

use maud::{Markup, html};

use super::{format, tools};
use crate::{Alignment, LabelScores, ScoreUnit, Table};

pub(super) fn section(tables: &[LabelScores]) -> Markup {
    html! {
        @for table in tables {
            h3 { (table.title) }
            (tools::table(&markup(table), &copy(table), &copy(table)))
            @if !table.note.is_empty() { p.note { (table.note) } }
        }
        p.note { "F1 times 100, shaded by its value. A dash means that neither gold nor predictions have the label." }
    }
}

fn markup(table: &LabelScores) -> Markup {
    html! {
        table.labels.sortable {
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

fn copy(table: &LabelScores) -> Table {
    let systems = table.systems.iter().map(|system| (system.name.clone(), Alignment::Decimal));
    let first = [("Label".to_owned(), Alignment::Left), ("Gold".to_owned(), Alignment::Right)];
    let mut copy = Table::new(first.into_iter().chain(systems));
    for (row, label) in table.labels.iter().enumerate() {
        let support = table.support.get(row).map_or(String::new(), u64::to_string);
        let f1 = table.systems.iter().map(|system| match system.f1.get(row).copied().flatten() {
            Some(f1) => format::score(f1, ScoreUnit::Percent),
            None => "–".to_owned(),
        });
        copy.push([label.clone(), support].into_iter().chain(f1));
    }
    copy
}

fn label_row(table: &LabelScores, row: usize, label: &str) -> Markup {
    html! {
        tr {
            th scope="row" { (label) }
            td.number data-v=[table.support.get(row)] { @if let Some(&support) = table.support.get(row) { (format::count(support)) } }
            @for system in &table.systems {
                @if let Some(f1) = system.f1.get(row).copied().flatten() {
                    td.number.shade data-v=(f1) style={ "--v:" (format!("{f1:.3}")) } { (format::score(f1, ScoreUnit::Percent)) }
                } @else {
                    td.number { span.hint { "–" } }
                }
            }
        }
    }
}
