//! The texts with gold beside the systems' answers: filters, and the data from which the script draws them.

mod data;
mod selection;

use maud::{Markup, html};

use super::tools::terms;
use super::{format, script};
use crate::{Comparison, SystemKind, SystemRow, Term, Texts};

/// The most bytes that the texts take. With it a page stays under 2 MB, with some room for everything else.
const BUDGET: usize = 1_300_000;

/// The value of a filter that stands for anything.
const ANY: &str = "";
/// The kind of item that is no error: gold that the answer has.
const CORRECT: &str = "correct";

/// `comparison` decides which two systems are shown at first.
pub(super) fn section(texts: &Texts, comparison: Option<&Comparison>) -> Markup {
    let sizes: Vec<String> = texts.cases.iter().map(|case| data::case(case).to_string()).collect();
    let lengths: Vec<usize> = sizes.iter().map(|text| script::escaped(text).len() + 1).collect();
    let chosen = selection::select(texts, &lengths, BUDGET);
    let (first, second) = first_pair(texts, comparison);
    let cases: Vec<&str> = chosen.iter().map(|&position| sizes[position].as_str()).collect();
    let head = data::head(texts).to_string();
    let json = format!("{},\"first\":[{first},{second}],\"cases\":[{}]}}", &head[..head.len() - 1], cases.join(","));
    html! {
        p {
            "Each text with gold beside the answers of two systems. Whatever an answer has wrong is marked " span.bad { "✗" }
            " and explained below it. "
            @if !texts.scope.is_empty() { span.hint { (texts.scope) "." } }
        }
        @if (chosen.len() as u64) < texts.total {
            p.note {
                "A sample: " (format::count(chosen.len() as u64)) " of " (format::count(texts.total)) " texts, among them at "
                "least some of every kind of error. Numbers of cases here count the sample; the tables count all texts."
            }
        }
        noscript { p.note { "The texts are drawn by the script of this page, which this browser does not run." } }
        form.filters hidden {
            (choice("a", "System A", texts.systems.iter().enumerate(), first))
            (choice("b", "System B", texts.systems.iter().enumerate(), second))
            label {
                "Show"
                select name="show" {
                    option value="all" { "every text" }
                    option value="differ" { "A and B differ" }
                    option value="a-right" { "A right, B wrong" }
                    option value="b-right" { "A wrong, B right" }
                    option value="a-wrong" { "A wrong" }
                    option value="both-wrong" { "both wrong" }
                }
            }
            label {
                "Kind"
                select name="kind" {
                    option value=(ANY) { "any" }
                    option value=(CORRECT) { (CORRECT) }
                    @for (position, kind) in texts.kinds.iter().enumerate() { option value=(position) { (kind.name) } }
                }
            }
            (label_choice(texts, "gold", "Label in gold"))
            (label_choice(texts, "predicted", "Label in the answer"))
            label { "Find" input name="find" type="search" placeholder="words in the text"; }
            label.check { input name="every" type="checkbox"; " all systems" }
            button type="reset" { "reset" }
        }
        p.found role="status" hidden {}
        (pager("texts-pager"))
        div.cases {}
        (terms("What the kinds of error mean", texts.kinds.iter().map(|kind| Term { name: kind.name.clone(), meaning: kind.meaning.clone() })))
        (script::data("texts-data", &json))
    }
}

/// Buttons to turn pages, which the script fills.
fn pager(id: &str) -> Markup {
    html! {
        div.pager id=(id) hidden {
            button type="button" data-step="-1" { "← previous" }
            span.place {}
            button type="button" data-step="1" { "next →" }
        }
    }
}

fn choice<'a>(name: &str, title: &str, options: impl Iterator<Item = (usize, &'a String)>, chosen: usize) -> Markup {
    html! {
        label {
            (title)
            select name=(name) {
                @for (position, option) in options { option value=(position) selected[position == chosen] { (option) } }
            }
        }
    }
}

/// Entity labels as `e0`, `e1`, relation types as `r0`, `r1`.
fn label_choice(texts: &Texts, name: &str, title: &str) -> Markup {
    let group = |title: &str, prefix: &str, labels: &[String]| {
        html! {
            @if !labels.is_empty() {
                optgroup label=(title) {
                    @for (position, label) in labels.iter().enumerate() { option value={ (prefix) (position) } { (label) } }
                }
            }
        }
    };
    html! {
        label {
            (title)
            select name=(name) {
                option value=(ANY) { "any" }
                (group("entities", "e", &texts.entity_labels))
                (group("relations", "r", &texts.relation_labels))
            }
        }
    }
}

/// The best system under test and the best control on the first metric, as positions in [`Texts::systems`]; whatever
/// comes first where there is none.
fn first_pair(texts: &Texts, comparison: Option<&Comparison>) -> (usize, usize) {
    let position = |row: &SystemRow| texts.systems.iter().position(|name| *name == row.name);
    let best = |kind: SystemKind| {
        let rows = comparison?.systems.iter().filter(|row| row.kind == kind && !row.silent);
        let scored = rows.filter_map(|row| Some((row.scores.first().copied().flatten()?.value, position(row)?)));
        scored.reduce(|best, row| if row.0 > best.0 { row } else { best }).map(|(_, position)| position)
    };
    let a = best(SystemKind::System).unwrap_or(0);
    let b = best(SystemKind::Control).or_else(|| best(SystemKind::Checkpoint)).filter(|&b| b != a);
    (a, b.unwrap_or_else(|| (0..texts.systems.len()).find(|&other| other != a).unwrap_or(0)))
}

/// What a link asks the texts for.
#[derive(Clone, Copy, Default)]
pub(super) struct Wanted<'a> {
    /// The system.
    pub(super) system: &'a str,
    /// The kind of error.
    pub(super) kind: &'a str,
    /// Whether what is wanted is the opposite of that error: items of gold that the answer has.
    pub(super) correct: bool,
    /// The label in gold.
    pub(super) gold: Option<&'a str>,
    /// The label in the answer.
    pub(super) predicted: Option<&'a str>,
}

/// A link to the cases that something counts; just the content where there are no texts.
pub(super) fn link(texts: Option<&Texts>, wanted: Wanted, content: &Markup) -> Markup {
    let found = texts.and_then(|texts| {
        let system = texts.systems.iter().position(|name| name == wanted.system)?;
        let kind = texts.kinds.iter().position(|kind| kind.name == wanted.kind)?;
        let (prefix, labels) =
            if texts.kinds[kind].relational { ("r", &texts.relation_labels) } else { ("e", &texts.entity_labels) };
        let label = |name: Option<&str>| match name {
            Some(name) => labels.iter().position(|own| own == name).map(|position| format!("{prefix}{position}")),
            None => Some(ANY.to_owned()),
        };
        let kind = if wanted.correct { CORRECT.to_owned() } else { kind.to_string() };
        Some((system, kind, label(wanted.gold)?, label(wanted.predicted)?))
    });
    let Some((system, kind, gold, predicted)) = found else { return content.clone() };
    html! {
        a.cases href="#texts" data-a=(system) data-kind=(kind) data-gold=(gold) data-predicted=(predicted) { (content) }
    }
}
