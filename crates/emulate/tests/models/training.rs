//! Steps of the optimiser, state, memory and errors.

use std::sync::Arc;

use tabpo_cuda::driver::{Driver, Element};
use tabpo_cuda::memory::{MemoryPlan, Request, Rung};
use tabpo_cuda::{Base, CudaWorker, WorkerOptions};
use tabpo_emulate::{Emulator, Order};
use tabpo_engine::{
    Batch, HostWorker, Job, NamedTensor, Policy, Target, TargetValues, TrainingSetup, Worker, WorkerError,
};
use tabpo_model::ModelConfig;

use crate::small::{Random, adapter, families, forest, llama, model, owned, relative, setup, worker};

fn policies(config: &ModelConfig) -> [Policy<f32>; 2] {
    let model = || model::<f32>(config, 3);
    [Policy::adapter(model().into(), adapter(config, 0.1)), Policy::full(model())]
}

/// An adapter on a base in NF4.
fn quantised(config: &ModelConfig) -> Policy<f32> {
    let mut model = model::<f32>(config, 3);
    model.quantise(true).expect("finite weights");
    Policy::adapter(model.into(), adapter(config, 0.1))
}

/// Steps on the derivative of a loss that depends on the values; returns them.
fn steps(worker: &mut dyn Worker, (batch, targets): (&Batch, &[Target]), numbers: std::ops::Range<u64>) -> Vec<f64> {
    let mut log_probs = Vec::new();
    for number in numbers {
        let dropout_seed = worker.uses_dropout().then_some(number);
        let job = Job { batch, targets, dropout_seed };
        let found = std::sync::Mutex::new(Vec::new());
        let of_values = |_: usize, values: &TargetValues| {
            found.lock().expect("nothing panics").extend_from_slice(&values.log_probs);
            let log_probs = values.log_probs.iter().enumerate().map(|(i, value)| (value - i as f64 * 0.1) / 50.0);
            TargetValues { log_probs: log_probs.collect(), divergences: Vec::new() }
        };
        worker.clear_gradient().expect("training has begun");
        worker.accumulate(&[job], &of_values, &mut |_| {}).expect("the device survives");
        let norm = worker.gradient_norm().expect("training has begun");
        worker.step(2e-3, (1.0 / norm).min(1.0)).expect("training has begun");
        log_probs.extend(found.into_inner().expect("nothing panics"));
    }
    log_probs
}

fn values(tensor: &NamedTensor<'_>) -> Vec<f64> {
    tensor.bytes.as_chunks().0.iter().map(|&bytes| f64::from(f32::from_le_bytes(bytes))).collect()
}

/// Several steps move parameters and moments as the CPU's do, and the state has the CPU's names, shapes and types.
#[test]
fn steps_are_those_of_the_cpu() {
    for (name, config) in [&families()[0], &families()[2], &families()[3]] {
        let (batch, targets) = forest(config.vocabulary, 11);
        for policy in policies(config) {
            let mut host = HostWorker::new(policy.clone());
            let mut device = worker(policy, Element::F32, None);
            for worker in [&mut host as &mut dyn Worker, &mut device] {
                worker.begin(&setup(false)).expect("it fits");
                steps(worker, (&batch, &targets), 0..3);
            }
            let (found, wanted) = (device.export().expect("it has begun"), host.export().expect("it has begun"));
            assert_eq!(found.len(), wanted.len());
            for (found, wanted) in found.iter().zip(&wanted) {
                assert_eq!((&found.name, &found.shape, found.dtype), (&wanted.name, &wanted.shape, wanted.dtype));
                let error = relative(&values(found), &values(wanted));
                // A step divides by the root of the second moment, which lets rounding through where it is small.
                assert!(error <= 1e-3, "{name}: {} differs by {error:.1e}", found.name);
            }
        }
    }
}

