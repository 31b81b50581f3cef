//! Frozen weights in bf16: the difference from single precision, and what stays exact.

mod small;

use small::{Random, flat, forest, plain, random_lora};
use tabpo_engine::{
    Batch, Compute, Decoder, ForwardOptions, Gradients, KvCache, Lora, Matrix, Model, OutputGradient, Recompute,
    Target, Workspace, backward, forward, logits,
};
use tabpo_model::{LoraConfig, ModelConfig, StoredType};

/// Wide enough for products of several steps in depth, with sizes that no block divides.
fn config() -> ModelConfig {
    ModelConfig { kv_heads: 2, query_key_value_bias: true, intermediate: 150, ..ModelConfig::small(203, 72, 3, 4) }
}

/// A model with weights of the size that training gives them, in single precision and packed.
fn models(config: ModelConfig) -> (Model<f32>, Model<f32>) {
    let plain = Model::<f32>::initialise(config, 1);
    let mut packed = plain.clone();
    assert_eq!(packed.freeze(Compute::Bf16), Compute::Bf16);
    (plain, packed)
}

fn batch(config: &ModelConfig) -> (Batch, Vec<Target>) {
    let mut random = Random::new(3);
    let sequences: Vec<Vec<u32>> =
        [45, 70, 9].map(|length| (0..length).map(|_| random.below(config.vocabulary) as u32).collect()).into();
    let batch = plain(&sequences);
    let targets =
        (0..batch.tokens.len() as u32 - 1).map(|row| Target { row, token: batch.tokens[row as usize + 1] }).collect();
    (batch, targets)
}

/// Log-probabilities and the gradient of a weighted sum of them.
fn pass(
    model: &Model<f32>,
    lora: &Lora<f32>,
    (batch, targets): (&Batch, &[Target]),
    options: &ForwardOptions,
) -> (Vec<f64>, Vec<f64>) {
    let mut workspace = Workspace::new();
    let mut gradients = Gradients::lora(model, lora);
    let values = forward(model, Some(lora), batch, targets, options, &mut workspace);
    let weights = Random::new(9).values(targets.len());
    let output = OutputGradient { log_probabilities: &weights, divergences: None };
    backward(model, Some(lora), batch, &output, &mut workspace, &mut gradients);
    (values, flat(&mut gradients))
}

fn relative(a: &[f64], b: &[f64]) -> f64 {
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    norm(&mut a.iter().zip(b).map(|(x, y)| x - y)) / norm(&mut b.iter().copied())
}

#[test]
fn log_probs_and_gradients_are_within_the_rounding_of_operands() {
    let (plain, packed) = models(config());
    let (batch, targets) = batch(&plain.config);
    for dropout in [0.0, 0.2] {
        let lora = random_lora(&plain.config, LoraConfig { dropout, ..LoraConfig::new(4, 1.0) }, 2);
        for recompute in [Recompute::Nothing, Recompute::ALL_BLOCKS] {
            let options = ForwardOptions { recompute, dropout_seed: Some(5), ..ForwardOptions::default() };
            let (values, gradient) = pass(&packed, &lora, (&batch, &targets), &options);
            let (exact, exact_gradient) = pass(&plain, &lora, (&batch, &targets), &options);
            // A rounding error is at most 2^-9, on average 2^-9 / sqrt(3) = 0.0011. A gradient has passed 3
            // layers of 7 products forward and backward with two rounded operands each; independent errors of
            // 84 roundings add up to about 0.0011 sqrt(84) = 0.01. The limit is twice that.
            let (value, gradient) = (relative(&values, &exact), relative(&gradient, &exact_gradient));
            assert!(value < 2e-3, "dropout {dropout}, {recompute:?}: log-probs off by {value:e}");
            assert!(gradient < 2e-2, "dropout {dropout}, {recompute:?}: gradient off by {gradient:e}");
            // Products were really computed in bf16.
            assert!(value > 1e-7 && gradient > 1e-6);
        }
    }
}

#[test]
fn a_new_adapter_leaves_log_probs_as_they_are_to_the_bit() {
    let (_, packed) = models(config());
    let (batch, targets) = batch(&packed.config);
    let lora = Lora::initialise(&packed.config, LoraConfig::new(4, 8.0), 2);
    let options = ForwardOptions::default();
    let reference = ForwardOptions::inference();
    let policy = forward(&packed, Some(&lora), &batch, &targets, &options, &mut Workspace::new());
    assert_eq!(policy, forward(&packed, None, &batch, &targets, &reference, &mut Workspace::new()));
}

