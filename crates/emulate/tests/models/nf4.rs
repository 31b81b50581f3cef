//! A base in NF4 computes on a device what its widened weights compute there, and what the engine computes with it.

use std::sync::Arc;

use tabpo_cuda::driver::{Driver, Element};
use tabpo_cuda::memory::Rung;
use tabpo_cuda::{Base, CudaWorker, WorkerOptions};
use tabpo_emulate::{Emulator, Order};
use tabpo_engine::{HostWorker, Job, Lora, Model, Policy, TargetValues, Worker};
use tabpo_model::ModelConfig;

use crate::small::{Outcome, Random, accumulate, adapter, families, forest, fresh, largest, model, relative, setup};

fn quantised(config: &ModelConfig, nested: bool) -> Model<f32> {
    let mut model = model::<f32>(config, 3);
    model.quantise(nested).expect("finite weights");
    assert_eq!(Base::of(&model), Base::Nf4 { nested });
    model
}

fn widened(model: &Model<f32>) -> Model<f32> {
    let mut widened = model.clone();
    widened.make_trainable();
    assert_eq!(Base::of(&widened), Base::Plain);
    widened
}

fn worker(base: &Model<f32>, lora: Lora<f32>, options: WorkerOptions) -> (CudaWorker, Arc<Emulator>) {
    let driver = Arc::new(Emulator::new(Order::Forwards));
    let policy = Policy::adapter(Arc::new(base.clone()), lora);
    let mut worker = CudaWorker::new(driver.clone(), policy, options).expect("the model fits");
    worker.begin(&setup(true)).expect("it fits");
    (worker, driver)
}

/// Values, gradient and state after a step, with dropout and a reference.
fn trained(mut worker: CudaWorker, config: &ModelConfig) -> (Outcome, Vec<u8>) {
    let (batch, targets) = forest(config.vocabulary, 11);
    let job = Job { batch: &batch, targets: &targets, dropout_seed: worker.uses_dropout().then_some(99) };
    let mut random = Random::new(12);
    let seeds = TargetValues { log_probs: random.values(targets.len()), divergences: random.values(targets.len()) };
    accumulate(&mut worker, &job, &seeds);
    worker.step(1e-2, 1.0).expect("training has begun");
    worker.clear_gradient().expect("training has begun");
    let outcome = accumulate(&mut worker, &job, &seeds);
    let state = worker.export().expect("training has begun");
    (outcome, state.iter().flat_map(|tensor| tensor.bytes.to_vec()).collect())
}

#[test]
fn an_adapter_is_trained_as_on_the_widened_weights_to_the_bit() {
    // Where a block is computed again, its matrices are widened again.
    let cases = [(0, Element::Bf16, Rung::Everything), (3, Element::F32, Rung::Input)];
    for (number, element, keep) in cases {
        let (name, config) = &families()[number];
        let base = quantised(config, number == 0);
        let options = WorkerOptions { element, keep: Some(keep), limit: None };
        let of = |base: &Model<f32>| trained(worker(base, adapter(config, 0.1), options).0, config);
        let (found, wanted) = (of(&base), of(&widened(&base)));
        assert_eq!(found.0.values, wanted.0.values, "{name} {keep:?}");
        assert!(found.0.gradient == wanted.0.gradient, "{name} {keep:?}");
        assert!(found.1 == wanted.1, "{name} {keep:?}");
    }
}

#[test]
fn a_base_in_nf4_gives_the_values_and_gradients_of_the_engine() {
    let (name, config) = &families()[0];
    let base = quantised(config, true);
    let (batch, targets) = forest(config.vocabulary, 11);
    let job = Job { batch: &batch, targets: &targets, dropout_seed: None };
    let options = WorkerOptions { element: Element::F32, keep: None, limit: None };
    let (mut device, _) = worker(&base, adapter(config, 0.0), options);
    let mut host = HostWorker::new(Policy::adapter(Arc::new(base), adapter(config, 0.0)));
    host.begin(&setup(true)).expect("it begins");
    let mut states = Vec::new();
    let mut values = Vec::new();
    for worker in [&mut device as &mut dyn Worker, &mut host] {
        let seeds = |_: usize, values: &TargetValues| TargetValues {
            log_probs: values.log_probs.iter().map(|value| value / 50.0).collect(),
            divergences: vec![0.01; values.divergences.len()],
        };
        for _ in 0..3 {
            worker.clear_gradient().expect("it has begun");
            worker.accumulate(&[job], &seeds, &mut |_| {}).expect("a step");
            worker.step(1e-3, 1.0).expect("a step");
        }
        values.push(worker.log_probs(&job).expect("values"));
        let state = worker.export().expect("it has begun");
        let numbers = state.iter().flat_map(|tensor| tensor.bytes.as_chunks::<4>().0.to_vec());
        states.push(numbers.map(|bytes| f64::from(f32::from_le_bytes(bytes))).collect::<Vec<_>>());
    }
    assert!(largest(&values[0], &values[1]) < 1e-3, "{name}: {}", largest(&values[0], &values[1]));
    assert!(relative(&states[0], &states[1]) < 1e-3, "{name}: {}", relative(&states[0], &states[1]));
}

/// Codes, scales and one staging buffer instead of all weights.
#[test]
fn the_base_takes_the_memory_of_its_codes() {
    let config = ModelConfig { layers: 8, intermediate: 512, ..families()[0].1.clone() };
    let base = quantised(&config, true);
    let used = |base: &Model<f32>| {
        let options = WorkerOptions { element: Element::Bf16, ..WorkerOptions::default() };
        let driver = Arc::new(Emulator::new(Order::Forwards));
        let policy = Policy::adapter(Arc::new(base.clone()), fresh(&config));
        let worker = CudaWorker::new(driver.clone(), policy, options).expect("the model fits");
        let memory = driver.memory().expect("it is known");
        drop(worker);
        memory.total - memory.free
    };
    let projections: usize = base.layers[0].projections.iter().map(|p| p.weight.rows() * p.weight.columns()).sum();
    let saved = (used(&widened(&base)) - used(&base)) as f64;
    // The room for B is kept either way; of two bytes a weight, half a byte and the scales stay, and one layer's matrices
    // are staged.
    let (weights, staging) = ((8 * projections) as f64, (2 * 512 * (64 + 64) * 2) as f64);
    let (least, most) = (weights * (2.0 - 0.56) - staging - 8.0 * 7.0 * 2048.0, weights * (2.0 - 0.51) - staging);
    assert!((least..most).contains(&saved), "{saved} bytes saved, not {least} to {most}");
}

/// A frozen policy, without an adapter and so without room beside its matrices.
#[test]
fn a_frozen_policy_has_the_values_of_the_widened_weights() {
    let (_, config) = &families()[2];
    let base = quantised(config, true);
    let (batch, targets) = forest(config.vocabulary, 11);
    let job = Job { batch: &batch, targets: &targets, dropout_seed: None };
    let of = |base: &Model<f32>| {
        let driver = Arc::new(Emulator::new(Order::Forwards));
        let policy = Policy::Frozen(Arc::new(base.clone()));
        let mut worker = CudaWorker::new(driver, policy, WorkerOptions::default()).expect("the model fits");
        worker.log_probs(&job).expect("values")
    };
    assert_eq!(of(&base), of(&widened(&base)));
}
