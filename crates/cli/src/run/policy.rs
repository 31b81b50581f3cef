//! Policies on disk: a model folder, with or without an adapter, and how text becomes its prompt.

use std::path::{Path, PathBuf};

use jiff::civil::DateTime;
use serde::Serialize;
use tabpo_engine::{ChatTemplate, Compute, Lora, Model, SaveOptions, StoredType, Tokenizer, verify_export};
use tabpo_ontology::Ontology;
use tabpo_train::{ExampleFormat, Policy, PromptFormat};

use crate::error::{CliError, ResultExt};

/// The special token between source and answer of a model from scratch.
pub const SEPARATOR: &str = "<|assistant|>";
/// The date that templates show which print one: that of Llama 3.1's own default, and always the
/// same, because a prompt must not depend on the day on which it is made.
const PROMPT_DATE: DateTime = DateTime::constant(2024, 7, 26, 0, 0, 0, 0);
/// A policy on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyFolder {
    /// A Hugging Face folder.
    pub model: PathBuf,
    /// A PEFT folder on top of it.
    pub adapter: Option<PathBuf>,
    /// How products with weights that do not change are computed.
    pub compute: Compute,
}

impl PolicyFolder {
    /// A model without an adapter.
    pub fn model(folder: impl Into<PathBuf>, compute: Compute) -> Self {
        Self { model: folder.into(), adapter: None, compute }
    }

    /// Reads the weights of a model that is not trained, but perhaps an adapter on top of it.
    pub fn open(&self) -> Result<(Model<f32>, Option<Lora<f32>>), CliError> {
        let (mut model, adapter) = self.open_trainable()?;
        if model.freeze(self.compute) == Compute::F32 && self.compute == Compute::Bf16 {
            return Err(CliError::input("this machine has no instructions for products in bf16")
                .with_hint("compute = \"auto\" takes single precision then"));
        }
        Ok((model, adapter))
    }

    /// Reads the weights of a model whose own parameters are trained or copied.
    pub fn open_trainable(&self) -> Result<(Model<f32>, Option<Lora<f32>>), CliError> {
        let model = Model::open(&self.model).or_input()?;
        let adapter = self.adapter.as_ref().map(|folder| Lora::open(folder, &model.config)).transpose().or_input()?;
        Ok((model, adapter))
    }

    /// The folder that training on top of this policy fills, described as a policy: a model folder,
    /// or an adapter of the same base model.
    pub fn trained_at(&self, folder: &Path, adapter: bool) -> Self {
        if adapter {
            Self { adapter: Some(folder.to_owned()), ..self.clone() }
        } else {
            Self::model(folder, self.compute)
        }
    }
}

/// How a model reads and writes text.
pub struct Voice {
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    prompt: PromptFormat,
}

impl Voice {
    /// Reads the tokenizer of a model folder and its chat template. A folder without a template gets
    /// the plain prompt of models from scratch, which needs the separator among its tokens.
    pub fn open(folder: &Path, ontology: &Ontology) -> Result<Self, CliError> {
        let tokenizer = Tokenizer::open(folder).or_input()?;
        let prompt = if tokenizer.token_id(SEPARATOR).is_some() && !has_template(folder) {
            PromptFormat::Plain { separator: SEPARATOR.to_owned() }
        } else {
            let template = Box::new(ChatTemplate::open(folder, &tokenizer).or_input()?);
            PromptFormat::Chat { template, system: Some(ontology.prompt()), date: PROMPT_DATE }
        };
        let voice = Self { tokenizer, prompt };
        voice.format()?;
        Ok(voice)
    }

    /// What a prompt says besides the source text: the instructions of the system turn, or the
    /// separator of a plain prompt.
    pub fn instructions(&self) -> &str {
        match &self.prompt {
            PromptFormat::Plain { separator } => separator,
            PromptFormat::Chat { system, .. } => system.as_deref().unwrap_or_default(),
        }
    }

    /// The one path from text to tokens, for training and for generation.
    pub fn format(&self) -> Result<ExampleFormat<'_>, CliError> {
        ExampleFormat::new(&self.tokenizer, self.prompt.clone()).or_input()
    }
}

fn has_template(folder: &Path) -> bool {
    let in_config = || {
        std::fs::read_to_string(folder.join("tokenizer_config.json"))
            .is_ok_and(|text| text.contains("\"chat_template\""))
    };
    folder.join("chat_template.jinja").exists() || in_config()
}

/// Writes what was trained, a model folder with its tokenizer or a PEFT folder, reads it again and
/// compares logits.
pub fn save(policy: &Policy<'_, f32>, start: &PolicyFolder, folder: &Path) -> Result<(), CliError> {
    let stored = StoredType::F32;
    let compared = match policy {
        Policy::Full(model) => {
            model.save_like(&start.model, folder, &SaveOptions::new(stored)).or_failed()?;
            let written = Model::open(folder).or_failed()?;
            verify_export((policy.model(), None), (&written, None), stored)
        }
        Policy::Adapter { base, adapter } => {
            adapter.save(folder, &base.config, &start.model.display().to_string()).or_failed()?;
            let written = Lora::open(folder, &base.config).or_failed()?;
            verify_export((policy.model(), Some(adapter)), (policy.model(), Some(&written)), stored)
        }
    };
    compared.map(|_| ()).or_failed()
}
