//! A model's answers to the units of documents, one JSON line each.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io::{BufRead, BufReader},
    ops::ControlFlow,
    path::Path,
    sync::Arc,
    time::Instant,
};

use serde::de::DeserializeOwned;
use tabpo_answer::MarkedGrammar;
use tabpo_corpus::{Document, Level, Unit};
use tabpo_engine::{
    Event, GenerateError, GenerateOptions, GenerateWork, Outcome, PromptTree, Sampling, Steering, generate_each,
    generator_size,
};
use tabpo_metrics::{RawAnswer, UnitOutput};
use tabpo_model::{Constraint, GrammarCompiler};
use tabpo_ontology::{AnswerForm, AnswerGrammar, AnswerLimits, Ontology};

use super::{
    NAMED,
    answers::{AnsweredUnit, Answers, NoAnswer},
    digests::folder_digest,
    examples::unit_id,
    inputs::{Key, PredictionInputs, StageInputs},
    policy::{PolicyFolder, Renderer},
    splits,
    threshold::{ListEnds, ListForks, recorded},
};
use crate::{
    config::PredictSection,
    device::{DeviceWorker, LazyDevice},
    error::{Error, ResultExt},
    memory,
    observer::Observer,
};

/// Which model answers, and how.
#[derive(Clone, Copy)]
pub struct Prediction<'a> {
    /// A name for progress and messages.
    pub name: &'a str,
    /// The model.
    pub policy: &'a PolicyFolder,
    /// Where it computes.
    pub device: &'a LazyDevice,
    /// How it is prompted.
    pub renderer: &'a Renderer,
    /// The ontology, for constrained decoding.
    pub ontology: &'a Ontology,
    /// The form in which it answers.
    pub form: AnswerForm,
    /// What one prompt shows.
    pub level: Level,
    /// Length of answers, batch size, and whether decoding is constrained.
    pub settings: &'a PredictSection,
    /// The number of answers to each unit, which are written one after the other.
    pub samples: usize,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Where lists end, if tokens are chosen greedily.
    pub list_ends: ListEnds,
    /// Whether a unit that exceeds the model's context is an error; otherwise its answer is empty.
    pub strict: bool,
}

impl Prediction<'_> {
    /// The key of these answers, from the digests of the policy, of the prompt without the documents, of the documents
    /// and of the ontology.
    pub(super) fn key(&self, policy: &str, prompt: &str, documents: &str, ontology: &str) -> Key {
        let &Sampling { temperature, top_p, seed, .. } = &self.sampling;
        let on = |device| PredictionInputs {
            policy,
            prompt,
            compute: self.policy.compute,
            documents,
            level: self.level,
            grammar: self.settings.constrained.then_some(ontology),
            max_new_tokens: self.settings.max_new_tokens,
            sampling: (self.samples, temperature, top_p, seed),
            list_ends: self.forks().then_some(self.list_ends),
            form: self.form,
            device,
        };
        on(self.device.inputs()).key().or(on(self.device.elsewhere()).key())
    }

    /// Whether lists end otherwise than greedy decoding ends them.
    fn forks(&self) -> bool {
        self.list_ends != ListEnds::GREEDY
    }

    /// An id of everything the answers depend on, so that the partial file of another job is not used.
    pub fn identity(&self, documents: &[Document]) -> Result<String, Error> {
        let adapter = self.policy.adapter.as_deref().map(folder_digest).transpose()?.unwrap_or_default();
        let policy = folder_digest(&self.policy.model)? + &adapter;
        let prompt = self.renderer.frame();
        let key = self.key(&policy, &prompt, &splits::digest(documents), &self.ontology.to_toml());
        Ok(key.short().to_owned())
    }

    /// Writes the answers to all units of `documents` to `path`, in order. Until it is done, every answer is kept in a
    /// partial file as soon as it is finished, and another attempt with the same `id` resumes from there.
    pub fn write(&self, documents: &[Document], path: &Path, id: &str, observer: &dyn Observer) -> Result<(), Error> {
        let units = documents.iter().flat_map(|document| Unit::all(document, self.level));
        let units: Vec<Unit> = units.flat_map(|unit| std::iter::repeat_n(unit, self.samples)).collect();
        let (answers, kept) = Answers::open(path, id, units.len())?;
        if !kept.is_empty() {
            observer.say(&format!("{}: goes on after {} of {} units", self.name, kept.len(), units.len()));
        }
        let held = memory::held(observer);
        let mut model = Answering::open(self, observer)?;
        let mut job = Job { prediction: self, units: &units, done: kept.len(), answers, observer };
        let Some(Prompts { tree, unit_of, too_long }) = job.prompts(&mut model, &kept)? else {
            return Err(job.interrupted());
        };
        let pending: Vec<usize> = (0..tree.len()).filter(|&prompt| !kept.contains_key(&unit_of[prompt])).collect();
        drop(kept);
        if !pending.is_empty() {
            let worker = model.worker.worker();
            let size = generator_size(worker.config(), &tree, &pending, &model.options);
            let plan = worker.generation_memory(size);
            let free = self.device.open(observer)?.free()?;
            model.options.batch = match free {
                Some(free) => memory::sequences_on_card(self.name, &plan, size.sequences, free, observer),
                None => memory::sequences(self.name, &plan, size.sequences, held, self.settings.memory_gb, observer),
            };
            job.complete(&mut model, &tree, &unit_of, &pending)?;
        }
        if too_long > 0 {
            observer.warn(&format!("{}: {too_long} of {} units were too long for the model", self.name, units.len()));
        }
        job.answers.finish()
    }
}

