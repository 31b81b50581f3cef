//! Results as tables.

use tabpo_metrics::Comparison;
use tabpo_report::{Alignment, Table, TableFormat};

use crate::output;

/// The metrics in the table that a run prints; the report has all of them.
const HEADLINE: [&str; 7] =
    ["ner_f1", "label_accuracy", "rel_f1", "rel_plus_f1", "ungrounded", "schema_valid", "ner_both_f1"];

/// The main metrics of a comparison.
pub(crate) fn headline(whole: &Comparison) -> Table {
    let kept: Vec<usize> =
        (0..whole.metrics.len()).filter(|&index| HEADLINE.contains(&whole.metrics[index].key.as_str())).collect();
    let mut part = whole.clone();
    part.metrics = kept.iter().map(|&index| whole.metrics[index].clone()).collect();
    for (system, all) in part.systems.iter_mut().zip(&whole.systems) {
        system.scores = kept.iter().map(|&index| all.scores[index].clone()).collect();
    }
    comparison(&part)
}

/// A table of systems by metrics: scores in per cent, with 95 % intervals.
pub(crate) fn comparison(comparison: &Comparison) -> Table {
    let metrics = comparison.metrics.iter().map(|metric| (metric.title.clone(), Alignment::Right));
    let mut table = Table::new(std::iter::once(("System".to_owned(), Alignment::Left)).chain(metrics));
    for system in &comparison.systems {
        let name =
            if system.runs > 1 { format!("{} ({} seeds)", system.name, system.runs) } else { system.name.clone() };
        let scores = system.scores.iter().map(|score| {
            let interval = score.low.zip(score.high);
            let interval = interval.map(|(low, high)| format!("[{}, {}]", percent(low), percent(high)));
            let interval = interval.unwrap_or_else(|| format!("[{DASH}]"));
            score.value.map_or_else(|| DASH.to_owned(), |value| format!("{} {interval}", percent(value)))
        });
        table.push(std::iter::once(name).chain(scores));
    }
    table
}

/// Precision and recall of the headline's F1 scores, for every system; none if there is no such score.
pub(crate) fn precision_and_recall(comparison: &Comparison) -> Option<Table> {
    let scored: Vec<usize> = (0..comparison.metrics.len())
        .filter(|&index| {
            let key = comparison.metrics[index].key.as_str();
            HEADLINE.contains(&key) && key.ends_with("_f1")
        })
        .collect();
    if scored.is_empty() {
        return None;
    }
    let columns = scored.iter().flat_map(|&index| {
        let name = comparison.metrics[index].title.trim_end_matches(" F1");
        [format!("{name} P"), format!("{name} R")].map(|title| (title, Alignment::Right))
    });
    let mut table = Table::new([("System".to_owned(), Alignment::Left)].into_iter().chain(columns));
    for system in &comparison.systems {
        let rates = scored.iter().flat_map(|&index| {
            let score = &system.scores[index];
            [score.precision, score.recall].map(percent_or_dash)
        });
        table.push([system.name.clone()].into_iter().chain(rates));
    }
    Some(table)
}

/// A table for people: in one piece, or where the terminal is too narrow, its columns in several.
pub(crate) fn shown(table: &Table) -> String {
    output::width().map_or_else(|| table.plain(), |width| fitted(table, width))
}

/// A table in a format; the plain one is for people and fits their terminal.
pub(crate) fn rendered(table: &Table, format: TableFormat) -> String {
    if format == TableFormat::Plain { shown(table) } else { table.render(format) }
}

