//! How probable a model finds each decision of an answer.

use std::path::Path;

use tabpo_answer::{Answer, Item, Rendered, render_as};
use tabpo_corpus::Unit;
use tabpo_engine::Worker;
use tabpo_ontology::{AnswerForm, Ontology};
use tabpo_roles::Role;
use tabpo_train::{ExampleError, ExampleFormat, ReferenceCache, TokenisedExample, log_probs};

use super::{PolicyFolder, Renderer, examples::unit_id};
use crate::{
    error::{Error, ResultExt},
    observer::Observer,
};

/// Answers that are scored between two looks at whether to stop.
const CHUNK: usize = 32;
/// Most rows of one pass through the model.
const PASS: usize = 4096;

/// How probable a model finds what an answer says: products of the probabilities of tokens, each given everything before
/// it, as shares from 0 to 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AnswerConfidence {
    /// For each entity: its label with the sub-label, and its text with the occurrence.
    pub entities: Vec<[f64; 2]>,
    /// For each relation: its type, and its two ends.
    pub relations: Vec<[f64; 2]>,
    /// For each list: that it ends where it does.
    pub complete: Vec<f64>,
}

/// How probable a policy that answers in a form finds the decisions of answers to some units, in their order; `None` for
/// an answer that is too long for the model or cannot be written in the form. With a file as `cache`, what is computed is kept there, also if the user stops the work.
pub fn confidences(
    policy: &PolicyFolder,
    renderer: &Renderer,
    (ontology, form): (&Ontology, AnswerForm),
    answers: &[(Unit<'_>, Answer)],
    cache: Option<&Path>,
    observer: &dyn Observer,
) -> Result<Vec<Option<AnswerConfidence>>, Error> {
    let mut cache = cache.map_or_else(|| Ok(ReferenceCache::in_memory()), ReferenceCache::open).or_input()?;
    let (mut worker, format) = (policy.worker()?, renderer.format()?);
    let mut progress = observer.progress("confidence", answers.len() as u64);
    let mut found = Vec::with_capacity(answers.len());
    for chunk in answers.chunks(CHUNK) {
        if observer.interrupted() {
            cache.sync().or_failed()?;
            return Err(Error::interrupted(format!("stopped after {} of {} answers", found.len(), answers.len()))
                .with_hint("the same command goes on from here"));
        }
        let mut examples = Vec::with_capacity(chunk.len());
        let mut known = Vec::with_capacity(chunk.len());
        for (unit, answer) in chunk {
            let Ok(written) = render_as(answer, unit, ontology, form) else {
                known.push(None);
                continue;
            };
            let example = tokenised(&format, unit, &written, ontology, worker.config().longest());
            let example = match example {
                Err(ExampleError::TooLong { .. }) => None,
                other => Some(other.or_failed()?),
            };
            known.push(example.is_some().then_some(written));
            examples.extend(example);
        }
        let (scored, _) =
            log_probs(&mut worker, &renderer.tokenizer.digest(), &examples, PASS, &mut cache).or_failed()?;
        let mut scored = examples.iter().zip(scored);
        for ((unit, answer), written) in chunk.iter().zip(known) {
            let Some(written) = written else {
                found.push(None);
                continue;
            };
            let (example, log_probs) = scored.next().expect("every tokenised answer was scored");
            let items = format.token_items(unit.text(), &written).or_failed()?;
            found.push(Some(confidence(answer, &items, example, &log_probs.chosen)));
        }
        progress.update(found.len() as u64, "");
    }
    cache.sync().or_failed()?;
    Ok(found)
}

fn tokenised(
    format: &ExampleFormat<'_>,
    unit: &Unit<'_>,
    written: &Rendered,
    ontology: &Ontology,
    longest: usize,
) -> Result<TokenisedExample, ExampleError> {
    let id = unit_id(unit);
    let mut example = format.example(&id, unit.text(), written.into(), &[], longest)?;
    let failed = |source| ExampleError::Format { id, source: Box::new(source) };
    format.mark_decisions(unit.text(), written, ontology, &mut example.chosen).map_err(failed)?;
    Ok(example)
}

/// The products over the tokens of each item.
fn confidence(
    answer: &Answer,
    items: &[Option<(Role, Item)>],
    example: &TokenisedExample,
    log_probs: &[f64],
) -> AnswerConfidence {
    let mut sums = AnswerConfidence {
        entities: vec![[0.0; 2]; answer.entities.len()],
        relations: vec![[0.0; 2]; answer.relations.len()],
        complete: Vec::new(),
    };
    for (&log_prob, item) in log_probs.iter().zip(items) {
        match item {
            Some((role, Item::Entity(index))) => {
                let labels = matches!(role, Role::EntityLabel | Role::Subtype);
                sums.entities[*index as usize][usize::from(!labels)] += log_prob;
            }
            Some((role, Item::Relation(index))) => {
                sums.relations[*index as usize][usize::from(*role != Role::RelationLabel)] += log_prob;
            }
            Some((_, Item::Frame)) | None => {}
        }
    }
    let share = |parts: &mut [f64; 2]| *parts = parts.map(f64::exp);
    sums.entities.iter_mut().chain(&mut sums.relations).for_each(share);
    let decisions = example.chosen.decisions.iter().flatten();
    let ends = decisions.filter(|(_, decision)| !decision.opens);
    sums.complete = ends.filter_map(|&(token, _)| log_probs.get(token)).map(|log_prob| log_prob.exp()).collect();
    sums
}
