//! How fast the model trains and answers on this machine, and what follows for the times of stages.

use std::{ops::ControlFlow, time::Instant};

use serde::Serialize;
use tabpo_corpus::Unit;
use tabpo_engine::{Event, GenerateOptions, GenerateWork, PromptTree, Sampling, Steering, Worker, generate_each};
use tabpo_objective::Objective;
use tabpo_train::{
    BatchPlan, Decay, ExampleFormat, ReferenceCache, Schedule, Session, StepRecord, TextSource, TrainBudget,
    TrainSettings, train,
};

use super::{Inputs, Start, lengths::Lengths, trainings};
use crate::{
    config::Configuration,
    device::LazyDevice,
    error::{Error, ResultExt},
    memory,
    observer::Observer,
    run::{
        CARD_LOGIT_BYTES,
        examples::gold_records,
        plan::{PlannedStage, Training, Work},
    },
};

/// Measured speeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Speed {
    /// Rows through forward and backward pass, a second.
    pub trained: f64,
    /// Tokens of prompts read, a second.
    pub read: f64,
    /// Tokens written in all sequences together, a second.
    pub written: f64,
}

/// Examples of the timed step.
const EXAMPLES: usize = 4;
/// Answers that are begun, and tokens written of each.
const ANSWERS: usize = 4;
const NEW_TOKENS: usize = 8;
/// A reference pass costs a third of a trained row: there is no backward pass.
const REFERENCE: f64 = 1.0 / 3.0;
/// The part of a rejected answer that comes after its first difference from the chosen one, on average.
const REJECTED: f64 = 0.5;

/// Times a training step and a few answers.
pub(super) fn measure(
    inputs: &Inputs,
    start: &Start<'_>,
    format: &ExampleFormat<'_>,
    device: &LazyDevice,
    observer: &dyn Observer,
) -> Result<Speed, Error> {
    let config = &inputs.config;
    let held = memory::held(observer);
    let mut progress = observer.progress("measuring", 3);
    let computer = device.open(observer)?;
    let mut worker = computer.worker(start.policy(computer.is_card(), observer)?)?;
    progress.update(1, "a training step");
    let documents = &inputs.splits.train;
    let level = config.data.level;
    let mut records = gold_records(documents, level, &inputs.ontology, inputs.config.answer.form).records;
    let limit = config.sft.max_length.min(start.window()?);
    let source = TextSource::new(format, &records, &inputs.ontology, limit);
    let fits = |index: &usize| tabpo_train::ExampleSource::load(&source, *index).is_ok();
    let kept: Vec<usize> = (0..records.len()).filter(fits).take(EXAMPLES).collect();
    let mut index = 0;
    records.retain(|_| {
        index += 1;
        kept.contains(&(index - 1))
    });
    let source = TextSource::new(format, &records, &inputs.ontology, limit);
    let plan =
        BatchPlan { batch_size: EXAMPLES, max_tokens: config.sft.max_tokens, seed: 1, budget: TrainBudget::Steps(1) };
    let schedule = Schedule { peak: 1e-9, warmup: 0.0, decay: Decay::Constant, floor: 0.0 };
    let mut settings = TrainSettings::new(Objective::new("sft").or_failed()?, plan, schedule);
    settings.track_reference = false;
    if computer.is_card() {
        settings.logit_bytes = CARD_LOGIT_BYTES;
    } else {
        let rows = (start.window()?).min(config.sft.max_tokens);
        let request = memory::request(rows, settings.logit_bytes, false, 0, held);
        let limit = memory::limit(config.sft.memory_gb, held, 1);
        settings.recompute = worker.worker().memory(&request, limit).recompute;
    }
    let mut cache = ReferenceCache::in_memory();
    let session = Session::new("check", &mut cache, start.renderer.tokenizer.digest());
    let mut watch = Watch { record: None };
    train(worker.worker(), &source, &settings, session, &mut watch).or_failed()?;
    let step = watch.record.ok_or_else(|| Error::failed("no training example is short enough to be trained on"))?;
    let trained = step.tokens as f64 / step.timing.total().max(1e-6);
    progress.update(2, "a few answers");
    let units: Vec<Unit> =
        inputs.splits.validation.iter().flat_map(|document| Unit::all(document, level)).take(ANSWERS).collect();
    let mut tree = PromptTree::new();
    let window = start.window()?;
    for unit in &units {
        let prompt = format.prompt(unit.text()).or_input()?;
        if prompt.len() + NEW_TOKENS < window {
            tree.push(&prompt);
        }
    }
    let (read, written) = answers(worker.worker(), &tree)?;
    progress.update(3, "");
    Ok(Speed { trained, read, written })
}

