//! Decoding against the CPU: tokens, log-probabilities, masks, and the pages that sequences share.

use std::ops::ControlFlow;
use std::sync::Arc;

use tabpo_cuda::driver::{Driver, Element};
use tabpo_cuda::{CudaWorker, WorkerOptions};
use tabpo_emulate::{Emulator, Order};
use tabpo_engine::{
    Completion, Event, GenerateOptions, GeneratorSize, HostWorker, Job, Pick, Policy, Prefix, Prompt, PromptTree,
    Sampling, Steering, Target, Worker, generate_each,
};
use tabpo_model::{LoraConfig, ModelConfig, RopeScaling};

use crate::small::{Random, adapter, families, llama, model, plain, worker};

/// Prompts that share beginnings which end within a page and beyond one, and one that shares nothing.
fn prompts(vocabulary: usize) -> Vec<Vec<u32>> {
    let mut random = Random::new(9);
    let mut tokens = |count: usize| -> Vec<u32> { (0..count).map(|_| random.below(vocabulary) as u32).collect() };
    let (common, more) = (tokens(70), tokens(20));
    let mut prompts: Vec<Vec<u32>> = (1..4).map(|length| [common.clone(), tokens(length)].concat()).collect();
    prompts.extend((1..3).map(|length| [common.clone(), more.clone(), tokens(length)].concat()));
    prompts.push(tokens(5));
    prompts
}

fn options(temperature: f64, batch: usize) -> GenerateOptions {
    let sampling = Sampling { temperature, top_p: 0.875, seed: 4 };
    GenerateOptions { max_new_tokens: 6, sampling, stop: vec![2], batch, log_probs: true }
}

fn complete(worker: &mut dyn Worker, options: &GenerateOptions) -> Vec<Completion> {
    let mut tree = PromptTree::new();
    let prompts = prompts(worker.config().vocabulary);
    for prompt in &prompts {
        tree.push(prompt);
    }
    let all: Vec<usize> = (0..prompts.len()).collect();
    let mut finished = Vec::new();
    generate_each(worker, None, &tree, &all, Steering::NONE, options, &mut |event| {
        if let Event::Finished { prompt, completion } = event {
            finished.push((prompt, completion));
        }
        ControlFlow::Continue(())
    })
    .expect("completions");
    finished.sort_by_key(|(prompt, _)| *prompt);
    finished.into_iter().map(|(_, completion)| completion).collect()
}

fn adapted(config: &ModelConfig) -> Policy<f32> {
    Policy::adapter(model::<f32>(config, 3).into(), adapter(config, 0.0))
}

/// Whatever the family, greedy and drawn tokens are the CPU's in single precision, and so are their log-probabilities.
#[test]
fn tokens_are_those_of_the_cpu() {
    for (name, config) in families() {
        let mut host = HostWorker::new(adapted(&config));
        let mut device = worker(adapted(&config), Element::F32, None);
        for temperature in [0.0, 0.75] {
            let wanted = complete(&mut host, &options(temperature, 6));
            // Fewer sequences than prompts: finished ones are replaced, and pages are used again.
            for batch in [6, 2] {
                let found = complete(&mut device, &options(temperature, batch));
                for (index, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
                    let prompt = format!("{name}, temperature {temperature}, prompt {index}");
                    assert_eq!((&found.tokens, found.finish), (&wanted.tokens, wanted.finish), "{prompt}");
                    for (a, b) in found.log_probs.iter().zip(&wanted.log_probs) {
                        assert!((a - b).abs() < 1e-4, "{prompt}: {a} instead of {b}");
                    }
                }
            }
        }
    }
}

/// What is decoded in bf16 has the log-probabilities that a pass over the whole gives it, up to bf16's rounding.
#[test]
fn decoding_is_the_forward_pass() {
    let config = llama();
    let mut device = worker(adapted(&config), Element::Bf16, None);
    let completions = complete(&mut device, &options(1.0, 3));
    for (prompt, completion) in prompts(config.vocabulary).into_iter().zip(completions) {
        let whole = [prompt.clone(), completion.tokens.clone()].concat();
        let batch = plain(std::slice::from_ref(&whole));
        let rows = prompt.len() - 1..whole.len() - 1;
        let targets: Vec<Target> = rows.map(|row| Target { row: row as u32, token: whole[row + 1] }).collect();
        let job = Job { batch: &batch, targets: &targets, dropout_seed: None };
        let wanted = device.log_probs(&job).expect("the device survives");
        for (found, wanted) in completion.log_probs.iter().zip(&wanted) {
            assert!((found - wanted).abs() < device.tolerance(), "{found} instead of {wanted}");
        }
    }
}

