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
    training::derived_seed,
    variants::SystemRuns,
};
use crate::{
    error::{Error, ResultExt},
    observer::Observer,
};

/// The name of the SFT checkpoint, which all systems start from.
pub(crate) const CHECKPOINT: &str = "sft";

/// The scores of all systems on the test documents: what the comparison stage writes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SystemScores {
    /// Systems by metrics, with intervals and tests.
    pub comparison: Comparison,
    /// Every score of each system, from its first run.
    pub evaluations: Vec<(String, Evaluation)>,
    /// Error modes of each system on the test documents, from its first run.
    pub modes: Vec<(String, ErrorModes)>,
}

/// A finished comparison.
pub(crate) struct Compared {
    /// What was written.
    pub scores: SystemScores,
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
        let checkpoint = self.predict("sft/test.jsonl", sft, Part::Test, renderer)?;
        predictions.push((CHECKPOINT.to_owned(), vec![checkpoint]));
        for (system, runs) in systems.iter().zip(trained) {
            let mut of_system = Vec::new();
            for run in &runs.runs {
                let place = run.folder.join("test.jsonl");
                of_system.push(self.predict(&place, &run.policy, Part::Test, renderer)?);
            }
            predictions.push((system.name.clone(), of_system));
        }
        if self.inputs.config.predict.constrained {
            let place = "sft/test-constrained.jsonl";
            let mut constrained = vec![(
                format!("{CHECKPOINT} (constrained)"),
                vec![self.predict(place, sft, Part::TestConstrained, renderer)?],
            )];
            for (system, runs) in systems.iter().zip(trained) {
                let mut of_system = Vec::new();
                for run in &runs.runs {
                    let place = run.folder.join("test-constrained.jsonl");
                    of_system.push(self.predict(&place, &run.policy, Part::TestConstrained, renderer)?);
                }
                constrained.push((format!("{} (constrained)", system.name), of_system));
            }
            predictions.append(&mut constrained);
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
        }
        .key();
        let path = self.directory.path("comparison.json")?;
        let (documents, ontology, observer) = (&self.inputs.splits.test, &self.inputs.ontology, self.observer);
        self.ledger.stage(observer, "comparison", &key, &["comparison.json".into()], || {
            let scores = evaluate(&predictions, documents, ontology, resampling, observer)?;
            write_atomically(&path, &serde_json::to_vec_pretty(&scores).expect("a comparison is plain data"))
        })?;
        let text = std::fs::read(&path).or_failed()?;
        let scores: SystemScores = serde_json::from_slice(&text).or_failed()?;
        Ok(Compared { scores, remote: remote.into_iter().map(|system| system.figures).collect() })
    }
}

fn evaluate(
    predictions: &[(String, Vec<Artefact<PathBuf>>)],
    documents: &[Document],
    ontology: &Ontology,
    resampling: Resampling,
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
    Ok(SystemScores { comparison, evaluations, modes: found })
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