/// A run that is resumed from its state has the bits of one that wasn't interrupted.
#[test]
fn resumed_is_uninterrupted_to_the_bit() {
    let config = llama();
    let (batch, targets) = forest(config.vocabulary, 11);
    for policy in policies(&config) {
        for element in [Element::Bf16, Element::F32] {
            let begun = || {
                let mut worker = worker(policy.clone(), element, None);
                worker.begin(&setup(false)).expect("it fits");
                worker
            };
            let mut whole = begun();
            let wanted = steps(&mut whole, (&batch, &targets), 0..4);
            let mut first = begun();
            let mut found = steps(&mut first, (&batch, &targets), 0..2);
            let state = owned(first.export().expect("it has begun"));
            drop(first);
            let mut second = begun();
            second.import(2, &state).expect("it is the state of such a worker");
            found.extend(steps(&mut second, (&batch, &targets), 2..4));
            let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert!(bits(&found) == bits(&wanted));
            let (found, wanted) = (second.export().expect("it has begun"), whole.export().expect("it has begun"));
            assert!(found.iter().zip(&wanted).all(|(found, wanted)| found.bytes == wanted.bytes));
            // The identity follows the parameters, and the policy comes back as it was trained.
            let start = begun();
            assert_eq!(second.identity(), whole.identity());
            assert_ne!(second.identity(), start.identity());
            let parameters: Vec<u8> =
                wanted[..wanted.len() / 3].iter().flat_map(|tensor| tensor.bytes.to_vec()).collect();
            drop((found, wanted));
            let policy = whole.into_policy().expect("the device survives");
            let returned = policy.parameters().into_iter().flatten().flat_map(|value| value.to_le_bytes());
            assert!(returned.eq(parameters));
        }
    }
}

