//! A model's answers to the units of documents, one JSON line each.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    sync::Arc,
};

use tabpo_corpus::{Document, Level, Unit};
use tabpo_engine::{GenerateError, GenerateOptions, HostWorker, Request, Sampling, Worker, generate};
use tabpo_metrics::UnitOutput;
use tabpo_model::{Constraint, GrammarCompiler};
use tabpo_ontology::{AnswerGrammar, AnswerLimits, Ontology};

use super::{
    Artefact, Part, Stages, Trained,
    answers::{AnsweredUnit, Answers, NoAnswer},
    digests::folder_digest,
    examples::unit_id,
    inputs::{Key, PredictionInputs, StageInputs},
    policy::{PolicyFolder, Renderer},
    splits,
};
use crate::{
    config::PredictSection,
    error::{Error, ResultExt},
    observer::Observer,
};

/// The number of units that are decoded before their answers are saved: what a killed process can lose.
const CHUNK: usize = 256;

impl Stages<'_> {
    /// Has a policy answer one part of the documents, and writes the answers to `place` in the run directory.
    pub(super) fn predict(
        &mut self,
        place: impl AsRef<Path>,
        policy: &Trained,
        part: Part,
        renderer: &Renderer,
    ) -> Result<Artefact<PathBuf>, Error> {
        let place = place.as_ref();
        let path = self.directory.path(place)?;
        let whole = |documents, digest: &String| (Cow::Borrowed(documents), digest.clone());
        let (documents, gold) = match part {
            Part::Validation => whole(self.inputs.splits.validation.as_slice(), &self.inputs.digests.validation),
            Part::Curated => whole(&self.inputs.splits.curated, &self.inputs.digests.curated),
            Part::CuratedFold(fold) => {
                let held_out: Vec<Document> = fold.held_out(&self.inputs.splits.curated).cloned().collect();
                let digest = splits::digest(&held_out);
                (Cow::Owned(held_out), digest)
            }
            Part::Test | Part::TestConstrained => whole(&self.inputs.splits.test, &self.inputs.digests.test),
        };
        let constrained = part == Part::TestConstrained;
        let settings = PredictSection { constrained, remote: BTreeMap::new(), ..self.inputs.config.predict.clone() };
        let name = place.with_extension("").display().to_string();
        let prediction = Prediction {
            name: &name,
            policy: &policy.path,
            renderer,
            ontology: &self.inputs.ontology,
            level: self.inputs.config.data.level,
            settings: &settings,
            samples: 1,
            sampling: Sampling::GREEDY,
            strict: self.inputs.config.data.strict,
        };
        let key = prediction.key(&policy.digest, &self.prompt(renderer), &gold, &self.inputs.digests.ontology);
        let observer = self.observer;
        let done = self.ledger.stage(observer, &name, &key, &[place.to_owned()], || {
            prediction.write(&documents, &path, key.short(), observer)?;
            remove_partial(&path)
        })?;
        Ok(Artefact { path, digest: done.digest() })
    }
}

/// Which model answers, and how.
pub struct Prediction<'a> {
    /// A name for progress and messages.
    pub name: &'a str,
    /// The model.
    pub policy: &'a PolicyFolder,
    /// How it is prompted.
    pub renderer: &'a Renderer,
    /// The ontology, for constrained decoding.
    pub ontology: &'a Ontology,
    /// What one prompt shows.
    pub level: Level,
    /// Length of answers, batch size, and whether decoding is constrained.
    pub settings: &'a PredictSection,
    /// The number of answers to each unit, which are written one after the other.
    pub samples: usize,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Whether a unit that exceeds the model's context is an error; otherwise its answer is empty.
    pub strict: bool,
}

/// At most this many units are named as too long; their number is always reported.
const NAMED: usize = 20;

