//! The sections of a configuration, with their defaults.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tabpo_corpus::Level;
use tabpo_engine::Compute;
use tabpo_model::{LoraConfig, Projection};
use tabpo_ontology::AnswerForm;
use tabpo_pairs::Source;
use tabpo_synthetic::SyntheticConfig;
use tabpo_train::Decay;

use super::{SourceShare, SystemSection, projections, schema::names};
use crate::{device::Device, range};

/// The configuration of a whole run, from documents to a comparison.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// Name, directory and seed.
    pub run: RunSection,
    /// What to extract.
    #[serde(default)]
    pub ontology: OntologySection,
    /// How answers are written.
    #[serde(default)]
    pub answer: AnswerSection,
    /// The documents.
    pub data: DataSection,
    /// The model.
    pub model: ModelSection,
    /// LoRA; without it, all parameters are trained.
    pub adapter: Option<AdapterSection>,
    /// Training before supervised fine-tuning.
    pub warmup: Option<WarmupSection>,
    /// Supervised fine-tuning.
    pub sft: TrainSection,
    /// Preference pairs.
    #[serde(default)]
    pub pairs: PairsSection,
    /// The systems that are compared.
    pub preference: PreferenceSection,
    /// Generation.
    #[serde(default)]
    pub predict: PredictSection,
    /// Scores and tests.
    #[serde(default)]
    pub evaluate: EvaluateSection,
}

/// Name, directory and seed of a run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunSection {
    /// The name that the report shows.
    pub name: String,
    /// The run directory; `runs/NAME` by default.
    pub directory: Option<PathBuf>,
    /// The seed from which every other seed is derived.
    #[serde(default = "one")]
    #[schemars(transform = range::SEED.stated())]
    pub seed: u64,
}

impl RunSection {
    /// The run directory.
    pub fn directory(&self) -> PathBuf {
        self.directory.clone().unwrap_or_else(|| Path::new("runs").join(&self.name))
    }
}

/// What to extract.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OntologySection {
    /// The ontology file; by default, the ontology of the built-in corpus.
    pub file: Option<PathBuf>,
}

/// How answers are written.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AnswerSection {
    /// Whether answers are JSON alone (list), or the text with its entities in brackets, a line for each two neighbouring
    /// entities with their relation or `-`, and then the same as JSON (marked). Hosted models write lists in either case.
    #[schemars(schema_with = "names::form")]
    pub form: AnswerForm,
}

/// The documents: either files or the built-in corpus.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataSection {
    /// What one prompt shows: a sentence or a document.
    #[serde(default)]
    #[schemars(schema_with = "names::level")]
    pub level: Level,
    /// Sizes of the built-in corpus, which is used instead of files.
    pub synthetic: Option<SyntheticSection>,
    /// The folder of the files below.
    pub dir: Option<PathBuf>,
    /// Documents for supervised fine-tuning.
    pub train: Option<PathBuf>,
    /// Documents for the preference stage; by default, the last `set_aside` training documents or, with 0, all of them.
    pub curated: Option<PathBuf>,
    /// How many documents to take from the end of the training file, before those that are held out for validation, for
    /// the preference stage: supervised fine-tuning does not see them.
    #[serde(default)]
    #[schemars(transform = range::COUNT.or_none().stated())]
    pub set_aside: usize,
    /// Documents for validation; by default, the last `hold_out` training documents.
    pub validation: Option<PathBuf>,
    /// How many documents to take from the end of the training file for validation.
    #[serde(default = "fifty")]
    #[schemars(transform = range::COUNT.or_none().stated())]
    pub hold_out: usize,
    /// Documents for the comparison.
    pub test: Option<PathBuf>,
    /// Whether it is an error that something in a file has to be skipped or changed, or that a document is longer
    /// than the model allows; otherwise this is counted and reported.
    #[serde(default)]
    pub strict: bool,
}

