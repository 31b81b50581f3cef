//! Scores: the comparison of systems, and F1 by label.

use std::collections::BTreeMap;

use tabpo_metrics::{Evaluation, INVALID, LabelledScores};
use tabpo_ontology::Ontology;
use tabpo_report::{
    Comparison, Contrast, Estimate, LabelScores, LabelSystem, MetricColumn, RemoteSystem, ScoreUnit, SystemKind,
    SystemRow,
};

use super::{
    super::{
        comparison::{CHECKPOINT, SystemScores, TUNED},
        systems::{CONTROLS, EQUAL_FLOPS, EQUAL_STEPS},
    },
    counted, terms,
};

/// A difference is distinguishable if its adjusted p-value is below this.
const ALPHA: f64 = 0.05;

/// The metrics on which the verdict is given: those by which learning rates are chosen on validation.
const HEADLINE: [&str; 2] = ["ner_f1", "rel_f1"];

/// The comparison of all systems.
pub(super) fn comparison(scores: &SystemScores, remote: &[RemoteSystem], documents: usize) -> Comparison {
    let from = &scores.comparison;
    let kind = |name: &str| match plain(name) {
        CHECKPOINT => SystemKind::Checkpoint,
        name if CONTROLS.contains(&name) => SystemKind::Control,
        name if remote.iter().any(|system| system.name == name) => SystemKind::Remote,
        _ => SystemKind::System,
    };
    let estimate = |score: &tabpo_metrics::comparison::Estimate| {
        Some(Estimate {
            value: score.value?,
            precision_and_recall: score.precision.zip(score.recall),
            interval: score.low.zip(score.high),
            deviation: score.sd,
        })
    };
    let title = |key: &str| {
        let named = from.metrics.iter().find(|metric| metric.key == key);
        named.map_or_else(|| key.to_owned(), |metric| metric.title.clone())
    };
    let mut contrasts = Vec::new();
    for pair in &from.differences {
        // They are stored as the earlier system minus the later one, and shown as system minus control.
        let is_control = |name: &str| [EQUAL_STEPS, EQUAL_FLOPS].contains(&plain(name));
        let (system, control, sign) = match (is_control(&pair.a), is_control(&pair.b)) {
            (true, false) => (&pair.b, &pair.a, -1.0),
            (false, true) => (&pair.a, &pair.b, 1.0),
            _ => continue,
        };
        // What a threshold gives to a system, it may give to the control as well.
        let alike = system.ends_with(TUNED) == control.ends_with(TUNED);
        if plain(system) == CHECKPOINT || !alike {
            continue;
        }
        for difference in &pair.differences {
            // Only what was tested is a contrast.
            let (Some(value), Some(p_adjusted)) = (difference.difference, difference.p_holm) else { continue };
            let ends = difference.low.zip(difference.high).map(|(low, high)| (sign * low, sign * high));
            contrasts.push(Contrast {
                system: system.clone(),
                control: control.clone(),
                metric: title(&difference.metric),
                difference: sign * value,
                interval: ends.map(|(one, other)| (one.min(other), one.max(other))),
                p_adjusted,
            });
        }
    }
    Comparison {
        scope: format!("test split, {}", counted(documents, "document")),
        method: match from.without_intervals() {
            Some(reason) => format!("No intervals and no p-values: {reason}."),
            None => format!(
                "95 % percentile intervals of {} bootstrap resamples of the documents; two-sided p-values of \
                 approximate randomisation, Holm-adjusted over the metrics of a pair",
                from.resamples
            ),
        },
        documents: Some(from.documents),
        headline: from
            .metrics
            .iter()
            .filter(|metric| HEADLINE.contains(&metric.key.as_str()))
            .map(|metric| metric.title.clone())
            .collect(),
        alpha: ALPHA,
        metrics: from
            .metrics
            .iter()
            .map(|metric| MetricColumn {
                name: metric.title.clone(),
                meaning: terms::metric(&metric.key).to_owned(),
                unit: ScoreUnit::Percent,
                lower_is_better: !metric.higher_is_better,
            })
            .collect(),
        systems: from
            .systems
            .iter()
            .map(|system| SystemRow {
                name: system.name.clone(),
                kind: kind(&system.name),
                silent: !system.extracts,
                scores: system.scores.iter().map(estimate).collect(),
            })
            .collect(),
        contrasts,
    }
}

/// A system's name without what says that its thresholds are tuned.
fn plain(name: &str) -> &str {
    name.strip_suffix(TUNED).unwrap_or(name)
}

/// Takes the scores of one family of items.
type Family = fn(&Evaluation) -> &LabelledScores;

/// What the page calls predictions whose label the ontology lacks.
const UNKNOWN: &str = "unknown label";

/// F1 by label. Labels are spelled as answers spell them, as everywhere on the page.
pub(super) fn labels(evaluations: &[(String, Evaluation)], ontology: &Ontology) -> Vec<LabelScores> {
    let entities = ontology.entity_ids().map(|id| (ontology.entity_data_name(id), ontology.entity(id).name.as_str()));
    let relations =
        ontology.relation_ids().map(|id| (ontology.relation_data_name(id), ontology.relation(id).name.as_str()));
    let spellings: [BTreeMap<&str, &str>; 2] = [entities.collect(), relations.collect()];
    let families: [(&str, Family); 2] = [
        ("Entities, strict", |evaluation| &evaluation.set.ner),
        ("Relations, symmetric types in canonical order", |evaluation| &evaluation.set.rel_symmetric),
    ];
    let tables = families.into_iter().zip(&spellings).map(|((title, family), spelling)| {
        let spelled = |label: &str| match label {
            INVALID => UNKNOWN.to_owned(),
            label => spelling.get(label).copied().unwrap_or(label).to_owned(),
        };
        let mut support: BTreeMap<&str, u64> = BTreeMap::new();
        for (label, scores) in evaluations.iter().flat_map(|(_, evaluation)| &family(evaluation).per_label) {
            let count = support.entry(label).or_default();
            *count = (*count).max(scores.gold);
        }
        let f1 = |evaluation: &Evaluation| {
            let per_label = &family(evaluation).per_label;
            support.keys().map(|&label| per_label.get(label).and_then(|scores| scores.f1)).collect()
        };
        let systems =
            evaluations.iter().map(|(name, evaluation)| LabelSystem { name: name.clone(), f1: f1(evaluation) });
        LabelScores {
            title: title.to_owned(),
            note: if support.contains_key(INVALID) {
                format!(
                    "The row \u{201c}{UNKNOWN}\u{201d} counts what answers give a label that the ontology lacks: gold has none of it, \
                     so any such answer is wrong."
                )
            } else {
                String::new()
            },
            labels: support.keys().map(|&label| spelled(label)).collect(),
            support: support.values().copied().collect(),
            systems: systems.collect(),
        }
    });
    tables.filter(|table| !table.labels.is_empty()).collect()
}