impl Prediction<'_> {
    /// The key of these answers, from the digests of the policy, of the prompt without the documents, of the documents
    /// and of the ontology.
    fn key(&self, policy: &str, prompt: &str, documents: &str, ontology: &str) -> Key {
        let &Sampling { temperature, top_p, seed, .. } = &self.sampling;
        PredictionInputs {
            policy,
            prompt,
            compute: self.policy.compute,
            documents,
            level: self.level,
            grammar: self.settings.constrained.then_some(ontology),
            max_new_tokens: self.settings.max_new_tokens,
            batch_size: self.settings.batch_size,
            sampling: (self.samples, temperature, top_p, seed),
        }
        .key()
    }

    /// An id of everything the answers depend on, so that the partial file of another job is not used.
    pub fn identity(&self, documents: &[Document]) -> Result<String, Error> {
        let adapter = self.policy.adapter.as_deref().map(folder_digest).transpose()?.unwrap_or_default();
        let policy = folder_digest(&self.policy.model)? + &adapter;
        let prompt = self.renderer.frame();
        let key = self.key(&policy, &prompt, &splits::digest(documents), &self.ontology.to_toml());
        Ok(key.short().to_owned())
    }

    /// Writes the answers to all units of `documents` to `path`, in order. Until it is done, answers are kept in a
    /// partial file, from which another attempt with the same `id` resumes.
    pub fn write(&self, documents: &[Document], path: &Path, id: &str, observer: &dyn Observer) -> Result<(), Error> {
        let units = documents.iter().flat_map(|document| Unit::all(document, self.level));
        let units: Vec<Unit> = units.flat_map(|unit| std::iter::repeat_n(unit, self.samples)).collect();
        let (mut answers, kept) = Answers::open(path, id, CHUNK, units.len())?;
        let mut done = kept.len();
        if done > 0 {
            observer.say(&format!("{}: goes on after {done} of {} units", self.name, units.len()));
        }
        let mut model = Answering::open(self)?;
        let mut progress = observer.progress(self.name, units.len() as u64);
        let mut too_long = kept.iter().filter(|answer| answer.outcome.is_some()).count();
        let stopped = |done: usize, kept: bool| {
            let stopped = format!("stopped after {done} of {} units", units.len());
            if kept {
                Error::interrupted(format!("{stopped}, which are saved"))
                    .with_hint("run the same command again to resume")
            } else {
                Error::interrupted(stopped)
            }
        };
        for chunk in units[done..].chunks(CHUNK) {
            let update = |count| progress.update((done + count) as u64, "");
            let outputs = if observer.interrupted() {
                None
            } else {
                model.answer(chunk, done as u64, update, || observer.interrupted())?
            };
            let Some(outputs) = outputs else {
                drop(progress);
                return Err(stopped(done, answers.are_kept()));
            };
            for (unit, output) in chunk.iter().zip(outputs) {
                let (output, outcome) = match output {
                    Ok(output) => (output, None),
                    Err(tokens) => {
                        let longest = model.longest();
                        let message = format!(
                            "`{}` has {tokens} tokens with its prompt; the model takes at most {longest}",
                            unit_id(unit)
                        );
                        if self.strict {
                            drop(progress);
                            return Err(Error::failed(format!("{}: {message}", self.name))
                                .with_hint("without --strict, its answer is empty and the others are answered"));
                        }
                        too_long += 1;
                        if too_long <= NAMED {
                            observer.warn(&format!("{}: {message}: no answer (outcome too-long)", self.name));
                        }
                        (String::new(), Some(NoAnswer::TooLong))
                    }
                };
                let unit = UnitOutput { doc_key: unit.document.key.clone(), sent: unit.sentence, output };
                answers.add(&AnsweredUnit { unit, outcome })?;
            }
            done += chunk.len();
            answers.flush()?;
        }
        drop(progress);
        if too_long > 0 {
            observer.warn(&format!("{}: {too_long} of {} units were too long for the model", self.name, units.len()));
        }
        answers.finish()
    }
}

/// Removes the partial files that interrupted attempts with other settings left beside a prediction file.
fn remove_partial(path: &Path) -> Result<(), Error> {
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
pub(crate) fn read(path: &Path) -> Result<Vec<UnitOutput>, Error> {
    let file = File::open(path).or_failed()?;
    let lines = BufReader::new(file).lines();
    lines.map(|line| serde_json::from_str(&line.or_failed()?).or_failed()).collect()
}

/// The answers in a prediction file, by document and sentence.
pub(crate) fn by_unit(path: &Path) -> Result<HashMap<(String, Option<u32>), String>, Error> {
    Ok(read(path)?.into_iter().map(|line| ((line.doc_key, line.sent), line.output)).collect())
}

/// A model ready to answer.
struct Answering<'p> {
    renderer: &'p Renderer,
    worker: HostWorker<f32>,
    options: GenerateOptions,
    /// The ontology and the compiler for its grammars, for constrained decoding.
    grammar: Option<(Arc<Ontology>, GrammarCompiler)>,
}

impl<'p> Answering<'p> {
    fn open(prediction: &Prediction<'p>) -> Result<Self, Error> {
        let worker = prediction.policy.worker()?;
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
                GrammarCompiler::new(&renderer.tokenizer, worker.config().vocabulary, &options.stop).or_input()?;
            Some((Arc::new(prediction.ontology.clone()), compiler))
        } else {
            None
        };
        Ok(Self { renderer, worker, options, grammar })
    }

    /// The model's context length, in tokens.
    fn longest(&self) -> usize {
        self.worker.config().longest()
    }

    /// The answers to some units, in order. For a unit whose prompt exceeds the model's context, it is the number of
    /// tokens of that prompt. `None` if `stop` returned true. `first` is the position of the first unit in the whole
    /// job, on which sampling depends.
    fn answer(
        &mut self,
        units: &[Unit],
        first: u64,
        progress: impl FnMut(usize),
        stop: impl Fn() -> bool,
    ) -> Result<Option<Vec<Result<String, usize>>>, Error> {
        let format = self.renderer.format()?;
        let mut requests = Vec::with_capacity(units.len());
        let mut answers = Vec::with_capacity(units.len());
        for unit in units {
            let prompt = format.prompt(unit.text()).or_failed()?;
            if prompt.len() >= self.longest() {
                answers.push(Err(prompt.len()));
                continue;
            }
            answers.push(Ok(String::new()));
            let constraint = self.grammar.as_ref().map(|(ontology, _)| constraint(ontology, unit));
            requests.push(Request { prompt, constraint });
        }
        let compiler = self.grammar.as_ref().map(|(_, compiler)| compiler);
        let mut options = self.options.clone();
        options.sampling.seed ^= first << 32;
        let completions = match generate(&mut self.worker, compiler, &requests, &options, progress, stop) {
            Err(GenerateError::Stopped) => return Ok(None),
            completions => completions.or_failed()?,
        };
        for (answer, completion) in answers.iter_mut().filter(|answer| answer.is_ok()).zip(&completions) {
            *answer = Ok(self.renderer.tokenizer.decode(completion.text_tokens(), false).or_failed()?);
        }
        Ok(Some(answers))
    }
}

/// The grammars of the answers to one unit.
fn constraint(ontology: &Arc<Ontology>, unit: &Unit) -> Constraint {
    let words = unit.words();
    let limits = AnswerLimits::for_words(words.len());
    let grammar = AnswerGrammar::new(Arc::clone(ontology), unit.text(), &words, limits);
    Constraint { grammar: grammar.first(), next: Some(Arc::new(move |text, stage| grammar.next(text, stage))) }
}
