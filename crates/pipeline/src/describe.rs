//! What a model is: whether it can be used, how large it is, what memory it takes, and how it is prompted.

use std::path::{Path, PathBuf};

use serde::Serialize;
use tabpo_engine::{Compute, ForwardOptions, Model, PolicyShape};
use tabpo_model::{AdapterFolder, Architecture, ChatTemplate, LoraConfig, ModelConfig, is_gguf_file};
use tabpo_ontology::AnswerForm;

use crate::{
    config::TrainSection,
    error::{Error, ResultExt},
    memory,
    observer::Observer,
    run::{PolicyFolder, Renderer, weight_files},
};

/// A model that can be used.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelDescription {
    /// The folder or file of the base model.
    pub model: PathBuf,
    /// `folder` or `gguf`.
    pub form: &'static str,
    /// The architecture, by the name of its class in transformers.
    pub architecture: &'static str,
    /// Parameters.
    pub parameters: usize,
    /// Bytes of the weights as they are stored, and in memory while they are frozen.
    pub weights: usize,
    /// The formats of its matrices (`NF4`, `bf16`), that of the most elements first.
    pub formats: Vec<&'static str>,
    /// Blocks.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Query heads, and the key and value heads that they share.
    pub heads: (usize, usize),
    /// Rows of the embedding.
    pub vocabulary: usize,
    /// The longest prompt with its answer, in tokens.
    pub window: usize,
    /// The adapter on top of it, if the path leads to one.
    pub adapter: Option<AdapterDescription>,
    /// Where the chat template comes from: `adapter`, `model`, or `none` where a built-in format has to do.
    pub chat_template: &'static str,
    /// Memory with an adapter of this rank on all projections.
    pub adapter_training: TrainingMemory,
    /// Memory where all parameters are trained, for which weights in any form are widened to single precision.
    pub full_training: TrainingMemory,
    /// Bytes that each token of a sequence takes while it is answered.
    pub bytes_per_token: usize,
    /// Bytes of memory that are free, if the operating system says so.
    pub free_memory: Option<usize>,
}

/// An adapter.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AdapterDescription {
    /// Its folder.
    pub folder: PathBuf,
    /// Its rank.
    pub rank: usize,
    /// The numerator of its scale.
    pub alpha: f64,
    /// The projections that it adapts.
    pub targets: Vec<&'static str>,
}

/// The memory of a training step of the default length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TrainingMemory {
    /// The rank of the adapter; 0 where all parameters are trained.
    pub rank: usize,
    /// Most tokens of a micro-batch (`max_tokens`).
    pub tokens: usize,
    /// Bytes with everything kept between forward and backward pass.
    pub most: usize,
    /// Bytes with everything computed again that can be.
    pub least: usize,
}

/// Describes the model at a path: a folder, a GGUF file, or a PEFT folder on top of either. Whatever would keep it from
/// being used is an error. `rank` is that of the adapter whose memory is estimated.
pub fn describe(path: &Path, rank: usize, observer: &dyn Observer) -> Result<ModelDescription, Error> {
    let policy = PolicyFolder::resolve(path, None, Compute::F32, observer)?;
    let config = ModelConfig::open(&policy.model).or_input()?;
    let adapter = policy.adapter.as_deref().map(|folder| adapter(folder, &config)).transpose()?;
    // All tensors are there, in their shapes and supported types.
    let formats = Model::<f32>::open(&policy.model).or_input()?.formats();
    // Tokenizer and template can be trained with.
    Renderer::open(&policy, tabpo_synthetic::ontology(), AnswerForm::List, None, observer)?;
    let form = if is_gguf_file(&policy.model) { "gguf" } else { "folder" };
    let weights = weight_files(&policy.model);
    let chat_template = match &policy.adapter {
        Some(folder) if ChatTemplate::is_in(folder) => "adapter",
        _ if ChatTemplate::is_in(&policy.model) => "model",
        _ => "none",
    };
    Ok(ModelDescription {
        form,
        architecture: class(config.architecture),
        parameters: config.parameters(),
        weights,
        formats,
        layers: config.layers,
        hidden: config.hidden,
        heads: (config.heads, config.kv_heads),
        vocabulary: config.vocabulary,
        window: config.longest(),
        adapter,
        chat_template,
        adapter_training: training(&config, weights, rank),
        full_training: training(&config, weights, 0),
        bytes_per_token: 2 * config.layers * config.key_width() * size_of::<f32>(),
        free_memory: memory::free_bytes(),
        model: policy.model,
    })
}

fn adapter(folder: &Path, config: &ModelConfig) -> Result<AdapterDescription, Error> {
    let LoraConfig { rank, alpha, targets, .. } = AdapterFolder::open(folder, config).or_input()?.config;
    let targets = targets.into_iter().map(tabpo_model::Projection::module).collect();
    Ok(AdapterDescription { folder: folder.to_owned(), rank, alpha, targets })
}

/// The memory of a step; a rank of 0 trains all parameters.
fn training(config: &ModelConfig, weights: usize, rank: usize) -> TrainingMemory {
    let tokens = TrainSection::default().max_tokens.min(config.longest());
    let lora = (rank > 0).then(|| LoraConfig::new(rank, 2.0 * rank as f64));
    let policy = PolicyShape::planned(config, Some(weights), lora.as_ref());
    let request = memory::request(tokens, ForwardOptions::default().logit_bytes, false, 0, 0);
    TrainingMemory {
        rank,
        tokens,
        most: policy.plan(&request, None).total(),
        least: policy.plan(&request, Some(0)).total(),
    }
}

fn class(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::Llama => "LlamaForCausalLM",
        Architecture::Mistral => "MistralForCausalLM",
        Architecture::Qwen2 => "Qwen2ForCausalLM",
        Architecture::Qwen3 => "Qwen3ForCausalLM",
    }
}
