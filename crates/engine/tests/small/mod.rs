//! Small random models, batches and adapters for the tests of the passes.

#![allow(dead_code, reason = "every test binary uses a part of this module")]
#![allow(clippy::single_range_in_vec_init, reason = "a context may well be one range")]

mod random;

pub(crate) use random::Random;
use tabpo_engine::{Batch, Gradients, Lora, Matrix, Model, Real, Segment, Target};
use tabpo_model::{Architecture, LoraConfig, ModelConfig, RopeScaling};

/// Two layers, grouped heads, a head width that is not hidden / heads.
pub(crate) fn tiny() -> ModelConfig {
    ModelConfig {
        architecture: Architecture::Llama,
        vocabulary: 13,
        hidden: 8,
        intermediate: 12,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 4,
        rms_epsilon: 1e-6,
        rope_theta: 100.0,
        rope_scaling: RopeScaling::None,
        max_positions: 64,
        sliding_window: Vec::new(),
        query_key_value_bias: false,
        output_bias: false,
        mlp_bias: false,
        query_key_norm: false,
        tied_head: false,
    }
}

/// The members of the family that differ in what they compute.
pub(crate) fn variants() -> Vec<(&'static str, ModelConfig)> {
    vec![
        ("llama", tiny()),
        ("llama with biases", ModelConfig { output_bias: true, mlp_bias: true, query_key_value_bias: true, ..tiny() }),
        ("qwen2", ModelConfig { query_key_value_bias: true, tied_head: true, ..tiny() }),
        ("qwen3", ModelConfig { query_key_norm: true, tied_head: true, kv_heads: 1, ..tiny() }),
        ("mistral", ModelConfig { sliding_window: vec![Some(3), None], kv_heads: 4, ..tiny() }),
    ]
}

/// A model with weights large enough for every path through it to matter.
pub(crate) fn random_model<R: Real>(config: ModelConfig, seed: u64) -> Model<R> {
    let mut random = Random::new(seed);
    Model::from_tensors(config, |name, [rows, columns]| {
        let offset = if name.contains("norm") { 1.0 } else { 0.0 };
        let values = (0..rows * columns).map(|_| R::from_f64(offset + 0.5 * random.signed())).collect();
        Ok::<_, ()>(Matrix::owned(rows, columns, values))
    })
    .expect("the closure never fails")
}

/// An adapter whose B is not zero.
pub(crate) fn random_lora<R: Real>(config: &ModelConfig, settings: LoraConfig, seed: u64) -> Lora<R> {
    let mut lora = Lora::initialise(config, settings, seed);
    let mut random = Random::new(seed + 1);
    for parameter in lora.parameters_mut() {
        for value in parameter {
            *value = R::from_f64(0.4 * random.signed());
        }
    }
    lora
}

/// A trie (trunk, two branches, and a branch of a branch) and a plain sequence, with several targets at
/// the rows where branches leave.
pub(crate) fn forest(vocabulary: usize, seed: u64) -> (Batch, Vec<Target>) {
    let mut random = Random::new(seed);
    let segments = vec![
        Segment { rows: 0..7, context: vec![] },
        Segment { rows: 7..11, context: vec![0..4] },
        Segment { rows: 11..13, context: vec![0..5] },
        Segment { rows: 13..16, context: vec![0..4, 7..9] },
        Segment { rows: 16..21, context: vec![] },
    ];
    let mut positions = Vec::new();
    for segment in &segments {
        let depth: usize = segment.context.iter().map(ExactSizeIterator::len).sum();
        positions.extend((depth..depth + segment.rows.len()).map(|position| position as u32));
    }
    let tokens: Vec<u32> = (0..21).map(|_| random.below(vocabulary) as u32).collect();
    let after = |row: u32, next: usize| Target { row, token: tokens[next] };
    let mut targets = vec![after(3, 4), after(3, 7), after(8, 13), after(8, 9), after(4, 11), after(4, 5)];
    targets.extend([after(13, 14), after(14, 15), after(11, 12), after(5, 6), after(16, 17), after(19, 20)]);
    (Batch { tokens, positions, segments }, targets)
}

/// Any number of plain sequences.
pub(crate) fn plain(sequences: &[Vec<u32>]) -> Batch {
    let mut batch = Batch::default();
    for sequence in sequences {
        let start = batch.tokens.len();
        batch.tokens.extend(sequence);
        batch.positions.extend(0..sequence.len() as u32);
        batch.segments.push(Segment { rows: start..start + sequence.len(), context: vec![] });
    }
    batch
}

/// All elements of a gradient.
pub(crate) fn flat<R: Real>(gradients: &mut Gradients<R>) -> Vec<f64> {
    gradients.parts_mut().iter().flat_map(|part| part.iter().map(|value| value.to_f64())).collect()
}

/// Asserts that two vectors agree within `tolerance` times the larger norm.
pub(crate) fn assert_close<R: Real>(a: &[R], b: &[R], tolerance: f64, what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    let norm = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
    let wide = |v: &[R]| -> Vec<f64> { v.iter().map(|x| x.to_f64()).collect() };
    let (a, b) = (wide(a), wide(b));
    let difference: Vec<f64> = a.iter().zip(&b).map(|(x, y)| x - y).collect();
    let relative = norm(&difference) / norm(&a).max(norm(&b)).max(1e-30);
    assert!(relative <= tolerance, "{what}: relative difference {relative:e}");
}
