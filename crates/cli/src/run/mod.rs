//! `tabpo run`: the stages of a run in order, each skipped where it is up to date.

mod answers;
mod comparison;
mod directory;
mod examples;
mod inputs;
mod ledger;
mod own_answers;
mod page;
mod policy;
mod prediction;
mod preflight;
mod preparation;
#[cfg(test)]
mod random;
mod remote;
mod splits;
mod systems;
mod training;
mod variants;

use std::path::{Path, PathBuf};

use tabpo_engine::{ChatTemplate, check_model_folder};
use tabpo_ontology::Ontology;
use tabpo_pairs::Patterns;

use self::{
    directory::{RunDirectory, write_atomically},
    ledger::Ledger,
    own_answers::Fold,
    splits::Splits,
    systems::System,
};
use crate::{
    config::RunConfig,
    error::{CliError, ResultExt},
    output::Context,
};

pub use self::{
    policy::{PolicyFolder, SEPARATOR, Voice},
    prediction::Prediction,
};

/// How far a run goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Until {
    /// Through supervised fine-tuning.
    Sft,
    /// Through the preference pairs.
    Pairs,
    /// Through the training of every system.
    Train,
    /// To the report.
    Report,
}

/// Everything that the stages of one run share.
struct Run<'a> {
    config: &'a RunConfig,
    context: &'a Context,
    ontology: Ontology,
    patterns: Patterns,
    splits: Splits,
    digests: Digests,
    directory: RunDirectory,
    ledger: Ledger,
}

/// Digests of what the run reads.
struct Digests {
    ontology: String,
    patterns: String,
    /// The model that is trained and the adapter on it; that of a model from scratch is known when it
    /// has been made.
    base: String,
    train: String,
    curated: String,
    validation: String,
    test: String,
}

/// What can be checked before a document is read: systems, pairs, the model's shape and its memory. Returns
/// the systems and the digest of the model to start from.
fn check(config: &RunConfig, context: &Context) -> Result<(Vec<System>, String), CliError> {
    let systems = systems::resolve(&config.preference)?;
    preparation::pair_settings(config)?;
    let base = base_digest(config)?;
    preflight::check(config, &systems, context)?;
    Ok((systems, base))
}

/// Runs the stages of a configuration up to `until`.
///
/// Everything that can be wrong with the input is found before the run directory is made.
pub fn execute(config: &RunConfig, until: Until, context: &Context) -> Result<(), CliError> {
    let config = &with_base(config, context)?;
    let (systems, base) = check(config, context)?;
    let ontology = match &config.ontology.file {
        Some(path) => Ontology::read(path).or_input()?,
        None => tabpo_synthetic::ontology().clone(),
    };
    let patterns = match &config.pairs.patterns {
        Some(path) => Patterns::read(path, &ontology).or_input()?,
        None => Patterns::default(),
    };
    let splits = Splits::load(config, &ontology, context)?;
    own_answers::check(config, &splits.train, &splits.curated)?;
    remote::check(config, &splits.curated)?;
    preflight::copies(config, splits.train.len())?;
    let digests = Digests {
        ontology: blake3::hash(ontology.to_toml().as_bytes()).to_hex().to_string(),
        patterns: file_digest(config.pairs.patterns.as_deref())?,
        base,
        train: splits::digest(&splits.train),
        curated: splits::digest(&splits.curated),
        validation: splits::digest(&splits.validation),
        test: splits::digest(&splits.test),
    };
    let root = config.run.directory.clone().unwrap_or_else(|| Path::new("runs").join(&config.run.name));
    let directory = RunDirectory::open(&root)?;
    let text = toml::to_string_pretty(config).expect("a configuration that was read can be written");
    write_atomically(&directory.path("run.toml")?, text.as_bytes())?;
    let ledger = Ledger::open(&directory, context)?;
    Run { config, context, ontology, patterns, splits, digests, directory, ledger }.stages(&systems, until)
}

