//! The report page of a run, made from the outputs of all stages.

mod comparison;
mod pairs;
mod terms;
mod texts;
mod training;
mod unfinished;

use std::{collections::BTreeMap, path::PathBuf};

use tabpo_metrics::modes::{ErrorModes, ModeKind};
use tabpo_ontology::Ontology;
use tabpo_pairs::PairRecord;
use tabpo_report::{
    Confusion, Fact, LoggedRecords, Record, ReportInput, RunSummary, StageTime, TrainingRow, html, read_metrics,
};

pub use self::unfinished::unfinished_page;

use self::training::{Last, Trained};
use super::{
    Artefact, Stages, comparison::Compared, directory::write_atomically, examples::read_pairs, ledger::Finished,
    systems::System, threshold::Thresholds, training::damaged_lines, tuning::TunedSystem, variants::SystemRuns,
};
use crate::error::{Error, ResultExt};

/// How many pairs the page shows.
const PAIRS_SHOWN: usize = 60;

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
        let input = self.input(systems, trained, &shown, compared, &log.records)?;
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
    ) -> Result<ReportInput, Error> {
        let scores = &compared.scores;
        let first_runs: Vec<Trained> = systems
            .iter()
            .zip(trained)
            .map(|(system, runs)| Trained {
                system: &system.name,
                objective: runs.runs[0].report.objective.name(),
                stage: runs.runs[0].folder.display().to_string(),
            })
            .collect();
        let last: Vec<(&str, Last)> = first_runs.iter().map(|run| (run.system, Last::of(steps, &run.stage))).collect();
        let (splits, ontology, level) = (&self.inputs.splits, &self.inputs.ontology, self.inputs.config.data.level);
        Ok(ReportInput {
            title: self.inputs.config.run.name.clone(),
            subtitle: Some(self.record.line()),
            summary: Some(self.summary(systems, trained, &scores.thresholds)),
            comparison: Some(comparison::comparison(scores, &compared.remote, splits.test.len())),
            texts: Some(texts::texts(&compared.predictions, &splits.test, ontology, level)?),
            labels: comparison::labels(&scores.evaluations, ontology),
            errors: scores.modes.iter().map(|(name, modes)| errors(name, modes, ontology)).collect(),
            curves: training::curves(&first_runs, steps),
            roles: terms::roles(),
            gradients: Some(training::shares(&last)),
            erosion: last.iter().filter(|(_, last)| last.compared()).map(|(name, last)| last.change(name)).collect(),
            pairs: pairs::evenly(pairs, PAIRS_SHOWN).map(pairs::view).collect(),
            remote: compared.remote.clone(),
        })
    }

    fn summary(&self, systems: &[System], trained: &[SystemRuns], tuned: &[TunedSystem]) -> RunSummary {
        let fact = |name: &str, value: String| Fact { name: name.to_owned(), value };
        let config = &self.inputs.config;
        let model = match &config.model.folder {
            Some(folder) => folder.display().to_string(),
            None => format!("from scratch, {} layers of width {}", config.model.layers, config.model.hidden),
        };
        let mut facts = vec![fact("Ontology", self.ontology_name()), fact("Model", model)];
        for (name, documents) in self.inputs.splits.named() {
            let sentences: usize = documents.iter().map(|document| document.sentences.len()).sum();
            facts.push(fact(
                &format!("{name} split"),
                format!("{}, {}", counted(documents.len(), "document"), counted(sentences, "sentence")),
            ));
        }
        let training = systems.iter().zip(trained).map(|(system, runs)| {
            let first = &runs.runs[0].report;
            TrainingRow {
                system: system.name.clone(),
                objective: first.objective.name().to_owned(),
                steps: first.summary.steps,
                tokens: first.summary.tokens.trained,
                reference_tokens: first.summary.tokens.reference,
                learning_rate: runs.learning_rate,
                runs: runs.runs.len() as u64,
            }
        });
        let related = !self.inputs.ontology.relations.is_empty();
        let shown = |thresholds: &Thresholds| {
            let relations =
                if related { format!(", {:.2} for relations", thresholds.relations) } else { String::new() };
            format!("{:.2} for entities{relations}", thresholds.entities)
        };
        let of_system = |system: &TunedSystem| {
            let thresholds = system.runs.iter().map(shown).collect::<Vec<_>>().join("; ");
            format!("{thresholds}; {} tokens written to choose them on validation", system.written_tokens)
        };
        RunSummary {
            thresholds: tuned.iter().map(|system| fact(&system.name, of_system(system))).collect(),
            facts,
            training: training.collect(),
            seeds: config.preference.seeds.clone(),
            digests: self.ledger.stages().iter().map(|(name, done)| fact(name, done.key[..16].to_owned())).collect(),
            stages: stage_times(self.ledger.stages()),
            configuration: config.to_toml(),
        }
    }

    /// What the ontology is called, or the file it is in, and what it holds.
    fn ontology_name(&self) -> String {
        let ontology = &self.inputs.ontology;
        let file = self.inputs.config.ontology.file.as_deref().and_then(|path| path.file_stem());
        let name = match (ontology.name.is_empty(), file) {
            (false, _) => ontology.name.clone(),
            (true, Some(file)) => file.to_string_lossy().into_owned(),
            (true, None) => "without a name".to_owned(),
        };
        let labels = counted(ontology.entities.len(), "entity label");
        format!("{name}, {labels}, {}", counted(ontology.relations.len(), "relation type"))
    }
}

