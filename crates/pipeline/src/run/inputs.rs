//! What each kind of stage depends on.
//!
//! A stage runs again exactly when its inputs change, and a checkpoint or a partial prediction file is resumed only if
//! they have not: the digest of the inputs is the key of all three. So the inputs hold everything that affects the
//! result (digests of files, settings, seeds), and nothing that affects only time, memory or paths: threads, memory
//! limits, how often checkpoints are written, where folders are.

use serde::Serialize;
use tabpo_corpus::Level;
use tabpo_engine::Compute;
use tabpo_objective::Objective;
use tabpo_ontology::AnswerForm;
use tabpo_pairs::{Mix, SourceShares};
use tabpo_remote::Settings;
use tabpo_roles::List;
use tabpo_train::{Decay, TrainBudget};

use super::{pipeline::Digests, threshold::ListEnds, tuning::TunedSystem};
use crate::{
    config::{AdapterSection, ModelSection, TrainSection},
    device::LazyDevice,
};

/// The inputs of one kind of stage.
pub(crate) trait StageInputs: Serialize {
    /// The kind.
    const KIND: &'static str;
    /// Must be increased with every change to the program that changes the result for the same inputs. Then the stages
    /// of this kind run again, and those that read their outputs.
    const REVISION: u32;

    /// The key of a stage with these inputs.
    fn key(&self) -> Key {
        let text = serde_json::to_vec(&(Self::KIND, Self::REVISION, self)).expect("inputs are plain data");
        Key { own: blake3::hash(&text).to_hex().to_string(), elsewhere: Vec::new() }
    }
}

/// The digest of a stage's inputs, and of those that it would have on another kind of device: what is finished there is
/// done, and what was begun there is taken up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    own: String,
    elsewhere: Vec<String>,
}

impl Key {
    /// The digest in hexadecimal.
    pub(crate) fn as_str(&self) -> &str {
        &self.own
    }

    /// This key, with that of the same stage on another kind of device.
    pub(crate) fn or(mut self, elsewhere: Self) -> Self {
        self.elsewhere.push(elsewhere.own);
        self
    }

    /// The digests on other kinds of devices.
    pub(crate) fn elsewhere(&self) -> &[String] {
        &self.elsewhere
    }

    /// Whether a stage with this digest is the same stage.
    pub(crate) fn accepts(&self, digest: &str) -> bool {
        self.own == digest || self.elsewhere.iter().any(|other| other == digest)
    }

    /// The first digits of the digest, for names of files.
    pub(crate) fn short(&self) -> &str {
        &self.own[..12]
    }
}

/// Inputs of a base model from scratch and its tokenizer.
#[derive(Serialize)]
pub(crate) struct BaseInputs<'a> {
    pub shape: Shape,
    pub seed: u64,
    pub level: Level,
    pub ontology: &'a str,
    pub train: &'a str,
    /// The number of sentences of the built-in corpus that the tokenizer is trained on too, and the share of words in
    /// their terms that come from the training documents.
    pub built_in: Option<(usize, f64)>,
    /// The form of answers.
    #[serde(skip_serializing_if = "AnswerForm::is_list")]
    pub form: AnswerForm,
}

impl StageInputs for BaseInputs<'_> {
    const KIND: &'static str = "base";
    const REVISION: u32 = 1;
}

/// The shape of a model from scratch.
#[derive(Serialize)]
pub(crate) struct Shape {
    vocabulary: usize,
    hidden: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    intermediate: usize,
}

impl From<&ModelSection> for Shape {
    fn from(section: &ModelSection) -> Self {
        let ModelSection {
            folder: _,
            chat_template: _,
            vocabulary,
            hidden,
            layers,
            heads,
            kv_heads,
            intermediate,
            compute: _,
            device: _,
        } = *section;
        Self { vocabulary, hidden, layers, heads, kv_heads, intermediate }
    }
}

/// Inputs of supervised training.
#[derive(Serialize)]
pub(crate) struct SupervisedInputs<'a> {
    pub start: &'a str,
    pub prompt: &'a str,
    pub ontology: &'a str,
    pub documents: &'a str,
    pub level: Level,
    /// The form of answers.
    #[serde(skip_serializing_if = "AnswerForm::is_list")]
    pub form: AnswerForm,
    pub training: TrainingInputs,
}

