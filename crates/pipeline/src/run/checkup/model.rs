//! The model that a run starts from, without a run directory.

use tabpo_engine::{Lora, Model, Policy};
use tabpo_model::Tokenizer;

use super::Inputs;
use crate::{
    error::{Error, ResultExt},
    observer::Observer,
    run::{
        policy::{PolicyFolder, Renderer},
        preparation::base_tokenizer,
    },
};

/// The model that supervised fine-tuning starts from (without warm-up), and how it is prompted.
pub(super) struct Start<'i> {
    inputs: &'i Inputs,
    /// The model's folder or file; `None` for a model from scratch.
    folder: Option<PolicyFolder>,
    pub(super) renderer: Renderer,
}

impl<'i> Start<'i> {
    pub(super) fn of(inputs: &'i Inputs, observer: &dyn Observer) -> Result<Self, Error> {
        let section = &inputs.config.model;
        let (form, template) = (inputs.config.answer.form, section.chat_template.as_deref());
        let Some(folder) = &section.folder else {
            let tokenizer: Tokenizer = base_tokenizer(inputs)?;
            let renderer = Renderer::from_scratch(tokenizer, &inputs.ontology, form, template)?;
            return Ok(Self { inputs, folder: None, renderer });
        };
        let adapter = inputs.config.adapter.as_ref().and_then(|adapter| adapter.folder.clone());
        let policy = PolicyFolder { model: folder.clone(), adapter, compute: section.compute };
        let renderer = Renderer::open(&policy, &inputs.ontology, form, template, observer)?;
        Ok(Self { inputs, folder: Some(policy), renderer })
    }

    /// The model's window, in tokens.
    pub(super) fn window(&self) -> Result<usize, Error> {
        match &self.folder {
            Some(folder) => folder.longest(),
            None => Ok(self.inputs.config.model.shape(self.renderer.tokenizer.vocabulary_size()).longest()),
        }
    }

    /// The policy that is trained, for a card or for the CPU. Its weights are random where the model is from scratch.
    pub(super) fn policy(&self, card: bool, observer: &dyn Observer) -> Result<Policy<f32>, Error> {
        let section = self.inputs.config.adapter.as_ref();
        let Some(folder) = &self.folder else {
            let shape = self.inputs.config.model.shape(self.renderer.tokenizer.vocabulary_size());
            let model = Model::initialise(shape, 1);
            return Ok(match section {
                Some(section) => {
                    let adapter = Lora::initialise(&model.config, section.lora(), 1);
                    Policy::adapter(model.into(), adapter)
                }
                None => Policy::full(model),
            });
        };
        match (section, &folder.adapter) {
            (None, None) => Ok(Policy::full(folder.open_trainable()?.0)),
            _ => {
                // A card rounds weights itself.
                let (model, adapter) =
                    if card { folder.open_trainable()? } else { folder.clone().measured(observer)?.open()? };
                let new = || section.map(|section| Lora::initialise(&model.config, section.lora(), 1));
                let adapter = adapter.or_else(new);
                let adapter = adapter.ok_or_else(|| Error::failed("an adapter that is nowhere")).or_failed()?;
                Ok(Policy::adapter(model.into(), adapter))
            }
        }
    }
}
