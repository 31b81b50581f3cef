//! The answers of a run's systems, read back from its directory.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tabpo_corpus::{Document, Level};
use tabpo_engine::Compute;
use tabpo_ontology::{AnswerForm, Ontology};

use super::{
    comparison::CHECKPOINT, directory::RECORD_OF_STAGES, ledger, preparation::SFT_ANSWERS, splits::Splits,
    training::POLICY_FOLDER,
};
use crate::{
    config::Configuration,
    error::{Error, ResultExt},
    observer::Observer,
};

/// The answers of one system of a run, and what they are answers to.
#[derive(Clone, Debug)]
pub struct SystemAnswers {
    /// The name of the run.
    pub run: String,
    /// The system.
    pub system: String,
    /// All systems of the run that have answered.
    pub systems: Vec<String>,
    /// Which documents they answered: `test` or `validation`.
    pub split: &'static str,
    /// The documents, with their gold.
    pub documents: Vec<Document>,
    /// The labels.
    pub ontology: Ontology,
    /// The form of the answers.
    pub form: AnswerForm,
    /// What one prompt shows.
    pub level: Level,
    /// The prediction file; of a system with several seeds, that of the first.
    pub predictions: PathBuf,
    /// The system's model; none for a hosted one.
    pub model: Option<PathBuf>,
    /// The chat template that the run names instead of the model's own.
    pub template: Option<String>,
    /// How the run computes products with frozen weights.
    pub compute: Compute,
}

/// Answers of a system as the record of stages names them.
struct Place {
    system: String,
    /// The stage, which is also the prediction file without its extension.
    stage: String,
    /// The folder of the policy.
    model: Option<String>,
}

impl SystemAnswers {
    /// Reads the answers of a system of a run to the test documents, or of the SFT checkpoint to the validation documents
    /// if the run has not come further. By default the system is the last of the run's objectives that has answered.
    pub fn open(run: &Path, system: Option<&str>, observer: &dyn Observer) -> Result<Self, Error> {
        let path = run.join("run.toml");
        let text = fs::read_to_string(&path).map_err(|error| {
            Error::input(format!("{} is not a run directory: cannot read {}: {error}", run.display(), path.display()))
                .with_hint("name the directory of a run, such as runs/quickstart")
        })?;
        let config = Configuration::of_run(&path, &text)?;
        let places = places(run)?;
        let systems: Vec<String> = places.iter().map(|place| place.system.clone()).collect();
        let Some(last) = systems.last() else {
            return Err(Error::input(format!("no system of {} has answered any documents yet", run.display()))
                .with_hint("`tabpo run` goes on with the run; a run to SFT is enough"));
        };
        let objectives = config.preference.objectives.iter().rev();
        let default = || objectives.map(String::as_str).find(|name| systems.iter().any(|one| one == name));
        let wanted = system.or_else(default).unwrap_or(last);
        let Some(place) = places.iter().find(|place| place.system == wanted) else {
            return Err(Error::input(format!("the run has no answers of a system `{wanted}`"))
                .with_hint(format!("there are: {}", systems.join(", "))));
        };
        let ontology = match &config.ontology.file {
            Some(path) => Ontology::read(path).or_input().map_err(moved)?,
            None => tabpo_synthetic::ontology().clone(),
        };
        let splits = Splits::load(&config, &ontology, observer).map_err(moved)?;
        let validation = place.stage == stage_of(SFT_ANSWERS);
        Ok(Self {
            run: config.run.name.clone(),
            system: wanted.to_owned(),
            split: if validation { "validation" } else { "test" },
            documents: if validation { splits.validation } else { splits.test },
            ontology,
            form: config.answer.form,
            level: config.data.level,
            predictions: run.join(format!("{}.jsonl", place.stage)),
            model: place.model.as_ref().map(|folder| run.join(folder).join(POLICY_FOLDER)),
            template: config.model.chat_template.clone(),
            compute: config.model.compute,
            systems,
        })
    }
}

/// A run names its files as they were named when it began.
fn moved(error: Error) -> Error {
    if error.hint().is_some() {
        return error;
    }
    error.with_hint("the paths of a run are relative to the folder in which it was started: go there")
}

/// The answers that a run's record of stages lists, the SFT checkpoint first and each system once.
fn places(run: &Path) -> Result<Vec<Place>, Error> {
    let path = run.join(RECORD_OF_STAGES);
    let names: Vec<String> = match fs::read(&path) {
        Ok(content) => ledger::read(&content).into_keys().collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(Error::input(format!("cannot read {}: {error}", path.display()))),
    };
    let mut places: Vec<Place> = Vec::new();
    let mut add = |system: &str, stage: &str, model: Option<&str>| {
        if places.iter().all(|place| place.system != system) {
            let (system, stage) = (system.to_owned(), stage.to_owned());
            places.push(Place { system, stage, model: model.map(str::to_owned) });
        }
    };
    let test = names.iter().filter_map(|name| Some((name, name.strip_suffix("/test")?)));
    if let Some((name, folder)) = test.clone().find(|(_, folder)| *folder == CHECKPOINT) {
        add(CHECKPOINT, name, Some(folder));
    } else if let Some(name) = names.iter().find(|name| **name == stage_of(SFT_ANSWERS)) {
        add(CHECKPOINT, name, Some(CHECKPOINT));
    }
    for (name, folder) in test {
        match folder.split('/').collect::<Vec<_>>()[..] {
            ["systems", system, ..] => add(system, name, Some(folder)),
            ["remote", system] => add(system, name, None),
            _ => {}
        }
    }
    Ok(places)
}

/// The stage that writes a prediction file.
fn stage_of(file: &str) -> String {
    Path::new(file).with_extension("").display().to_string()
}
