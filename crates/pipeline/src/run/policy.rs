//! Policies on disk (a model folder or GGUF file, with or without an adapter), and how they turn text into prompts.

use std::path::{Path, PathBuf};

use jiff::civil::DateTime;
use serde::{Deserialize, Serialize};
use tabpo_engine::{Compute, HostWorker, Lora, Model, Policy, verify_export};
use tabpo_model::{
    ChatTemplate, ModelConfig, SaveOptions, StoredType, Tokenizer, check_model_folder, find_base, is_adapter_folder,
};
use tabpo_ontology::{AnswerForm, Ontology};
use tabpo_train::{ExampleFormat, PromptFormat};

use super::compute;
use crate::{
    device::{Computer, DeviceWorker},
    error::{Error, ResultExt},
    observer::Observer,
};

/// The special token between source and answer in the prompts of a model from scratch.
pub const SEPARATOR: &str = "<|assistant|>";

/// The date for templates that print one, which is the default in Llama 3.1's. It is fixed because a prompt must not
/// depend on the day.
pub const PROMPT_DATE: DateTime = DateTime::constant(2024, 7, 26, 0, 0, 0, 0);

/// A policy on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyFolder {
    /// A Hugging Face folder or a GGUF file.
    pub model: PathBuf,
    /// A PEFT folder on top of it.
    pub adapter: Option<PathBuf>,
    /// How products with frozen weights are computed.
    pub compute: Compute,
}

impl PolicyFolder {
    /// A model without an adapter.
    pub fn model(folder: impl Into<PathBuf>, compute: Compute) -> Self {
        Self { model: folder.into(), adapter: None, compute }
    }

    /// The policy as a frozen worker, which computes log-probabilities and answers.
    pub fn worker(&self) -> Result<HostWorker<f32>, Error> {
        let (model, adapter) = self.open()?;
        Ok(HostWorker::frozen(model, adapter))
    }

    /// The same on a device.
    pub fn worker_on(&self, computer: &Computer) -> Result<DeviceWorker, Error> {
        if !computer.is_card() {
            return Ok(DeviceWorker::Host(Box::new(self.worker()?)));
        }
        // A card rounds weights itself.
        let (model, adapter) = self.open_trainable()?;
        computer.worker(match adapter {
            Some(adapter) => Policy::adapter(model.into(), adapter),
            None => Policy::Frozen(model.into()),
        })
    }

    /// Reads the weights of a model that stays frozen, and the adapter on top of it.
    pub fn open(&self) -> Result<(Model<f32>, Option<Lora<f32>>), Error> {
        let (mut model, adapter) = self.open_trainable()?;
        model.freeze(self.compute);
        Ok((model, adapter))
    }

    /// Reads the weights of a model whose own parameters are trained or copied, and the adapter on top of it.
    pub fn open_trainable(&self) -> Result<(Model<f32>, Option<Lora<f32>>), Error> {
        let mut model = Model::open(&self.model).or_input()?;
        let Some(folder) = &self.adapter else { return Ok((model, None)) };
        let mut adapter = Lora::open(folder, &model.config).or_input()?;
        model.take_saved(&mut adapter, folder).or_input()?;
        Ok((model, Some(adapter)))
    }

    /// The policy with [`Compute::Auto`] replaced by what a measurement chooses, where there is a choice, which is
    /// reported.
    pub fn measured(mut self, observer: &dyn Observer) -> Result<Self, Error> {
        if let Some(speeds) = compute::speeds(&self.model, self.compute)? {
            self.compute = speeds.choice();
            observer.say(&compute::description(self.compute, &speeds));
        }
        Ok(self)
    }

    /// The policy that training this one writes to `folder`: a model, or an adapter of the same base model.
    #[must_use]
    pub fn trained_at(&self, folder: &Path, adapter: bool) -> Self {
        if adapter {
            Self { adapter: Some(folder.to_owned()), ..self.clone() }
        } else {
            Self::model(folder, self.compute)
        }
    }
}

/// Turns text into the prompts of a model.
pub struct Renderer {
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    prompt: PromptFormat,
    /// The chat template, if it is not the base folder's own.
    template: Option<String>,
}

