//! Runs of the trainer on the device: what a failure leaves, and how a run goes on.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::Value;
use tabpo_cuda::check::{self, ModelSize};
use tabpo_cuda::driver::{Address, DeviceMemory, Driver, DriverError, Element, Launch, Product, Profile};
use tabpo_cuda::{CudaWorker, WorkerOptions};
use tabpo_emulate::{Emulator, Order};
use tabpo_engine::{NamedTensor, Policy, Worker, WorkerError};
use tabpo_objective::{ItemErrors, Objective};
use tabpo_roles::Role;
use tabpo_train::{
    BatchPlan, Decay, Observer, ReferenceCache, RejectedAnswer, Schedule, Session, StepRecord, TokenisedAnswer,
    TokenisedExample, TrainBudget, TrainError, TrainSettings, train,
};

use crate::small::{Random, fresh, llama, model, owned};

/// A device that fails at a launch, once or from then on.
struct Failing {
    device: Emulator,
    /// Launches before the failure.
    left: AtomicI64,
    /// Whether it is lost, or only out of memory for once.
    lost: bool,
}

impl Failing {
    fn answer(&self) -> Result<(), DriverError> {
        if self.lost && self.left.load(Ordering::SeqCst) < 0 {
            return Err(DriverError::Lost("the bus was pulled out".to_owned()));
        }
        Ok(())
    }
}

impl Driver for Failing {
    fn name(&self) -> String {
        self.device.name()
    }
    fn memory(&self) -> Result<DeviceMemory, DriverError> {
        self.device.memory()
    }
    fn allocate(&self, bytes: usize) -> Result<Address, DriverError> {
        self.device.allocate(bytes)
    }
    fn free(&self, address: Address) -> Result<(), DriverError> {
        self.device.free(address)
    }
    fn upload(&self, to: Address, bytes: &[u8]) -> Result<(), DriverError> {
        self.answer()?;
        self.device.upload(to, bytes)
    }
    fn download(&self, from: Address, bytes: &mut [u8]) -> Result<(), DriverError> {
        self.answer()?;
        self.device.download(from, bytes)
    }
    fn copy(&self, to: Address, from: Address, bytes: usize) -> Result<(), DriverError> {
        self.device.copy(to, from, bytes)
    }
    fn clear(&self, address: Address, bytes: usize) -> Result<(), DriverError> {
        self.answer()?;
        self.device.clear(address, bytes)
    }
    fn launch(&self, launch: &Launch<'_>) -> Result<(), DriverError> {
        if self.left.fetch_sub(1, Ordering::SeqCst) == 0 && !self.lost {
            return Err(DriverError::OutOfMemory { asked: 1 << 30, free: 5, total: 1 << 30 });
        }
        self.answer()?;
        self.device.launch(launch)
    }
    fn product(&self, product: &Product) -> Result<(), DriverError> {
        self.answer()?;
        self.device.product(product)
    }
    fn wait(&self) -> Result<(), DriverError> {
        self.answer()
    }
}

#[derive(Default)]
struct Recorder {
    records: Vec<StepRecord>,
    resumed: Option<u64>,
}

impl Observer for Recorder {
    fn resumed(&mut self, step: u64) {
        self.resumed = Some(step);
    }
    fn step(&mut self, record: &StepRecord) {
        self.records.push(record.clone());
    }
}

/// Pairs whose rejected answer is the chosen one with another token.
fn examples(vocabulary: usize) -> Vec<TokenisedExample> {
    let mut random = Random::new(31);
    let answer = |tokens: Vec<u32>| TokenisedAnswer {
        roles: tokens.iter().map(|_| Role::Span).collect(),
        tokens,
        weights: None,
        decisions: None,
        errors: ItemErrors::default(),
        choices: Vec::new(),
        items: Vec::new(),
    };
    let mut example = |number: usize| {
        let mut tokens = |count: usize| (0..count).map(|_| random.below(vocabulary) as u32).collect::<Vec<_>>();
        let (prompt, chosen) = (tokens(5 + number), tokens(6));
        let mut other = chosen.clone();
        other[number % 6] = (other[number % 6] + 1) % vocabulary as u32;
        let rejected = vec![RejectedAnswer { answer: answer(other), weight: 1.0 }];
        TokenisedExample { id: format!("example {number}"), prompt, chosen: answer(chosen), rejected }
    };
    (0..4).map(&mut example).collect()
}

fn settings(checkpoint_every: Option<u64>) -> TrainSettings {
    let objective = Objective::try_from(Value::from("dpo")).expect("an objective of the catalogue");
    let plan = BatchPlan { batch_size: 2, max_tokens: 64, seed: 11, budget: TrainBudget::Steps(4) };
    let schedule = Schedule { peak: 1e-2, warmup: 0.0, decay: Decay::Constant, floor: 0.0 };
    TrainSettings { checkpoint_every, ..TrainSettings::new(objective, plan, schedule) }
}

