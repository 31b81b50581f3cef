//! Hosted models as additional systems in a comparison.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tabpo_corpus::Document;
use tabpo_remote::Statistics;
use tabpo_report::RemoteSystem;

use super::{
    Artefact, Stages,
    directory::write_atomically,
    inputs::{RemoteInputs, StageInputs},
};
use crate::{
    config::Configuration,
    error::{Error, ResultExt},
    remote::{RemoteJob, answer_documents, check_remote_system, remote_system},
};

/// The folder in `remote` that keeps the answers of all hosted models.
const ANSWERS: &str = "answers";

/// A hosted model's answers to the test documents.
pub(crate) struct Answered {
    /// Its name in tables.
    pub name: String,
    /// The prediction file.
    pub(super) predictions: Artefact<PathBuf>,
    /// Cost and latency.
    pub figures: RemoteSystem,
}

/// Checks everything about hosted models that can be checked without a request. Otherwise an error would show only after
/// all training is done.
pub(crate) fn check(config: &Configuration, curated: &[Document]) -> Result<(), Error> {
    for (name, settings) in &config.predict.remote {
        // The name becomes a folder beside the one with the answers.
        if name == ANSWERS {
            return Err(Error::input(format!("predict.remote: {name:?} cannot name a system"))
                .with_hint("the folder with that name holds the answers of all hosted models: choose another name"));
        }
        check_remote_system(name, settings)?;
        if settings.shots > 0 && curated.is_empty() {
            return Err(Error::input(format!("predict.remote.{name}.shots is {}", settings.shots))
                .with_hint("there are no documents to take demonstrations from: they come from the curated ones"));
        }
    }
    Ok(())
}

impl Stages<'_> {
    /// Has every hosted model answer the test documents. Answers are kept in the run directory, so that none is paid for
    /// twice.
    pub(super) fn remote_stage(&mut self) -> Result<Vec<Answered>, Error> {
        let mut answered = Vec::new();
        for (name, settings) in &self.inputs.config.predict.remote {
            let folder = PathBuf::from("remote").join(name);
            let (place, figures) = (folder.join("test.jsonl"), folder.join("statistics.json"));
            let (path, figures_path) = (self.directory.path(&place)?, self.directory.path(&figures)?);
            let cache = self.directory.path(Path::new("remote").join(ANSWERS))?;
            let stage = folder.join("test").display().to_string();
            let key = RemoteInputs::new(settings, &self.inputs.digests, self.inputs.config.data.level).key();
            let job = RemoteJob {
                name: &stage,
                ontology: &self.inputs.ontology,
                documents: &self.inputs.splits.test,
                demonstrations: &self.inputs.splits.curated,
                level: self.inputs.config.data.level,
                out: &path,
                cache: &cache,
                section: Some(name),
            };
            let observer = self.observer;
            let done = self.ledger.stage(observer, &stage, &key, &[place, figures], || {
                let statistics = answer_documents(&job, settings, observer)?;
                write_atomically(
                    &figures_path,
                    &serde_json::to_vec_pretty(&statistics).expect("statistics are plain data"),
                )
            })?;
            let statistics: Statistics = serde_json::from_slice(&fs::read(&figures_path).or_failed()?).or_failed()?;
            let figures = remote_system(name, &statistics, settings)?;
            answered.push(Answered {
                name: name.clone(),
                predictions: Artefact { path, digest: done.digest() },
                figures,
            });
        }
        Ok(answered)
    }
}
