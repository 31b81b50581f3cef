//! The report page of a run, made from the outputs of all stages.

use std::{collections::BTreeMap, path::PathBuf};

use tabpo_metrics::{
    Evaluation, LabelledScores,
    modes::{ErrorModes, ModeKind},
};
use tabpo_objective::accounting::RoleSummary;
use tabpo_pairs::{Kind, PairRecord};
use tabpo_report::{
    Comparison, Confusion, Contrast, Curve, CurveChart, Estimate, Fact, LabelScores, LabelSystem, LoggedRecords,
    MetricColumn, PairView, Record, RemoteSystem, ReportInput, RoleChange, RoleProfile, RoleShares, RunSummary,
    ScoreUnit, StageTime, SystemKind, SystemRow, html, read_metrics,
};
use tabpo_roles::Role;

use super::{
    Artefact, Stages,
    comparison::{CHECKPOINT, Compared, SystemScores, TUNED},
    directory::write_atomically,
    examples::read_pairs,
    systems::{CONTROLS, EQUAL_FLOPS, EQUAL_STEPS, System},
    threshold::Thresholds,
    training::damaged_lines,
    tuning::TunedSystem,
    variants::SystemRuns,
};
use crate::error::{Error, ResultExt};

/// How many pairs the page shows.
const PAIRS_SHOWN: usize = 60;
/// The number of last steps over which shares of the gradient are averaged.
const LAST_STEPS: usize = 10;
/// A difference is distinguishable if its adjusted p-value is below this.
const ALPHA: f64 = 0.05;

impl Stages<'_> {
    /// Writes `report.html` and returns its path.
    ///
    /// It is not a stage but always written: it shows the configuration and the times of all stages, so it depends on
    /// nearly everything, and writing it takes little time.
    pub(super) fn write_page(
        &self,
        systems: &[System],
        trained: &[SystemRuns],
        pairs: &Artefact<PathBuf>,
        compared: &Compared,
    ) -> Result<PathBuf, Error> {
        let path = self.directory.path("report.html")?;
        let log = if self.log().exists() { read_metrics(&self.log()).or_failed()? } else { LoggedRecords::default() };
        if !log.damaged.is_empty() {
            self.observer.warn(&damaged_lines(&self.log(), &log.damaged));
        }
        let shown = read_pairs(&pairs.path)?;
        let input = self.input(systems, trained, &shown, compared, &log.records);
        write_atomically(&path, html::page(&input).as_bytes())?;
        Ok(path)
    }

    fn input(
        &self,
        systems: &[System],
        trained: &[SystemRuns],
        pairs: &[PairRecord],
        compared: &Compared,
        steps: &[Record],
    ) -> ReportInput {
        let scores = &compared.scores;
        let first_runs: Vec<(&str, String)> = systems
            .iter()
            .zip(trained)
            .map(|(system, runs)| (system.name.as_str(), runs.runs[0].folder.display().to_string()))
            .collect();
        let last: Vec<(&str, Last)> = first_runs.iter().map(|(name, stage)| (*name, Last::of(steps, stage))).collect();
        ReportInput {
            title: self.inputs.config.run.name.clone(),
            subtitle: Some(format!("tabpo {}", env!("CARGO_PKG_VERSION"))),
            summary: Some(self.summary(systems, trained, &scores.thresholds)),
            comparison: Some(comparison(scores, &compared.remote, self.inputs.splits.test.len())),
            labels: labels(&scores.evaluations),
            errors: scores.modes.iter().map(|(name, modes)| self.errors(name, modes)).collect(),
            curves: curves(&first_runs, steps),
            gradients: Some(shares(&last)),
            erosion: last.iter().filter(|(_, last)| last.compared()).map(|(name, last)| last.change(name)).collect(),
            pairs: evenly(pairs, PAIRS_SHOWN).map(view).collect(),
            remote: compared.remote.clone(),
        }
    }

    fn summary(&self, systems: &[System], trained: &[SystemRuns], tuned: &[TunedSystem]) -> RunSummary {
        let fact = |name: &str, value: String| Fact { name: name.to_owned(), value };
        let config = &self.inputs.config;
        let model = match &config.model.folder {
            Some(folder) => folder.display().to_string(),
            None => format!("from scratch, {} layers of width {}", config.model.layers, config.model.hidden),
        };
        let mut facts = vec![fact("Ontology", self.inputs.ontology.name.clone()), fact("Model", model)];
        for (name, documents) in self.inputs.splits.named() {
            let sentences: usize = documents.iter().map(|document| document.sentences.len()).sum();
            facts.push(fact(
                &format!("{name} split"),
                format!("{}, {}", counted(documents.len(), "document"), counted(sentences, "sentence")),
            ));
        }
        let mut training = Vec::new();
        for (system, runs) in systems.iter().zip(trained) {
            let summary = &runs.runs[0].report.summary;
            let spent = format!(
                "{} steps, {} tokens trained, {} for the reference, learning rate {:e}",
                summary.steps, summary.tokens.trained, summary.tokens.reference, runs.learning_rate
            );
            training.push(fact(&system.name, spent));
        }
        let related = !self.inputs.ontology.relations.is_empty();
        let shown = |thresholds: &Thresholds| {
            let relations =
                if related { format!(", {:.2} for relations", thresholds.relations) } else { String::new() };
            format!("{:.2} for entities{relations}", thresholds.entities)
        };
        for system in tuned {
            let thresholds = system.runs.iter().map(shown).collect::<Vec<_>>().join("; ");
            let cost = format!("{} tokens written to choose them on validation", system.written_tokens);
            training.push(fact(&system.name, format!("lists go on above {thresholds}; {cost}")));
        }
        let stages = self.ledger.stages().iter().map(|(name, done)| StageTime {
            name: name.clone(),
            seconds: done.seconds,
            reused: false,
        });
        RunSummary {
            facts,
            training,
            seeds: config.preference.seeds.clone(),
            digests: self.ledger.stages().iter().map(|(name, done)| fact(name, done.key[..16].to_owned())).collect(),
            stages: stages.collect(),
            configuration: config.to_toml(),
        }
    }

    fn errors(&self, name: &str, modes: &ErrorModes) -> tabpo_report::ErrorModes {
        let names = |list: &mut dyn Iterator<Item = &String>| list.cloned().collect::<Vec<_>>();
        let entities = names(&mut self.inputs.ontology.entities.iter().map(|label| &label.name));
        let relations = names(&mut self.inputs.ontology.relations.iter().map(|label| &label.name));
        let confusion = |title: &str, names: &[String], counts| Confusion {
            title: title.to_owned(),
            gold: names.to_vec(),
            predicted: names.to_vec(),
            counts,
        };
        let mut confusions =
            vec![confusion("Entity label, given the span", &entities, modes.entity_confusion(&self.inputs.ontology))];
        if !relations.is_empty() {
            let counts = modes.relation_confusion(&self.inputs.ontology);
            confusions.push(confusion("Relation type, given the pair", &relations, counts));
        }
        let kinds = ModeKind::ALL.iter().map(|&kind| (kind.name().to_owned(), modes.count(kind)));
        tabpo_report::ErrorModes {
            system: name.to_owned(),
            confusions,
            kinds: kinds.filter(|kind| kind.1 > 0).collect(),
        }
    }
}

