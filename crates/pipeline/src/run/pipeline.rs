//! A run, from its configuration to its result.

use std::path::{Path, PathBuf};

use tabpo_model::{ChatTemplate, check_model_folder};
use tabpo_ontology::Ontology;
use tabpo_pairs::Patterns;

use super::{
    PolicyFolder, Stages,
    comparison::SystemScores,
    compute, device,
    digests::{folder_digest, input_digest},
    directory::{RunDirectory, write_atomically},
    ledger::Ledger,
    own_answers, policy, preflight, preparation,
    ranks::Lead,
    record::{Program, RunRecord},
    remote,
    splits::{self, Splits},
    systems::{self, System},
};
use crate::{
    config::Configuration,
    device::{Computer, LazyDevice},
    error::{Error, ResultExt},
    observer::Observer,
};

/// How far a run goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Until {
    /// Through supervised fine-tuning and its errors on the validation documents.
    Sft,
    /// Through the preference pairs.
    Pairs,
    /// Through the training of every system.
    Train,
    /// To the report.
    Report,
}

/// The result of a run.
#[derive(Clone, Debug)]
pub struct RunResult {
    /// The run directory.
    pub directory: PathBuf,
    /// What the last stage wrote: a folder, the pair file, or the report page.
    pub output: PathBuf,
    /// The scores of all systems, if the run went as far as the report.
    pub scores: Option<SystemScores>,
}

/// A run that is ready to start: its configuration has been checked and its inputs have been read.
pub struct Pipeline {
    pub(super) inputs: Inputs,
    program: Program,
    /// The device, if it was given open.
    given: Option<Computer>,
    /// The other processes that train along, if there are any.
    lead: Option<Lead>,
}

/// The inputs of a run, which do not change while its stages run.
pub(super) struct Inputs {
    /// The resolved configuration.
    pub(super) config: Configuration,
    pub(super) systems: Vec<System>,
    pub(super) ontology: Ontology,
    pub(super) patterns: Patterns,
    pub(super) splits: Splits,
    pub(super) digests: Digests,
}

/// Digests of the inputs.
pub(super) struct Digests {
    pub(super) ontology: String,
    pub(super) patterns: String,
    /// The base model and the adapter on it; empty for a model from scratch.
    pub(super) base: String,
    pub(super) train: String,
    pub(super) curated: String,
    pub(super) validation: String,
    pub(super) test: String,
}

impl Pipeline {
    /// Checks the configuration and reads the inputs. Every error in them is found here, before anything is written.
    pub fn new(config: Configuration, observer: &dyn Observer) -> Result<Self, Error> {
        config.check()?;
        let config = with_base(config, observer)?;
        let (systems, base) = check(&config, observer)?;
        let ontology = match &config.ontology.file {
            Some(path) => Ontology::read(path).or_input()?,
            None => tabpo_synthetic::ontology().clone(),
        };
        let patterns = match &config.pairs.patterns {
            Some(path) => Patterns::read(path, &ontology).or_input()?,
            None => Patterns::default(),
        };
        let splits = Splits::load(&config, &ontology, observer)?;
        own_answers::check(&config, &splits.train, &splits.curated)?;
        remote::check(&config, &splits.curated)?;
        preflight::copies(&config, splits.train.len())?;
        let digests = Digests {
            ontology: blake3::hash(ontology.to_toml().as_bytes()).to_hex().to_string(),
            patterns: input_digest(config.pairs.patterns.as_deref())?,
            base,
            train: splits::digest(&splits.train),
            curated: splits::digest(&splits.curated),
            validation: splits::digest(&splits.validation),
            test: splits::digest(&splits.test),
        };
        let inputs = Inputs { config, systems, ontology, patterns, splits, digests };
        Ok(Self { inputs, program: Program::default(), given: None, lead: None })
    }

    /// Says which program makes the run, for its record and its page.
    #[must_use]
    pub fn made_by(self, program: Program) -> Self {
        Self { program, ..self }
    }

