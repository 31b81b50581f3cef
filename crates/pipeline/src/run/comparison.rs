//! The comparison of a run's systems on the test documents.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tabpo_corpus::Document;
use tabpo_metrics::{
    Comparison, Counts, Evaluation, Predictions, Profile, Resampling, compare, count, modes, modes::ErrorModes,
};
use tabpo_ontology::Ontology;
use tabpo_report::RemoteSystem;

use super::{
    Artefact, Part, Stages, Trained,
    directory::write_atomically,
    inputs::{ComparisonInputs, StageInputs},
    policy::Renderer,
    systems::System,
    threshold::ListEnds,
    training::derived_seed,
    tuning::TunedSystem,
    variants::SystemRuns,
};
use crate::{
    config::ThresholdChoice,
    error::{Error, ResultExt},
    observer::Observer,
};

/// The name of the SFT checkpoint, which all systems start from.
pub(crate) const CHECKPOINT: &str = "sft";

/// What follows a system's name where its lists end by tuned thresholds.
pub(crate) const TUNED: &str = " with tuned threshold";

/// The scores of all systems on the test documents: what the comparison stage writes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SystemScores {
    /// Systems by metrics, with intervals and tests.
    pub comparison: Comparison,
    /// Every score of each system, from its first run.
    pub evaluations: Vec<(String, Evaluation)>,
    /// Error modes of each system on the test documents, from its first run.
    pub modes: Vec<(String, ErrorModes)>,
    /// The thresholds that were chosen on the validation documents, if the run tunes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub thresholds: Vec<TunedSystem>,
}

/// A finished comparison.
pub(crate) struct Compared {
    /// What was written.
    pub scores: SystemScores,
    /// The systems with the prediction files of their first runs.
    pub predictions: Vec<(String, PathBuf)>,
    /// What the hosted models cost.
    pub remote: Vec<RemoteSystem>,
}

impl Stages<'_> {
    /// Predicts the test documents with every system and compares the results.
    pub(super) fn comparison_stage(
        &mut self,
        systems: &[System],
        sft: &Trained,
        trained: &[SystemRuns],
        renderer: &Renderer,
    ) -> Result<Compared, Error> {
        let mut predictions: Vec<(String, Vec<Artefact<PathBuf>>)> = Vec::new();
        // Every trained policy with its system and its folder, the checkpoint first.
        let mut policies: Vec<(&str, PathBuf, &Trained)> = vec![(CHECKPOINT, CHECKPOINT.into(), sft)];
        for (system, runs) in systems.iter().zip(trained) {
            policies.extend(runs.runs.iter().map(|run| (system.name.as_str(), run.folder.clone(), &run.policy)));
        }
        for (system, folder, policy) in &policies {
            let answers = self.predict(folder.join("test.jsonl"), policy, Part::Test, renderer)?;
            add(&mut predictions, (*system).to_owned(), answers);
        }
        if self.inputs.config.predict.constrained {
            for (system, folder, policy) in &policies {
                let place = folder.join("test-constrained.jsonl");
                let answers = self.predict(&place, policy, Part::TestConstrained, renderer)?;
                add(&mut predictions, format!("{system} (constrained)"), answers);
            }
        }
        let mut thresholds: Vec<TunedSystem> = Vec::new();
        for (system, folder, policy) in &policies {
            if self.threshold(system, systems) == ThresholdChoice::None {
                continue;
            }
            let (tuned, written_tokens) = self.tune(folder, policy, renderer)?;
            let place = folder.join("test-tuned.jsonl");
            let answers = self.predict_lists(&place, policy, Part::Test, renderer, ListEnds::at(tuned))?;
            let name = format!("{system}{TUNED}");
            if thresholds.last().is_none_or(|last| last.name != name) {
                thresholds.push(TunedSystem { name: name.clone(), runs: Vec::new(), written_tokens: 0 });
            }
            let system = thresholds.last_mut().expect("there is one now");
            system.runs.push(tuned);
            system.written_tokens += written_tokens;
            add(&mut predictions, name, answers);
        }
        let remote = self.remote_stage()?;
        predictions.extend(remote.iter().map(|system| (system.name.clone(), vec![system.predictions.clone()])));
        let resampling = Resampling {
            resamples: self.inputs.config.evaluate.resamples as u32,
            seed: derived_seed(self.inputs.config.run.seed, "comparison"),
        };
        let digests = predictions
            .iter()
            .map(|(name, runs)| (name.as_str(), runs.iter().map(|run| run.digest.as_str()).collect()));
        let key = ComparisonInputs {
            predictions: digests.collect(),
            gold: &self.inputs.digests.test,
            ontology: &self.inputs.digests.ontology,
            resamples: resampling.resamples,
            seed: resampling.seed,
            thresholds: &thresholds,
        }
        .key();
        let path = self.directory.path("comparison.json")?;
        let (documents, ontology, observer) = (&self.inputs.splits.test, &self.inputs.ontology, self.observer);
        self.ledger.stage(observer, "comparison", &key, &["comparison.json".into()], || {
            let scores = evaluate(&predictions, documents, ontology, resampling, thresholds, observer)?;
            write_atomically(&path, &serde_json::to_vec_pretty(&scores).expect("a comparison is plain data"))
        })?;
        let text = std::fs::read(&path).or_failed()?;
        let scores: SystemScores = serde_json::from_slice(&text).or_failed()?;
        let predictions = predictions.into_iter().map(|(name, mut runs)| (name, runs.swap_remove(0).path)).collect();
        Ok(Compared { scores, predictions, remote: remote.into_iter().map(|system| system.figures).collect() })
    }
}

