//! Small random models, batches and workers.

use std::borrow::Cow;
use std::sync::Arc;

use half::bf16;
use tabpo_cuda::driver::Element;
use tabpo_cuda::memory::Rung;
use tabpo_cuda::{CudaWorker, WorkerOptions};
use tabpo_emulate::{Emulator, Order};
use tabpo_engine::{
    AdamWConfig, Batch, Job, Lora, Matrix, Model, NamedTensor, Policy, Real, Recompute, Segment, Target, TargetValues,
    TrainingSetup, Worker,
};
use tabpo_model::{Architecture, LoraConfig, ModelConfig, Projection};

pub(crate) use crate::random::Random;

/// Two blocks with heads of 64.
pub(crate) fn llama() -> ModelConfig {
    ModelConfig {
        architecture: Architecture::Llama,
        vocabulary: 43,
        hidden: 64,
        intermediate: 72,
        layers: 2,
        heads: 2,
        kv_heads: 1,
        head_dim: 64,
        rope_theta: 100.0,
        max_positions: 256,
        query_key_value_bias: false,
        tied_head: false,
        ..ModelConfig::small(43, 64, 2, 2)
    }
}

/// The families in what they differ.
pub(crate) fn families() -> [(&'static str, ModelConfig); 4] {
    let (qwen2, qwen3) = (Architecture::Qwen2, Architecture::Qwen3);
    [
        ("llama", llama()),
        (
            "mistral",
            ModelConfig {
                architecture: Architecture::Mistral,
                sliding_window: vec![Some(20), None],
                kv_heads: 2,
                ..llama()
            },
        ),
        ("qwen2", ModelConfig { architecture: qwen2, query_key_value_bias: true, tied_head: true, ..llama() }),
        ("qwen3", ModelConfig { architecture: qwen3, query_key_norm: true, tied_head: true, ..llama() }),
    ]
}

/// A model with weights large enough for every path through it to matter; they are numbers of bf16, so that it is the
/// same model in every type.
pub(crate) fn model<R: Real>(config: &ModelConfig, seed: u64) -> Model<R> {
    let mut random = Random::new(seed);
    let built = Model::from_tensors(config.clone(), |name, [rows, columns]| {
        let norm = name.contains("norm");
        let (offset, spread) = if norm { (1.0, 0.3) } else { (0.0, if rows == 1 { 0.5 } else { 0.2 }) };
        let value = |random: &mut Random| bf16::from_f64(offset + spread * random.signed()).to_f64();
        let values = (0..rows * columns).map(|_| R::from_f64(value(&mut random))).collect();
        Ok::<_, std::convert::Infallible>(Matrix::owned(rows, columns, values))
    });
    match built {
        Ok(model) => model,
        Err(never) => match never {},
    }
}

/// An adapter of odd ranks that differ, without one of the projections, whose B isn't zero.
pub(crate) fn adapter<R: Real>(config: &ModelConfig, dropout: f64) -> Lora<R> {
    let mut settings = LoraConfig::new(4, 6.0);
    settings.dropout = dropout;
    settings.targets.retain(|&projection| projection != Projection::Key);
    settings.rank_pattern.insert("gate_proj".to_owned(), 3);
    settings.rank_pattern.insert("layers.1.self_attn.q_proj".to_owned(), 9);
    let mut lora = Lora::initialise(config, settings, 5);
    let mut random = Random::new(6);
    for values in lora.parameters_mut() {
        for value in values {
            *value = R::from_f64(bf16::from_f64(0.2 * random.signed()).to_f64());
        }
    }
    lora
}

/// An adapter as training begins with it: B is zero.
pub(crate) fn fresh(config: &ModelConfig) -> Lora<f32> {
    Lora::initialise(config, LoraConfig::new(8, 16.0), 7)
}

/// Tries and a plain sequence, 110 rows in all, with branches that leave from branches and more than one target at the
/// rows where they do. Later segments branch off earlier trunks, so that depth-first order differs from the batch's.
pub(crate) fn forest(vocabulary: usize, seed: u64) -> (Batch, Vec<Target>) {
    let mut random = Random::new(seed);
    let segment = |rows, context| Segment { rows, context };
    let segments = vec![
        segment(0..40, vec![]),
        segment(40..60, vec![0..30]),
        segment(60..71, vec![0..12]),
        segment(71..80, vec![0..30, 40..50]),
        segment(80..110, vec![]),
    ];
    let mut positions = Vec::new();
    for segment in &segments {
        let depth: usize = segment.context.iter().map(ExactSizeIterator::len).sum();
        positions.extend((depth..depth + segment.rows.len()).map(|position| position as u32));
    }
    let tokens: Vec<u32> = (0..110).map(|_| random.below(vocabulary) as u32).collect();
    let mut targets = Vec::new();
    for segment in &segments {
        if let Some(parent) = segment.context.last() {
            targets.push(Target { row: parent.end as u32 - 1, token: tokens[segment.rows.start] });
        }
        let rows = segment.rows.start..segment.rows.end - 1;
        targets.extend(rows.map(|row| Target { row: row as u32, token: tokens[row + 1] }));
    }
    // Not every row has a target, and their order is not that of the rows.
    targets.retain(|target| target.row % 5 != 2);
    targets.reverse();
    (Batch { tokens, positions, segments }, targets)
}

/// Plain sequences.
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

/// A worker on a fresh device.
pub(crate) fn worker(policy: Policy<f32>, element: Element, keep: Option<Rung>) -> CudaWorker {
    let driver = Arc::new(Emulator::new(Order::Forwards));
    CudaWorker::new(driver, policy, WorkerOptions { element, keep, limit: None }).expect("the model fits")
}

pub(crate) fn setup(divergences: bool) -> TrainingSetup {
    let optimiser = AdamWConfig { weight_decay: 0.1, ..AdamWConfig::default() };
    TrainingSetup { optimiser, recompute: Recompute::default(), logit_bytes: 64 << 20, divergences }
}

/// What a job gives, and the gradient by name.
pub(crate) struct Outcome {
    pub(crate) values: TargetValues,
    pub(crate) gradient: Vec<(String, Vec<f64>)>,
}

/// One job with a given derivative by its values.
pub(crate) fn accumulate(worker: &mut CudaWorker, job: &Job<'_>, of_values: &TargetValues) -> Outcome {
    let found = std::sync::Mutex::new(TargetValues::default());
    let output_gradient = |_: usize, values: &TargetValues| {
        *found.lock().expect("nothing panics") = values.clone();
        of_values.clone()
    };
    worker.accumulate(&[*job], &output_gradient, &mut |_| {}).expect("the device survives");
    Outcome { values: found.into_inner().expect("nothing panics"), gradient: gradient(worker) }
}

/// The gradient of every parameter.
pub(crate) fn gradient(worker: &CudaWorker) -> Vec<(String, Vec<f64>)> {
    let tensors = worker.gradient().expect("training has begun");
    let values = |bytes: &[u8]| bytes.as_chunks().0.iter().map(|&b| f64::from(f32::from_le_bytes(b))).collect();
    let name = |name: &str| name.strip_prefix("gradient.").expect("it is the gradient").to_owned();
    tensors.iter().map(|tensor| (name(&tensor.name), values(&tensor.bytes))).collect()
}

/// Tensors that don't borrow from their worker.
pub(crate) fn owned(tensors: Vec<NamedTensor<'_>>) -> Vec<NamedTensor<'static>> {
    let own = |NamedTensor { name, shape, dtype, bytes }| NamedTensor {
        name,
        shape,
        dtype,
        bytes: Cow::Owned(bytes.into_owned()),
    };
    tensors.into_iter().map(own).collect()
}

/// The size of a difference relative to that of what is wanted.
pub(crate) fn relative(found: &[f64], wanted: &[f64]) -> f64 {
    assert_eq!(found.len(), wanted.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let difference = norm(&mut found.iter().zip(wanted).map(|(a, b)| a - b));
    difference / norm(&mut wanted.iter().copied()).max(f64::MIN_POSITIVE)
}

/// The largest difference.
pub(crate) fn largest(found: &[f64], wanted: &[f64]) -> f64 {
    assert_eq!(found.len(), wanted.len());
    found
        .iter()
        .zip(wanted)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, |most, next| if next > most || next.is_nan() { next } else { most })
}
