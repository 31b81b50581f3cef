//! Whole runs: reference, resuming, checkpoints, every objective.

mod support;

use support::{END, Recorder, VOCABULARY, adapter, adapting, distance, examples, full, model, run, settings};
use tabpo_engine::{
    ChangeGradient, ForwardOptions, GenerationMemory, Generator, GeneratorSize, HostWorker, Job, JobTiming, Lora,
    MemoryPlan, MemoryRequest, Model, NamedTensor, OutputGradientOf, Policy, TrainingSetup, Worker, WorkerError,
    Workspace, forward,
};
use tabpo_model::{LoraConfig, ModelConfig};
use tabpo_objective::catalogue;
use tabpo_train::{
    BatchPlan, Cursor, ExampleError, ReferenceCache, ReferenceIdentity, Session, StepPlanner, StepRecord,
    TokenisedAnswer, TokenisedExample, TrainBudget, TrainError, UnusedCheckpoint, log_probs, train,
};

#[test]
fn the_margin_of_the_first_step_is_exactly_zero() {
    let model = model::<f32>(1);
    let examples = examples(13, 2, 2);
    for max_tokens in [1, 60, 1000] {
        for objective in ["dpo", "ipo", "tab-po-released", "tdpo2"] {
            let mut settings = settings(objective, TrainBudget::Epochs(2));
            settings.plan.max_tokens = max_tokens;
            let (_, records) = run(adapting(&model, adapter(&model, 0.0)), &examples, &settings);
            assert_eq!(records[0].margin, Some(0.0), "{objective} with {max_tokens} tokens");
            assert!(records[1].margin.is_some_and(|margin| margin != 0.0));
        }
    }
}

#[test]
fn every_objective_takes_steps_with_all_parameters_and_with_an_adapter() {
    let model = model::<f32>(3);
    let examples = examples(8, 2, 4);
    for entry in catalogue() {
        let settings = settings(entry.name, TrainBudget::Steps(2));
        for worker in [full(&model), adapting(&model, adapter(&model, 0.0))] {
            let (policy, records) = run(worker, &examples, &settings);
            for record in &records {
                assert!(record.loss.is_finite() && record.gradient_norm.is_finite(), "{}", entry.name);
                let terms = record.preference + record.decision + record.likelihood + record.barrier;
                assert!((terms - record.loss).abs() < 1e-9 * record.loss.abs().max(1.0), "{}", entry.name);
            }
            assert!(records.iter().any(|record| record.gradient_norm > 0.0), "{} learns nothing", entry.name);
            let finite = |part: &[f32]| part.iter().all(|value| value.is_finite());
            assert!(policy.parameters().into_iter().all(finite), "{}", entry.name);
        }
    }
}