impl Renderer {
    /// Reads the tokenizer of a policy and its chat template: `template` (a file or the name of a built-in format), or
    /// else the folder's own. Those in an adapter's folder take precedence. The instructions ask for answers in `form`.
    ///
    /// Without any template, a model whose tokenizer has the separator token gets the plain prompt. Others get the
    /// first of the built-in formats, which is reported.
    pub fn open(
        policy: &PolicyFolder,
        ontology: &Ontology,
        form: AnswerForm,
        template: Option<&str>,
        observer: &dyn Observer,
    ) -> Result<Self, Error> {
        let tokenizer = Tokenizer::open(policy.tokenizer_folder()).or_input()?;
        let plain = template.is_none() && tokenizer.token_id(SEPARATOR).is_some() && !policy.has_template();
        let renderer = if plain {
            Self { tokenizer, prompt: PromptFormat::Plain { separator: SEPARATOR.to_owned() }, template: None }
        } else {
            let found = policy.template(
                &tokenizer,
                TemplateChoice { named: template, ..TemplateChoice::default() },
                observer,
            )?;
            let own = policy.adapter.is_none() && template.is_none() && policy.has_template();
            let source = (!own).then(|| found.source().to_owned());
            let (system, template) = (Some(ontology.prompt_for(form)), Box::new(found));
            Self { tokenizer, prompt: PromptFormat::Chat { template, system, date: PROMPT_DATE }, template: source }
        };
        renderer.format()?;
        Ok(renderer)
    }

    /// The prompts of a model from scratch with this tokenizer: plain ones, unless a template is named.
    pub(crate) fn from_scratch(
        tokenizer: Tokenizer,
        ontology: &Ontology,
        form: AnswerForm,
        template: Option<&str>,
    ) -> Result<Self, Error> {
        let prompt = match template {
            None => PromptFormat::Plain { separator: SEPARATOR.to_owned() },
            Some(named) => {
                let template = Box::new(named_template(named, &tokenizer)?);
                PromptFormat::Chat { template, system: Some(ontology.prompt_for(form)), date: PROMPT_DATE }
            }
        };
        Ok(Self { tokenizer, prompt, template: template.map(str::to_owned) })
    }

    /// Everything in a prompt but the source text: the instructions of the system turn or the separator of a plain
    /// prompt, and the chat template if it is not the base folder's own.
    pub fn frame(&self) -> String {
        let instructions = match &self.prompt {
            PromptFormat::Plain { separator } => separator,
            PromptFormat::Chat { system, .. } => system.as_deref().unwrap_or_default(),
        };
        [self.template.as_deref().unwrap_or_default(), instructions].join("\0")
    }

    /// The conversion of text to tokens, for both training and generation.
    pub fn format(&self) -> Result<ExampleFormat<'_>, Error> {
        ExampleFormat::new(&self.tokenizer, self.prompt.clone()).or_input().map_err(|error| match &self.prompt {
            PromptFormat::Chat { .. } if error.hint.is_none() => error.with_hint(TEMPLATE_HINT),
            _ => error,
        })
    }
}

/// Which chat template to use.
#[derive(Clone, Copy, Debug, Default)]
pub struct TemplateChoice<'a> {
    /// A template instead of the policy's own: a file or a built-in format.
    pub named: Option<&'a str>,
    /// The name of one of several templates in the policy's folder.
    pub name: Option<&'a str>,
    /// Whether the conversation has tools, for which a folder may have a template of its own.
    pub tools: bool,
}

/// The hint for a template that cannot be used.
pub(crate) const TEMPLATE_HINT: &str = "model.chat_template (--chat-template) names another one: a Jinja file, or a built-in \
                                 format (plain, alpaca, chatml)";