/// The prompts of a job that the model can take.
struct Prompts {
    tree: PromptTree,
    /// The number of each prompt's unit.
    unit_of: Vec<usize>,
    /// The number of units whose prompts are too long.
    too_long: usize,
}

/// The answers to some units, in the making.
struct Job<'j> {
    prediction: &'j Prediction<'j>,
    units: &'j [Unit<'j>],
    /// The number of units that are answered.
    done: usize,
    answers: Answers,
    observer: &'j dyn Observer,
}

impl Job<'_> {
    /// The error that says how far an interrupted job came.
    fn interrupted(&self) -> Error {
        let stopped = format!("stopped after {} of {} units", self.done, self.units.len());
        if self.answers.are_kept() {
            Error::interrupted(format!("{stopped}, which are saved")).with_hint("run the same command again to resume")
        } else {
            Error::interrupted(stopped)
        }
    }

    /// Saves an answer; if there is none, `none` says why.
    fn save(
        &mut self,
        number: usize,
        output: String,
        outcomes: &[Outcome],
        none: Option<NoAnswer>,
    ) -> Result<(), Error> {
        let unit = &self.units[number];
        let form = self.prediction.form;
        let unit = UnitOutput { doc_key: unit.document.key.clone(), sent: unit.sentence, form, output };
        let outcomes = if self.prediction.list_ends.recorded { outcomes } else { &[] };
        self.done += 1;
        let decisions = outcomes.iter().map(recorded).collect();
        self.answers.add(number, &AnsweredUnit { unit, outcome: none, decisions })
    }

    /// The prompts of all units, also of those in `kept`, because what prompts share decides how each is computed, to
    /// the last bit. `None` if the user interrupts it.
    fn prompts(
        &mut self,
        model: &mut Answering<'_>,
        kept: &BTreeMap<usize, AnsweredUnit>,
    ) -> Result<Option<Prompts>, Error> {
        let format = model.renderer.format()?;
        let Prediction { name, samples, strict, .. } = *self.prediction;
        let mut found = Prompts { tree: PromptTree::new(), unit_of: Vec::new(), too_long: 0 };
        let longest = model.worker.worker().config().longest();
        for first in (0..self.units.len()).step_by(samples) {
            if self.observer.interrupted() {
                return Ok(None);
            }
            let unit = &self.units[first];
            let prompt = format.prompt(unit.text()).or_failed()?;
            let too_long = format!(
                "`{}` has {} tokens with its prompt; the model takes at most {longest}",
                unit_id(unit),
                prompt.len()
            );
            for number in first..first + samples {
                if prompt.len() < longest {
                    found.tree.push(&prompt);
                    found.unit_of.push(number);
                    continue;
                }
                if strict {
                    return Err(Error::failed(format!("{name}: {too_long}"))
                        .with_hint("without --strict, its answer is empty and the others are answered"));
                }
                found.too_long += 1;
                if kept.contains_key(&number) {
                    continue;
                }
                if found.too_long <= NAMED {
                    self.observer.warn(&format!("{name}: {too_long}: no answer (outcome too-long)"));
                }
                self.save(number, String::new(), &[], Some(NoAnswer::TooLong))?;
            }
        }
        Ok(Some(found))
    }

    /// Completes the pending prompts and saves every answer as soon as it is finished.
    fn complete(
        &mut self,
        model: &mut Answering<'_>,
        prompts: &PromptTree,
        unit_of: &[usize],
        pending: &[usize],
    ) -> Result<(), Error> {
        let observer = self.observer;
        let Answering { renderer, worker, options, grammar } = model;
        let compiler = grammar.as_ref().map(|(_, compiler)| compiler);
        let units = self.units;
        let Prediction { ontology, form, list_ends, .. } = *self.prediction;
        let constraint =
            |prompt: usize| grammar.as_ref().map(|(ontology, _)| constraint(ontology, &units[unit_of[prompt]], form));
        let forks = self.prediction.forks();
        let lists = ListForks { tokenizer: &renderer.tokenizer, ontology, thresholds: list_ends.thresholds };
        let fork = |prompt: usize, written: &[u32], next: u32| lists.find(&units[unit_of[prompt]], written, next);
        let mut progress = observer.progress(self.prediction.name, units.len() as u64);
        let started = Instant::now();
        let mut work = GenerateWork::default();
        let mut failure = None;
        let mut report = |event| {
            match event {
                Event::Worked(now) => work = now,
                Event::Finished { prompt, completion } => {
                    let text = renderer.tokenizer.decode(completion.text_tokens(), false).or_failed();
                    let saved = text.and_then(|text| self.save(unit_of[prompt], text, &completion.outcomes, None));
                    if let Err(error) = saved {
                        failure = Some(error);
                        return ControlFlow::Break(());
                    }
                }
            }
            progress.update(self.done as u64, &note(&work, started.elapsed().as_secs_f64()));
            if observer.interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let steering = Steering { constraint: &constraint, forks: forks.then_some(&fork) };
        let outcome = generate_each(worker.worker(), compiler, prompts, pending, steering, options, &mut report);
        drop(progress);
        if let Some(error) = failure {
            return Err(error);
        }
        match outcome {
            Err(GenerateError::Stopped) => Err(self.interrupted()),
            outcome => {
                outcome.or_failed()?;
                let seconds = started.elapsed().as_secs_f64();
                observer.say(&format!("{}: {}", self.prediction.name, note(&work, seconds)));
                Ok(())
            }
        }
    }
}