/// The time of every stage, in the order in which they run. Which stages are listed must not depend on how long they took:
/// a run that was stopped and resumed has the page of one that was not.
fn stage_times(finished: &BTreeMap<String, Finished>) -> Vec<StageTime> {
    let order = |name: &str| {
        let first = name.split('/').next().unwrap_or(name);
        ["base", "warmup", "sft", "errors", "pairs", "scorers", "systems"]
            .iter()
            .position(|known| *known == first)
            .map_or(if first == "comparison" { usize::MAX } else { usize::MAX - 1 }, |position| {
                if name == "sft/test" || name == "sft/test-constrained" { usize::MAX - 1 } else { position }
            })
    };
    let mut all: Vec<StageTime> = finished
        .iter()
        .map(|(name, done)| StageTime { name: name.clone(), seconds: done.seconds, reused: false })
        .collect();
    all.sort_by_key(|stage| order(&stage.name));
    all
}

/// The error modes of a system as tables.
fn errors(name: &str, modes: &ErrorModes, ontology: &Ontology) -> tabpo_report::ErrorModes {
    let names = |list: &mut dyn Iterator<Item = &String>| list.cloned().collect::<Vec<_>>();
    let entities = names(&mut ontology.entities.iter().map(|label| &label.name));
    let relations = names(&mut ontology.relations.iter().map(|label| &label.name));
    let confusion = |title: &str, kind: ModeKind, names: &[String], counts| Confusion {
        title: title.to_owned(),
        kind: kind.name().to_owned(),
        gold: names.to_vec(),
        predicted: names.to_vec(),
        counts,
    };
    let mut confusions = vec![confusion(
        "Entity label, given the span",
        ModeKind::LabelConfusion,
        &entities,
        modes.entity_confusion(ontology),
    )];
    if !relations.is_empty() {
        let counts = modes.relation_confusion(ontology);
        confusions.push(confusion("Relation type, given the pair", ModeKind::RelationConfusion, &relations, counts));
    }
    let kinds = ModeKind::ALL.iter().map(|&kind| (kind.name().to_owned(), modes.count(kind)));
    tabpo_report::ErrorModes { system: name.to_owned(), confusions, kinds: kinds.filter(|kind| kind.1 > 0).collect() }
}

/// `1 document`, `2 documents`.
fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}