/// Tokens read and written a second.
fn answers(worker: &mut dyn Worker, tree: &PromptTree) -> Result<(f64, f64), Error> {
    let pending: Vec<usize> = (0..tree.len()).collect();
    let mut time = |max_new_tokens| -> Result<(GenerateWork, f64), Error> {
        // No token ends an answer, so that each is as long as the others.
        let options = GenerateOptions {
            max_new_tokens,
            sampling: Sampling::GREEDY,
            stop: Vec::new(),
            batch: ANSWERS,
            log_probs: false,
        };
        let mut work = GenerateWork::default();
        let mut report = |event| {
            if let Event::Worked(now) = event {
                work = now;
            }
            ControlFlow::Continue(())
        };
        let started = Instant::now();
        let steering = Steering { constraint: &|_| None, forks: None };
        generate_each(worker, None, tree, &pending, steering, &options, &mut report).or_failed()?;
        Ok((work, started.elapsed().as_secs_f64()))
    };
    let (first, one) = time(1)?;
    let (all, more) = time(NEW_TOKENS)?;
    let read = first.prompt_tokens as f64 / one.max(1e-6);
    let written = (all.new_tokens - first.new_tokens) as f64 / (more - one).max(1e-6);
    Ok((read, written))
}

struct Watch {
    record: Option<StepRecord>,
}

impl tabpo_train::Observer for Watch {
    fn step(&mut self, record: &StepRecord) {
        self.record = Some(record.clone());
    }
}

/// Rows that a step of a training computes, on average.
pub(super) fn rows_of_step(training: &Training, lengths: &Lengths, config: &Configuration) -> f64 {
    let section = if training.rejected { &config.preference.train } else { &config.sft };
    let shared = lengths.shared as f64;
    let rejected =
        if training.rejected { config.pairs.per_example as f64 * REJECTED * lengths.mean_answer } else { 0.0 };
    let own = training.batch as f64 * (lengths.mean_prompt - shared + lengths.mean_answer + rejected);
    let space = (section.max_tokens as f64 - shared).max(lengths.mean_answer);
    own + (own / space).ceil() * shared
}

/// Rows with targets among them.
pub(super) fn target_rows_of_step(training: &Training, lengths: &Lengths, config: &Configuration) -> f64 {
    let rejected = if training.rejected { config.pairs.per_example as f64 * REJECTED } else { 0.0 };
    training.batch as f64 * (1.0 + rejected) * lengths.mean_answer
}

/// Estimated seconds of each stage; `None` for those that take seconds in any case.
pub(super) fn times(
    stages: &[PlannedStage],
    speed: &Speed,
    lengths: &Lengths,
    config: &Configuration,
) -> Vec<Option<f64>> {
    let training = |training: &Training| {
        let reference = if training.reference { 1.0 + REFERENCE } else { 1.0 };
        rows_of_step(training, lengths, config) * reference / speed.trained
    };
    let mut seconds: Vec<Option<f64>> = stages
        .iter()
        .map(|stage| match &stage.work {
            Work::Train(train) => train.steps.map(|steps| steps as f64 * training(train)),
            Work::Answer { units } => {
                let prompts = lengths.shared as f64 + *units as f64 * (lengths.mean_prompt - lengths.shared as f64);
                Some(prompts / speed.read + *units as f64 * lengths.mean_answer / speed.written)
            }
            Work::Little => None,
        })
        .collect();
    // Systems at equal FLOPs take as long as the longest of those that are compared by pairs.
    let longest = trainings(stages).filter(|(_, training)| training.rejected).filter_map(|(index, _)| seconds[index]);
    let longest = longest.fold(0.0, f64::max);
    for (index, training) in trainings(stages) {
        if training.steps.is_none() {
            seconds[index] = Some(longest);
        }
    }
    seconds
}