/// Everything of a record that does not depend on the clock.
fn numbers(record: &StepRecord) -> String {
    let mut record = record.clone();
    record.timing = tabpo_train::Timing::default();
    record.tokens_per_second = 0.0;
    serde_json::to_string(&record).expect("a record is JSON")
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_one_bit_for_bit() {
    let model = model::<f32>(5);
    let examples = examples(10, 2, 6);
    for objective in ["tab-po", "tdpo1", "group-weighted-sft", "minimum-risk", "dynamic-oracle", "item-credit"] {
        for all in [false, true] {
            let folder = tempfile::tempdir().expect("a folder");
            let mut settings = settings(objective, TrainBudget::Steps(8));
            settings.checkpoint_every = Some(2);
            settings.plan.max_tokens = 60;
            let session_run = |name: &str, stop_after: Option<u64>| {
                let mut worker = if all { full(&model) } else { adapting(&model, adapter(&model, 0.1)) };
                let checkpoint = folder.path().join(name);
                let mut cache = ReferenceCache::open(&folder.path().join(format!("{name}.cache"))).expect("a cache");
                let session = Session { checkpoint: Some(&checkpoint), ..Session::new("test", &mut cache, [0; 32]) };
                let mut recorder = Recorder { stop_after, ..Recorder::default() };
                let outcome =
                    train(&mut worker, examples.as_slice(), &settings, session, &mut recorder).expect("a run");
                (outcome, worker.into_policy(), recorder)
            };
            let (whole, whole_policy, whole_records) = session_run("whole", None);
            let (stopped, _, first_records) = session_run("parts", Some(5));
            assert!(whole.finished && !stopped.finished);
            let (resumed, resumed_policy, rest_records) = session_run("parts", None);
            assert_eq!(rest_records.resumed, Some(5));
            assert!(resumed.finished);

            let bits = |policy: &Policy<f32>| -> Vec<u32> {
                policy.parameters().into_iter().flatten().map(|value| value.to_bits()).collect()
            };
            assert_eq!(bits(&whole_policy), bits(&resumed_policy));
            assert_eq!(whole.summary.tokens, resumed.summary.tokens);
            let parts = first_records.records.iter().chain(&rest_records.records);
            let whole_numbers: Vec<String> = whole_records.records.iter().map(numbers).collect();
            assert_eq!(whole_numbers, parts.map(numbers).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_checkpoint_of_other_settings_or_data_is_not_taken_up() {
    let model = model::<f32>(7);
    let examples = examples(6, 1, 8);
    let folder = tempfile::tempdir().expect("a folder");
    let checkpoint = folder.path().join("checkpoint.safetensors");
    let attempt = |identity: &str, seed: u64| {
        let mut settings = settings("dpo", TrainBudget::Steps(3));
        settings.plan.seed = seed;
        let mut cache = ReferenceCache::in_memory();
        let session = Session { checkpoint: Some(&checkpoint), ..Session::new(identity, &mut cache, [0; 32]) };
        let mut recorder = Recorder { stop_after: Some(2), ..Recorder::default() };
        train(&mut full(&model), &examples, &settings, session, &mut recorder).expect("a run");
        (recorder.resumed, recorder.unused)
    };
    assert_eq!(attempt("one", 1), (None, None));
    assert_eq!(attempt("one", 2), (None, Some(UnusedCheckpoint::OtherRun)));
    assert_eq!(attempt("two", 2), (None, Some(UnusedCheckpoint::OtherRun)));
    assert_eq!(attempt("two", 2), (Some(2), None));
}

#[test]
fn the_reference_is_computed_once_for_all_epochs_and_objectives_of_a_seed() {
    let model = model::<f32>(9);
    let examples = examples(9, 2, 10);
    let folder = tempfile::tempdir().expect("a folder");
    let mut counts = Vec::new();
    for (objective, seed, computed) in
        [("dpo", 1, true), ("tab-po-released", 1, false), ("dpo", 2, true), ("dpo", 1, false)]
    {
        let mut settings = settings(objective, TrainBudget::Epochs(2));
        settings.plan.seed = seed;
        settings.plan.max_tokens = 60;
        let mut cache = ReferenceCache::open(&folder.path().join("reference.bin")).expect("a cache");
        let session = Session::new("test", &mut cache, [0; 32]);
        // A fresh adapter changes nothing yet, so that the reference is its base model.
        let fresh = Lora::initialise(&model.config, LoraConfig::new(2, 4.0), seed);
        let mut recorder = Recorder::default();
        let outcome = train(&mut adapting(&model, fresh), &examples, &settings, session, &mut recorder).expect("a run");
        assert_eq!(recorder.records[0].margin, Some(0.0), "{objective} {seed}");
        assert_eq!(outcome.summary.timing.reference > 0.0, computed, "{objective} {seed}");
        counts.push(outcome.summary.tokens.reference);
    }
    // The cost of a method does not depend on what is already cached.
    assert!(counts[0] > 0 && counts[0] == counts[1] && counts[0] == counts[3], "{counts:?}");
}

#[test]
fn what_a_run_costs_and_comes_to_does_not_depend_on_what_the_cache_holds() {
    let model = model::<f32>(13);
    let examples = examples(9, 2, 14);
    let attempt = |objective: &str, seed: u64, cache: &mut ReferenceCache| {
        let mut settings = settings(objective, TrainBudget::Steps(4));
        settings.plan.seed = seed;
        settings.plan.max_tokens = 60;
        let fresh = Lora::initialise(&model.config, LoraConfig::new(2, 4.0), 1);
        let [mut worker, mut guide] = [0, 1].map(|_| adapting(&model, fresh.clone()));
        let session = Session { guide: Some(&mut guide), ..Session::new("test", cache, [0; 32]) };
        let mut recorder = Recorder::default();
        let outcome = train(&mut worker, &examples, &settings, session, &mut recorder).expect("a run");
        let bits = worker.policy().parameters().into_iter().flatten().map(|value| value.to_bits()).collect::<Vec<_>>();
        let records: Vec<String> = recorder.records.iter().map(numbers).collect();
        (outcome.summary.tokens, bits, records)
    };
    for objective in ["sft", "dpo", "tab-po", "tdpo2", "tgdpo"] {
        let alone = attempt(objective, 1, &mut ReferenceCache::in_memory());
        // Other objectives use fewer or shorter rejected answers of the same examples, and other seeds pack
        // them differently.
        let mut filled = ReferenceCache::in_memory();
        for (other, seed) in [("sft", 1), ("tab-po", 1), ("dpo", 2), ("dpo", 1)] {
            attempt(other, seed, &mut filled);
        }
        assert!(attempt(objective, 1, &mut filled) == alone, "{objective}");
    }
}

#[test]
fn damage_anywhere_in_a_checkpoint_is_found_and_costs_no_more_than_the_checkpoint() {
    let model = model::<f32>(15);
    let examples = examples(6, 1, 16);
    let folder = tempfile::tempdir().expect("a folder");
    let checkpoint = folder.path().join("checkpoint");
    let attempt = |stop_after: Option<u64>| {
        let mut cache = ReferenceCache::in_memory();
        let session = Session { checkpoint: Some(&checkpoint), ..Session::new("test", &mut cache, [0; 32]) };
        let mut recorder = Recorder { stop_after, ..Recorder::default() };
        let mut worker = adapting(&model, adapter(&model, 0.0));
        let settings = settings("dpo", TrainBudget::Steps(3));
        train(&mut worker, &examples, &settings, session, &mut recorder).expect("a run");
        let values: Vec<f32> = worker.policy().parameters().into_iter().flatten().copied().collect();
        (values, recorder)
    };
    let (whole, _) = attempt(None);
    attempt(Some(2));
    let sound = std::fs::read(&checkpoint).expect("a checkpoint");
    let (resumed, recorder) = attempt(None);
    assert!(recorder.resumed == Some(2) && resumed == whole);

    let damaged_file = folder.path().join("checkpoint.damaged");
    let positions = (0..sound.len()).step_by(97).chain([0, 7, 8, sound.len() - 1]);
    let flipped = positions.map(|position| {
        let mut bytes = sound.clone();
        bytes[position] ^= 0x10;
        bytes
    });
    let cut = [0, 5, sound.len() / 2, sound.len() - 1].map(|length| sound[..length].to_vec());
    for bytes in flipped.chain(cut).chain([vec![0; sound.len()]]) {
        std::fs::write(&checkpoint, &bytes).expect("writable");
        let (values, recorder) = attempt(None);
        assert!(values == whole);
        assert_eq!(recorder.resumed, None);
        let unused = recorder.unused.expect("the observer is notified");
        assert!(matches!(unused, UnusedCheckpoint::Damaged { moved_to, .. } if moved_to == damaged_file));
        assert_eq!(std::fs::read(&damaged_file).expect("set aside"), bytes);
        assert!(!checkpoint.exists());
    }
}

#[test]
fn a_reference_of_another_model_is_noticed() {
    let (start, other) = (model::<f32>(11), model::<f32>(12));
    let mut examples = examples(4, 1, 13);
    // DPO does not read them.
    examples.iter_mut().flat_map(|example| &mut example.rejected).for_each(|other| other.answer.choices.clear());
    let settings = settings("dpo", TrainBudget::Steps(1));
    let identity = ReferenceIdentity::new(&full(&start).identity(), &[0; 32]);
    let mut cache = ReferenceCache::in_memory();
    for step in StepPlanner::new(&examples, settings.plan, Cursor::default()) {
        let step = step.expect("a step");
        for micro in &step.micro_batches {
            let members = micro.members.iter().map(|(index, _)| &step.examples[*index]);
            let options = ForwardOptions { gradient: false, ..ForwardOptions::default() };
            let mut workspace = Workspace::new();
            let wrong = forward(&other, None, micro.trie.batch(), micro.trie.targets(), &options, &mut workspace);
            cache.insert(identity.key(members), &wrong).expect("stored");
        }
    }
    let session = Session::new("test", &mut cache, [0; 32]);
    let result = train(&mut full(&start), &examples, &settings, session, &mut ());
    assert!(matches!(result, Err(TrainError::ReferenceMismatch { .. })));
}

/// Sentences whose answer reverses the prompt, which a fresh model cannot do.
fn sentences() -> Vec<TokenisedExample> {
    (0..8u32)
        .map(|number| {
            let prompt: Vec<u32> = (0..5).map(|place| 1 + (number * 7 + place * 5) % (VOCABULARY as u32 - 1)).collect();
            let mut tokens: Vec<u32> = prompt.iter().rev().copied().collect();
            tokens.push(1 + number);
            tokens.push(END);
            let chosen = TokenisedAnswer::unlabelled(tokens);
            TokenisedExample { id: number.to_string(), prompt, chosen, rejected: Vec::new() }
        })
        .collect()
}

#[test]
fn a_tiny_model_learns_eight_sentences_by_heart() {
    let examples = sentences();
    let model = Model::<f32>::initialise(ModelConfig::small(VOCABULARY, 32, 2, 4), 1);
    let mut settings = settings("sft", TrainBudget::Steps(120));
    settings.plan = BatchPlan { batch_size: 8, ..settings.plan };
    settings.schedule.peak = 1e-2;
    let (policy, records) = run(full(&model), &examples, &settings);
    assert!(records[0].loss > 2.0);
    let mut cache = ReferenceCache::in_memory();
    let found = log_probs(&mut HostWorker::new(policy), &[0; 32], &examples, 1000, &mut cache).expect("log-probs").0;
    for (example, found) in examples.iter().zip(found) {
        // Greedy decoding takes any token with more than half of the probability.
        assert!(found.chosen.iter().all(|p| *p > 0.5_f64.ln()), "{}: {:?}", example.id, found.chosen);
    }
}

#[test]
fn preference_training_widens_the_margin() {
    let model = model::<f32>(15);
    let examples = examples(8, 2, 16);
    let mut settings = settings("dpo", TrainBudget::Steps(60));
    settings.schedule.peak = 3e-3;
    let (_, records) = run(adapting(&model, adapter(&model, 0.0)), &examples, &settings);
    let last = records.last().expect("a step");
    assert!(last.margin.expect("a margin") > 1.0, "{:?}", last.margin);
    assert_eq!(last.accuracy, Some(1.0));
    assert!(last.loss < 0.9 * records[0].loss);
}

/// A worker that computes the last micro-batch first.
struct Backwards(HostWorker<f64>);

impl Worker for Backwards {
    fn accumulate(
        &mut self,
        jobs: &[Job<'_>],
        output_gradient: &OutputGradientOf<'_>,
        progress: &mut dyn FnMut(usize),
    ) -> Result<JobTiming, WorkerError> {
        let reversed: Vec<Job<'_>> = jobs.iter().rev().copied().collect();
        self.0.accumulate(&reversed, &|job, values| output_gradient(jobs.len() - 1 - job, values), progress)
    }

    fn config(&self) -> &ModelConfig {
        self.0.config()
    }

    fn identity(&self) -> [u8; 32] {
        self.0.identity()
    }

    fn tolerance(&self) -> f64 {
        self.0.tolerance()
    }

    fn uses_dropout(&self) -> bool {
        self.0.uses_dropout()
    }

    fn memory(&self, request: &MemoryRequest, limit: Option<usize>) -> MemoryPlan {
        self.0.memory(request, limit)
    }

    fn begin(&mut self, setup: &TrainingSetup) -> Result<(), WorkerError> {
        self.0.begin(setup)
    }

    fn log_probs(&mut self, job: &Job<'_>) -> Result<Vec<f64>, WorkerError> {
        self.0.log_probs(job)
    }

    fn clear_gradient(&mut self) -> Result<(), WorkerError> {
        self.0.clear_gradient()
    }

    fn change_gradient(&mut self, change: &mut ChangeGradient<'_>) -> Result<(), WorkerError> {
        self.0.change_gradient(change)
    }

    fn gradient_norm(&mut self) -> Result<f64, WorkerError> {
        self.0.gradient_norm()
    }

    fn step(&mut self, learning_rate: f64, factor: f64) -> Result<(), WorkerError> {
        self.0.step(learning_rate, factor)
    }

    fn export(&self) -> Result<Vec<NamedTensor<'_>>, WorkerError> {
        self.0.export()
    }

    fn import(&mut self, steps: u64, tensors: &[NamedTensor<'_>]) -> Result<(), WorkerError> {
        self.0.import(steps, tensors)
    }

    fn generation_memory(&self, size: GeneratorSize) -> GenerationMemory {
        self.0.generation_memory(size)
    }

    fn generator(&mut self, size: GeneratorSize) -> Result<Box<dyn Generator + '_>, WorkerError> {
        self.0.generator(size)
    }
}

#[test]
fn a_worker_may_compute_micro_batches_in_any_order() {
    let model = model::<f64>(17);
    let examples = examples(12, 2, 18);
    for objective in ["tab-po", "tdpo2", "sft"] {
        let mut settings = settings(objective, TrainBudget::Steps(3));
        settings.plan.max_tokens = 60;
        let attempt = |worker: &mut dyn Worker| {
            let mut cache = ReferenceCache::in_memory();
            let session = Session::new("test", &mut cache, [0; 32]);
            let mut recorder = Recorder::default();
            train(worker, &examples, &settings, session, &mut recorder).expect("a run");
            recorder.records
        };
        let (mut forwards, mut backwards) = (full(&model), Backwards(full(&model)));
        let (records, others) = (attempt(&mut forwards), attempt(&mut backwards));
        // The log sums in the order of the step; only the gradients were added in another order.
        assert_eq!(records[0].loss.to_bits(), others[0].loss.to_bits(), "{objective}");
        assert_eq!(records[0].roles, others[0].roles, "{objective}");
        assert!(distance(forwards.policy(), backwards.0.policy()) < 1e-9, "{objective}");
    }
}

#[test]
fn a_policy_without_parameters_is_not_trained() {
    let model = model::<f32>(19);
    let mut cache = ReferenceCache::in_memory();
    let session = Session::new("test", &mut cache, [0; 32]);
    let settings = settings("sft", TrainBudget::Steps(1));
    let result = train(&mut HostWorker::frozen(model, None), &examples(4, 0, 20), &settings, session, &mut ());
    assert!(matches!(result, Err(TrainError::Worker(WorkerError::Frozen))));
}

#[test]
fn unfit_examples_are_named() {
    let model = model::<f32>(19);
    let attempt = |examples: &[TokenisedExample], objective: &str| {
        let settings = settings(objective, TrainBudget::Steps(1));
        let mut cache = ReferenceCache::in_memory();
        let session = Session::new("test", &mut cache, [0; 32]);
        train(&mut full(&model), examples, &settings, session, &mut ()).map(|_| ())
    };
    let lonely = examples(1, 0, 20);
    let result = attempt(&lonely, "dpo");
    assert!(matches!(result, Err(TrainError::Example(ExampleError::NothingRejected { .. }))));
    assert!(attempt(&lonely, "sft").is_ok());

    let mut foreign = examples(1, 0, 21);
    foreign[0].prompt[0] = VOCABULARY as u32;
    let result = attempt(&foreign, "sft");
    assert!(
        matches!(result, Err(TrainError::Example(ExampleError::Token { token, .. })) if token == VOCABULARY as u32)
    );
    assert!(matches!(attempt(&[], "sft"), Err(TrainError::NoExamples { records: 0 })));
    assert!(matches!(attempt(&examples(1, 1, 22), "tgdpo"), Err(TrainError::NoGuideModel { .. })));
}
