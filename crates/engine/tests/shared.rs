//! Prompts that begin alike share the keys and values of their beginning, which changes no answer.

mod small;

use std::ops::ControlFlow;

use small::{Random, assert_close, plain, random_lora, random_model, tiny, variants};
use tabpo_engine::{
    Completion, Compute, Decoder, Event, GenerateOptions, GenerateWork, HostWorker, KvCache, Lora, Model, PromptTree,
    Real, Request, Sampling, Steering, Workspace, generate, generate_each, logits,
};
use tabpo_model::{LoraConfig, ModelConfig};

fn random_tokens(random: &mut Random, count: usize) -> Vec<u32> {
    (0..count).map(|_| random.below(13) as u32).collect()
}

/// The logits after the last token of each sequence, by a whole forward pass.
fn whole<R: Real>(model: &Model<R>, lora: Option<&Lora<R>>, sequences: &[Vec<u32>]) -> Vec<R> {
    let batch = plain(sequences);
    let rows: Vec<u32> = batch.segments.iter().map(|segment| segment.rows.end as u32 - 1).collect();
    logits(model, lora, &batch, &rows, &mut Workspace::new())
}

/// Decodes sequences that share beginnings of one and two parts or none, with one leaving and another joining on the
/// way, and compares all logits with those of whole forward passes.
fn compare<R: Real>(
    name: &str,
    model: &Model<R>,
    lora: Option<&Lora<R>>,
    decoder: &mut Decoder<'_, R>,
    tolerance: f64,
) {
    let mut random = Random::new(3);
    let [first, second, third] = [21, 17, 30].map(|count| random_tokens(&mut random, count));
    let a = decoder.share(None, &first);
    let ab = decoder.share(Some(&a), &second);
    let ac = decoder.share(Some(&a), &third);
    let beginning = |parts: &[&Vec<u32>]| parts.iter().flat_map(|part| part.iter().copied()).collect::<Vec<u32>>();
    let kinds = [
        (Some(&ac), beginning(&[&first, &third])),
        (None, Vec::new()),
        (Some(&ab), beginning(&[&first, &second])),
        (Some(&a), first.clone()),
        (Some(&ab), beginning(&[&first, &second])),
        (Some(&ac), beginning(&[&first, &third])),
    ];
    let own: Vec<Vec<u32>> = [4, 9, 1, 3, 1, 20].map(|count| random_tokens(&mut random, count)).into();
    let mut sequences: Vec<Vec<u32>> =
        kinds.iter().zip(&own).map(|((_, beginning), own)| [beginning.as_slice(), own].concat()).collect();
    let prompts: Vec<_> = kinds.iter().zip(&own).map(|((after, _), own)| (*after, own.as_slice())).collect();
    let mut cache = KvCache::new(&model.config, 6, 40);
    let mut found = decoder.prefill_after(&prompts, &mut cache).to_vec();
    for step in 0..12 {
        let compare = |found: &[R], expected: &[R]| {
            assert_close(found, expected, tolerance, &format!("{name}, step {step}"));
        };
        compare(&found, &whole(model, lora, &sequences));
        if step == 5 {
            cache.retain(&[true, true, false, true, true, false]);
            sequences.remove(5);
            sequences.remove(2);
            let new = random_tokens(&mut random, 5);
            sequences.push([beginning(&[&first, &second]), new.clone()].concat());
            let found = decoder.prefill_after(&[(Some(&ab), &new)], &mut cache).to_vec();
            compare(&found, &whole(model, lora, &sequences[4..]));
        }
        let tokens = random_tokens(&mut random, sequences.len());
        found = decoder.step(&tokens, &mut cache).to_vec();
        for (sequence, token) in sequences.iter_mut().zip(tokens) {
            sequence.push(token);
        }
    }
}

fn settings() -> LoraConfig {
    LoraConfig::new(2, 3.0)
}

#[test]
fn sequences_after_a_shared_beginning_equal_whole_ones() {
    let mut configs = variants();
    // A window that ends within a shared part, and one that ends before it.
    configs.push(("wide windows", ModelConfig { sliding_window: vec![Some(30), Some(10)], ..tiny() }));
    configs.push(("wide heads", ModelConfig { head_dim: 40, kv_heads: 1, ..tiny() }));
    for (name, config) in configs {
        let config = ModelConfig { max_positions: 256, ..config };
        let (exact, single) = (random_model::<f64>(config.clone(), 1), random_model::<f32>(config, 1));
        let lora = random_lora(&exact.config, settings(), 2);
        let single_lora = random_lora(&single.config, settings(), 2);
        for (lora, single_lora) in [(None, None), (Some(&lora), Some(&single_lora))] {
            compare(name, &exact, lora, &mut Decoder::new(&exact, lora), 1e-11);
            compare(name, &exact, lora, &mut Decoder::as_stored(&exact, lora), 1e-11);
            compare(name, &single, single_lora, &mut Decoder::as_stored(&single, single_lora), 1e-3);
        }
    }
}