/// A table whose lines are at most `width` wide, if its numbers are. Each part repeats the first column; a column of text
/// that is too wide by itself is cut.
fn fitted(table: &Table, width: usize) -> String {
    let wide = |table: &Table| table.plain().lines().any(|line| console::measure_text_width(line) > width);
    let mut parts: Vec<Table> = Vec::new();
    for column in 1..table.header.len() {
        if let Some(last) = parts.last_mut() {
            let mut with = last.clone();
            add_column(&mut with, table, column);
            if !wide(&with) {
                *last = with;
                continue;
            }
        }
        let mut part = Table::new([(table.header[0].clone(), table.alignment[0])]);
        table.rows.iter().for_each(|row| part.push([row[0].clone()]));
        add_column(&mut part, table, column);
        parts.push(part);
    }
    for part in parts.iter_mut().filter(|part| part.alignment[1..] == [Alignment::Left] && wide(part)) {
        let widest = |column: usize| {
            let cells = part.rows.iter().map(|row| &row[column]).chain([&part.header[column]]);
            cells.map(|cell| console::measure_text_width(cell)).max().unwrap_or(0)
        };
        let gap = part.plain().lines().map(console::measure_text_width).max().unwrap_or(0) - widest(0) - widest(1);
        let room = width.saturating_sub(widest(0) + gap).max(8);
        for row in &mut part.rows {
            row[1] = console::truncate_str(&row[1], room, "…").into_owned();
        }
    }
    if parts.len() < 2 { table.plain() } else { parts.iter().map(Table::plain).collect::<Vec<_>>().join("\n") }
}

fn add_column(part: &mut Table, whole: &Table, column: usize) {
    part.header.push(whole.header[column].clone());
    part.alignment.push(whole.alignment[column]);
    for (row, cells) in part.rows.iter_mut().zip(&whole.rows) {
        row.push(cells[column].clone());
    }
}

/// Shown instead of a rate over nothing, and of an interval that does not exist.
pub(crate) const DASH: &str = "–";

/// A fraction in per cent with one decimal, or a dash.
pub(crate) fn percent_or_dash(fraction: Option<f64>) -> String {
    fraction.map_or_else(|| DASH.to_owned(), percent)
}

/// A fraction in per cent with one decimal.
pub(crate) fn percent(fraction: f64) -> String {
    format!("{:.1}", 100.0 * fraction)
}

/// A text, cut to a width at which table rows stay readable.
pub(crate) fn shorten(text: &str) -> String {
    const WIDTH: usize = 72;
    if text.chars().count() <= WIDTH {
        return text.to_owned();
    }
    text.chars().take(WIDTH - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wide_table_comes_in_parts_that_lose_nothing() {
        let columns = (0..9).map(|column| (format!("column {column}"), Alignment::Right));
        let mut table = Table::new([("System".to_owned(), Alignment::Left)].into_iter().chain(columns));
        for row in 0..3 {
            let cells = (0..9).map(|column| format!("{row}.{column} [1.0, 2.0]"));
            table.push([format!("system {row}")].into_iter().chain(cells));
        }
        let whole = table.plain();
        assert_eq!(fitted(&table, 400), whole);
        for width in [48, 80, 120] {
            let text = fitted(&table, width);
            assert!(text.lines().all(|line| line.chars().count() <= width), "{width}:\n{text}");
            for cell in table.rows.iter().flatten().skip(1).filter(|cell| !cell.starts_with("system")) {
                assert_eq!(text.matches(cell.as_str()).count(), 1, "{cell}");
            }
            let parts = text.matches("column").count() / text.split("\n\n").count();
            assert!(parts >= 1 && text.matches("System").count() == text.split("\n\n").count(), "{text}");
        }
        // Nothing can be done about a number that is too wide.
        assert!(fitted(&table, 10).lines().any(|line| line.chars().count() > 10));
    }

    #[test]
    fn a_column_of_text_is_cut_where_it_would_wrap() {
        let mut table =
            Table::new([("Mode", Alignment::Left), ("Count", Alignment::Right), ("Example", Alignment::Left)]);
        table.push(["label", "7", &"long ".repeat(30)]);
        table.push(["boundary", "3", "short"]);
        let text = fitted(&table, 80);
        assert!(text.lines().all(|line| console::measure_text_width(line) <= 80), "{text}");
        assert!(text.contains("long long") && text.contains('…') && text.contains("short"), "{text}");
    }
}
