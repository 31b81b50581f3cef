//! A tiny model, examples that share a long prompt, and runs on one or several ranks.
#![allow(dead_code, reason = "each test file uses a different part")]

use std::path::Path;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tabpo_engine::{AdamWConfig, HostWorker, Lora, Model, Policy, Worker};
use tabpo_model::{LoraConfig, ModelConfig};
use tabpo_objective::Objective;
use tabpo_ranks::{LinkError, Links, Ranks, serve};
use tabpo_train::{
    BatchPlan, Decay, Observer, ReferenceCache, RejectedAnswer, Schedule, Session, StepRecord, TokenisedAnswer,
    TokenisedExample, TrainBudget, TrainError, TrainOutcome, TrainSettings, train,
};

pub(crate) const VOCABULARY: usize = 24;

/// A policy whose log-probs are far from uniform: an adapter of a model, or all its parameters.
pub(crate) fn policy(adapter: bool) -> Policy<f32> {
    let mut model = Model::initialise(ModelConfig::small(VOCABULARY, 16, 2, 2), 3);
    for value in model.parameters_mut().into_iter().filter(|part| part.len() > 16).flatten() {
        *value *= 8.0;
    }
    if !adapter {
        return Policy::full(model);
    }
    let mut adapter = Lora::initialise(&model.config, LoraConfig::new(3, 6.0), 5);
    let mut random = ChaCha8Rng::seed_from_u64(6);
    for value in adapter.parameters_mut().into_iter().flatten() {
        *value += random.random_range(-0.2..0.2);
    }
    Policy::adapter(model.into(), adapter)
}

/// Examples with two rejected answers each; with `shared`, their prompts begin with the same twenty tokens.
pub(crate) fn examples(count: usize, shared: bool) -> Vec<TokenisedExample> {
    let mut random = ChaCha8Rng::seed_from_u64(2);
    let instructions = if shared { 20 } else { 0 };
    (0..count)
        .map(|number| {
            let mut tokens =
                |length| -> Vec<u32> { (0..length).map(|_| random.random_range(1..VOCABULARY as u32)).collect() };
            let prompt = (0..instructions).map(|place| 1 + place % 7).chain(tokens(3 + number % 5)).collect();
            let mut chosen = tokens(4 + number % 4);
            chosen.push(0);
            let rejected = [0, 2].map(|place| {
                let mut tokens = chosen.clone();
                tokens[place] = 1 + tokens[place] % (VOCABULARY as u32 - 1);
                RejectedAnswer { answer: TokenisedAnswer::unlabelled(tokens), weight: 1.0 }
            });
            let chosen = TokenisedAnswer::unlabelled(chosen);
            TokenisedExample { id: number.to_string(), prompt, chosen, rejected: rejected.into() }
        })
        .collect()
}

pub(crate) fn settings(objective: &str, max_tokens: usize, steps: u64) -> TrainSettings {
    let plan = BatchPlan { batch_size: 6, max_tokens, seed: 11, budget: TrainBudget::Steps(steps) };
    let schedule = Schedule { peak: 1e-3, warmup: 0.1, decay: Decay::Cosine, floor: 0.0 };
    let mut settings = TrainSettings::new(Objective::new(objective).expect("an objective"), plan, schedule);
    settings.optimiser = AdamWConfig { weight_decay: 0.01, ..AdamWConfig::default() };
    settings.checkpoint_every = Some(1);
    settings
}

/// Keeps the records and stops after some steps.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) records: Vec<StepRecord>,
    pub(crate) stop_after: Option<u64>,
    pub(crate) resumed: Option<u64>,
}

impl Observer for Recorder {
    fn resumed(&mut self, step: u64) {
        self.resumed = Some(step);
    }

    fn step(&mut self, record: &StepRecord) {
        self.records.push(record.clone());
    }

    fn should_stop(&self) -> bool {
        self.stop_after.is_some_and(|limit| self.records.last().is_some_and(|record| record.step >= limit))
    }
}

/// What a training on several ranks comes to.
pub(crate) struct Run {
    pub(crate) outcome: Result<TrainOutcome, TrainError>,
    pub(crate) recorder: Recorder,
    pub(crate) cache: ReferenceCache,
    /// What `serve` returned to each other rank.
    pub(crate) served: Vec<Result<(), LinkError>>,
}

/// Trains the workers together, the first of which leads.
pub(crate) fn run(
    workers: &mut [&mut (dyn Worker + Send)],
    examples: &[TokenisedExample],
    settings: &TrainSettings,
    checkpoint: Option<&Path>,
    stop_after: Option<u64>,
) -> Run {
    let (first, others) = workers.split_first_mut().expect("there is a rank");
    let mut links = Links::in_memory(1 + others.len()).into_iter();
    let of_first = links.next().expect("there is a rank");
    let (mut recorder, mut cache) = (Recorder { stop_after, ..Recorder::default() }, ReferenceCache::in_memory());
    let (outcome, served) = std::thread::scope(|scope| {
        let threads: Vec<_> =
            others.iter_mut().zip(links).map(|(worker, links)| scope.spawn(move || serve(*worker, &links))).collect();
        let session = Session { checkpoint, ..Session::new("test", &mut cache, [0; 32]) };
        let outcome = if threads.is_empty() {
            train(*first, examples, settings, session, &mut recorder)
        } else {
            let mut ranks = Ranks::new(*first, &of_first);
            train(&mut ranks, examples, settings, session, &mut recorder)
        };
        drop(of_first);
        (outcome, threads.into_iter().map(|thread| thread.join().expect("`serve` does not panic")).collect())
    });
    Run { outcome, recorder, cache, served }
}

/// Trains a policy on some ranks that all succeed, and returns what each of them has in the end.
pub(crate) fn trained(
    ranks: usize,
    policy: &Policy<f32>,
    examples: &[TokenisedExample],
    settings: &TrainSettings,
) -> (Vec<Policy<f32>>, Run) {
    let mut workers: Vec<HostWorker<f32>> = (0..ranks).map(|_| HostWorker::new(policy.clone())).collect();
    let mut borrowed: Vec<&mut (dyn Worker + Send)> =
        workers.iter_mut().map(|worker| worker as &mut (dyn Worker + Send)).collect();
    let run = run(&mut borrowed, examples, settings, None, None);
    assert!(run.outcome.as_ref().expect("the run succeeds").finished);
    assert!(run.served.iter().all(Result::is_ok), "{:?}", run.served);
    (workers.into_iter().map(HostWorker::into_policy).collect(), run)
}

/// The largest difference between the parameters of two policies.
pub(crate) fn distance(a: &Policy<f32>, b: &Policy<f32>) -> f32 {
    let pairs = a.parameters().into_iter().zip(b.parameters());
    pairs.flat_map(|(a, b)| a.iter().zip(b)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

pub(crate) fn bits(policy: &Policy<f32>) -> Vec<u32> {
    policy.parameters().into_iter().flatten().map(|value| value.to_bits()).collect()
}