impl StageInputs for SupervisedInputs<'_> {
    const KIND: &'static str = "supervised";
    const REVISION: u32 = 2;
}

/// Inputs of the training of one system on pairs.
#[derive(Serialize)]
pub(crate) struct PreferenceInputs<'a> {
    pub start: &'a str,
    pub prompt: &'a str,
    pub ontology: &'a str,
    pub pairs: &'a str,
    pub objective: &'a Objective,
    pub reversed: bool,
    /// The models from which token weights and rewards are derived.
    pub scorers: [Option<&'a str>; 2],
    /// The model's own answers, for objectives that train on them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub own: Vec<&'a str>,
    pub training: TrainingInputs,
}

impl StageInputs for PreferenceInputs<'_> {
    const KIND: &'static str = "preference";
    const REVISION: u32 = 2;
}

/// How to train a policy.
#[derive(Clone, Copy)]
pub(crate) struct Recipe<'a> {
    /// Batches, schedule, optimiser.
    pub section: &'a TrainSection,
    /// LoRA; without it, all parameters are trained.
    pub adapter: Option<&'a AdapterSection>,
    /// How products with frozen weights are computed.
    pub compute: Compute,
    /// Where to train.
    pub device: &'a LazyDevice,
    /// How long to train.
    pub budget: TrainBudget,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Seed of data order, dropout and new adapters.
    pub seed: u64,
}

/// The settings of a training that affect its result.
#[derive(Serialize)]
pub(crate) struct TrainingInputs {
    budget: TrainBudget,
    batch_size: usize,
    learning_rate: f64,
    schedule: Decay,
    warmup: f64,
    weight_decay: f64,
    clip: f64,
    /// Gradients of micro-batches are summed in order, so another limit rounds differently.
    max_tokens: usize,
    max_length: usize,
    seed: u64,
    adapter: Option<Adapter>,
    /// How products with the frozen weights under an adapter are computed.
    compute: Option<Compute>,
    /// How a card computes, if one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<&'static str>,
}

/// The settings of LoRA that affect the result.
#[derive(Serialize)]
struct Adapter {
    dropout: f64,
    /// Rank, alpha, rsLoRA and targets of a new adapter; one from a folder has its own.
    new: Option<(usize, f64, bool, Vec<&'static str>)>,
}

impl TrainingInputs {
    /// Collects what a training depends on, on a device as [`LazyDevice::inputs`] says it. How products are computed matters
    /// only under an adapter, where weights are frozen.
    pub(crate) fn new(recipe: &Recipe<'_>, device: Option<&'static str>) -> Self {
        let &Recipe { section, adapter, compute, device: _, budget, learning_rate, seed } = recipe;
        let &TrainSection {
            epochs: _,
            steps: _,
            batch_size,
            learning_rate: _,
            schedule,
            warmup,
            weight_decay,
            clip,
            max_tokens,
            max_length,
            checkpoint_every: _,
            memory_gb: _,
        } = section;
        let frozen = adapter.is_some();
        let adapter = adapter.map(|section| {
            let AdapterSection { folder, rank, alpha, dropout, rslora, targets } = section;
            let targets = || targets.iter().map(|projection| projection.module()).collect();
            let new = folder.is_none().then(|| (*rank, *alpha, *rslora, targets()));
            Adapter { dropout: *dropout, new }
        });
        Self {
            budget,
            batch_size,
            learning_rate,
            schedule,
            warmup,
            weight_decay,
            clip,
            max_tokens,
            max_length,
            seed,
            adapter,
            compute: frozen.then_some(compute),
            device,
        }
    }
}

/// Inputs of a model's predictions.
#[derive(Serialize)]
pub(crate) struct PredictionInputs<'a> {
    pub policy: &'a str,
    pub prompt: &'a str,
    pub compute: Compute,
    pub documents: &'a str,
    pub level: Level,
    /// The digest of the ontology whose grammar constrains the answers, if one does.
    pub grammar: Option<&'a str>,
    pub max_new_tokens: usize,
    /// The number of answers to each unit, and temperature, top-p and seed of the sampling.
    pub sampling: (usize, f64, f64, u64),
    /// How lists end, unless greedily.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list_ends: Option<ListEnds>,
    /// The form of answers.
    #[serde(skip_serializing_if = "AnswerForm::is_list")]
    pub form: AnswerForm,
    /// How a card computes, if one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<&'static str>,
}