fn comparison(scores: &SystemScores, remote: &[RemoteSystem], documents: usize) -> Comparison {
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
        alpha: ALPHA,
        metrics: from
            .metrics
            .iter()
            .map(|metric| MetricColumn {
                name: metric.title.clone(),
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

/// `1 document`, `2 documents`.
fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// F1 by label.
fn labels(evaluations: &[(String, Evaluation)]) -> Vec<LabelScores> {
    type Family = fn(&Evaluation) -> &LabelledScores;
    let families: [(&str, Family); 2] = [
        ("Entities, strict", |evaluation| &evaluation.set.ner),
        ("Relations, symmetric types in canonical order", |evaluation| &evaluation.set.rel_symmetric),
    ];
    let tables = families.into_iter().map(|(title, family)| {
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
            labels: support.keys().map(|&label| label.to_owned()).collect(),
            support: support.values().copied().collect(),
            systems: systems.collect(),
        }
    });
    tables.filter(|table| !table.labels.is_empty()).collect()
}

fn curves(runs: &[(&str, String)], steps: &[Record]) -> Vec<CurveChart> {
    let chart = |title: &str, y: &str, field: &str, stages: &[(&str, &str)], smoothing| CurveChart {
        title: title.to_owned(),
        x: "step".to_owned(),
        y: y.to_owned(),
        smoothing,
        curves: stages
            .iter()
            .map(|(name, stage)| Curve { name: (*name).to_owned(), points: points(steps, stage, field) })
            .filter(|curve| !curve.points.is_empty())
            .collect(),
    };
    let own: Vec<(&str, &str)> = runs.iter().map(|(name, stage)| (*name, stage.as_str())).collect();
    let charts = [
        chart("Supervised fine-tuning", "loss (nats a token)", "loss", &[("warmup", "warmup"), ("sft", "sft")], 20),
        chart("Loss of each system", "loss", "loss", &own, 5),
        chart("Margin between chosen and rejected", "margin", "margin", &own, 5),
    ];
    charts.into_iter().filter(|chart| !chart.curves.is_empty()).collect()
}

fn points(steps: &[Record], stage: &str, field: &str) -> Vec<(f64, f64)> {
    let own = steps.iter().filter(|record| is_of(record, stage));
    own.filter_map(|record| Some((record.step()? as f64, record.number(field)?))).collect()
}

fn is_of(record: &Record, stage: &str) -> bool {
    record.fields.get("stage").and_then(|name| name.as_str()) == Some(stage)
}

/// The figures of token roles in the last steps of a training.
struct Last {
    steps: Vec<BTreeMap<Role, RoleSummary>>,
    final_erosion: (u64, u64),
}

impl Last {
    fn of(records: &[Record], stage: &str) -> Self {
        let own: Vec<&Record> = records.iter().filter(|record| is_of(record, stage)).collect();
        let last = &own[own.len().saturating_sub(LAST_STEPS)..];
        let read = |record: &&Record| serde_json::from_value(record.fields.get("roles")?.clone()).ok();
        let steps: Vec<BTreeMap<Role, RoleSummary>> = last.iter().filter_map(read).collect();
        let sums = steps.iter().flat_map(BTreeMap::values);
        let final_erosion = sums.fold((0, 0), |(eroded, all), role| (eroded + role.eroded, all + role.under_confident));
        Self { steps, final_erosion }
    }

    /// The mean of a figure over the last steps, for each role; a step in which a role does not occur counts as 0.
    fn mean(&self, figure: impl Fn(&RoleSummary) -> f64) -> Vec<f64> {
        let mean = |role| {
            let sum: f64 = self.steps.iter().filter_map(|step| step.get(&role)).map(&figure).sum();
            sum / self.steps.len().max(1) as f64
        };
        Role::ALL.into_iter().map(mean).collect()
    }

    fn compared(&self) -> bool {
        !self.steps.is_empty()
    }

    fn change(&self, name: &str) -> RoleChange {
        let occurs = |role| self.steps.iter().any(|step| step.contains_key(&role));
        let values = |figure: fn(&RoleSummary) -> f64| {
            Role::ALL.into_iter().zip(self.mean(figure)).map(|(role, mean)| occurs(role).then_some(mean)).collect()
        };
        RoleChange {
            name: name.to_owned(),
            roles: role_names(),
            chosen: values(|role| role.chosen_change),
            rejected: values(|role| role.rejected_change),
            eroded: Some(self.final_erosion),
        }
    }
}

fn shares(last: &[(&str, Last)]) -> RoleShares {
    let share = |role: &RoleSummary| role.chosen_gradient_share + role.rejected_gradient_share;
    let profiles = last.iter().filter(|(_, last)| !last.steps.is_empty());
    let objectives = profiles.map(|(name, last)| RoleProfile { name: (*name).to_owned(), shares: last.mean(share) });
    RoleShares { roles: role_names(), objectives: objectives.collect() }
}

fn role_names() -> Vec<String> {
    Role::ALL.iter().map(|role| role.name().to_owned()).collect()
}

/// At most `count` items, evenly spaced.
fn evenly<T>(items: &[T], count: usize) -> impl Iterator<Item = &T> {
    let stride = items.len().div_ceil(count.max(1)).max(1);
    items.iter().step_by(stride)
}

fn view(pair: &PairRecord) -> PairView {
    let edit = &pair.edit;
    let place = match pair.sent {
        Some(sentence) => format!("{}, sentence {sentence}", pair.doc_key),
        None => pair.doc_key.clone(),
    };
    let source = match &edit.pattern {
        Some(pattern) => format!("{} {pattern}", edit.source),
        None => edit.source.to_string(),
    };
    // A reversed relation keeps its type, and head and tail change places.
    let ends: Vec<&str> = edit.item.split(' ').collect();
    let (item, from, to) = match (edit.kind, ends.as_slice()) {
        (Kind::Direction, [head, .., tail]) => {
            let name = edit.from.as_deref().unwrap_or_default();
            (String::new(), edit.item.clone(), format!("{tail} {name} {head}"))
        }
        _ => (edit.item.clone(), edit.from.clone().unwrap_or_default(), edit.to.clone().unwrap_or_default()),
    };
    PairView {
        id: pair.id.clone(),
        place,
        text: pair.prompt.clone(),
        chosen: pair.chosen.clone(),
        rejected: pair.rejected.clone(),
        kind: edit.kind.to_string(),
        source,
        item,
        from,
        to,
        distance: Some(u64::from(pair.distance_tokens)),
        weight: Some(pair.weight),
    }
}