/// Sizes of the built-in corpus, in sentences.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SyntheticSection {
    /// Sentences labelled by the biased annotator, for supervised fine-tuning.
    #[schemars(transform = range::SENTENCES.stated())]
    pub sft: usize,
    /// Sentences with curated gold, for the preference stage.
    #[schemars(transform = range::SENTENCES.stated())]
    pub curated: usize,
    /// Sentences with curated gold, for validation.
    #[schemars(transform = range::SENTENCES.stated())]
    pub validation: usize,
    /// Sentences with curated gold, for the comparison.
    #[schemars(transform = range::SENTENCES.stated())]
    pub test: usize,
    /// How often the biased annotator replaces a label by its fixed confusion.
    #[schemars(transform = range::SHARE.stated())]
    pub label_bias: f64,
}

impl Default for SyntheticSection {
    fn default() -> Self {
        let SyntheticConfig { seed: _, sft, gold, validation, test, bias } = SyntheticConfig::default();
        Self { sft, curated: gold, validation, test, label_bias: bias }
    }
}

/// The model: a Hugging Face folder, or a decoder of this shape from scratch.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ModelSection {
    /// A Hugging Face folder, or a PEFT folder with an adapter, which is trained further. Most keys below describe a
    /// model from scratch instead.
    pub folder: Option<PathBuf>,
    /// A chat template to use instead of the folder's: a Jinja file, or a built-in format (plain, alpaca, chatml). A
    /// folder without a template gets `plain`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<String>,
    /// Size of the vocabulary, trained on sources and answers.
    #[schemars(transform = range::vocabulary().stated())]
    pub vocabulary: usize,
    /// Width of the residual stream.
    #[schemars(transform = range::WIDTH.stated())]
    pub hidden: usize,
    /// Number of blocks.
    #[schemars(transform = range::LAYERS.stated())]
    pub layers: usize,
    /// Number of query heads.
    #[schemars(transform = range::HEADS.stated())]
    pub heads: usize,
    /// Number of key and value heads.
    #[schemars(transform = range::HEADS.stated())]
    pub kv_heads: usize,
    /// Width of the feed-forward layers.
    #[schemars(transform = range::INTERMEDIATE.stated())]
    pub intermediate: usize,
    /// How products with frozen weights (under an adapter, and in generation) are computed: auto (bf16 if the weights
    /// are stored in bf16 and a short measurement shows that this machine is faster with it), f32 or bf16.
    #[schemars(schema_with = "names::compute")]
    pub compute: Compute,
    /// Where models are trained and answer: auto (an NVIDIA card if there is one that can be used, and otherwise the
    /// CPU; a run keeps what it has begun on), cpu, cuda (the first card), or cuda:1 (the second). A card computes in
    /// bf16 unless `compute` is f32. Whoever asks for the other kind keeps what is finished; the rest is computed there.
    #[schemars(schema_with = "names::device")]
    pub device: Device,
}

impl Default for ModelSection {
    fn default() -> Self {
        Self {
            folder: None,
            chat_template: None,
            vocabulary: 1024,
            hidden: 128,
            layers: 4,
            heads: 4,
            kv_heads: 4,
            intermediate: 352,
            compute: Compute::Auto,
            device: Device::Auto,
        }
    }
}

/// LoRA.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdapterSection {
    /// A PEFT folder to start from; by default, a new adapter is made.
    pub folder: Option<PathBuf>,
    /// Rank.
    #[schemars(transform = range::RANK.stated())]
    pub rank: usize,
    /// Scale: updates are multiplied by alpha / rank (alpha / sqrt(rank) with `rslora`).
    #[schemars(transform = range::ALPHA.stated())]
    pub alpha: f64,
    /// Dropout on the adapter's input while training.
    #[schemars(transform = range::DROPOUT.stated())]
    pub dropout: f64,
    /// Rank-stabilised scale.
    pub rslora: bool,
    /// The projections that are adapted.
    #[serde(with = "projections")]
    #[schemars(schema_with = "names::targets")]
    pub targets: Vec<Projection>,
}