impl StageInputs for PredictionInputs<'_> {
    const KIND: &'static str = "prediction";
    const REVISION: u32 = 2;
}

/// Inputs of the curve of scores over the thresholds of one list.
#[derive(Serialize)]
pub(crate) struct CurveInputs<'a> {
    pub list: List,
    /// Answers with their decisions.
    pub predictions: &'a str,
    pub gold: &'a str,
    pub ontology: &'a str,
}

impl StageInputs for CurveInputs<'_> {
    const KIND: &'static str = "threshold";
    const REVISION: u32 = 1;
}

/// Inputs of the measured error modes.
#[derive(Serialize)]
pub(crate) struct ErrorInputs<'a> {
    pub predictions: &'a str,
    pub gold: &'a str,
    pub ontology: &'a str,
}

impl StageInputs for ErrorInputs<'_> {
    const KIND: &'static str = "errors";
    const REVISION: u32 = 1;
}

/// Inputs of preference pairs.
#[derive(Serialize)]
pub(crate) struct PairInputs<'a> {
    pub per_example: usize,
    pub mix: &'a Mix,
    pub sources: &'a SourceShares,
    pub seed: u64,
    pub level: Level,
    pub patterns: &'a str,
    pub ontology: &'a str,
    pub documents: &'a str,
    pub modes: &'a str,
    pub tokenizer: String,
    /// The model's own answers.
    pub own: Vec<&'a str>,
    /// The form of answers.
    #[serde(skip_serializing_if = "AnswerForm::is_list")]
    pub form: AnswerForm,
}

impl StageInputs for PairInputs<'_> {
    const KIND: &'static str = "pairs";
    const REVISION: u32 = 1;
}

/// Inputs of a hosted model's answers, which prices, limits and the name of the key's variable do not affect.
#[derive(Serialize)]
pub(crate) struct RemoteInputs<'a> {
    endpoint: &'a str,
    model: &'a str,
    structure: tabpo_remote::StructureKind,
    shots: usize,
    selection: tabpo_remote::Selection,
    seed: u64,
    temperature: Option<f64>,
    max_tokens: u32,
    no_system_role: bool,
    unwrap: bool,
    extra: &'a serde_json::Map<String, serde_json::Value>,
    documents: &'a str,
    demonstrations: &'a str,
    ontology: &'a str,
    level: Level,
}

impl<'a> RemoteInputs<'a> {
    /// The inputs of one hosted model, which answers the test documents with demonstrations from the curated ones.
    pub(crate) fn new(settings: &'a Settings, digests: &'a Digests, level: Level) -> Self {
        let Settings {
            endpoint,
            model,
            key_variable: _,
            structure,
            shots,
            selection,
            seed,
            temperature,
            max_tokens,
            max_tokens_name: _,
            no_system_role,
            unwrap,
            extra,
            concurrency: _,
            requests_per_minute: _,
            tokens_per_minute: _,
            timeout_seconds: _,
            attempts: _,
            backoff_seconds: _,
            prices: _,
            budget: _,
            batch: _,
            poll_seconds: _,
        } = settings;
        Self {
            endpoint,
            model,
            structure: *structure,
            shots: *shots,
            selection: *selection,
            seed: *seed,
            temperature: *temperature,
            max_tokens: *max_tokens,
            no_system_role: *no_system_role,
            unwrap: *unwrap,
            extra,
            documents: &digests.test,
            demonstrations: &digests.curated,
            ontology: &digests.ontology,
            level,
        }
    }
}

impl StageInputs for RemoteInputs<'_> {
    const KIND: &'static str = "remote";
    const REVISION: u32 = 1;
}

/// Inputs of the comparison.
#[derive(Serialize)]
pub(crate) struct ComparisonInputs<'a> {
    /// Every system with the digests of its runs' predictions.
    pub predictions: Vec<(&'a str, Vec<&'a str>)>,
    pub gold: &'a str,
    pub ontology: &'a str,
    pub resamples: u32,
    pub seed: u64,
    /// The thresholds of the systems that have some.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub thresholds: &'a [TunedSystem],
}

impl StageInputs for ComparisonInputs<'_> {
    const KIND: &'static str = "comparison";
    const REVISION: u32 = 2;
}