/// What was computed so far, for people.
fn note(work: &GenerateWork, seconds: f64) -> String {
    let GenerateWork { prompt_tokens, prompt_tokens_apart, new_tokens } = work;
    let rate = *new_tokens as f64 / seconds.max(1e-3);
    format!(
        "{prompt_tokens} tokens of prompts read ({prompt_tokens_apart} without sharing), {new_tokens} written, \
         {rate:.0} tokens/s"
    )
}

/// Removes the partial files that interrupted attempts with other settings left beside a prediction file.
pub(super) fn remove_partial(path: &Path) -> Result<(), Error> {
    let (Some(folder), Some(stem)) = (path.parent(), path.file_stem()) else { return Ok(()) };
    for entry in fs::read_dir(folder).or_failed()? {
        let place = entry.or_failed()?.path();
        let is_partial = place.extension().is_some_and(|extension| extension == "partial");
        let of_file = place.file_stem().is_some_and(|name| Path::new(name).file_stem() == Some(stem));
        if is_partial && of_file {
            fs::remove_file(&place).or_failed()?;
        }
    }
    Ok(())
}

/// Reads a prediction file.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, Error> {
    let file = File::open(path).or_failed()?;
    let lines = BufReader::new(file).lines();
    lines.map(|line| serde_json::from_str(&line.or_failed()?).or_failed()).collect()
}

/// A unit's document and the number of its sentence.
type UnitKey = (String, Option<u32>);

/// The answers in a prediction file, by document and sentence.
pub(crate) fn by_unit(path: &Path) -> Result<HashMap<UnitKey, RawAnswer>, Error> {
    let answer = |line: UnitOutput| ((line.doc_key, line.sent), RawAnswer { form: line.form, text: line.output });
    Ok(read(path)?.into_iter().map(answer).collect())
}

/// All answers to each unit in a prediction file, by document and sentence.
pub(super) fn all_by_unit(path: &Path) -> Result<HashMap<UnitKey, Vec<String>>, Error> {
    let mut answers: HashMap<_, Vec<String>> = HashMap::new();
    for line in read::<UnitOutput>(path)? {
        answers.entry((line.doc_key, line.sent)).or_default().push(line.output);
    }
    Ok(answers)
}

/// A model ready to answer.
pub(super) struct Answering<'p> {
    pub(super) renderer: &'p Renderer,
    pub(super) worker: DeviceWorker,
    pub(super) options: GenerateOptions,
    /// The ontology and the compiler for its grammars, for constrained decoding.
    pub(super) grammar: Option<(Arc<Ontology>, GrammarCompiler)>,
}

impl<'p> Answering<'p> {
    pub(super) fn open(prediction: &Prediction<'p>, observer: &dyn Observer) -> Result<Self, Error> {
        let mut worker = prediction.policy.worker_on(prediction.device.open(observer)?)?;
        let renderer = prediction.renderer;
        let options = GenerateOptions {
            max_new_tokens: prediction.settings.max_new_tokens,
            sampling: prediction.sampling,
            stop: renderer.format()?.stop().to_vec(),
            batch: prediction.settings.batch_size,
            log_probs: false,
        };
        let grammar = if prediction.settings.constrained {
            let compiler =
                GrammarCompiler::new(&renderer.tokenizer, worker.worker().config().vocabulary, &options.stop)
                    .or_input()?;
            Some((Arc::new(prediction.ontology.clone()), compiler))
        } else {
            None
        };
        Ok(Self { renderer, worker, options, grammar })
    }
}

/// The grammars of the answers to one unit in a form.
pub(super) fn constraint(ontology: &Arc<Ontology>, unit: &Unit, form: AnswerForm) -> Constraint {
    let words = unit.words();
    let limits = AnswerLimits::for_words(words.len());
    if form == AnswerForm::Marked {
        let grammar = MarkedGrammar::new(Arc::clone(ontology), unit, limits);
        return Constraint {
            grammar: grammar.first(),
            next: Some(Arc::new(move |text, stage| grammar.next(text, stage))),
        };
    }
    let grammar = AnswerGrammar::new(Arc::clone(ontology), unit.text(), &words, limits);
    Constraint { grammar: grammar.first(), next: Some(Arc::new(move |text, stage| grammar.next(text, stage))) }
}