impl Default for AdapterSection {
    fn default() -> Self {
        let LoraConfig { rank, alpha, dropout, rslora, targets, .. } = LoraConfig::new(16, 32.0);
        Self { folder: None, rank, alpha, dropout, rslora, targets }
    }
}

/// Training before supervised fine-tuning: on the built-in corpus, and on copies of the training documents with other
/// words.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WarmupSection {
    /// Sentences of the built-in corpus with its true labels, which the ontology must have.
    #[serde(default)]
    #[schemars(transform = range::SENTENCES.or_none().stated())]
    pub sentences: usize,
    /// Copies of each training document in which content words are replaced.
    #[serde(default)]
    #[schemars(transform = range::FEW.or_none().stated())]
    pub copies: usize,
    /// Share of the content words that are replaced in these copies.
    #[serde(default = "more_than_half")]
    #[schemars(transform = range::SHARE.stated())]
    pub replaced: f64,
    /// Share of the words in the built-in corpus's terms that are replaced by words of the training documents.
    #[serde(default = "most")]
    #[schemars(transform = range::SHARE.stated())]
    pub own_words: f64,
    /// How to train.
    #[serde(default)]
    pub train: TrainSection,
}

/// How to train.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TrainSection {
    /// Passes over the examples; ignored where `steps` is given.
    #[schemars(transform = range::EPOCHS.stated())]
    pub epochs: f64,
    /// Number of optimiser steps.
    #[schemars(transform = range::STEPS.stated())]
    pub steps: Option<usize>,
    /// Examples per step.
    #[schemars(transform = range::BATCH.stated())]
    pub batch_size: usize,
    /// Peak learning rate.
    #[schemars(transform = range::LEARNING_RATE.stated())]
    pub learning_rate: f64,
    /// How the learning rate decays after the warm-up.
    #[schemars(schema_with = "names::schedule")]
    pub schedule: Decay,
    /// Share of the steps over which the learning rate rises from 0.
    #[schemars(transform = range::SHARE.stated())]
    pub warmup: f64,
    /// Decoupled weight decay of matrices.
    #[schemars(transform = range::WEIGHT_DECAY.stated())]
    pub weight_decay: f64,
    /// The largest global norm of the gradient; a larger gradient is scaled down to it.
    #[schemars(transform = range::CLIP.stated())]
    pub clip: f64,
    /// Most tokens in a micro-batch; a step with more tokens is split into several, whose gradients add up.
    #[schemars(transform = range::TOKENS.stated())]
    pub max_tokens: usize,
    /// Most tokens of a prompt with its answer; longer examples are skipped and counted.
    #[schemars(transform = range::TOKENS.stated())]
    pub max_length: usize,
    /// Steps between checkpoints.
    #[schemars(transform = range::STEPS.stated())]
    pub checkpoint_every: usize,
    /// Memory to stay below if possible, in GB: decides what the backward pass recomputes.
    #[schemars(transform = range::MEMORY.stated())]
    pub memory_gb: Option<f64>,
}

impl Default for TrainSection {
    fn default() -> Self {
        Self {
            epochs: 3.0,
            steps: None,
            batch_size: 16,
            learning_rate: 2e-4,
            schedule: Decay::Cosine,
            warmup: 0.05,
            weight_decay: 0.0,
            clip: 1.0,
            max_tokens: 4096,
            max_length: 2048,
            checkpoint_every: 200,
            memory_gb: None,
        }
    }
}