    /// Trains on several processes, of which this one has the lead.
    #[must_use]
    pub fn on_ranks(self, lead: Lead) -> Self {
        Self { lead: Some(lead), ..self }
    }

    /// Computes on a device that is open already, whatever the configuration says of it.
    #[must_use]
    pub fn on(self, computer: Computer) -> Self {
        Self { given: Some(computer), ..self }
    }

    /// The device of the configuration, before a run directory has a say.
    pub(super) fn device(&self) -> Result<LazyDevice, Error> {
        let section = &self.inputs.config.model;
        match &self.given {
            Some(computer) => Ok(LazyDevice::opened(computer.clone(), section.compute)),
            None => LazyDevice::choose(section.device, section.compute),
        }
    }

    /// Runs the stages up to `until` in the run directory, which is locked meanwhile. Stages that are up to date are
    /// skipped, and interrupted work is resumed.
    pub fn run(&self, until: Until, observer: &dyn Observer) -> Result<RunResult, Error> {
        let inputs = &self.inputs;
        let config = &inputs.config;
        let directory = RunDirectory::open(&self.directory())?;
        write_atomically(&directory.path("run.toml")?, config.to_toml().as_bytes())?;
        let device = device::of_run(&config.model, self.given.as_ref(), &directory, observer)?;
        let record = RunRecord::of_run(&directory, &self.program, observer)?;
        let ledger = Ledger::open(&directory, observer)?;
        let compute = compute::of_run(&config.model, config.adapter.is_some(), &directory, observer)?;
        let base_digest = inputs.digests.base.clone();
        let ranks = self.lead.as_ref();
        Stages { inputs, observer, directory, ledger, record, compute, device, ranks, base_digest }.run(until)
    }
}

/// Checks what can be checked before any document is read: systems, pairs, the model's shape and its memory. Returns the
/// systems and the digest of the base model.
pub(super) fn check(config: &Configuration, observer: &dyn Observer) -> Result<(Vec<System>, String), Error> {
    let systems = systems::resolve(&config.preference, config.predict.threshold)?;
    preparation::pair_settings(config)?;
    let base = base_digest(config)?;
    preflight::check(config, &systems, observer)?;
    Ok((systems, base))
}

/// If the configuration names an adapter's folder as the model, replaces it by its base model with that adapter on top.
fn with_base(mut config: Configuration, observer: &dyn Observer) -> Result<Configuration, Error> {
    if let Some(folder) = &config.model.folder {
        let on_top = config.adapter.as_ref().and_then(|adapter| adapter.folder.as_deref());
        let policy = PolicyFolder::resolve(folder, on_top, config.model.compute, observer)?;
        if policy.model != *folder {
            config.model.folder = Some(policy.model);
            config.adapter.get_or_insert_default().folder = policy.adapter;
        }
    }
    Ok(config)
}

/// The digest of the base model, of the adapter on it and of the chat template that replaces its own; empty for a model
/// from scratch.
fn base_digest(config: &Configuration) -> Result<String, Error> {
    let adapter = config.adapter.as_ref().and_then(|adapter| adapter.folder.as_deref());
    let template = match config.model.chat_template.as_deref() {
        Some(name) if ChatTemplate::BUILT_IN.contains(&name) => name.to_owned(),
        file => input_digest(file.map(Path::new)).map_err(|error| error.with_hint(policy::TEMPLATE_HINT))?,
    };
    match (config.model.folder.as_deref(), adapter) {
        (None, None) => Ok(String::new()),
        (Some(model), adapter) => {
            check_model_folder(model).or_input()?;
            let adapter = adapter.map(folder_digest).transpose()?.unwrap_or_default();
            Ok(folder_digest(model)? + &adapter + &template)
        }
        (None, Some(_)) => Err(Error::input("adapter.folder names an adapter, but no model is named")
            .with_hint("model.folder names the model that the adapter was trained on")),
    }
}
