//! What a configuration needs to know about the model: its size, and how long the examples are in its tokens.

use std::path::{Path, PathBuf};

use tabpo_answer::{gold, render};
use tabpo_corpus::{Level, Unit};
use tabpo_engine::Compute;
use tabpo_model::ModelConfig;
use tabpo_ontology::{AnswerForm, Ontology};

use super::Corpus;
use crate::{
    error::{Error, ResultExt},
    observer::Observer,
    run::{PolicyFolder, Renderer},
};

/// A model, and the examples in its tokens.
pub(super) struct ModelFacts {
    path: PathBuf,
    /// Parameters of the base model.
    pub(super) parameters: usize,
    /// The model's window, in tokens.
    pub(super) window: usize,
    /// Tokens of the longest example: prompt, answer and end.
    pub(super) longest: usize,
    /// Tokens of the longest answer.
    pub(super) answer: usize,
}

impl ModelFacts {
    pub(super) fn of(
        model: &Path,
        corpus: Option<&Corpus>,
        ontology: &Ontology,
        level: Level,
        observer: &dyn Observer,
    ) -> Result<Self, Error> {
        let policy = PolicyFolder::resolve(model, None, Compute::Auto, observer)?;
        let config = ModelConfig::open(&policy.model).or_input()?;
        let renderer = Renderer::open(&policy, ontology, AnswerForm::List, None, observer)?;
        let format = renderer.format()?;
        let mut facts = Self {
            path: model.to_owned(),
            parameters: config.parameters(),
            window: config.longest(),
            longest: 0,
            answer: 0,
        };
        let Some(corpus) = corpus else { return Ok(facts) };
        for unit in corpus.seen().flat_map(|document| Unit::all(document, level)) {
            let prompt = format.prompt(unit.text()).or_input()?;
            // An answer's ids are those of the corpus, whose labels the ontology may have in another order.
            let answer = renderer.tokenizer.encode(&render(&gold(&unit), &corpus.ontology).text).or_input()?;
            facts.longest = facts.longest.max(prompt.len() + answer.len() + 1);
            facts.answer = facts.answer.max(answer.len() + 1);
        }
        Ok(facts)
    }

    /// The model in numbers.
    pub(super) fn said(&self) -> String {
        let lengths = match self.longest {
            0 => String::new(),
            longest => {
                format!("; the longest example has {longest} tokens, of which the longest answer {}", self.answer)
            }
        };
        format!(
            "{}: {:.0} million parameters, a window of {} tokens{lengths}",
            self.path.display(),
            self.parameters as f64 / 1e6,
            self.window
        )
    }
}
