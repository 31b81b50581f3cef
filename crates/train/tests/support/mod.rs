//! Tiny models and examples that the tests share.
#![allow(dead_code, reason = "each test file uses a different part")]

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use tabpo_engine::{AdamWConfig, HostWorker, Lora, Model, Policy, Real};
use tabpo_model::{LoraConfig, ModelConfig};
use tabpo_objective::{ItemCounts, ItemErrors, JudgedItem, Objective};
use tabpo_roles::{List, ListDecision, Role};
use tabpo_train::{
    BatchPlan, Choice, Decay, Observer, ReferenceCache, RejectedAnswer, Schedule, Session, StepRecord, TokenisedAnswer,
    TokenisedExample, TrainBudget, TrainSettings, UnusedCheckpoint, train,
};

pub(crate) const VOCABULARY: usize = 24;
pub(crate) const END: u32 = 0;

pub(crate) fn model<R: Real>(seed: u64) -> Model<R> {
    let mut model = Model::initialise(ModelConfig::small(VOCABULARY, 16, 2, 2), seed);
    // Larger weights than a fresh model's, so that the log-probs are far from uniform.
    for part in model.parameters_mut() {
        if part.len() > 16 {
            for value in part {
                *value *= R::from_f64(8.0);
            }
        }
    }
    model
}

/// An adapter that changes the model (B is not zero).
pub(crate) fn adapter<R: Real>(model: &Model<R>, dropout: f64) -> Lora<R> {
    let mut config = LoraConfig::new(3, 6.0);
    config.dropout = dropout;
    let mut adapter = Lora::initialise(&model.config, config, 5);
    let mut random = ChaCha8Rng::seed_from_u64(6);
    for part in adapter.parameters_mut() {
        for value in part {
            *value += R::from_f64(random.random_range(-0.2..0.2));
        }
    }
    adapter
}

fn answer(random: &mut ChaCha8Rng, tokens: Vec<u32>) -> TokenisedAnswer {
    // A stream of its own, so that tokens and weights do not depend on what else an answer carries.
    let mut marks = ChaCha8Rng::seed_from_u64(tokens.iter().map(|token| u64::from(*token)).sum());
    let roles = tokens[..tokens.len() - 1].iter().map(|_| Role::ALL[random.random_range(0..7)]);
    let roles = roles.chain([Role::End]).collect();
    let weights = Some(tokens.iter().map(|_| random.random_range(0.5..1.5)).collect());
    let decisions = tokens.iter().enumerate().filter_map(|(token, _)| {
        let list = if marks.random() { List::Entities } else { List::Relations };
        marks.random_bool(0.3).then(|| (token, ListDecision { list, opens: marks.random() }))
    });
    let decisions = Some(decisions.collect());
    let mut counts = || ItemCounts { entities: marks.random_range(0..3), relations: marks.random_range(0..3) };
    let errors = ItemErrors { wrong: counts(), missing: counts(), gold: counts() };
    let choices =
        (1..tokens.len()).filter(|_| marks.random_bool(0.3)).collect::<Vec<_>>().into_iter().map(|position| {
            let first = marks.random_range(1..VOCABULARY as u32 - 1);
            Choice { position, tokens: (first..=first + u32::from(marks.random_bool(0.5))).collect() }
        });
    let choices = choices.collect();
    let items = (0..2).map(|_| JudgedItem {
        list: if marks.random() { List::Entities } else { List::Relations },
        right: marks.random(),
        tokens: (0..tokens.len()).filter(|_| marks.random_bool(0.3)).collect(),
    });
    let items = items.collect();
    TokenisedAnswer { tokens, roles, weights, decisions, errors, choices, items }
}