/// A state of the CPU is taken up on the device, and the other way round.
#[test]
fn states_move_between_cpu_and_device() {
    let config = llama();
    let (batch, targets) = forest(config.vocabulary, 11);
    for policy in policies(&config) {
        let mut host = HostWorker::new(policy.clone());
        let mut device = worker(policy, Element::F32, None);
        host.begin(&setup(false)).expect("it fits");
        device.begin(&setup(false)).expect("it fits");
        steps(&mut host, (&batch, &targets), 0..2);
        device.import(2, &host.export().expect("it has begun")).expect("the state is the same");
        let state = owned(device.export().expect("it has begun"));
        let bytes = |tensors: &[NamedTensor<'_>]| tensors.iter().flat_map(|t| t.bytes.to_vec()).collect::<Vec<u8>>();
        assert!(bytes(&state) == bytes(&host.export().expect("it has begun")));
        host.import(2, &state).expect("the state is the same");

        let mut broken = state.clone();
        broken.last_mut().expect("there are tensors").shape.push(1);
        assert!(matches!(device.import(2, &broken), Err(WorkerError::State(_))));
        broken.pop();
        assert!(matches!(device.import(2, &broken), Err(WorkerError::State(_))));
        assert!(bytes(&device.export().expect("it has begun")) == bytes(&state), "nothing changed");
    }
}

/// The plan says what a run takes, memory is filled by the rungs, and a run that doesn't fit says so.
#[test]
fn memory_is_what_the_plan_says() {
    let config = llama();
    let (batch, targets) = forest(config.vocabulary, 11);
    let rows = batch.tokens.len().next_multiple_of(64);
    for divergence in [false, true] {
        for policy in policies(&config).into_iter().chain((!divergence).then(|| quantised(&config))) {
            let request = Request {
                config: &config,
                element: Element::Bf16,
                base: Base::of(policy.model()),
                adapter: policy.lora().map(|adapter| &adapter.config),
                rows,
                target_rows: rows,
                logit_bytes: 1 << 20,
                divergence,
            };
            // The workspace of matrix products belongs to the driver, which has none here.
            let total = |rung| {
                let plan = MemoryPlan::of(&request, vec![rung; 2]);
                plan.total() - plan.workspace
            };
            for rung in Rung::ALL {
                for (keep, limit) in [(Some(rung), None), (None, Some(total(rung)))] {
                    let driver = Arc::new(Emulator::new(Order::Forwards));
                    let options = WorkerOptions { element: Element::Bf16, keep, limit };
                    let mut worker = CudaWorker::new(driver.clone(), policy.clone(), options).expect("it fits");
                    worker.begin(&TrainingSetup { logit_bytes: 1 << 20, ..setup(divergence) }).expect("it fits");
                    let job = Job { batch: &batch, targets: &targets, dropout_seed: None };
                    let zeros = |_: usize, values: &TargetValues| values.zeros_like();
                    worker.accumulate(&[job], &zeros, &mut |_| {}).expect("it fits");
                    let memory = driver.memory().expect("it is known");
                    let used = memory.total - memory.free;
                    assert!(used <= total(rung), "{rung:?}: {used} of {} bytes", total(rung));
                    assert!(used as f64 >= 0.9 * total(rung) as f64, "{rung:?}: {used} of {} bytes", total(rung));
                    // What the plan is above the use may raise a block.
                    let rungs = worker.rungs().expect("training has begun");
                    assert!(rungs.iter().all(|&found| found <= rung), "{rungs:?} instead of {rung:?}");
                    drop(worker);
                    assert_eq!(driver.memory().expect("it is known").free, memory.total, "all memory was given back");
                }
            }
            let driver = Arc::new(Emulator::new(Order::Forwards));
            let limit = Some(total(Rung::Input) * 8 / 10);
            let options = WorkerOptions { element: Element::Bf16, keep: None, limit };
            let mut worker = CudaWorker::new(driver, policy, options).expect("the weights fit");
            worker.begin(&setup(divergence)).expect("the moments fit");
            let job = Job { batch: &batch, targets: &targets, dropout_seed: None };
            let zeros = |_: usize, values: &TargetValues| values.zeros_like();
            let error = worker.accumulate(&[job], &zeros, &mut |_| {}).expect_err("it is too small");
            assert!(error.to_string().contains("pass over 128 rows"), "{error}");
            assert!(error.hint().is_some_and(|hint| hint.contains("max_tokens")));
        }
    }
}

/// Weights that don't fit, tokens that don't exist, training of what is frozen, and models that no kernel computes.
#[test]
fn what_cannot_be_computed_is_refused() {
    let config = llama();
    let policy = || Policy::Frozen(model::<f32>(&config, 3).into());
    let small = Arc::new(Emulator::with_memory(Order::Forwards, 100_000));
    let error = CudaWorker::new(small.clone(), policy(), WorkerOptions::default()).err().expect("it is too small");
    assert!(error.to_string().contains("out of memory") && error.hint().is_some(), "{error}");
    assert_eq!(small.memory().expect("it is known").free, 100_000, "what was taken was given back");

    let mut worker = worker(policy(), Element::Bf16, None);
    let (mut batch, targets) = forest(config.vocabulary, 11);
    assert_eq!(worker.begin(&setup(false)), Err(WorkerError::Frozen));
    batch.tokens[7] = 43;
    let error =
        worker.log_probs(&Job { batch: &batch, targets: &targets, dropout_seed: None }).expect_err("no token 43");
    assert!(error.to_string().contains("no token 43"), "{error}");

    for (refused, word) in [
        (ModelConfig { output_bias: true, ..llama() }, "biases"),
        (ModelConfig { intermediate: 68, ..llama() }, "feed-forward width is 68"),
        (ModelConfig { head_dim: 264, ..llama() }, "heads of up to 256"),
    ] {
        let policy = Policy::Frozen(model::<f32>(&refused, 3).into());
        let driver = Arc::new(Emulator::new(Order::Forwards));
        let error = CudaWorker::new(driver, policy, WorkerOptions::default()).err().expect("no kernel computes it");
        assert!(error.to_string().contains(word) && error.hint().is_some(), "{error}");
    }
}

/// Random jobs of growing and shrinking sizes share one worker.
#[test]
fn a_worker_takes_jobs_of_all_sizes() {
    let config = llama();
    let mut worker = worker(policies(&config)[0].clone(), Element::F32, None);
    let mut host = HostWorker::new(policies(&config)[0].clone());
    let mut random = Random::new(4);
    for length in [1, 70, 3, 128, 64] {
        let tokens: Vec<u32> = (0..length).map(|_| random.below(config.vocabulary) as u32).collect();
        let batch = crate::small::plain(&[tokens]);
        let targets = [Target { row: length as u32 - 1, token: 5 }];
        let job = Job { batch: &batch, targets: &targets, dropout_seed: None };
        let found = worker.log_probs(&job).expect("the device survives");
        let wanted = host.log_probs(&job).expect("the CPU survives");
        assert!((found[0] - wanted[0]).abs() < 1e-4, "{length}: {found:?} instead of {wanted:?}");
        let nothing = Job { targets: &[], ..job };
        assert!(worker.log_probs(&nothing).expect("the device survives").is_empty());
    }
}