#[test]
fn a_prompt_of_several_passes_equals_a_whole_one() {
    let config = ModelConfig { max_positions: 1024, sliding_window: vec![None, Some(300)], ..tiny() };
    let model = random_model::<f64>(config, 1);
    let mut random = Random::new(5);
    let prompts = [3, 600, 40, 257].map(|count| random_tokens(&mut random, count));
    let views: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    for mut decoder in [Decoder::new(&model, None), Decoder::as_stored(&model, None)] {
        let mut cache = KvCache::new(&model.config, 4, 601);
        let found = decoder.prefill(&views, &mut cache).to_vec();
        assert_close(&found, &whole(&model, None, &prompts), 1e-11, "separate");
        let shared = decoder.share(None, &prompts[1]);
        cache.retain(&[false; 4]);
        let found = decoder.prefill_after(&[(Some(&shared), &prompts[0])], &mut cache).to_vec();
        let joined = [prompts[1].as_slice(), &prompts[0]].concat();
        assert_close(&found, &whole(&model, None, &[joined]), 1e-11, "after a long shared part");
    }
}

/// Prompts with several branch points, equal ones, and one that is a prefix of another.
fn prompts() -> Vec<Vec<u32>> {
    let mut random = Random::new(7);
    let [system, other, text] = [40, 30, 25].map(|count| random_tokens(&mut random, count));
    let mut prompts = Vec::new();
    for index in 0..14 {
        let own = random_tokens(&mut random, 1 + index % 5);
        prompts.push(match index % 4 {
            0 => [system.as_slice(), &text, &own].concat(),
            1 => [system.as_slice(), &own].concat(),
            2 => [other.as_slice(), &own].concat(),
            _ => own,
        });
    }
    prompts.push(prompts[0].clone());
    prompts.push(prompts[0].clone());
    prompts.push([system.as_slice(), &text].concat());
    prompts
}

fn options(batch: usize, temperature: f64) -> GenerateOptions {
    GenerateOptions {
        max_new_tokens: 9,
        sampling: Sampling { temperature, top_p: 0.9, seed: 4 },
        stop: vec![2],
        batch,
        log_probs: true,
    }
}

fn complete(
    worker: &mut HostWorker<f32>,
    pending: &[usize],
    options: &GenerateOptions,
) -> (Vec<(usize, Completion)>, GenerateWork) {
    let mut tree = PromptTree::new();
    for prompt in prompts() {
        tree.push(&prompt);
    }
    let (mut finished, mut work) = (Vec::new(), GenerateWork::default());
    generate_each(worker, None, &tree, pending, Steering::NONE, options, &mut |event| {
        match event {
            Event::Worked(now) => work = now,
            Event::Finished { prompt, completion } => finished.push((prompt, completion)),
        }
        ControlFlow::Continue(())
    })
    .expect("completions");
    finished.sort_by_key(|(prompt, _)| *prompt);
    (finished, work)
}

#[test]
fn an_answer_depends_to_the_last_bit_on_no_batch_and_on_no_answer_before() {
    let config = ModelConfig { max_positions: 256, hidden: 64, head_dim: 16, ..tiny() };
    let mut rounded = random_model::<f32>(config.clone(), 1);
    rounded.freeze(Compute::Bf16);
    for model in [random_model::<f32>(config, 1), rounded] {
        let adapter = random_lora(&model.config, settings(), 2);
        let mut worker = HostWorker::frozen(model, Some(adapter));
        let all: Vec<usize> = (0..prompts().len()).collect();
        for temperature in [0.0, 1.0] {
            let (expected, _) = complete(&mut worker, &all, &options(1, temperature));
            assert_eq!(expected.len(), all.len());
            for batch in [2, 5, 32] {
                assert!(complete(&mut worker, &all, &options(batch, temperature)).0 == expected, "batch {batch}");
            }
            // Some are answered already.
            for answered in [1, 4, 11] {
                let (found, _) = complete(&mut worker, &all[answered..], &options(3, temperature));
                assert!(found == expected[answered..], "{answered} answered before");
            }
            let some = [3, 14, 0, 16];
            let (found, _) = complete(&mut worker, &some, &options(4, temperature));
            assert!(found.iter().all(|one| expected.contains(one)) && found.len() == some.len());
        }
    }
}

#[test]
fn shared_beginnings_change_no_greedy_answer_and_are_computed_once() {
    let config = ModelConfig { max_positions: 256, ..tiny() };
    let mut worker = HostWorker::frozen(random_model::<f32>(config, 1), None);
    let prompts = prompts();
    let all: Vec<usize> = (0..prompts.len()).collect();
    let (found, work) = complete(&mut worker, &all, &options(6, 0.0));
    for (prompt, completion) in found {
        let request = Request { prompt: prompts[prompt].clone(), constraint: None };
        let alone = generate(&mut worker, None, &[request], &options(1, 0.0), |_| {}, || false).expect("completion");
        assert_eq!(completion.tokens, alone[0].tokens, "prompt {prompt}");
        for (a, b) in completion.log_probs.iter().zip(&alone[0].log_probs) {
            assert!((a - b).abs() < 1e-4, "{a} {b}");
        }
    }
    let apart: usize = prompts.iter().map(Vec::len).sum();
    assert_eq!(work.prompt_tokens_apart, apart as u64);
    // The beginnings once, but for the last token of the text, which is one prompt's own and so computed with each of the
    // six others; then the 14 prompts' own tokens, and one of each of the last three prompts.
    let own: u64 = (0..14).map(|index| 1 + index % 5).sum();
    assert_eq!(work.prompt_tokens, 40 + 30 + 24 + 6 + own + 3);
}
