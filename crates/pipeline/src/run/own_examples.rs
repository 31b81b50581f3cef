//! Training examples from a model's own answers, for objectives that train on what it should have written after its
//! mistakes.

use std::collections::{HashMap, HashSet};

use tabpo_answer::{gold, render};
use tabpo_corpus::Unit;
use tabpo_objective::ItemErrors;
use tabpo_pairs::oracle;
use tabpo_train::{ExampleRecord, RejectedRecord};

use super::{Stages, Trained, examples::unit_id, policy::Renderer, prediction};
use crate::error::{Error, ResultExt};

/// Examples whose rejected answer is the model's own.
#[derive(Default)]
pub(super) struct OwnExamples {
    pub records: Vec<ExampleRecord>,
    /// Tokens that went through the models to generate the answers; what all prompts begin with is counted once.
    pub generated: u64,
    /// Digests of the answers.
    pub digests: Vec<String>,
}

impl Stages<'_> {
    /// The greedy answers to the units that `pairs` are made of, with what would have been right at each of their
    /// turns. They are those of on-policy pairs: with several folds (`pairs.folds`), each is of a model that has not
    /// seen the unit. An answer that is not in canonical form has no turns, and gold stands in its place.
    pub(super) fn own_examples(
        &mut self,
        start: &Trained,
        sft: &Trained,
        renderer: &Renderer,
        pairs: &[ExampleRecord],
    ) -> Result<OwnExamples, Error> {
        let own = self.own_answers(start, sft, renderer)?;
        let mut answers = HashMap::new();
        for own in &own {
            answers.extend(prediction::by_unit(&own.path)?);
        }
        let wanted: HashSet<&str> = pairs.iter().map(|record| record.source.as_str()).collect();
        let (level, ontology) = (self.inputs.config.data.level, &self.inputs.ontology);
        let format = renderer.format()?;
        let mut found =
            OwnExamples { digests: own.iter().map(|own| own.digest.clone()).collect(), ..OwnExamples::default() };
        let (mut first, mut common) = (None, 0);
        let mut apart = 0;
        let units = self.inputs.splits.curated.iter().flat_map(|document| Unit::all(document, level));
        for unit in units.filter(|unit| wanted.contains(unit.text())) {
            let output = answers.get(&(unit.document.key.clone(), unit.sentence)).map_or("", |answer| &answer.text);
            let chosen = render(&gold(&unit), ontology);
            let (answer, turns) = match oracle(&unit, output, ontology) {
                Some(oracle) => (oracle.answer, oracle.turns),
                None => (chosen.clone(), Vec::new()),
            };
            let prompt = format.prompt(unit.text()).or_failed()?;
            // Every answer ends with a token that is not in its text.
            apart += prompt.len() + renderer.tokenizer.encode_text(output).or_failed()?.len() + 1;
            let shared = |other: &Vec<u32>| prompt.iter().zip(other).take_while(|(a, b)| a == b).count();
            common = first.as_ref().map_or(prompt.len(), |first| shared(first).min(common));
            first.get_or_insert(prompt);
            let rejected = vec![RejectedRecord { answer, weight: 1.0, errors: ItemErrors::default(), turns }];
            found.records.push(ExampleRecord { id: unit_id(&unit), source: unit.text().to_owned(), chosen, rejected });
        }
        found.generated = (apart - common * found.records.len().saturating_sub(1)) as u64;
        Ok(found)
    }
}