impl Stages<'_> {
    /// Whether the system with this name, or the SFT checkpoint, is also compared with tuned thresholds.
    fn threshold(&self, name: &str, systems: &[System]) -> ThresholdChoice {
        let system = systems.iter().find(|system| system.name == name);
        system.map_or(self.inputs.config.predict.threshold, |system| system.threshold)
    }
}

/// Adds a run's answers to a system, whose runs follow each other.
fn add(predictions: &mut Vec<(String, Vec<Artefact<PathBuf>>)>, name: String, answers: Artefact<PathBuf>) {
    match predictions.last_mut() {
        Some((last, runs)) if *last == name => runs.push(answers),
        _ => predictions.push((name, vec![answers])),
    }
}

fn evaluate(
    predictions: &[(String, Vec<Artefact<PathBuf>>)],
    documents: &[Document],
    ontology: &Ontology,
    resampling: Resampling,
    thresholds: Vec<TunedSystem>,
    observer: &dyn Observer,
) -> Result<SystemScores, Error> {
    let mut systems: Vec<(String, Vec<Counts>)> = Vec::new();
    let (mut evaluations, mut found) = (Vec::new(), Vec::new());
    for (name, runs) in predictions {
        let mut counts = Vec::new();
        for run in runs {
            let scored = score(&run.path, documents, ontology)?;
            for note in &scored.notes {
                observer.warn(&format!("{name}: {note}"));
            }
            counts.push(scored);
        }
        evaluations.push((name.clone(), Evaluation::of(&counts[0])));
        found.push((name.clone(), error_modes(&runs[0].path, documents, ontology)?));
        systems.push((name.clone(), counts));
    }
    let comparison = compare(&systems, Profile::Default, resampling).or_failed()?;
    Ok(SystemScores { comparison, evaluations, modes: found, thresholds })
}

/// Counts the predictions of a file against gold.
pub(crate) fn score(path: &std::path::Path, documents: &[Document], ontology: &Ontology) -> Result<Counts, Error> {
    let mut predictions = Predictions::open(path).or_failed()?;
    count(documents.iter().map(Ok), &mut predictions, ontology).or_failed()
}

/// The error modes of the predictions of a file.
pub(crate) fn error_modes(
    path: &std::path::Path,
    documents: &[Document],
    ontology: &Ontology,
) -> Result<ErrorModes, Error> {
    let mut predictions = Predictions::open(path).or_failed()?;
    modes::measure(documents.iter().map(Ok), &mut predictions, ontology, modes::EXAMPLES).or_failed()
}