/// Prompts beyond the length of the model's training, whose rotations depend on it.
#[test]
fn prompts_with_rotations_of_their_own_are_those_of_the_cpu() {
    let config = ModelConfig { rope_scaling: RopeScaling::Dynamic { factor: 2.0 }, max_positions: 40, ..llama() };
    let mut host = HostWorker::new(adapted(&config));
    let mut device = worker(adapted(&config), Element::F32, None);
    let wanted = complete(&mut host, &options(0.0, 6));
    let found = complete(&mut device, &options(0.0, 6));
    assert!(found.iter().zip(&wanted).all(|(found, wanted)| found.tokens == wanted.tokens));
}

/// The worker's own operations: masks, refused tokens, several picks of a row, single logits, and memory that comes back
/// although the pages didn't suffice at first.
#[test]
fn picks_logits_and_pages() {
    let config = ModelConfig { layers: 1, ..llama() };
    let policy = || Policy::adapter(model::<f32>(&config, 3).into(), lora(&config));
    let driver = Arc::new(Emulator::new(Order::Backwards));
    let options = WorkerOptions { element: Element::F32, keep: None, limit: None };
    let mut device = CudaWorker::new(driver.clone(), policy(), options).expect("it fits");
    let mut host = HostWorker::new(policy());
    let before = driver.memory().expect("it is known");
    // As if nothing was shared: pages have to grow.
    let size = GeneratorSize { sequences: 4, capacity: 8, shared: 0 };
    let all = prompts(config.vocabulary);
    {
        let mut generators = [
            device.generator(size).expect("it fits"),
            host.generator(GeneratorSize { capacity: 99, ..size }).expect("it fits"),
        ];
        let mut results = Vec::new();
        for generator in &mut generators {
            for (name, prompt) in all.iter().enumerate() {
                generator.share(Prefix(name as u32), None, prompt).expect("the device survives");
            }
            generator.share(Prefix(90), Some(Prefix(0)), &all[5]).expect("the device survives");
            generator.release(Prefix(0));
            let prompt = |after: u32| Prompt { after: Some(Prefix(after)), tokens: &all[5][..2] };
            generator.prefill(&[prompt(90), prompt(3), prompt(4)]).expect("the device survives");
            generator.release(Prefix(90));
            generator.retain(&[true, false, true]);
            generator.step(&[7, 8]).expect("the device survives");
            let greedy = Sampling::GREEDY;
            let pick = |row, allowed| Pick { row, allowed, sampling: &greedy, request: 0, step: 0, log_prob: true };
            let (odd, none) = ([0xaaaa_aaaa, 0xaaaa_aaaa], [0, 0]);
            let picked = generator
                .choose(&[pick(0, None), pick(1, Some(&odd)), pick(0, Some(&odd)), pick(1, Some(&none))])
                .expect("the device survives");
            assert!(picked[1].token.is_some_and(|token| token % 2 == 1));
            let logits = generator.logits(&[(1, 42), (0, 3), (1, 0)]).expect("the device survives");
            results.push((picked, logits));
        }
        let [(found, of_device), (wanted, of_host)] = &results[..] else { unreachable!("there are two generators") };
        for (found, wanted) in found.iter().zip(wanted) {
            assert_eq!(found.token, wanted.token);
            assert!((found.log_prob - wanted.log_prob).abs() < 1e-4);
        }
        assert!(of_device.iter().zip(of_host).all(|(a, b)| (a - b).abs() < 1e-4), "{of_device:?} {of_host:?}");
    }
    assert_eq!(driver.memory().expect("it is known"), before, "all memory was given back");
    let planned = device.generation_memory(size);
    assert!(planned.weights > 0 && planned.fixed > 0 && planned.sequence > 0);
}

fn lora(config: &ModelConfig) -> tabpo_engine::Lora<f32> {
    let mut lora = tabpo_engine::Lora::initialise(config, LoraConfig::new(2, 4.0), 3);
    let mut random = Random::new(8);
    lora.parameters_mut().into_iter().flatten().for_each(|value| *value = 0.2 * random.signed() as f32);
    lora
}