/// Preference pairs.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PairsSection {
    /// Rejected answers per example.
    #[schemars(transform = range::FEW.stated())]
    pub per_example: usize,
    /// A file of ambiguity patterns.
    pub patterns: Option<PathBuf>,
    /// Where edits come from: `modes`, `patterns`, `random`, `on-policy`.
    #[schemars(schema_with = "names::sources")]
    pub sources: Vec<SourceShare>,
    /// Share of each kind of edit, by name; a default mix if empty.
    #[schemars(schema_with = "names::mix")]
    pub mix: BTreeMap<String, f64>,
    /// For the source `on-policy`, and for objectives that learn from the model's own answers, with curated documents
    /// that are training documents: the number of models that answer them, each trained without the documents that it
    /// answers. With 1, the SFT model answers all.
    #[schemars(transform = range::COUNT.stated())]
    pub folds: usize,
    /// For objectives that learn from answers sampled from the model: the number of samples per example.
    #[schemars(transform = range::FEW.stated())]
    pub samples: usize,
}

impl Default for PairsSection {
    fn default() -> Self {
        Self {
            per_example: 2,
            patterns: None,
            sources: [Source::Mode, Source::Pattern].map(SourceShare::equal).to_vec(),
            mix: BTreeMap::new(),
            folds: 1,
            samples: 2,
        }
    }
}

/// The systems that are compared.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PreferenceSection {
    /// Objectives by name, or names of `[preference.system.NAME]` tables. The controls
    /// (continued SFT at equal steps and at equal FLOPs, gated SFT) are always added.
    pub objectives: Vec<String>,
    /// One training run for each seed and system.
    #[serde(default = "one_seed")]
    #[schemars(transform = range::SEED.stated())]
    pub seeds: Vec<u64>,
    /// How to train, for every system alike.
    #[serde(default)]
    pub train: TrainSection,
    /// Learning rates from which the best on validation is chosen for each system; `train.learning_rate` if empty.
    #[serde(default)]
    #[schemars(transform = range::LEARNING_RATE.stated())]
    pub learning_rates: Vec<f64>,
    /// Systems with their own settings.
    #[serde(default)]
    pub system: BTreeMap<String, SystemSection>,
}

/// Generation.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PredictSection {
    /// Most tokens of an answer.
    #[schemars(transform = range::ANSWER.stated())]
    pub max_new_tokens: usize,
    /// Most sequences decoded together. Their number changes no answer.
    #[schemars(transform = range::BATCH.stated())]
    pub batch_size: usize,
    /// Memory to stay below if possible, in GB: decides how many sequences are decoded together.
    #[schemars(transform = range::MEMORY.stated())]
    pub memory_gb: Option<f64>,
    /// Whether the test documents are decoded a second time, constrained by the ontology's grammar.
    pub constrained: bool,
    /// Whether the test documents are decoded a second time with thresholds, tuned on the validation documents, on the
    /// probability at which a list goes on with another record: none or tuned.
    #[schemars(schema_with = "names::threshold")]
    pub threshold: ThresholdChoice,
    /// Hosted models that answer the test documents too, by the name that tables show.
    pub remote: BTreeMap<String, tabpo_remote::Settings>,
}

impl Default for PredictSection {
    fn default() -> Self {
        Self {
            max_new_tokens: 512,
            batch_size: 32,
            memory_gb: None,
            constrained: false,
            threshold: ThresholdChoice::None,
            remote: BTreeMap::new(),
        }
    }
}

/// Whether a run also compares its systems with tuned thresholds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ThresholdChoice {
    /// Greedy decoding only.
    #[default]
    None,
    /// Each system has a second row, with thresholds tuned on the validation documents.
    Tuned,
}

/// Scores and tests.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluateSection {
    /// Bootstrap resamples.
    #[schemars(transform = range::RESAMPLES.stated())]
    pub resamples: usize,
}

impl Default for EvaluateSection {
    fn default() -> Self {
        Self { resamples: 10_000 }
    }
}

fn one() -> u64 {
    1
}

fn fifty() -> usize {
    50
}

fn one_seed() -> Vec<u64> {
    vec![1]
}

fn most() -> f64 {
    0.8
}

fn more_than_half() -> f64 {
    0.6
}