/// A run on a device that fails after some launches of training, with its checkpoint in `folder`.
fn run(
    folder: &Path,
    checkpoint_every: Option<u64>,
    launches: i64,
    lost: bool,
) -> (Result<(), TrainError>, Recorder, i64, Vec<NamedTensor<'static>>) {
    let config = llama();
    let driver = Arc::new(Failing { device: Emulator::new(Order::Forwards), left: AtomicI64::new(i64::MAX), lost });
    let policy = Policy::adapter(model::<f32>(&config, 3).into(), fresh(&config));
    let options = WorkerOptions { element: Element::Bf16, keep: None, limit: None };
    let mut worker = CudaWorker::new(driver.clone(), policy, options).expect("it fits");
    driver.left.store(launches, Ordering::SeqCst);
    let (mut cache, mut recorder) = (ReferenceCache::in_memory(), Recorder::default());
    let checkpoint = folder.join("checkpoint");
    let session = Session { checkpoint: Some(&checkpoint), ..Session::new("test", &mut cache, [0; 32]) };
    let source = examples(config.vocabulary);
    let result = train(&mut worker, &source, &settings(checkpoint_every), session, &mut recorder).map(drop);
    let state = if result.is_ok() { owned(worker.export().expect("it has begun")) } else { Vec::new() };
    (result, recorder, launches - driver.left.load(Ordering::SeqCst), state)
}

/// What `tabpo gpu check` runs on a card passes here, too.
#[test]
fn the_checks_of_models_pass() {
    let driver: Arc<dyn Driver> = Arc::new(Emulator::new(Order::Shuffled));
    let outcomes = check::run_models(&driver, 5, ModelSize::Tiny, &mut |_| {}).expect("the device survives");
    let failed: Vec<_> = outcomes.iter().filter(|outcome| !outcome.passed()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    // Rounding to bf16 shows: results are compared with something that isn't themselves.
    assert!(outcomes.iter().any(|outcome| outcome.error > 1e-4) && outcomes.len() == 58);
    let memory = driver.memory().expect("it is known");
    assert_eq!(memory.free, memory.total, "all memory was given back");
}

/// What a training takes of the device's memory is what the plan says, and the time of every kernel is known.
#[test]
fn memory_is_the_plans_and_times_are_told_apart() {
    let profile = Arc::new(Profile::new(Arc::new(Emulator::new(Order::Forwards))));
    let driver: Arc<dyn Driver> = Arc::<Profile>::clone(&profile);
    let config = llama();
    let policy = Policy::adapter(model::<f32>(&config, 3).into(), fresh(&config));
    let options = WorkerOptions { element: Element::Bf16, keep: None, limit: None };
    let mut worker = CudaWorker::new(Arc::clone(&driver), policy, options).expect("it fits");
    assert_eq!(worker.planned_bytes(), None, "nothing was trained yet");
    let mut cache = ReferenceCache::in_memory();
    let session = Session::new("test", &mut cache, [0; 32]);
    let source = examples(config.vocabulary);
    train(&mut worker, &source, &settings(None), session, &mut Recorder::default()).expect("nothing happens");
    let memory = driver.memory().expect("it is known");
    let (used, planned) = ((memory.total - memory.free) as f64, worker.planned_bytes().expect("it was trained") as f64);
    // Lists are planned for the worst that a job of this size could need.
    assert!(used <= planned && used > 0.9 * planned, "{used} bytes instead of {planned}");
    let spent = profile.spent();
    for name in ["product", "upload", "norm_forward_bf16", "norm_backward_bf16", "adamw"] {
        let found = spent.iter().find(|(kernel, _)| kernel.starts_with(name));
        assert!(found.is_some_and(|(_, spent)| spent.calls > 0 && spent.seconds > 0.0), "{name}: {spent:?}");
    }
    assert!(check::copy_gigabytes(&driver, 1 << 16).expect("it fits").is_finite());
}

/// A lost card leaves the last checkpoint, one that is out of memory even the state after its last step, and the run that
/// goes on from it ends with the bits of one that nothing happened to.
#[test]
fn a_failed_device_leaves_a_checkpoint_from_which_the_run_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let (result, recorder, launches, wanted) = run(folder.path(), None, i64::MAX / 2, false);
    result.expect("nothing happens");
    // At the first step the policy is its reference, to the bit.
    assert_eq!(recorder.records[0].margin, Some(0.0));
    assert_ne!(recorder.records[3].margin, Some(0.0));
    for (lost, checkpoint_every, resumed) in [(true, Some(2), 2), (false, None, 3)] {
        let folder = tempfile::tempdir().expect("a folder");
        // In the last step.
        let (result, _, _, _) = run(folder.path(), checkpoint_every, launches - 20, lost);
        let Err(TrainError::Worker(error)) = result else { panic!("the device fails: {result:?}") };
        assert!(matches!(error, WorkerError::Device { .. }) && error.hint().is_some(), "{error}");
        let word = if lost { "the device was lost: the bus was pulled out" } else { "out of memory" };
        assert!(error.to_string().contains(word), "{error}");
        let (result, recorder, _, found) = run(folder.path(), checkpoint_every, i64::MAX / 2, false);
        result.expect("nothing happens");
        assert_eq!(recorder.resumed, Some(resumed));
        assert!(found.iter().zip(&wanted).all(|(found, wanted)| found.bytes == wanted.bytes));
    }
}
