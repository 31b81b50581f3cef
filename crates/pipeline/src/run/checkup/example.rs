//! An example of supervised fine-tuning as the model sees it, with the role of every token.

use serde::Serialize;
use tabpo_answer::{gold, render_as};
use tabpo_corpus::Unit;
use tabpo_roles::Role;
use tabpo_train::{AnswerText, ExampleFormat};

use super::Inputs;
use crate::{
    error::{Error, ResultExt},
    run::{examples::unit_id, policy::Renderer},
};

/// An example.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShownExample {
    /// The name of its sentence or document.
    pub id: String,
    /// The prompt, with control tokens spelled out. Nothing is trained on it.
    pub prompt: String,
    /// The tokens of the prompt.
    pub prompt_tokens: usize,
    /// The answer, token by token.
    pub answer: Vec<ExamplePiece>,
}

/// A token of an answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExamplePiece {
    /// Its text.
    pub text: String,
    /// Its role.
    pub role: Role,
}

/// The first short training example that has a relation, or else a mention, or else the first one.
pub(super) fn shown(
    inputs: &Inputs,
    renderer: &Renderer,
    format: &ExampleFormat<'_>,
) -> Result<Option<ShownExample>, Error> {
    let units = || inputs.splits.train.iter().flat_map(|document| Unit::all(document, inputs.config.data.level));
    let short = |unit: &Unit| (5..=30).contains(&unit.span().len());
    let found = units()
        .find(|unit| short(unit) && unit.relations().next().is_some())
        .or_else(|| units().find(|unit| unit.relations().next().is_some()))
        .or_else(|| units().find(|unit| unit.mentions().next().is_some()))
        .or_else(|| units().next());
    let Some(unit) = found else { return Ok(None) };
    let id = unit_id(&unit);
    let Ok(answer) = render_as(&gold(&unit), &unit, &inputs.ontology, inputs.config.answer.form) else {
        return Ok(None);
    };
    let example = format.example(&id, unit.text(), AnswerText::from(&answer), &[], usize::MAX).or_input()?;
    let decode = |tokens: &[u32]| renderer.tokenizer.decode(tokens, false).or_failed();
    let mut answer = Vec::with_capacity(example.chosen.tokens.len());
    let mut before = String::new();
    for (index, &role) in example.chosen.roles.iter().enumerate() {
        // A token may be a part of a character: the text up to it says what it adds.
        let text = decode(&example.chosen.tokens[..=index])?;
        let added = text.strip_prefix(&before).unwrap_or_default().to_owned();
        answer.push(ExamplePiece { text: added, role });
        before = text;
    }
    Ok(Some(ShownExample { id, prompt: decode(&example.prompt)?, prompt_tokens: example.prompt.len(), answer }))
}
