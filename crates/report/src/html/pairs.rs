//! Preference pairs, one at a time, with the edit highlighted.

use std::collections::BTreeSet;

use maud::{Markup, html};
use similar::{ChangeTag, TextDiff};

use super::format;
use crate::PairView;

/// Without the script, and on paper, all pairs are listed.
pub(super) fn section(pairs: &[PairView]) -> Markup {
    let kinds: BTreeSet<&str> = pairs.iter().map(|pair| pair.kind.as_str()).collect();
    let sources: BTreeSet<&str> = pairs.iter().map(|pair| pair.source.as_str()).collect();
    html! {
        div.filters hidden {
            (filter("kind", &kinds))
            @if sources.len() > 1 { (filter("source", &sources)) }
        }
        div.pager id="pairs-pager" hidden {
            button type="button" data-step="-1" { "← previous" }
            span.place {}
            button type="button" data-step="1" { "next →" }
            span.hint { "or use the arrow keys" }
        }
        div.pairs { @for pair in pairs { (card(pair)) } }
    }
}

/// A selector of one value of a field.
fn filter(field: &str, values: &BTreeSet<&str>) -> Markup {
    html! {
        label {
            (field) " "
            select data-field=(field) { option value="" { "all" } @for value in values { option value=(value) { (value) } } }
        }
    }
}

fn card(pair: &PairView) -> Markup {
    html! {
        article.pair data-kind=(pair.kind) data-source=(pair.source) {
            p.facts {
                strong { (pair.kind) }
                @if !pair.source.is_empty() { span.tag { (pair.source) } }
                @if let Some(distance) = pair.distance {
                    span { (distance) @if distance == 1 { " token" } @else { " tokens" } " changed" }
                }
                @if let Some(weight) = pair.weight { span { "weight " (format::fixed(weight, 2)) } }
                span.hint { (pair.place) " · " (pair.id) }
            }
            @if !pair.from.is_empty() || !pair.to.is_empty() {
                p.edit {
                    @if !pair.item.is_empty() { span.hint { (pair.item) ": " } }
                    @if pair.from.is_empty() { "nothing" } @else { mark.preferred { (pair.from) } }
                    " → "
                    @if pair.to.is_empty() { "nothing" } @else { mark.rejected { (pair.to) } }
                }
            }
            @if !pair.text.is_empty() { blockquote { (pair.text) } }
            (answers(&pair.chosen, &pair.rejected))
        }
    }
}

fn answers(chosen: &str, rejected: &str) -> Markup {
    let (before, after) = (pieces(chosen), pieces(rejected));
    let difference = TextDiff::from_slices(&before, &after);
    let side = |own: ChangeTag| {
        let mut runs: Vec<(bool, String)> = Vec::new();
        for change in difference.iter_all_changes().filter(|change| [own, ChangeTag::Equal].contains(&change.tag())) {
            let marked = change.tag() == own;
            match runs.last_mut() {
                Some((last, text)) if *last == marked => text.push_str(change.value()),
                _ => runs.push((marked, change.value().to_owned())),
            }
        }
        runs
    };
    let (kept, changed) = (side(ChangeTag::Delete), side(ChangeTag::Insert));
    html! {
        dl {
            dt { "preferred" }
            dd { code { @for (marked, text) in &kept { @if *marked { mark.preferred { (text) } } @else { (text) } } } }
            dt { "rejected" }
            dd { code { @for (marked, text) in &changed { @if *marked { mark.rejected { (text) } } @else { (text) } } } }
        }
    }
}

/// An answer split into words and other characters, so that edits are marked as whole words.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut in_word = false;
    for (place, character) in text.char_indices() {
        let word = character.is_alphanumeric() || character == '-' || character == '_';
        if place > start && !(word && in_word) {
            pieces.push(&text[start..place]);
            start = place;
        }
        in_word = word;
    }
    if start < text.len() {
        pieces.push(&text[start..]);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_the_text() {
        assert_eq!(pieces(r#"{"type":"Used-for"}"#), ["{", "\"", "type", "\"", ":", "\"", "Used-for", "\"", "}"]);
        assert_eq!(pieces("äö ü").concat(), "äö ü");
        assert!(pieces("").is_empty());
    }

    #[test]
    fn the_edit_is_marked_on_both_sides() {
        let markup = answers(r#"{"type":"Task"}"#, r#"{"type":"Method"}"#).into_string();
        assert!(markup.contains(r#"<mark class="preferred">Task</mark>"#), "{markup}");
        assert!(markup.contains(r#"<mark class="rejected">Method</mark>"#), "{markup}");
        assert_eq!(markup.matches("<mark").count(), 2);
    }
}