#[test]
fn results_do_not_depend_on_the_number_of_threads_or_on_recomputing() {
    let (_, packed) = models(config());
    let (batch, targets) = batch(&packed.config);
    let lora = random_lora(&packed.config, LoraConfig::new(4, 1.0), 2);
    let run = |threads: usize, recompute: Recompute| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        let options = ForwardOptions { recompute, ..ForwardOptions::default() };
        pool.install(|| pass(&packed, &lora, (&batch, &targets), &options))
    };
    let once = run(1, Recompute::Nothing);
    assert_eq!(once, run(3, Recompute::Nothing));
    assert_eq!(once, run(2, Recompute::ALL_BLOCKS));
}

#[test]
fn a_trie_equals_separate_sequences() {
    let (_, packed) = models(config());
    let (trie, targets) = forest(packed.config.vocabulary, 4);
    let found = forward(&packed, None, &trie, &targets, &ForwardOptions::inference(), &mut Workspace::new());
    for (target, found) in targets.iter().zip(found) {
        // The path to the target's row, as a separate sequence.
        let segment = trie.segments.iter().find(|segment| segment.rows.contains(&(target.row as usize)));
        let segment = segment.expect("every row is in a segment");
        let own = segment.rows.start..target.row as usize + 1;
        let rows: Vec<usize> = segment.context.iter().cloned().chain([own]).flatten().collect();
        let path = plain(&[rows.iter().map(|&row| trie.tokens[row]).collect()]);
        let last = [Target { row: rows.len() as u32 - 1, token: target.token }];
        let alone = forward(&packed, None, &path, &last, &ForwardOptions::inference(), &mut Workspace::new());
        // Attention sums in another order, and a change of the last bit may round to another bf16.
        assert!((found - alone[0]).abs() < 1e-3 * alone[0].abs(), "{found} and {}", alone[0]);
    }
}

#[test]
fn decoding_a_packed_model_follows_its_forward_pass() {
    // Large enough to be decoded without a copy.
    let config = ModelConfig { tied_head: true, ..ModelConfig::small(40_000, 1664, 1, 2) };
    let (_, packed) = models(config);
    let tokens: Vec<u32> = (0..12).map(|i| i * 3001 % 40_000).collect();
    let mut cache = KvCache::new(&packed.config, 1, 16);
    let mut decoder = Decoder::new(&packed, None);
    decoder.prefill(&[&tokens[..11]], &mut cache);
    let step: Vec<f64> = decoder.step(&tokens[11..], &mut cache).iter().map(|&z| f64::from(z)).collect();
    let whole = logits(&packed, None, &plain(&[tokens]), &[11], &mut Workspace::new());
    let whole: Vec<f64> = whole.into_iter().map(f64::from).collect();
    let difference = relative(&step, &whole);
    assert!(difference < 5e-3, "logits differ by {difference:e}");
}

#[test]
fn the_automatic_setting_rounds_nothing() {
    let model = Model::<f32>::initialise(config(), 1);
    let mut single = model.clone();
    assert_eq!(single.freeze(Compute::Auto), Compute::F32);
    let mut stored = Model::<f32>::from_tensors(config(), |name, [rows, columns]| {
        let mut random = Random::new(rows as u64);
        let values: Vec<f32> = (0..rows * columns).map(|_| random.signed() as f32).collect();
        let bytes: Vec<u8> = values.iter().flat_map(|&value| half::bf16::from_f32(value).to_le_bytes()).collect();
        let mut matrix = Matrix::stored(rows, columns, StoredType::Bf16, std::sync::Arc::new(bytes), 0);
        if name.contains("norm") || name.ends_with("bias") {
            matrix.make_owned();
        }
        Ok::<_, ()>(matrix)
    })
    .expect("the closure never fails");
    let mut before = vec![0.0_f32; stored.config.hidden];
    stored.embedding.copy_row(17, &mut before);
    let used = stored.freeze(Compute::Auto);
    // With the instructions a measurement decides, which may come out either way.
    assert!(used == Compute::F32 || Compute::bf16_instructions().is_some());
    let mut after = vec![0.0_f32; stored.config.hidden];
    stored.embedding.copy_row(17, &mut after);
    assert_eq!(before, after, "weights that are stored in bf16 keep their values");
}

#[test]
fn a_packed_model_is_widened_again_for_training() {
    let (_, mut packed) = models(config());
    let mut row = vec![0.0_f32; packed.config.hidden];
    packed.embedding.copy_row(5, &mut row);
    packed.make_trainable();
    let hidden = packed.config.hidden;
    let owned = packed.embedding.as_owned().expect("owned again");
    assert_eq!(&owned[5 * hidden..6 * hidden], row);
}
