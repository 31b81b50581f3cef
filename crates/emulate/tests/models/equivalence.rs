//! Different ways to compute the same numbers on the device: tries and separate sequences, one job and several, stored
//! and recomputed, logits at once and in chunks.

use tabpo_cuda::driver::Element;
use tabpo_cuda::memory::Rung;
use tabpo_engine::{Batch, Job, Policy, Target, TargetValues, TrainingSetup, Worker};

use crate::small::{
    Outcome, Random, accumulate, adapter, families, forest, fresh, gradient, largest, llama, model, plain, relative,
    setup, worker,
};

fn policy(config: &tabpo_model::ModelConfig, full: bool, dropout: f64) -> Policy<f32> {
    let model = model::<f32>(config, 3);
    if full { Policy::full(model) } else { Policy::adapter(model.into(), adapter(config, dropout)) }
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Whatever blocks keep, log-probabilities and gradients are the same to the bit; with dropout, too.
#[test]
fn recomputed_is_stored_to_the_bit() {
    for (_, config) in [&families()[1], &families()[3]] {
        let (batch, targets) = forest(config.vocabulary, 11);
        let seeds = TargetValues { log_probs: Random::new(12).values(targets.len()), divergences: Vec::new() };
        for (full, element) in [(false, Element::Bf16), (true, Element::Bf16), (false, Element::F32)] {
            let job = Job { batch: &batch, targets: &targets, dropout_seed: (!full).then_some(5) };
            let outcome = |keep: Rung| {
                let mut worker = worker(policy(config, full, 0.2), element, Some(keep));
                worker.begin(&setup(false)).expect("it fits");
                let outcome = accumulate(&mut worker, &job, &seeds);
                assert_eq!(worker.rungs(), Some(&[keep; 2][..]));
                outcome
            };
            let wanted = outcome(Rung::Everything);
            for keep in &Rung::ALL[1..] {
                let found = outcome(*keep);
                assert!(bits(&found.values.log_probs) == bits(&wanted.values.log_probs), "{keep:?}");
                for ((name, found), (_, wanted)) in found.gradient.iter().zip(&wanted.gradient) {
                    assert!(bits(found) == bits(wanted), "{name} with {keep:?}");
                }
            }
        }
    }
}

/// A sequence for every target of the forest.
fn separate(batch: &Batch, targets: &[Target]) -> Vec<(Batch, Vec<Target>)> {
    let sequence = |target: &Target| {
        let row = target.row as usize;
        let segment = batch.segments.iter().find(|segment| segment.rows.contains(&row)).expect("rows have segments");
        let path = segment.context.iter().cloned().chain([segment.rows.start..row + 1]).flatten();
        let tokens: Vec<u32> = path.map(|row| batch.tokens[row]).collect();
        let last = Target { row: tokens.len() as u32 - 1, token: target.token };
        (plain(&[tokens]), vec![last])
    };
    targets.iter().map(sequence).collect()
}

/// A trie gives what its paths give as sequences of their own, and several jobs what they give as one.
#[test]
fn tries_are_separate_sequences_and_packed_is_unpacked() {
    for (name, config) in families() {
        let (batch, targets) = forest(config.vocabulary, 11);
        let targets: Vec<Target> = targets.into_iter().step_by(6).collect();
        let seeds = Random::new(12).values(targets.len());
        let mut worker = worker(policy(&config, false, 0.0), Element::F32, None);
        worker.begin(&setup(false)).expect("it fits");
        let job = Job { batch: &batch, targets: &targets, dropout_seed: None };
        let all = TargetValues { log_probs: seeds.clone(), divergences: Vec::new() };
        let Outcome { values, gradient: of_trie } = accumulate(&mut worker, &job, &all);
        worker.clear_gradient().expect("training has begun");

        let sequences = separate(&batch, &targets);
        let jobs: Vec<Job<'_>> =
            sequences.iter().map(|(batch, targets)| Job { batch, targets, dropout_seed: None }).collect();
        let found = std::sync::Mutex::new(vec![0.0; jobs.len()]);
        let of_values = |index: usize, values: &TargetValues| {
            found.lock().expect("nothing panics")[index] = values.log_probs[0];
            TargetValues { log_probs: vec![seeds[index]], divergences: Vec::new() }
        };
        let mut done = Vec::new();
        worker.accumulate(&jobs, &of_values, &mut |count| done.push(count)).expect("the device survives");
        assert_eq!(done, (1..=jobs.len()).collect::<Vec<_>>());
        let found = found.into_inner().expect("nothing panics");
        let error = largest(&found, &values.log_probs);
        assert!(error <= 1e-5, "{name}: {error:.1e}");
        for ((parameter, found), (_, wanted)) in gradient(&worker).iter().zip(&of_trie) {
            let error = relative(found, wanted);
            assert!(error <= 1e-5, "{name}: the gradient of {parameter} differs by {error:.1e}");
        }
        // The sum over jobs is what the norm is taken of.
        let norm = worker.gradient_norm().expect("training has begun");
        let wanted = of_trie.iter().flat_map(|(_, values)| values).map(|value| value * value).sum::<f64>().sqrt();
        assert!((norm / wanted - 1.0).abs() < 1e-5, "{name}: the norm is {norm}, not {wanted}");
    }
}

/// Logits in chunks give what they give at once; only products of other numbers of rows may be added up otherwise.
#[test]
fn chunks_of_logits_change_nothing() {
    let config = llama();
    let (batch, targets) = forest(config.vocabulary, 11);
    let job = Job { batch: &batch, targets: &targets, dropout_seed: None };
    let seeds = TargetValues { log_probs: Random::new(12).values(targets.len()), divergences: Vec::new() };
    let outcome = |logit_bytes: usize| {
        let mut worker = worker(policy(&config, true, 0.0), Element::F32, None);
        worker.begin(&TrainingSetup { logit_bytes, ..setup(false) }).expect("it fits");
        accumulate(&mut worker, &job, &seeds)
    };
    let (once, chunks) = (outcome(64 << 20), outcome(1));
    assert!(largest(&once.values.log_probs, &chunks.values.log_probs) <= 1e-6);
    for ((name, once), (_, chunks)) in once.gradient.iter().zip(&chunks.gradient) {
        let error = relative(chunks, once);
        assert!(error <= 1e-5, "{name}: {error:.1e}");
    }
}

/// At the start the policy is its own reference, to the bit: an adapter with a B of zero beside its base model, whatever
/// its A; the same rows with and without a gradient; a divergence of exactly zero.
#[test]
fn at_the_start_the_margin_is_exactly_zero() {
    for (name, config) in families() {
        let (batch, targets) = forest(config.vocabulary, 11);
        let job = Job { batch: &batch, targets: &targets, dropout_seed: None };
        let mut base = worker(Policy::Frozen(model::<f32>(&config, 3).into()), Element::Bf16, None);
        let wanted = base.log_probs(&job).expect("the device survives");
        for divergences in [false, true] {
            let policy = Policy::adapter(model::<f32>(&config, 3).into(), fresh(&config));
            let mut worker = worker(policy, Element::Bf16, None);
            // Identities agree, so that kept log-probabilities of the base model are used.
            assert_eq!(worker.identity(), base.identity());
            worker.begin(&setup(divergences)).expect("it fits");
            let reference = worker.log_probs(&job).expect("the device survives");
            let of_divergences = if divergences { vec![0.5; targets.len()] } else { Vec::new() };
            let seeds = TargetValues { log_probs: vec![1.0; targets.len()], divergences: of_divergences };
            let outcome = accumulate(&mut worker, &job, &seeds);
            assert!(bits(&outcome.values.log_probs) == bits(&reference), "{name}");
            assert!(bits(&reference) == bits(&wanted), "{name}");
            assert!(outcome.values.divergences.iter().all(|&value| value == 0.0), "{name}");
            // The gradient of A is zero, that of B is not.
            for (parameter, values) in &outcome.gradient {
                let zero = values.iter().all(|&value| value == 0.0);
                assert_eq!(zero, parameter.contains("lora_A"), "{name}: {parameter}");
            }
        }
    }
}
