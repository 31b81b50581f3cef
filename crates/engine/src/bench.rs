//! Timing of training steps, and of matrix products as an upper bound.

use std::time::{Duration, Instant};

use tabpo_model::{Architecture, LoraConfig, ModelConfig, Projection, RopeScaling};

use crate::Compute;
use crate::batch::{Batch, Segment, Target};
use crate::forward::forward;
use crate::gradients::Gradients;
use crate::lora::Lora;
use crate::model::Model;
use crate::ops::bf16::{self, Columns, Rows, Term};
use crate::ops::gemm::parallel_product;
use crate::optimiser::{AdamW, AdamWConfig};
use crate::options::{ForwardOptions, Recompute};
use crate::view::{View, ViewMut};
use crate::workspace::Workspace;
use crate::{OutputGradient, backward};

/// The shape of a timed step.
#[derive(Clone, Debug)]
pub struct StepShape {
    /// The decoder.
    pub model: ModelConfig,
    /// Rank of the adapters on all seven projections; `None` trains all parameters.
    pub rank: Option<usize>,
    /// Tokens of a prefix that all sequences share and that is computed once.
    pub prefix: usize,
    /// Sequences in the batch.
    pub sequences: usize,
    /// Tokens per sequence after the shared prefix.
    pub length: usize,
    /// Tokens at the end of a sequence that contribute to the loss.
    pub supervised: usize,
}

impl StepShape {
    /// An adapter step of a 0.1B model: hidden 896, 6 layers, 14 heads, 2 key heads, intermediate 4864,
    /// vocabulary 32000, one sequence of 1024 tokens with a loss on the last 256, rank 16.
    pub fn m1() -> Self {
        let model = ModelConfig {
            architecture: Architecture::Qwen2,
            vocabulary: 32_000,
            hidden: 896,
            intermediate: 4864,
            layers: 6,
            heads: 14,
            kv_heads: 2,
            head_dim: 64,
            rms_epsilon: 1e-6,
            rope_theta: 1e6,
            rope_scaling: RopeScaling::None,
            max_positions: 32_768,
            sliding_window: Vec::new(),
            query_key_value_bias: true,
            output_bias: false,
            mlp_bias: false,
            query_key_norm: false,
            tied_head: true,
        };
        Self { model, rank: Some(16), prefix: 0, sequences: 1, length: 1024, supervised: 256 }
    }

    /// A full step of a small model: hidden 256, 4 layers, intermediate 704, vocabulary 4096, 8 sequences
    /// of 512 tokens, all supervised.
    pub fn m2() -> Self {
        let model = ModelConfig { intermediate: 704, ..ModelConfig::small(4096, 256, 4, 4) };
        Self { model, rank: None, prefix: 0, sequences: 8, length: 512, supervised: 511 }
    }

    /// A step of supervised training on 16 sentences, each with its answer, that share a prompt of 900 tokens,
    /// with adapters of rank 32.
    pub fn shared_prompt(model: ModelConfig) -> Self {
        Self { model, rank: Some(32), prefix: 900, sequences: 16, length: 156, supervised: 110 }
    }

    /// Floating-point operations of one step: two per multiply-add of the products that the forward and
    /// backward pass need. Recomputation, attention scores hidden by the causal mask, and element-wise work do
    /// not count.
    pub fn operations(&self) -> f64 {
        let config = &self.model;
        let tokens = self.tokens() as f64;
        let supervised = (self.sequences * self.supervised) as f64;
        let mut multiply_adds = 0.0;
        for layer in 0..config.layers {
            for projection in Projection::ALL {
                let [outputs, inputs] = projection.shape(config).map(|size| size as f64);
                // With an adapter, nothing below the first layer is trained.
                let reads_stream = matches!(projection, Projection::Query | Projection::Key | Projection::Value);
                let input_gradient = if self.rank.is_some() && layer == 0 && reads_stream { 0.0 } else { 1.0 };
                multiply_adds += match self.rank {
                    // Forward, gradient of the input, gradient of the weight.
                    None => 3.0 * tokens * outputs * inputs,
                    Some(rank) => {
                        let adapter = rank as f64 * (inputs * (2.0 + input_gradient) + 3.0 * outputs);
                        tokens * (outputs * inputs * (1.0 + input_gradient) + adapter)
                    }
                };
            }
            // Two products forward and five backward, half of each hidden by the mask.
            let causal = |length: usize| (length * (length + 1)) as f64 / 2.0;
            let sequence = causal(self.length) + (self.prefix * self.length) as f64;
            let pairs = causal(self.prefix) + self.sequences as f64 * sequence;
            multiply_adds += 7.0 * pairs * config.query_width() as f64;
        }
        let head = supervised * (config.vocabulary * config.hidden) as f64;
        multiply_adds += if self.rank.is_some() { 2.0 * head } else { 3.0 * head };
        2.0 * multiply_adds
    }

    /// Tokens of the batch.
    pub fn tokens(&self) -> usize {
        self.prefix + self.sequences * self.length
    }
}

/// Durations of the parts of one step.
#[derive(Clone, Copy, Debug, Default)]
pub struct StepTime {
    /// The forward pass.
    pub forward: Duration,
    /// The backward pass.
    pub backward: Duration,
    /// Clipping and the optimiser.
    pub optimiser: Duration,
}

impl StepTime {
    /// The whole step.
    pub fn total(&self) -> Duration {
        self.forward + self.backward + self.optimiser
    }
}

/// A model that is ready to repeat one training step.
#[derive(Debug)]
pub struct StepBench {
    model: Model<f32>,
    lora: Option<Lora<f32>>,
    gradients: Gradients<f32>,
    optimiser: AdamW,
    workspace: Workspace<f32>,
    batch: Batch,
    targets: Vec<Target>,
    options: ForwardOptions,
    compute: Compute,
}

