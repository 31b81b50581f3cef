//! Predictions: a model's answers for the units of some documents, one JSON line each.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use tabpo_corpus::{Document, Level, Unit};
use tabpo_engine::{
    Constraint, GenerateError, GenerateOptions, GrammarCompiler, Lora, Model, Request, Sampling, generate_until,
};
use tabpo_metrics::UnitOutput;
use tabpo_ontology::{AnswerGrammar, AnswerLimits, Ontology};

use super::{
    Artefact, Part, Run, Trained,
    directory::write_atomically,
    examples::unit_id,
    folder_digest, key,
    policy::{PolicyFolder, Voice},
    splits,
};
use crate::{
    config::PredictSection,
    error::{CliError, ResultExt},
    output::Context,
};

/// Units that are decoded before the answers are written down: what a kill can lose.
const CHUNK: usize = 256;

impl Run<'_> {
    /// A policy's answers for one part of the documents, at `place` in the run directory.
    pub(super) fn predict(
        &mut self,
        place: impl AsRef<Path>,
        policy: &Trained,
        part: Part,
        voice: &Voice,
    ) -> Result<Artefact<PathBuf>, CliError> {
        let place = place.as_ref();
        let path = self.directory.path(place)?;
        let whole = |documents, digest: &String| (Cow::Borrowed(documents), digest.clone());
        let (documents, gold) = match part {
            Part::Validation => whole(self.splits.validation.as_slice(), &self.digests.validation),
            Part::Curated => whole(&self.splits.curated, &self.digests.curated),
            Part::CuratedFold(fold) => {
                let held_out: Vec<Document> = fold.held_out(&self.splits.curated).cloned().collect();
                let digest = splits::digest(&held_out);
                (Cow::Owned(held_out), digest)
            }
            Part::Test | Part::TestConstrained => whole(&self.splits.test, &self.digests.test),
        };
        let constrained = part == Part::TestConstrained;
        let settings = PredictSection { constrained, remote: BTreeMap::new(), ..self.config.predict.clone() };
        let name = place.with_extension("").display().to_string();
        let key = key(&name)
            .with("policy", &policy.digest)
            .with("documents", &gold)
            .with("level", &self.config.data.level)
            .with("settings", &settings)
            .with("ontology", &self.digests.ontology);
        let prediction = Prediction {
            name: &name,
            policy: &policy.path,
            voice,
            ontology: &self.ontology,
            level: self.config.data.level,
            settings: &settings,
            samples: 1,
            sampling: Sampling::GREEDY,
            strict: false,
        };
        let id = key.short();
        let context = self.context;
        let digest = self
            .ledger
            .stage(context, &name, &key, &[place.to_owned()], || prediction.write(&documents, &path, &id, context))?;
        Ok(Artefact { path, digest })
    }
}

/// A model that answers, and how.
pub struct Prediction<'a> {
    /// Shown with the progress.
    pub name: &'a str,
    /// The model.
    pub policy: &'a PolicyFolder,
    /// Its text side.
    pub voice: &'a Voice,
    /// For constrained decoding.
    pub ontology: &'a Ontology,
    /// What a prompt shows.
    pub level: Level,
    /// Length, batch, constraint.
    pub settings: &'a PredictSection,
    /// Answers to each unit, one line each, one after the other.
    pub samples: usize,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Whether a unit that does not fit into the model's window ends the work; otherwise its answer is empty.
    pub strict: bool,
}

/// A line of a prediction file.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct AnsweredUnit {
    #[serde(flatten)]
    unit: UnitOutput,
    /// Why there is no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
}

/// Why a unit has no answer, in the words of endpoints' answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    /// The prompt is longer than the model is meant for.
    TooLong,
}

/// Units that are named as too long, at most; their number is said in any case.
const NAMED: usize = 20;

