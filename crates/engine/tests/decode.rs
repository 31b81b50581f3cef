//! Generation with a cache of keys and values gives the same logits as the whole forward pass.

mod small;

use small::{Random, assert_close, plain, random_lora, random_model, tiny, variants};
use tabpo_engine::{
    AdamW, AdamWConfig, Decoder, ForwardOptions, Gradients, KvCache, Model, OutputGradient, Target, Workspace,
    backward, forward, logits,
};
use tabpo_model::{LoraConfig, ModelConfig};

#[test]
fn steps_equal_the_whole_forward_pass() {
    for (name, config) in variants() {
        let model = random_model::<f64>(config, 1);
        let lora = random_lora(&model.config, LoraConfig::new(2, 3.0), 2);
        for lora in [None, Some(&lora)] {
            let mut random = Random::new(3);
            let mut sequences: Vec<Vec<u32>> =
                [5, 1, 17].iter().map(|&n| (0..n).map(|_| random.below(13) as u32).collect()).collect();
            let mut cache = KvCache::new(&model.config, 3, 40);
            let mut decoder = Decoder::new(&model, lora);
            let prompts: Vec<&[u32]> = sequences.iter().map(Vec::as_slice).collect();
            let mut last = decoder.prefill(&prompts, &mut cache).to_vec();
            let mut workspace = Workspace::new();
            for step in 0..20 {
                let batch = plain(&sequences);
                let rows: Vec<u32> = batch.segments.iter().map(|segment| segment.rows.end as u32 - 1).collect();
                let whole = logits(&model, lora, &batch, &rows, &mut workspace);
                assert_close(&last, &whole, 1e-11, &format!("{name}, step {step}"));
                if step == 9 {
                    // The middle sequence leaves, and another takes its place at the end.
                    cache.retain(&[true, false, true]);
                    sequences.remove(1);
                    sequences.push(vec![4, 5, 6]);
                    decoder.prefill(&[&[4, 5, 6]], &mut cache);
                }
                let tokens: Vec<u32> = sequences.iter().map(|_| random.below(13) as u32).collect();
                last = decoder.step(&tokens, &mut cache).to_vec();
                for (sequence, token) in sequences.iter_mut().zip(tokens) {
                    sequence.push(token);
                }
            }
            assert_eq!(cache.len(), 3);
        }
    }
}

/// Greedy continuations of prompts, each to the length of its sequence.
fn continue_greedily(model: &Model<f32>, sequences: &[Vec<u32>], given: usize) -> Vec<Vec<u32>> {
    let mut cache = KvCache::new(&model.config, sequences.len(), 32);
    let mut decoder = Decoder::new(model, None);
    let mut out: Vec<Vec<u32>> = sequences.iter().map(|sequence| sequence[..given].to_vec()).collect();
    let prompts: Vec<&[u32]> = sequences.iter().map(|sequence| &sequence[..given]).collect();
    let mut logits = decoder.prefill(&prompts, &mut cache).to_vec();
    let longest = sequences.iter().map(Vec::len).max().expect("there are sequences");
    for _ in given..longest {
        let best = |row: &[f32]| {
            (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).expect("a vocabulary is not empty") as u32
        };
        let tokens: Vec<u32> = logits.chunks_exact(model.config.vocabulary).map(best).collect();
        for (out, &token) in out.iter_mut().zip(&tokens) {
            out.push(token);
        }
        logits = decoder.step(&tokens, &mut cache).to_vec();
    }
    for (out, sequence) in out.iter_mut().zip(sequences) {
        out.truncate(sequence.len());
    }
    out
}

#[test]
fn a_tiny_model_learns_eight_sequences_by_heart() {
    let config = ModelConfig { vocabulary: 40, tied_head: true, ..ModelConfig::small(40, 32, 2, 4) };
    let mut model = Model::<f32>::initialise(config, 1);
    let mut random = Random::new(2);
    let sequences: Vec<Vec<u32>> = (0..8_u32)
        .map(|first| {
            let length = 12 + random.below(8);
            // Other tokens differ from the first one, because attention to values ignores their positions.
            std::iter::once(first).chain((1..length).map(|_| 8 + random.below(32) as u32)).collect()
        })
        .collect();
    let batch = plain(&sequences);
    let mut targets = Vec::new();
    for segment in &batch.segments {
        for row in segment.rows.start..segment.rows.end - 1 {
            targets.push(Target { row: row as u32, token: batch.tokens[row + 1] });
        }
    }
    let output_weights = vec![-1.0 / targets.len() as f64; targets.len()];
    let mut optimiser = AdamW::for_model(&model, AdamWConfig { weight_decay: 0.01, ..AdamWConfig::default() });
    let mut workspace = Workspace::new();
    let mut gradients = Gradients::full(&model);
    let mut losses = Vec::new();
    for _ in 0..250 {
        let values = forward(&model, None, &batch, &targets, &ForwardOptions::default(), &mut workspace);
        losses.push(-values.iter().sum::<f64>() / targets.len() as f64);
        let output = OutputGradient { log_probabilities: &output_weights, divergences: None };
        gradients.clear();
        backward(&model, None, &batch, &output, &mut workspace, &mut gradients);
        gradients.clip(1.0);
        optimiser.step_model(&mut model, &mut gradients, 5e-3);
    }
    assert!(losses[0] > 3.0 && losses[249] < 0.05, "loss {} -> {}", losses[0], losses[249]);
    assert_eq!(continue_greedily(&model, &sequences, 1), sequences);
}

#[test]
fn sequences_in_other_groups_do_not_matter() {
    let model = random_model::<f32>(tiny(), 1);
    let mut random = Random::new(3);
    let prompts: Vec<Vec<u32>> =
        (0..37).map(|_| (0..=random.below(9)).map(|_| random.below(13) as u32).collect()).collect();
    let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let tokens: Vec<u32> = prompts.iter().map(|_| random.below(13) as u32).collect();
    let mut decoder = Decoder::new(&model, None);
    let mut cache = KvCache::new(&model.config, 37, 16);
    decoder.prefill(&prompts, &mut cache);
    let together = decoder.step(&tokens, &mut cache).to_vec();
    for (index, prompt) in prompts.iter().enumerate() {
        cache.retain(&vec![false; cache.len()]);
        decoder.prefill(&[prompt], &mut cache);
        let alone = decoder.step(&tokens[index..=index], &mut cache);
        let together = &together[index * 13..(index + 1) * 13];
        for (a, b) in alone.iter().zip(together) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
    }
}
