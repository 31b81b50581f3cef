//! The report as one self-contained HTML page: without external resources, readable offline, in light
//! and dark mode and on paper.
//!
//! Markup is written with `maud`, which escapes every value, and control characters are made visible.
//! The style sheet and the script are the only unescaped text, and both are constants. The script builds what it shows
//! from text nodes, never from markup, and the page's own policy (`Content-Security-Policy`) lets the browser run nothing
//! but this script, known by its digest, and load nothing at all.

mod chart;
mod comparison;
mod errors;
mod forest;
mod format;
mod grid;
mod labels;
mod pairs;
mod roles;
mod run;
mod script;
mod texts;
mod tools;
mod verdict;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::{ReportInput, printable};

/// The colours of the page in light and dark, for other pages that look like it.
pub const COLOURS: &str = include_str!("../../assets/colours.css");

/// How spans and relations look, for other pages that draw them.
pub const SPANS: &str = include_str!("../../assets/spans.css");

/// The script that draws texts with spans and relations, an object `drawing`, for other pages that draw them. It makes
/// text nodes of what it is given, never markup.
pub const DRAWING: &str = include_str!("../../assets/drawing.js");

const STYLE: &str = concat!(
    include_str!("../../assets/colours.css"),
    include_str!("../../assets/page.css"),
    include_str!("../../assets/tables.css"),
    include_str!("../../assets/charts.css"),
    include_str!("../../assets/spans.css"),
    include_str!("../../assets/texts.css"),
    include_str!("../../assets/paper.css"),
);

/// A section of the page.
struct Section {
    anchor: &'static str,
    heading: &'static str,
    body: Markup,
}

/// The whole page.
pub fn page(input: &ReportInput) -> String {
    let sections = sections(input);
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(script::policy());
                title { (input.title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (input.title) }
                    @if let Some(subtitle) = &input.subtitle { p.subtitle { (subtitle) } }
                    @if let Some(comparison) = &input.comparison { (verdict::section(comparison)) }
                    @if let Some(summary) = &input.summary { (run::tiles(summary)) }
                    @if sections.len() > 1 {
                        nav {
                            @for section in &sections { a href={ "#" (section.anchor) } { (section.heading) } }
                        }
                    }
                }
                main {
                    @for section in &sections {
                        section id=(section.anchor) {
                            h2 { (section.heading) }
                            (section.body)
                        }
                    }
                }
                @if !sections.is_empty() { (script::own()) }
            }
        }
    };
    // Characters that change the direction of text are not markup, but must be escaped too.
    printable(&markup.into_string()).into_owned()
}

fn sections(input: &ReportInput) -> Vec<Section> {
    let mut sections = Vec::new();
    let mut add = |anchor, heading, present: bool, body: &dyn Fn() -> Markup| {
        if present {
            sections.push(Section { anchor, heading, body: body() });
        }
    };
    if let Some(comparison) = &input.comparison {
        add("comparison", "Comparison", true, &|| comparison::section(comparison));
    }
    let texts = input.texts.as_ref().filter(|texts| !texts.cases.is_empty());
    if let Some(texts) = texts {
        add("texts", "Texts", true, &|| texts::section(texts, input.comparison.as_ref()));
    }
    add("labels", "Scores by label", !input.labels.is_empty(), &|| labels::section(&input.labels));
    add("errors", "Error modes", !input.errors.is_empty(), &|| errors::section(&input.errors, texts));
    add("curves", "Training curves", !input.curves.is_empty(), &|| chart::section(&input.curves));
    if let Some(gradients) = &input.gradients {
        add("gradient", "Gradient by token role", !gradients.objectives.is_empty(), &|| {
            roles::gradients(gradients, &input.roles)
        });
    }
    add("erosion", "Likelihood by token role", !input.erosion.is_empty(), &|| roles::erosion(&input.erosion));
    add("pairs", "Preference pairs", !input.pairs.is_empty(), &|| pairs::section(&input.pairs));
    add("remote", "Cost and latency", !input.remote.is_empty(), &|| run::remote(&input.remote));
    if let Some(summary) = &input.summary {
        add("run", "How it was made", true, &|| run::section(summary));
    }
    sections
}
