//! Training examples from a model's own answers: for objectives that train on what it should have written after its
//! mistakes, and for those that give each item of a sampled answer its credit.

use std::collections::{HashMap, HashSet};

use tabpo_answer::{Rendered, gold, render};
use tabpo_corpus::Unit;
use tabpo_objective::ItemErrors;
use tabpo_ontology::Ontology;
use tabpo_pairs::{judge, oracle};
use tabpo_train::{ExampleFormat, ExampleRecord, RejectedRecord};

use super::{Stages, Trained, examples::unit_id, own_answers::Decoding, policy::Renderer, prediction};
use crate::error::{Error, ResultExt};

/// Examples whose rejected answers are the model's own.
#[derive(Default)]
pub(super) struct OwnExamples {
    pub records: Vec<ExampleRecord>,
    /// Tokens that went through the models to generate the answers; what all prompts begin with is counted once, and so
    /// is a prompt with several answers.
    pub generated: u64,
    /// Digests of the answers.
    pub digests: Vec<String>,
}

impl Stages<'_> {
    /// The model's answers to the units that `pairs` are made of: greedy ones with what would have been right at each of
    /// their turns, or sampled ones with the verdict of gold on each of their items. With several folds (`pairs.folds`),
    /// each is of a model that has not seen the unit. An answer that is not in canonical form says nothing, and gold
    /// stands in its place.
    pub(super) fn own_examples(
        &mut self,
        start: &Trained,
        sft: &Trained,
        renderer: &Renderer,
        pairs: &[ExampleRecord],
        decoding: Decoding,
    ) -> Result<OwnExamples, Error> {
        let own = self.own_answers(start, sft, renderer, decoding)?;
        let mut answers = HashMap::new();
        for own in &own {
            answers.extend(prediction::all_by_unit(&own.path)?);
        }
        let wanted: HashSet<&str> = pairs.iter().map(|record| record.source.as_str()).collect();
        let (level, ontology) = (self.inputs.config.data.level, &self.inputs.ontology);
        let format = renderer.format()?;
        let mut cost = Cost::default();
        let mut records = Vec::new();
        let units = self.inputs.splits.curated.iter().flat_map(|document| Unit::all(document, level));
        for unit in units.filter(|unit| wanted.contains(unit.text())) {
            let outputs = answers.remove(&(unit.document.key.clone(), unit.sentence)).unwrap_or_default();
            cost.add(&outputs, &unit, renderer, &format)?;
            let chosen = render(&gold(&unit), ontology);
            let record = |output: &String| match decoding {
                Decoding::Greedy => greedy(&unit, output, &chosen, ontology),
                Decoding::Sampled => sampled(&unit, output, &chosen, ontology),
            };
            let rejected = outputs.iter().map(record).collect();
            records.push(ExampleRecord { id: unit_id(&unit), source: unit.text().to_owned(), chosen, rejected });
        }
        let digests = own.iter().map(|own| own.digest.clone()).collect();
        Ok(OwnExamples { generated: cost.total(records.len()), records, digests })
    }
}

/// A greedy answer with what would have been right at each of its turns.
fn greedy(unit: &Unit, output: &str, chosen: &Rendered, ontology: &Ontology) -> RejectedRecord {
    match oracle(unit, output, ontology) {
        Some(oracle) => RejectedRecord { turns: oracle.turns, ..unjudged(oracle.answer) },
        None => unjudged(chosen.clone()),
    }
}

/// A sampled answer with the verdict of gold on each of its items. One without items has nothing to be judged.
fn sampled(unit: &Unit, output: &str, chosen: &Rendered, ontology: &Ontology) -> RejectedRecord {
    match judge(unit, output, ontology).filter(|judged| !judged.verdicts.is_empty()) {
        Some(judged) => RejectedRecord { verdicts: judged.verdicts, ..unjudged(judged.answer) },
        None => unjudged(chosen.clone()),
    }
}

fn unjudged(answer: Rendered) -> RejectedRecord {
    RejectedRecord { answer, weight: 1.0, errors: ItemErrors::default(), turns: Vec::new(), verdicts: Vec::new() }
}

/// What the answers cost, in tokens.
#[derive(Default)]
struct Cost {
    /// Every prompt once, and every answer.
    apart: usize,
    first: Option<Vec<u32>>,
    /// How many tokens all prompts begin with.
    common: usize,
}

impl Cost {
    fn add(
        &mut self,
        outputs: &[String],
        unit: &Unit,
        renderer: &Renderer,
        format: &ExampleFormat<'_>,
    ) -> Result<(), Error> {
        let prompt = format.prompt(unit.text()).or_failed()?;
        self.apart += prompt.len();
        for output in outputs {
            // Every answer ends with a token that is not in its text.
            self.apart += renderer.tokenizer.encode_text(output).or_failed()?.len() + 1;
        }
        let shared = |other: &Vec<u32>| prompt.iter().zip(other).take_while(|(a, b)| a == b).count();
        self.common = self.first.as_ref().map_or(prompt.len(), |first| shared(first).min(self.common));
        self.first.get_or_insert(prompt);
        Ok(())
    }

    /// The tokens for `units` prompts with their answers.
    fn total(&self, units: usize) -> u64 {
        (self.apart - self.common * units.saturating_sub(1)) as u64
    }
}