impl StepBench {
    /// Allocates everything except the buffers of the passes, which the first step allocates. `model` has the
    /// configuration of the shape; `compute` is the type for products with frozen weights, which exist only with
    /// an adapter.
    pub fn new(shape: &StepShape, mut model: Model<f32>, recompute: Recompute, compute: Compute) -> Self {
        // Trained weights are not frozen.
        let compute = if shape.rank.is_some() {
            model.freeze(compute)
        } else {
            model.make_trainable();
            Compute::F32
        };
        let lora = shape.rank.map(|rank| Lora::initialise(&shape.model, LoraConfig::new(rank, rank as f64), 2));
        let (gradients, optimiser) = match &lora {
            Some(lora) => (Gradients::lora(&model, lora), AdamW::for_lora(&model, lora, AdamWConfig::default())),
            None => (Gradients::full(&model), AdamW::for_model(&model, AdamWConfig::default())),
        };
        let mut batch = Batch::default();
        let mut targets = Vec::new();
        // Arbitrary fixed tokens; a stride coprime to the vocabulary visits most of it.
        let token = |row: usize| (row * 7919 % shape.model.vocabulary) as u32;
        let prefix = (shape.prefix > 0).then_some(0..shape.prefix);
        if let Some(rows) = &prefix {
            batch.tokens.extend(rows.clone().map(token));
            batch.positions.extend(0..shape.prefix as u32);
            batch.segments.push(Segment { rows: rows.clone(), context: Vec::new() });
        }
        for sequence in 0..shape.sequences {
            let start = shape.prefix + sequence * shape.length;
            batch.tokens.extend((start..start + shape.length).map(token));
            batch.positions.extend(shape.prefix as u32..(shape.prefix + shape.length) as u32);
            batch
                .segments
                .push(Segment { rows: start..start + shape.length, context: prefix.iter().cloned().collect() });
            let first = start + shape.length - shape.supervised - 1;
            targets
                .extend((first..first + shape.supervised).map(|row| Target { row: row as u32, token: token(row + 1) }));
        }
        let options = ForwardOptions { recompute, ..ForwardOptions::default() };
        Self { model, lora, gradients, optimiser, workspace: Workspace::new(), batch, targets, options, compute }
    }

    /// The type in which products with the weights are computed.
    pub fn compute(&self) -> Compute {
        self.compute
    }

    /// One step: forward, backward, clipping, optimiser.
    pub fn step(&mut self) -> StepTime {
        let (lora, targets) = (self.lora.as_ref(), &self.targets);
        let start = Instant::now();
        forward(&self.model, lora, &self.batch, targets, &self.options, &mut self.workspace);
        let forward = start.elapsed();
        let start = Instant::now();
        let weights = vec![-1.0 / targets.len() as f64; targets.len()];
        let output = OutputGradient { log_probabilities: &weights, divergences: None };
        self.gradients.clear();
        backward(&self.model, lora, &self.batch, &output, &mut self.workspace, &mut self.gradients);
        let backward = start.elapsed();
        let start = Instant::now();
        self.gradients.clip(1.0);
        match &mut self.lora {
            Some(lora) => self.optimiser.step_lora(lora, &mut self.gradients, 1e-4),
            None => self.optimiser.step_model(&mut self.model, &mut self.gradients, 1e-4),
        }
        StepTime { forward, backward, optimiser: start.elapsed() }
    }
}

/// Operands of the large products that measure the machine's peak.
#[derive(Debug)]
pub struct PeakBench {
    a: Vec<f32>,
    b: Vec<f32>,
    c: Vec<f32>,
    rounded: Option<(Rows, Columns)>,
}

impl PeakBench {
    /// `(rows, columns, depth)` of the products: square ones, and the widest of [`StepShape::m1`].
    const SHAPES: [(usize, usize, usize); 4] =
        [(1024, 1024, 1024), (1536, 1536, 1536), (1024, 4864, 896), (1024, 896, 4864)];

    /// Allocates the operands for products in single precision or in bf16.
    pub fn new(compute: Compute) -> Self {
        let largest = |size: fn(&(usize, usize, usize)) -> usize| Self::SHAPES.iter().map(size).max().unwrap_or(0);
        Self {
            a: vec![0.5; largest(|(m, _, k)| m * k)],
            b: vec![0.25; largest(|(_, n, k)| n * k)],
            c: vec![0.0; largest(|(m, n, _)| m * n)],
            rounded: (compute == Compute::Bf16).then(Default::default),
        }
    }

    /// The highest GFLOP/s over all shapes: in single precision with products split by the engine and by
    /// `gemm` itself, in bf16 with packed operands.
    pub fn gflops(&mut self) -> f64 {
        let mut best = 0.0_f64;
        for (m, n, k) in Self::SHAPES {
            let operations = 2.0 * (m * n * k) as f64;
            let mut time = |product: &mut dyn FnMut()| {
                let start = Instant::now();
                product();
                best = best.max(operations / start.elapsed().as_secs_f64() / 1e9);
            };
            let mut c = ViewMut::new(&mut self.c, m, n);
            if let Some((rows, columns)) = &mut self.rounded {
                rows.pack(View::new(&self.a, m, k));
                columns.pack_along(View::new(&self.b, n, k), 1.0);
                let kernel = bf16::kernel();
                time(&mut || bf16::product(kernel, &[Term::new(rows, columns)], c.reborrow(), |_, _, _| ()));
            } else {
                let (a, b) = (View::new(&self.a, m, k), View::new(&self.b, k, n));
                time(&mut || parallel_product(c.reborrow(), a, b));
                time(&mut || crate::ops::gemm::whole_product(c.reborrow(), a, b));
            }
        }
        best
    }
}
