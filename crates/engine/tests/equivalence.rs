//! Different ways to compute the same numbers: tries and separate sequences, batches and single sequences, stored
//! and recomputed activations, one thread and several, wide and narrow weights.

#![allow(clippy::single_range_in_vec_init, reason = "a context may well be one range")]

mod small;

use std::sync::Arc;

use small::{Random, assert_close, flat, forest, plain, random_lora, random_model, tiny, variants};
use tabpo_engine::{
    Batch, ForwardOptions, Gradients, Lora, Matrix, Model, OutputGradient, Real, Recompute, Target, Workspace,
    backward, forward, logits,
};
use tabpo_model::{LoraConfig, ModelConfig, StoredType};

/// A batch, its targets, and their output gradient.
type Case = (Batch, Vec<Target>, Vec<f64>);

struct Outcome {
    log_probabilities: Vec<f64>,
    gradient: Vec<f64>,
}

/// Forward and backward over several batches with their output gradients.
fn run<R: Real>(model: &Model<R>, lora: Option<&Lora<R>>, batches: &[Case], options: &ForwardOptions) -> Outcome {
    let mut workspace = Workspace::new();
    let mut gradients = match lora {
        Some(lora) => Gradients::lora(model, lora),
        None => Gradients::full(model),
    };
    let mut log_probabilities = Vec::new();
    for (batch, targets, output_weights) in batches {
        log_probabilities.extend(forward(model, lora, batch, targets, options, &mut workspace));
        let output = OutputGradient { log_probabilities: output_weights, divergences: None };
        backward(model, lora, batch, &output, &mut workspace, &mut gradients);
    }
    Outcome { log_probabilities, gradient: flat(&mut gradients) }
}

/// The forest as one batch, and the same targets with every path from a root as a separate sequence.
fn forest_both_ways(vocabulary: usize) -> (Vec<Case>, Vec<Case>) {
    let (batch, targets) = forest(vocabulary, 11);
    let output_weights = Random::new(12).values(targets.len());
    let separate = targets
        .iter()
        .zip(&output_weights)
        .map(|(target, &weight)| {
            let row = target.row as usize;
            let segment =
                batch.segments.iter().find(|segment| segment.rows.contains(&row)).expect("rows have segments");
            let path = segment.context.iter().cloned().chain(std::iter::once(segment.rows.start..row + 1)).flatten();
            let sequence: Vec<u32> = path.map(|row| batch.tokens[row]).collect();
            let last = Target { row: sequence.len() as u32 - 1, token: target.token };
            (plain(&[sequence]), vec![last], vec![weight])
        })
        .collect();
    (vec![(batch, targets, output_weights)], separate)
}

#[test]
fn a_trie_equals_separate_sequences() {
    for (name, config) in variants() {
        let (together, separate) = forest_both_ways(config.vocabulary);
        let options = ForwardOptions::default();
        let model = random_model::<f64>(config.clone(), 1);
        let a = run(&model, None, &together, &options);
        let b = run(&model, None, &separate, &options);
        assert_close(&a.log_probabilities, &b.log_probabilities, 1e-12, name);
        assert_close(&a.gradient, &b.gradient, 1e-12, name);

        let model = random_model::<f32>(config, 1);
        let lora = random_lora(&model.config, LoraConfig::new(2, 4.0), 3);
        for lora in [None, Some(&lora)] {
            let a = run(&model, lora, &together, &options);
            let b = run(&model, lora, &separate, &options);
            assert_close(&a.log_probabilities, &b.log_probabilities, 1e-6, name);
            assert_close(&a.gradient, &b.gradient, 1e-4, name);
        }
    }
}

#[test]
fn a_long_trie_equals_separate_sequences_across_blocks_of_rows() {
    let config = ModelConfig { max_positions: 512, sliding_window: vec![None, Some(70)], ..tiny() };
    let model = random_model::<f64>(config, 1);
    let mut random = Random::new(8);
    let mut tokens = |count: usize| -> Vec<u32> { (0..count).map(|_| random.below(13) as u32).collect() };
    let (trunk, branch) = (tokens(200), tokens(90));
    let mut batch = plain(&[trunk.clone(), branch.clone()]);
    batch.segments[1].context = vec![0..130];
    for position in &mut batch.positions[200..] {
        *position += 130;
    }
    let other: Vec<u32> = trunk[..130].iter().chain(&branch).copied().collect();
    let target = |row: u32| Target { row, token: 5 };
    let trie =
        (batch, vec![target(199), target(150), target(120), target(289), target(230)], vec![1.0, 2.0, 0.5, -1.0, 0.7]);
    let separate = vec![
        (plain(&[trunk]), vec![target(199), target(150), target(120)], vec![1.0, 2.0, 0.5]),
        (plain(&[other]), vec![target(219), target(160)], vec![-1.0, 0.7]),
    ];
    let a = run(&model, None, &[trie], &ForwardOptions::default());
    let b = run(&model, None, &separate, &ForwardOptions::default());
    assert_close(&a.log_probabilities, &b.log_probabilities, 1e-12, "log-probabilities");
    assert_close(&a.gradient, &b.gradient, 1e-12, "gradient");
}

