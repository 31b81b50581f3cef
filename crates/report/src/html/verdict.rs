//! The result of a comparison in one sentence.

use maud::{Markup, html};

use super::format;
use crate::{Comparison, Contrast, MetricColumn, SystemKind, Verdict};

/// Below this many documents, intervals from resampling them are too narrow to lean on: the percentile bootstrap is known
/// to cover less than it claims for small samples.
const FEW_DOCUMENTS: u64 = 20;
/// How many systems a sentence names before it counts the others.
const NAMED: usize = 3;

/// The verdict, and a warning where it rests on little.
pub(super) fn section(comparison: &Comparison) -> Markup {
    html! {
        @if let Some(sentence) = sentence(comparison) { p.verdict { (sentence) } }
        @if let Some(count) = comparison.documents.filter(|&count| count < FEW_DOCUMENTS) {
            p.warning {
                strong { "Few documents. " }
                @if count == 1 {
                    "All scores rest on a single document, which says nothing about others: there is no interval and no test."
                } @else {
                    "All intervals and tests rest on " (count) " documents. So few are not enough to rely on: intervals are "
                    "too narrow, and another choice of documents may turn the result around."
                }
            }
        }
    }
}

/// What the tests against the controls allow to say about the systems under test on each headline metric. `None` where
/// nothing was tested.
pub(super) fn sentence(comparison: &Comparison) -> Option<String> {
    let clauses: Vec<String> = comparison
        .headline
        .iter()
        .filter_map(|name| comparison.metrics.iter().find(|metric| metric.name == *name))
        .filter_map(|metric| clause(comparison, metric))
        .collect();
    let mut text = clauses.join("; ");
    let first = text.get(..1)?.to_uppercase();
    text.replace_range(..1, &first);
    text.push('.');
    Some(text)
}

fn clause(comparison: &Comparison, metric: &MetricColumn) -> Option<String> {
    let (mut better, mut worse, mut undecided) = (Vec::new(), Vec::new(), Vec::new());
    for system in comparison.systems.iter().filter(|system| system.kind == SystemKind::System) {
        let own: Vec<&Contrast> = comparison
            .contrasts
            .iter()
            .filter(|contrast| contrast.system == system.name && contrast.metric == metric.name)
            .collect();
        let verdict = |contrast: &&Contrast| contrast.verdict(comparison.alpha, metric.lower_is_better);
        let gain =
            |contrast: &Contrast| if metric.lower_is_better { -contrast.difference } else { contrast.difference };
        let closest = own.iter().copied().reduce(|least, other| if gain(other) < gain(least) { other } else { least });
        let Some(closest) = closest else { continue };
        if own.iter().all(|contrast| verdict(contrast) == Verdict::Better) {
            let interval = closest.interval.map(|ends| format!(" {}", format::interval(ends, metric.unit)));
            let difference = format::difference(closest.difference, metric.unit);
            better.push(format!("{} ({difference}{})", system.name, interval.unwrap_or_default()));
        } else if own.iter().any(|contrast| verdict(contrast) == Verdict::Worse) {
            worse.push(system.name.clone());
        } else {
            undecided.push(system.name.clone());
        }
    }
    let is = |names: &[String]| if names.len() == 1 { "is" } else { "are" };
    let mut parts = Vec::new();
    if !better.is_empty() {
        parts.push(format!("{} {} better than every control", listed(&better), is(&better)));
    }
    if !worse.is_empty() {
        parts.push(format!("{} {} worse than at least one control", listed(&worse), is(&worse)));
    }
    match (undecided.len(), parts.is_empty()) {
        (0, true) => return None,
        (0, false) => {}
        (1, true) => parts.push(format!("no difference between {} and the controls is shown", undecided[0])),
        (_, true) => parts.push("no difference between any system and the controls is shown".to_owned()),
        (_, false) => parts.push(format!("no difference is shown for {}", listed(&undecided))),
    }
    Some(format!("on {}, {}", metric.name, joined(&parts)))
}

/// `a`, `a and b`, `a, b and c`, `a, b, c and 4 others`.
fn listed(names: &[String]) -> String {
    if names.len() <= NAMED + 1 {
        return joined(names);
    }
    let mut shown = names[..NAMED].to_vec();
    shown.push(format!("{} others", names.len() - NAMED));
    joined(&shown)
}

fn joined(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemRow;

    /// Systems with their differences from two controls on one metric; an interval is 0.01 to either side.
    fn compared(systems: &[(&str, f64, f64)]) -> Comparison {
        let mut contrasts = Vec::new();
        for &(system, first, second) in systems {
            for (control, difference) in [("one", first), ("two", second)] {
                contrasts.push(Contrast {
                    system: system.into(),
                    control: control.into(),
                    metric: "NER".into(),
                    difference,
                    interval: Some((difference - 0.01, difference + 0.01)),
                    p_adjusted: 0.001,
                });
            }
        }
        let row = |name: &str| SystemRow { name: name.into(), ..SystemRow::default() };
        Comparison {
            alpha: 0.05,
            headline: vec!["NER".into()],
            metrics: vec![MetricColumn { name: "NER".into(), ..MetricColumn::default() }],
            systems: systems.iter().map(|system| row(system.0)).collect(),
            contrasts,
            ..Comparison::default()
        }
    }

    #[test]
    fn an_interval_that_crosses_zero_shows_no_difference() {
        // The p-value alone would say otherwise.
        let sentence = sentence(&compared(&[("dpo", 0.005, 0.03)])).unwrap();
        assert_eq!(sentence, "On NER, no difference between dpo and the controls is shown.");
    }

    #[test]
    fn a_system_has_to_beat_every_control() {
        let sentence = sentence(&compared(&[("a", 0.02, 0.03), ("b", 0.03, 0.0), ("c", -0.02, 0.05)])).unwrap();
        assert_eq!(
            sentence,
            "On NER, a (+2.0 [1.0, 3.0]) is better than every control, c is worse than at least one control and no \
             difference is shown for b."
        );
    }

    #[test]
    fn nothing_tested_gives_no_verdict() {
        assert_eq!(sentence(&compared(&[])), None);
        assert_eq!(sentence(&Comparison::default()), None);
    }

    #[test]
    fn few_documents_are_warned_of() {
        let page = |documents| section(&Comparison { documents, ..Comparison::default() }).into_string();
        assert!(page(Some(1)).contains("single document"));
        assert!(page(Some(8)).contains("rest on 8 documents"));
        assert!(!page(Some(200)).contains("warning") && !page(None).contains("warning"));
    }

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = ["a", "b", "c", "d", "e", "f"].map(String::from).to_vec();
        assert_eq!(listed(&names), "a, b, c and 3 others");
        assert_eq!(listed(&names[..4]), "a, b, c and d");
    }
}