/// Examples whose rejected answers are edits of the chosen one: a replacement, a deletion, an
/// insertion, and an edit of the previous one, so that rejected answers share prefixes.
pub(crate) fn examples(count: usize, rejected: usize, seed: u64) -> Vec<TokenisedExample> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..count)
        .map(|number| {
            let length = random.random_range(3..12);
            let prompt = (0..length).map(|_| random.random_range(1..VOCABULARY as u32)).collect();
            let length = random.random_range(4..10);
            let mut chosen: Vec<u32> = (0..length).map(|_| random.random_range(1..VOCABULARY as u32)).collect();
            chosen.push(END);
            let mut negative = chosen.clone();
            let rejected = (0..rejected)
                .map(|kind| {
                    if kind % 4 != 3 {
                        negative.clone_from(&chosen);
                    }
                    let place = random.random_range(0..negative.len() - 1);
                    match kind % 4 {
                        1 if negative.len() > 3 => drop(negative.remove(place)),
                        2 => negative.insert(place, random.random_range(1..VOCABULARY as u32)),
                        _ => negative[place] = 1 + negative[place] % (VOCABULARY as u32 - 1),
                    }
                    let answer = answer(&mut random, negative.clone());
                    RejectedAnswer { answer, weight: random.random_range(0.5..1.5) }
                })
                .collect();
            let chosen = answer(&mut random, chosen);
            TokenisedExample { id: format!("example {number}"), prompt, chosen, rejected }
        })
        .collect()
}

pub(crate) fn settings(objective: &str, budget: TrainBudget) -> TrainSettings {
    let objective = Objective::try_from(Value::from(objective)).expect("an objective of the catalogue");
    let plan = BatchPlan { batch_size: 4, max_tokens: 1000, seed: 11, budget };
    let schedule = Schedule { peak: 1e-3, warmup: 0.1, decay: Decay::Cosine, floor: 0.0 };
    let mut settings = TrainSettings::new(objective, plan, schedule);
    settings.optimiser = AdamWConfig { weight_decay: 0.01, ..AdamWConfig::default() };
    settings
}

/// Keeps the records and stops after some steps.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) records: Vec<StepRecord>,
    pub(crate) stop_after: Option<u64>,
    pub(crate) resumed: Option<u64>,
    pub(crate) unused: Option<UnusedCheckpoint>,
}

impl Observer for Recorder {
    fn resumed(&mut self, step: u64) {
        self.resumed = Some(step);
    }

    fn unused_checkpoint(&mut self, checkpoint: &UnusedCheckpoint) {
        self.unused = Some(checkpoint.clone());
    }

    fn step(&mut self, record: &StepRecord) {
        self.records.push(record.clone());
    }

    fn should_stop(&self) -> bool {
        self.stop_after.is_some_and(|limit| self.records.last().is_some_and(|record| record.step >= limit))
    }
}

/// A worker that trains an adapter of a model.
pub(crate) fn adapting<R: Real>(model: &Model<R>, adapter: Lora<R>) -> HostWorker<R> {
    HostWorker::new(Policy::adapter(model.clone().into(), adapter))
}

/// A worker that trains all parameters of a model.
pub(crate) fn full<R: Real>(model: &Model<R>) -> HostWorker<R> {
    HostWorker::new(Policy::full(model.clone()))
}

/// A run without files; the guide model is the initial policy.
pub(crate) fn run<R: Real>(
    mut worker: HostWorker<R>,
    examples: &[TokenisedExample],
    settings: &TrainSettings,
) -> (Policy<R>, Vec<StepRecord>) {
    let mut recorder = Recorder::default();
    let mut guide = HostWorker::new(worker.policy().clone());
    let mut cache = ReferenceCache::in_memory();
    let session = Session { guide: Some(&mut guide), ..Session::new("test", &mut cache, [0; 32]) };
    let outcome = train(&mut worker, examples, settings, session, &mut recorder).expect("the run succeeds");
    assert!(outcome.finished);
    (worker.into_policy(), recorder.records)
}

/// The largest difference between the parameters of two policies.
pub(crate) fn distance<R: Real>(a: &Policy<R>, b: &Policy<R>) -> f64 {
    let pairs = a.parameters().into_iter().zip(b.parameters());
    pairs.flat_map(|(a, b)| a.iter().zip(b)).map(|(a, b)| (a.to_f64() - b.to_f64()).abs()).fold(0.0, f64::max)
}