impl PolicyFolder {
    /// The policy that `--model` and `--adapter` (or `model.folder` and `adapter.folder`) name. If the model is itself
    /// an adapter's folder, the policy is its base model with that adapter.
    pub fn resolve(
        model: &Path,
        adapter: Option<&Path>,
        compute: Compute,
        observer: &dyn Observer,
    ) -> Result<Self, Error> {
        if !is_adapter_folder(model) {
            // A tokenizer alone is enough for some commands; others report what is missing.
            if !model.join("tokenizer.json").exists() {
                check_model_folder(model).or_input()?;
            }
            return Ok(Self { model: model.to_owned(), adapter: adapter.map(Path::to_owned), compute });
        }
        if let Some(adapter) = adapter {
            return Err(Error::input(format!(
                "{} is an adapter, and {} is another one to put on top of it",
                model.display(),
                adapter.display()
            ))
            .with_hint("merge the first into its base model with `tabpo merge`, or name its base as the model"));
        }
        let base = find_base(model).or_input()?;
        observer.say(&format!("{}: an adapter of {}", model.display(), base.display()));
        Ok(Self { model: base, adapter: Some(model.to_owned()), compute })
    }

    /// The folder with the tokenizer: the adapter's if it has one (which may have more tokens), or else the model's.
    pub fn tokenizer_folder(&self) -> &Path {
        match &self.adapter {
            Some(adapter) if adapter.join("tokenizer.json").exists() => adapter,
            _ => &self.model,
        }
    }

    /// The folders that may have a chat template, in order of precedence.
    fn template_folders(&self) -> impl Iterator<Item = &Path> {
        self.adapter.as_deref().into_iter().chain([self.model.as_path()])
    }

    fn has_template(&self) -> bool {
        self.template_folders().any(ChatTemplate::is_in)
    }

    /// The chat template of a choice: the named one, or one of the policy's folders, or else a built-in format, which
    /// is reported.
    pub fn template(
        &self,
        tokenizer: &Tokenizer,
        choice: TemplateChoice<'_>,
        observer: &dyn Observer,
    ) -> Result<ChatTemplate, Error> {
        let TemplateChoice { named, name, tools } = choice;
        if let Some(named) = named {
            return named_template(named, tokenizer);
        }
        if let Some(folder) = self.template_folders().find(|folder| ChatTemplate::is_in(folder)) {
            return ChatTemplate::open_named(folder, tokenizer, name, tools)
                .or_input()
                .map_err(|error| error.with_hint(TEMPLATE_HINT));
        }
        let name = ChatTemplate::BUILT_IN[0];
        observer.say(&format!(
            "{} has no chat template: the built-in format `{name}` is used (model.chat_template or --chat-template \
             names another one)",
            self.model.display()
        ));
        named_template(name, tokenizer)
    }

    /// The model's context length, in tokens.
    pub fn longest(&self) -> Result<usize, Error> {
        Ok(ModelConfig::open(&self.model).or_input()?.longest())
    }
}

/// A built-in format, or the template of a file.
fn named_template(named: &str, tokenizer: &Tokenizer) -> Result<ChatTemplate, Error> {
    if let Some(built_in) = ChatTemplate::built_in(named, tokenizer) {
        return built_in.or_input();
    }
    let path = Path::new(named);
    let source = std::fs::read_to_string(path).map_err(|error| {
        Error::input(format!("cannot read the chat template {named}: {error}"))
            .with_hint(format!("a Jinja file, or a built-in format: {}", ChatTemplate::BUILT_IN.join(", ")))
    })?;
    ChatTemplate::new(source, tokenizer.special(), path).or_input()
}

/// Writes a trained policy (a model folder with its tokenizer, or a PEFT folder), reads it back and compares logits.
///
/// A chat template that is not the base folder's own is written too, so that others prompt the model as it was trained.
pub(crate) fn save(
    policy: &Policy<f32>,
    start: &PolicyFolder,
    renderer: &Renderer,
    folder: &Path,
) -> Result<(), Error> {
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
        Policy::Frozen(_) => unreachable!("what was trained has parameters"),
    };
    if let Some(template) = &renderer.template {
        super::directory::write_atomically(&folder.join("chat_template.jinja"), template.as_bytes())?;
    }
    if start.tokenizer_folder() != start.model {
        renderer.tokenizer.save(folder).or_failed()?;
    }
    compared.map(|_| ()).or_failed()
}
