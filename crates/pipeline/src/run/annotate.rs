//! A model's answers as annotation of the documents that it read.

use std::ops::ControlFlow;

use tabpo_answer::{Aligned, Tier, align, parse_as};
use tabpo_corpus::{Document, Mention, Notes, Relation, Unit};
use tabpo_engine::{Event, PromptTree, Steering, generate_each};

use super::prediction::{Answering, Prediction, constraint};
use crate::{
    error::{Error, ResultExt},
    observer::Observer,
    run::examples::unit_id,
};

/// A document as a model annotates it.
#[derive(Clone, Debug)]
pub struct Annotated {
    /// The document; its annotation is what could be placed in its text, and nothing else.
    pub document: Document,
    /// The answers as they were written, each to one sentence or to the document.
    pub answers: Vec<String>,
    /// How many of the answers are not valid: they are not JSON of the right form, or have unknown labels.
    pub invalid: usize,
    /// Texts in the answers that the document doesn't have.
    pub invented: Vec<String>,
}

impl Prediction<'_> {
    /// Annotates documents, with lists that end where greedy decoding ends them. The documents' own annotation is replaced;
    /// nothing is written.
    pub fn annotate(&self, documents: Vec<Document>, observer: &dyn Observer) -> Result<Vec<Annotated>, Error> {
        let units: Vec<Unit> = documents.iter().flat_map(|document| Unit::all(document, self.level)).collect();
        let mut model = Answering::open(self, observer)?;
        let format = model.renderer.format()?;
        let mut tree = PromptTree::new();
        for unit in &units {
            let prompt = format.prompt(unit.text()).or_failed()?;
            let longest = self.policy.longest()?;
            if prompt.len() >= longest {
                return Err(Error::input(format!(
                    "`{}` has {} tokens with its prompt; the model takes at most {longest}",
                    unit_id(unit),
                    prompt.len()
                ))
                .with_hint("shorten the text, or annotate its sentences one by one (--level sentence)"));
            }
            tree.push(&prompt);
        }
        let mut outputs = vec![String::new(); units.len()];
        let mut failure = None;
        let mut progress = observer.progress(self.name, units.len() as u64);
        let mut done = 0;
        let Answering { renderer, worker, options, grammar } = &mut model;
        let compiler = grammar.as_ref().map(|(_, compiler)| compiler);
        let constraint =
            |prompt: usize| grammar.as_ref().map(|(ontology, _)| constraint(ontology, &units[prompt], self.form));
        let pending: Vec<usize> = (0..units.len()).collect();
        let mut report = |event| {
            if let Event::Finished { prompt, completion, .. } = event {
                done += 1;
                progress.update(done, "");
                match renderer.tokenizer.decode(completion.text_tokens(), false).or_failed() {
                    Ok(text) => outputs[prompt] = text,
                    Err(error) => failure = Some(error),
                }
            }
            if failure.is_some() || observer.interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let steering = Steering { constraint: &constraint, forks: None };
        let outcome = generate_each(worker.worker(), compiler, &tree, &pending, steering, options, &mut report);
        drop(progress);
        if let Some(error) = failure {
            return Err(error);
        }
        if observer.interrupted() {
            return Err(Error::interrupted("stopped"));
        }
        outcome.or_failed()?;
        let mut outputs = outputs.into_iter();
        drop(units);
        documents.into_iter().map(|document| self.annotated(document, &mut outputs)).collect()
    }

    /// A document with the annotation of its answers, which come next in `outputs`.
    fn annotated(
        &self,
        mut document: Document,
        outputs: &mut impl Iterator<Item = String>,
    ) -> Result<Annotated, Error> {
        let (mut mentions, mut relations) = (Vec::new(), Vec::new());
        let (mut answers, mut invalid, mut invented) = (Vec::new(), 0, Vec::new());
        for unit in Unit::all(&document, self.level) {
            let output = outputs.next().expect("there is an answer to every unit");
            let parsed = parse_as(&output, self.ontology, self.form);
            let aligned = align(&parsed, &unit, self.ontology);
            invalid += usize::from(!aligned.valid_at(Tier::References));
            invented.extend(not_placed(&aligned));
            let answer = aligned.to_answer(&unit, self.ontology);
            let first = mentions.len() as u32;
            mentions.extend(answer.entities.iter().filter_map(|entity| {
                Some(Mention { span: entity.span?, label: entity.label, subtype: entity.subtype })
            }));
            relations.extend(answer.relations.iter().map(|relation| Relation {
                head: first + relation.head,
                tail: first + relation.tail,
                label: relation.label,
            }));
            answers.push(output);
        }
        relations.retain(|relation: &Relation| {
            let [head, tail] = [relation.head, relation.tail].map(|index| mentions[index as usize].label);
            self.ontology.signature_allowed(relation.label, head, tail)
        });
        document.annotate(mentions, &relations, self.ontology, &mut Notes::default()).or_failed()?;
        Ok(Annotated { document, answers, invalid, invented })
    }
}

/// The texts of an answer that have no place in the source.
fn not_placed(aligned: &Aligned<'_>) -> Vec<String> {
    let missing = aligned.entities.iter().filter(|entity| entity.span.is_none());
    missing.filter_map(|entity| Some(entity.text.as_deref()?.to_owned())).collect()
}