impl Run<'_> {
    fn stages(&mut self, systems: &[System], until: Until) -> Result<(), CliError> {
        let base = self.base_stage()?;
        self.digests.base.clone_from(&base.digest);
        let template = self.config.model.chat_template.as_deref();
        let voice = Voice::open(&base.path, &self.ontology, template, self.context)?;
        let start = self.warmup_stage(&base, &voice)?;
        let sft = self.sft_stage(&start, &voice)?;
        if until == Until::Sft {
            return done(&self.stage_folder("sft"));
        }
        let modes = self.error_stage(&sft, &voice)?;
        let pairs = self.pair_stage(&start, &sft, &voice, &modes)?;
        if until == Until::Pairs {
            return done(&pairs.path);
        }
        let trained = self.system_stages(systems, &sft, &pairs, &voice)?;
        if until == Until::Train {
            return done(&self.directory.root().join("systems"));
        }
        let comparison = self.comparison_stage(systems, &sft, &trained, &voice)?;
        let page = self.write_page(systems, &trained, &pairs, &comparison)?;
        crate::output::print(&comparison.table.plain(None))?;
        crate::output::print_line(format!("report: {}", page.display()))
    }

    fn stage_folder(&self, name: &str) -> PathBuf {
        self.directory.root().join(name)
    }

    /// The run's log of training steps.
    fn log(&self) -> PathBuf {
        self.directory.root().join("metrics.jsonl")
    }

    /// The cache of reference log-probs that all systems share.
    fn cache(&self) -> Result<PathBuf, CliError> {
        self.directory.path("reference/log-probs.bin")
    }
}

/// Documents that are predicted, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The validation documents.
    Validation,
    /// The curated documents, for on-policy negatives.
    Curated,
    /// Those of them that one fold holds out.
    CuratedFold(Fold),
    /// The test documents.
    Test,
    /// The test documents under the ontology's grammar.
    TestConstrained,
}

/// A stage's result: where it is and a digest of what it says.
#[derive(Clone)]
struct Artefact<T> {
    path: T,
    digest: String,
}

/// A policy that a stage made.
type Trained = Artefact<PolicyFolder>;

fn done(place: &Path) -> Result<(), CliError> {
    crate::output::print_line(place.display().to_string())
}

fn file_digest(path: Option<&Path>) -> Result<String, CliError> {
    let Some(path) = path else { return Ok(String::new()) };
    ledger::file_digest(path).map_err(|error| CliError::input(format!("cannot read {}: {error}", path.display())))
}

/// The configuration with the base model in the place of an adapter that it names as the model, and that
/// adapter on it.
fn with_base(config: &RunConfig, context: &Context) -> Result<RunConfig, CliError> {
    let mut config = config.clone();
    if let Some(folder) = &config.model.folder {
        let on_top = config.adapter.as_ref().and_then(|adapter| adapter.folder.as_deref());
        let policy = PolicyFolder::resolve(folder, on_top, config.model.compute, context)?;
        if policy.model != *folder {
            config.model.folder = Some(policy.model);
            config.adapter.get_or_insert_default().folder = policy.adapter;
        }
    }
    Ok(config)
}

/// The digest of the model to start from, of the adapter on it and of the chat template in the place of its own;
/// empty for a model from scratch.
fn base_digest(config: &RunConfig) -> Result<String, CliError> {
    let adapter = config.adapter.as_ref().and_then(|adapter| adapter.folder.as_deref());
    let template = match config.model.chat_template.as_deref() {
        Some(name) if ChatTemplate::BUILT_IN.contains(&name) => name.to_owned(),
        file => file_digest(file.map(Path::new)).map_err(|error| error.with_hint(policy::TEMPLATE_HINT))?,
    };
    match (config.model.folder.as_deref(), adapter) {
        (None, None) => Ok(String::new()),
        (Some(model), adapter) => {
            check_model_folder(model).or_input()?;
            let adapter = adapter.map(folder_digest).transpose()?.unwrap_or_default();
            Ok(folder_digest(model)? + &adapter + &template)
        }
        (None, Some(_)) => Err(CliError::input("adapter.folder is an adapter of a model that is not there")
            .with_hint("model.folder names the model that the adapter was trained on")),
    }
}

/// What the files of a model folder end with that are read.
const MODEL_FILES: [&str; 5] = ["json", "safetensors", "jinja", "model", "txt"];

/// A digest of the files of a model folder that may be read; notes beside them decide nothing.
fn folder_digest(folder: &Path) -> Result<String, CliError> {
    let entries = std::fs::read_dir(folder)
        .map_err(|error| CliError::input(format!("cannot read the folder {}: {error}", folder.display())))?;
    // Templates are the only files that are read from below the folder.
    let templates = std::fs::read_dir(folder.join("additional_chat_templates")).into_iter().flatten();
    let entries = entries.chain(templates);
    let mut files: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_file() && is_read(path)).collect();
    files.sort();
    let mut hasher = blake3::Hasher::new();
    for file in files {
        hasher
            .update(file.file_name().unwrap_or_default().as_encoded_bytes())
            .update(file_digest(Some(&file))?.as_bytes());
    }
    Ok(hasher.finalize().to_hex().to_string())
}

fn is_read(path: &Path) -> bool {
    path.extension().is_some_and(|extension| MODEL_FILES.iter().any(|read| extension == *read))
}