impl Prediction<'_> {
    /// Names what the answers depend on, so that a file left by another job is not gone on with.
    pub fn identity(&self, documents: &[Document]) -> Result<String, CliError> {
        let adapter = self.policy.adapter.as_deref().map(folder_digest).transpose()?;
        let key = key("predict")
            .with("model", &folder_digest(&self.policy.model)?)
            .with("adapter", &adapter)
            .with("documents", &splits::digest(documents))
            .with("ontology", &self.ontology.to_toml())
            .with("level", &self.level)
            .with("settings", self.settings)
            .with("sampling", &(self.samples, self.sampling.temperature, self.sampling.top_p, self.sampling.seed));
        let key = match self.voice.foreign_template() {
            Some(template) => key.with("template", &template),
            None => key,
        };
        Ok(key.short())
    }

    /// Writes the answers for all units of `documents` to `path`, in order. Answers are kept beside
    /// it while the work goes on; a file of an interrupted try with the same `id` is gone on with.
    pub fn write(&self, documents: &[Document], path: &Path, id: &str, context: &Context) -> Result<(), CliError> {
        let units = documents.iter().flat_map(|document| Unit::all(document, self.level));
        let units: Vec<Unit> = units.flat_map(|unit| std::iter::repeat_n(unit, self.samples)).collect();
        let partial = path.with_extension(format!("{id}.partial"));
        let mut done = read_whole_lines(&partial)?;
        // Whole chunks only, because a draw depends on the chunk and the position in it.
        done.truncate(done.len().min(units.len()) / CHUNK * CHUNK);
        if !done.is_empty() {
            context.say(format!("{}: goes on after {} of {} units", self.name, done.len(), units.len()));
        }
        rewrite(&partial, &done)?;
        let mut file = OpenOptions::new().append(true).open(&partial).or_failed()?;
        let model = Answering::open(self)?;
        let mut progress = context.progress(self.name, units.len() as u64);
        let mut too_long = done.iter().filter(|line| line.outcome.is_some()).count();
        let stopped = |done: usize| {
            let message = format!("stopped after {done} of {} units, which are saved", units.len());
            CliError::interrupted(message).with_hint("the same command goes on from here")
        };
        for chunk in units[done.len()..].chunks(CHUNK) {
            if context.interrupted() {
                progress.finish();
                return Err(stopped(done.len()));
            }
            let before = done.len() as u64;
            let update = |count| progress.update(before + count as u64, "");
            let Some(outputs) = model.answer(chunk, before, update, || context.interrupted())? else {
                progress.finish();
                return Err(stopped(done.len()));
            };
            for (unit, output) in chunk.iter().zip(outputs) {
                let (output, outcome) = match output {
                    Ok(output) => (output, None),
                    Err(tokens) => {
                        let longest = model.longest();
                        let message = format!(
                            "`{}` has {tokens} tokens with its prompt; the model is meant for at most {longest}",
                            unit_id(unit)
                        );
                        if self.strict {
                            progress.finish();
                            return Err(CliError::failed(format!("{}: {message}", self.name))
                                .with_hint("without --strict it gets an empty answer, and the others are answered"));
                        }
                        too_long += 1;
                        if too_long <= NAMED {
                            context.warn(format!("{}: {message}: no answer (outcome too-long)", self.name));
                        }
                        (String::new(), Some(Outcome::TooLong))
                    }
                };
                let unit = UnitOutput { doc_key: unit.document.key.clone(), sent: unit.sentence, output };
                let line = AnsweredUnit { unit, outcome };
                let mut text = serde_json::to_vec(&line).expect("a prediction is plain data");
                text.push(b'\n');
                file.write_all(&text).or_failed()?;
                done.push(line);
            }
        }
        progress.finish();
        if too_long > 0 {
            context.warn(format!("{}: {too_long} of {} units were too long for the model", self.name, units.len()));
        }
        file.sync_all().or_failed()?;
        fs::rename(&partial, path).or_failed()
    }
}

/// Reads a prediction file.
pub fn read(path: &Path) -> Result<Vec<UnitOutput>, CliError> {
    let file = File::open(path).or_failed()?;
    let lines = BufReader::new(file).lines();
    lines.map(|line| serde_json::from_str(&line.or_failed()?).or_failed()).collect()
}

/// The answers of a prediction file by document and sentence.
pub fn by_unit(path: &Path) -> Result<HashMap<(String, Option<u32>), String>, CliError> {
    Ok(read(path)?.into_iter().map(|line| ((line.doc_key, line.sent), line.output)).collect())
}

/// The lines of a file that were written whole; a kill can cut off the last one.
fn read_whole_lines(path: &Path) -> Result<Vec<AnsweredUnit>, CliError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).or_failed(),
    };
    Ok(text.split(|&byte| byte == b'\n').map_while(|line| serde_json::from_slice(line).ok()).collect())
}

fn rewrite(path: &Path, lines: &[AnsweredUnit]) -> Result<(), CliError> {
    let mut text = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut text, line).expect("a prediction is plain data");
        text.push(b'\n');
    }
    write_atomically(path, &text)
}

/// A model ready to answer.
struct Answering<'p> {
    voice: &'p Voice,
    model: Model<f32>,
    adapter: Option<Lora<f32>>,
    options: GenerateOptions,
    /// The ontology and the compiler of its grammars, for constrained decoding.
    grammar: Option<(Arc<Ontology>, GrammarCompiler)>,
}

impl<'p> Answering<'p> {
    fn open(prediction: &Prediction<'p>) -> Result<Self, CliError> {
        let (model, adapter) = prediction.policy.open()?;
        let voice = prediction.voice;
        let options = GenerateOptions {
            max_new_tokens: prediction.settings.max_new_tokens,
            sampling: prediction.sampling,
            stop: voice.format()?.stop().to_vec(),
            batch: prediction.settings.batch_size,
            log_probs: false,
        };
        let grammar = if prediction.settings.constrained {
            let compiler = GrammarCompiler::new(&voice.tokenizer, model.config.vocabulary, &options.stop).or_input()?;
            Some((Arc::new(prediction.ontology.clone()), compiler))
        } else {
            None
        };
        Ok(Self { voice, model, adapter, options, grammar })
    }

    /// The longest sequence that the model is meant for.
    fn longest(&self) -> usize {
        self.model.config.longest()
    }

    /// The answers to some units, in order, or for a unit whose prompt is longer than the model is meant for the
    /// tokens of that prompt; `None` if `stop` says so. `first` is the position of the first one in the whole
    /// job, on which what is drawn depends.
    fn answer(
        &self,
        units: &[Unit],
        first: u64,
        progress: impl FnMut(usize),
        stop: impl Fn() -> bool,
    ) -> Result<Option<Vec<Result<String, usize>>>, CliError> {
        let format = self.voice.format()?;
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
        let completions =
            match generate_until(&self.model, self.adapter.as_ref(), compiler, &requests, &options, progress, stop) {
                Err(GenerateError::Stopped) => return Ok(None),
                completions => completions.or_failed()?,
            };
        for (answer, completion) in answers.iter_mut().filter(|answer| answer.is_ok()).zip(&completions) {
            *answer = Ok(self.voice.tokenizer.decode(completion.text_tokens(), false).or_failed()?);
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
