//! What stands around tables: copies in other formats, and the meanings of their words.

use maud::{Markup, html};
use serde_json::{Value, json};

use super::script;
use crate::{Table, TableFormat, TableParts, Term, printable};

/// A table that can be sorted and copied. `shown` is what Markdown and LaTeX get, with one row for each row of `markup`, a
/// `table` element; `data` is what CSV gets, with a number a cell.
pub(super) fn table(markup: &Markup, shown: &Table, data: &Table) -> Markup {
    let parts = |table: &Table, format: TableFormat| {
        let TableParts { head, rows, foot } = table.parts(format);
        let text = |text: &String| printable(text).into_owned();
        json!([text(&head), rows.iter().map(text).collect::<Vec<_>>(), text(&foot)])
    };
    let copies: Value = json!({
        "Markdown": parts(shown, TableFormat::Markdown),
        "LaTeX": parts(shown, TableFormat::Latex),
        "CSV": parts(data, TableFormat::Csv),
    });
    html! {
        div.table {
            div.tools hidden {
                "copy as "
                @for format in ["Markdown", "LaTeX", "CSV"] { button type="button" data-format=(format) { (format) } }
                span.copied role="status" {}
            }
            div.scroll tabindex="0" role="group" aria-label="table, scrolls sideways" { (markup) }
            (script::unnamed(&copies.to_string()))
        }
    }
}

/// Words and their meanings, folded.
pub(super) fn terms(title: &str, terms: impl IntoIterator<Item = Term>) -> Markup {
    let terms: Vec<Term> = terms.into_iter().filter(|term| !term.meaning.is_empty()).collect();
    html! {
        @if !terms.is_empty() {
            details.terms {
                summary { (title) }
                dl { @for term in &terms { dt { (term.name) } dd { (term.meaning) "." } } }
            }
        }
    }
}