#[test]
fn packed_sequences_equal_sequences_alone() {
    let model = random_model::<f64>(tiny(), 1);
    let sequences = [vec![1, 2, 3, 4], vec![5], vec![6, 7, 8, 9, 10, 11, 12]];
    let packed = plain(&sequences);
    let targets = vec![Target { row: 2, token: 4 }, Target { row: 4, token: 1 }, Target { row: 9, token: 11 }];
    let output_weights = vec![1.0, -0.5, 2.0];
    let alone: Vec<_> = [(0, 2, 4), (1, 0, 1), (2, 4, 11)]
        .iter()
        .zip(&output_weights)
        .map(|(&(sequence, row, token), &weight): (&(usize, u32, u32), _)| {
            (plain(&sequences[sequence..=sequence]), vec![Target { row, token }], vec![weight])
        })
        .collect();
    let a = run(&model, None, &[(packed, targets, output_weights)], &ForwardOptions::default());
    let b = run(&model, None, &alone, &ForwardOptions::default());
    assert_close(&a.log_probabilities, &b.log_probabilities, 1e-12, "log-probabilities");
    assert_close(&a.gradient, &b.gradient, 1e-12, "gradient");
}

#[test]
fn computing_again_gives_the_same_bits() {
    for (name, config) in variants() {
        let model = random_model::<f32>(config, 1);
        let (together, _) = forest_both_ways(model.config.vocabulary);
        let lora = random_lora(&model.config, LoraConfig { dropout: 0.2, ..LoraConfig::new(2, 4.0) }, 3);
        for lora in [None, Some(&lora)] {
            let outcome = |recompute, logit_bytes| {
                let options =
                    ForwardOptions { recompute, logit_bytes, dropout_seed: Some(1), ..ForwardOptions::default() };
                run(&model, lora, &together, &options)
            };
            let stored = outcome(Recompute::Nothing, 1 << 20);
            for recompute in [Recompute::Cheap, Recompute::Blocks(1), Recompute::Blocks(2), Recompute::ALL_BLOCKS] {
                let again = outcome(recompute, 1 << 20);
                assert_eq!(stored.log_probabilities, again.log_probabilities, "{name}, {recompute:?}");
                assert_eq!(stored.gradient, again.gradient, "{name}, {recompute:?}");
            }
        }
    }
}

#[test]
fn a_chunked_head_equals_a_whole_one() {
    let model = random_model::<f64>(ModelConfig { tied_head: true, ..tiny() }, 1);
    let mut random = Random::new(4);
    let tokens: Vec<u32> = (0..80).map(|_| random.below(13) as u32).collect();
    let targets: Vec<Target> = (0..79).map(|row| Target { row, token: tokens[row as usize + 1] }).collect();
    let batch = [(plain(&[tokens]), targets, random.values(79))];
    let whole = run(&model, None, &batch, &ForwardOptions::default());
    let chunked = run(&model, None, &batch, &ForwardOptions { logit_bytes: 0, ..ForwardOptions::default() });
    assert_close(&whole.log_probabilities, &chunked.log_probabilities, 1e-13, "log-probabilities");
    assert_close(&whole.gradient, &chunked.gradient, 1e-13, "gradient");
}

#[test]
fn the_number_of_threads_does_not_matter() {
    // Large enough for every operation to be split into several tasks.
    let config = ModelConfig { vocabulary: 600, hidden: 192, intermediate: 520, head_dim: 32, ..tiny() };
    let model = random_model::<f32>(config, 1);
    let mut random = Random::new(2);
    let sequences: Vec<Vec<u32>> =
        [150, 40, 90].iter().map(|&length| (0..length).map(|_| random.below(600) as u32).collect()).collect();
    let batch = plain(&sequences);
    let targets: Vec<Target> = (0..270).step_by(2).map(|row| Target { row, token: row * 2 % 600 }).collect();
    let batches = [(batch, targets.clone(), random.values(targets.len()))];
    let lora = random_lora(&model.config, LoraConfig::new(4, 4.0), 3);
    for lora in [None, Some(&lora)] {
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
            pool.install(|| run(&model, lora, &batches, &ForwardOptions::default()))
        };
        let (one, three) = (on(1), on(3));
        assert_eq!(one.log_probabilities, three.log_probabilities);
        assert_eq!(one.gradient, three.gradient);
    }
}

#[test]
fn an_adapter_with_zero_b_equals_the_base_model() {
    let model = random_model::<f32>(tiny(), 1);
    let lora = Lora::initialise(&model.config, LoraConfig::new(4, 8.0), 5);
    let (batch, targets) = forest(13, 1);
    let mut workspace = Workspace::new();
    let options = ForwardOptions::inference();
    let base = forward(&model, None, &batch, &targets, &options, &mut workspace);
    let adapted = forward(&model, Some(&lora), &batch, &targets, &options, &mut workspace);
    assert_eq!(base, adapted);
}

#[test]
fn a_merged_adapter_equals_the_adapter_beside_the_model() {
    let model = random_model::<f64>(tiny(), 1);
    let settings = LoraConfig { targets: tabpo_model::Projection::ALL[1..].to_vec(), ..LoraConfig::new(3, 5.0) };
    let lora = random_lora(&model.config, settings, 5);
    let merged = lora.merge(&model);
    let (batch, _) = forest(13, 1);
    let rows: Vec<u32> = (0..21).rev().collect();
    let mut workspace = Workspace::new();
    let beside = logits(&model, Some(&lora), &batch, &rows, &mut workspace);
    let inside = logits(&merged, None, &batch, &rows, &mut workspace);
    assert_close(&beside, &inside, 1e-12, "logits");
}

/// The model with every matrix stored in 16 or 32 bits, at an odd offset in a shared buffer, and the same numbers
/// widened.
fn stored_and_widened(model: &Model<f32>, stored: StoredType) -> (Model<f32>, Model<f32>) {
    let encode = |values: &[f32]| -> Vec<u8> {
        let mut bytes = vec![0xff];
        for &value in values {
            match stored {
                StoredType::F32 => bytes.extend(value.to_le_bytes()),
                StoredType::F16 => bytes.extend(half::f16::from_f32(value).to_le_bytes()),
                StoredType::Bf16 => bytes.extend(half::bf16::from_f32(value).to_le_bytes()),
            }
        }
        bytes
    };
    let mut narrow = model.clone();
    let convert = |matrix: &mut Matrix<f32>| {
        let bytes = encode(matrix.as_owned().expect("the model owns its matrices"));
        *matrix = Matrix::stored(matrix.rows(), matrix.columns(), stored, Arc::new(bytes), 1);
    };
    convert(&mut narrow.embedding);
    narrow.layers.iter_mut().flat_map(|layer| &mut layer.projections).for_each(|linear| convert(&mut linear.weight));
    narrow.head.iter_mut().for_each(convert);
    let mut wide = narrow.clone();
    wide.make_trainable();
    (narrow, wide)
}

#[test]
fn stored_weights_equal_widened_weights() {
    let model = random_model::<f32>(ModelConfig { hidden: 64, intermediate: 200, vocabulary: 300, ..tiny() }, 1);
    let lora = random_lora(&model.config, LoraConfig::new(2, 4.0), 3);
    let (together, _) = forest_both_ways(300);
    for stored in [StoredType::F32, StoredType::F16, StoredType::Bf16] {
        let (narrow, wide) = stored_and_widened(&model, stored);
        let a = run(&narrow, Some(&lora), &together, &ForwardOptions::default());
        let b = run(&wide, Some(&lora), &together, &ForwardOptions::default());
        assert_eq!(a.log_probabilities, b.log_probabilities, "{stored:?}");
        assert_eq!(a.gradient, b.gradient, "{stored:?}");
    }
}

#[test]
fn a_workspace_forgets_the_batch_before() {
    let model = random_model::<f64>(tiny(), 1);
    let (together, separate) = forest_both_ways(13);
    let mut workspace = Workspace::new();
    let options = ForwardOptions::default();
    let (batch, targets, _) = &together[0];
    let first = forward(&model, None, batch, targets, &options, &mut workspace);
    for (batch, targets, _) in &separate {
        forward(&model, None, batch, targets, &ForwardOptions::inference(), &mut workspace);
    }
    assert_eq!(first, forward(&model, None, batch, targets, &options, &mut workspace));
}
