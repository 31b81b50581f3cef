//! Batched generation, one token at a time, with a cache of keys and values.

use rayon::prelude::*;

use crate::batch::{Batch, Segment};
use crate::cache::{CacheShape, KvCache, Sequence};
use crate::forward::blocks;
use crate::head;
use crate::linear::{self, Adapter, AdapterScratch, Operand};
use crate::lora::{Lora, LoraGroup, groups};
use crate::model::{Layer, Model};
use crate::ops::bf16::Rows;
use crate::ops::decode::{Panels, attend};
use crate::ops::gemm::add_product;
use crate::ops::rope::RopeTable;
use crate::ops::{norm, on_pool, swiglu};
use crate::options::ForwardOptions;
use crate::real::Real;
use crate::scratch::{ThreadScratch, fit};
use crate::view::{View, ViewMut};
use crate::weights::Matrix;
use crate::workspace::Workspace;
use tabpo_model::{ModelConfig, Projection};

/// Up to this many parameters a model is copied into the fastest layout for decoding.
const PACKED_PARAMETERS: usize = 64 << 20;

/// Up to this many parameters a batch is decoded in independent groups of sequences, one per thread: such weights
/// stay in the processor's caches, so that reading them once per group costs little and no thread waits.
const GROUPED_PARAMETERS: usize = 4 << 20;

/// Sequences that products with packed weights process together.
const GROUP_ROWS: usize = 6;

/// Sequences per group of a larger model, whose products are split among threads instead.
const LARGEST_GROUP: usize = 192;

/// A model prepared for generation. A small model is copied into the fastest layout for decoding, with the
/// adapter merged into the weights; a large one is used as it is, with a separate adapter.
#[derive(Debug)]
pub struct Decoder<'m, R> {
    model: &'m Model<R>,
    lora: Option<&'m Lora<R>>,
    parameters: usize,
    layers: Vec<DecodeLayer<'m, R>>,
    head: Head<'m, R>,
    workspace: Workspace<R>,
    groups: Vec<StepBuffers<R>>,
    rope: RopeTable<R>,
    logits: Vec<R>,
}

/// The parameters of one block.
#[derive(Debug)]
struct DecodeLayer<'m, R> {
    layer: &'m Layer<R>,
    /// The projections in the order of [`Projection::ALL`], with the adapter merged. Empty if the model is used
    /// as it is.
    packed: Vec<Panels<R>>,
    /// The adapters that are not merged.
    adapters: Option<&'m [LoraGroup<R>; 4]>,
}

/// The matrix that computes logits.
#[derive(Debug)]
enum Head<'m, R> {
    Packed(Panels<R>),
    /// `[vocabulary, hidden]`
    Plain(&'m Matrix<R>),
}

/// Buffers of one group of sequences, `[sequences, ...]`.
#[derive(Debug, Default)]
struct StepBuffers<R> {
    stream: Vec<R>,
    normed: Vec<R>,
    inverse: Vec<R>,
    query: Vec<R>,
    key: Vec<R>,
    value: Vec<R>,
    attention: Vec<R>,
    gate: Vec<R>,
    up: Vec<R>,
    product: Vec<R>,
    low: Vec<R>,
    scratch: DecodeScratch<R>,
    scores: Vec<R>,
    positions: Vec<u32>,
}

/// Scratch for copies of the operands of products.
#[derive(Debug, Default)]
struct DecodeScratch<R> {
    /// For products with panels.
    panels: Vec<R>,
    /// Rounded, for products in bf16.
    rounded: Rows,
    adapters: AdapterScratch,
}

/// Packs a matrix with its adapter merged.
fn pack<R: Real>(matrix: &Matrix<R>, adapter: Option<(&LoraGroup<R>, usize)>) -> Panels<R> {
    let (outputs, inputs) = (matrix.rows(), matrix.columns());
    let mut values = vec![R::ZERO; outputs * inputs];
    for (output, row) in values.chunks_exact_mut(inputs).enumerate() {
        matrix.copy_row(output, row);
    }
    if let Some((group, index)) = adapter {
        let member = &group.members[index];
        let a = View::new(&group.a, group.ranks(), inputs).rows(member.offset..member.offset + member.rank);
        let b = View::new(&member.b, outputs, member.rank);
        add_product(ViewMut::new(&mut values, outputs, inputs), member.scale, b, a);
    }
    Panels::new(&values, inputs)
}

fn pack_layer<'m, R: Real>(layer: &'m Layer<R>, adapters: Option<&'m [LoraGroup<R>; 4]>) -> DecodeLayer<'m, R> {
    let packed = Projection::ALL.map(|projection| {
        let adapter = adapters.and_then(|groups| {
            let group = &groups[projection.input_group()];
            let index = group.members.iter().position(|member| member.projection == projection)?;
            Some((group, index))
        });
        pack(&layer.projection(projection).weight, adapter)
    });
    DecodeLayer { layer, packed: packed.into(), adapters: None }
}

impl<'m, R: Real> Decoder<'m, R> {
    /// Prepares a model with an adapter.
    pub fn new(model: &'m Model<R>, lora: Option<&'m Lora<R>>) -> Self {
        let parameters = model.config.parameters();
        let small = parameters <= PACKED_PARAMETERS;
        let layers = model.layers.iter().enumerate().map(|(index, layer)| {
            let adapters = groups(lora, index);
            if small { pack_layer(layer, adapters) } else { DecodeLayer { layer, packed: Vec::new(), adapters } }
        });
        let head = if small { Head::Packed(pack(model.head_matrix(), None)) } else { Head::Plain(model.head_matrix()) };
        Self {
            model,
            lora,
            parameters,
            layers: layers.collect(),
            head,
            workspace: Workspace::new(),
            groups: Vec::new(),
            rope: RopeTable::default(),
            logits: Vec::new(),
        }
    }

    /// The logits of the last pass, `[sequences, vocabulary]`, followed by unspecified values.
    pub(crate) fn logits(&self) -> &[R] {
        &self.logits
    }

    /// Adds one sequence per prompt to the cache and returns the logits after each prompt's last token,
    /// `[prompts, vocabulary]`.
    ///
    /// # Panics
    /// If a prompt is empty or exceeds the cache's capacity, or the cache cannot hold all sequences.
    pub fn prefill(&mut self, prompts: &[&[u32]], cache: &mut KvCache<R>) -> &[R] {
        on_pool(|| self.prefill_on_pool(prompts, cache));
        &self.logits[..prompts.len() * self.model.config.vocabulary]
    }

    fn prefill_on_pool(&mut self, prompts: &[&[u32]], cache: &mut KvCache<R>) {
        let vocabulary = self.model.config.vocabulary;
        let mut logits = std::mem::take(&mut self.logits);
        let rows = fit(&mut logits, prompts.len() * vocabulary);
        // If rotations depend on the length of the sequence, prompts in one batch would affect each
        // other.
        let longest = prompts.iter().map(|prompt| prompt.len()).max().unwrap_or(0);
        let together = if self.model.config.rope_depends_on(longest) { 1 } else { prompts.len().max(1) };
        for (prompts, logits) in prompts.chunks(together).zip(rows.chunks_mut(together * vocabulary)) {
            self.prefill_together(prompts, cache, logits);
        }
        self.logits = logits;
    }

    fn prefill_together(&mut self, prompts: &[&[u32]], cache: &mut KvCache<R>, logits: &mut [R]) {
        let config = &self.model.config;
        let mut batch = Batch::default();
        for prompt in prompts {
            assert!(!prompt.is_empty() && prompt.len() <= cache.capacity(), "a prompt fits the cache");
            let start = batch.tokens.len();
            batch.tokens.extend_from_slice(prompt);
            batch.positions.extend(0..prompt.len() as u32);
            batch.segments.push(Segment { rows: start..start + prompt.len(), context: Vec::new() });
        }
        let before = cache.len();
        for _ in prompts {
            cache.push();
        }
        self.workspace.prepare(config, &batch, &[], &ForwardOptions::inference());
        let (shape, width) = (cache.shape(), config.key_width());
        let sequences = &mut cache.live_mut()[before..];
        blocks(self.model, self.lora, &batch, &mut self.workspace, |layer, keys, values| {
            sequences.par_iter_mut().zip(&batch.segments).for_each(|(sequence, segment)| {
                for (position, row) in segment.rows.clone().enumerate() {
                    let at = row * width..(row + 1) * width;
                    sequence.store(shape, layer, position, &keys[at.clone()], &values[at]);
                }
                sequence.length = segment.rows.len();
            });
        });
        let last_rows: Vec<u32> = batch.segments.iter().map(|segment| segment.rows.end as u32 - 1).collect();
        let last = Workspace::<R>::stream(&ForwardOptions::inference(), config.layers);
        let Workspace { streams, head, scratch, .. } = &mut self.workspace;
        head::gather(self.model, &last_rows, &streams[last], head);
        let hidden = &head.hidden[..prompts.len() * config.hidden];
        head::logits(self.model, hidden, logits, scratch, &mut head.rounded);
    }

    /// Appends one token to every live sequence and returns the logits after it,
    /// `[live sequences, vocabulary]`.
    ///
    /// # Panics
    /// If `tokens` does not have one token per live sequence, or a sequence is full.
    pub fn step(&mut self, tokens: &[u32], cache: &mut KvCache<R>) -> &[R] {
        on_pool(|| self.step_on_pool(tokens, cache));
        &self.logits[..tokens.len() * self.model.config.vocabulary]
    }

    fn step_on_pool(&mut self, tokens: &[u32], cache: &mut KvCache<R>) {
        let config = &self.model.config;
        assert_eq!(tokens.len(), cache.len(), "one token per live sequence");
        let shape = cache.shape();
        self.rope.extend_growing(config, shape.capacity);
        let size = if self.parameters <= GROUPED_PARAMETERS {
            // A row's result does not depend on its group, so that groups may depend on the number of threads.
            let share = tokens.len().div_ceil(rayon::current_num_threads()).max(1);
            if share <= GROUP_ROWS { share } else { share.next_multiple_of(GROUP_ROWS) }
        } else {
            LARGEST_GROUP
        };
        let count = tokens.len().div_ceil(size);
        if self.groups.len() < count {
            self.groups.resize_with(count, StepBuffers::default);
        }
        let logits = fit(&mut self.logits, tokens.len() * config.vocabulary);
        let step = Step {
            model: self.model,
            layers: &self.layers,
            head: &self.head,
            rope: &self.rope,
            scratch: &self.workspace.scratch,
            shape,
        };
        tokens
            .par_chunks(size)
            .zip(cache.live_mut().par_chunks_mut(size))
            .zip(logits.par_chunks_mut(size * config.vocabulary))
            .zip(&mut self.groups)
            .for_each(|(((tokens, sequences), logits), buffers)| step.run(tokens, sequences, buffers, logits));
    }
}

/// What the groups of one step share.
struct Step<'a, R> {
    model: &'a Model<R>,
    layers: &'a [DecodeLayer<'a, R>],
    head: &'a Head<'a, R>,
    rope: &'a RopeTable<R>,
    scratch: &'a ThreadScratch<R>,
    shape: CacheShape,
}

impl<R: Real> Step<'_, R> {
    /// One projection: `y = x W^T + b`, plus the adapter's update from the low-rank inputs `low`.
    fn project(
        &self,
        layer: &DecodeLayer<'_, R>,
        projection: Projection,
        x: &[R],
        low: &[R],
        y: &mut [R],
        scratch: &mut DecodeScratch<R>,
    ) {
        let linear = layer.layer.projection(projection);
        let (outputs, inputs) = (linear.weight.rows(), linear.weight.columns());
        let rows = x.len() / inputs;
        if let Some(packed) = layer.packed.get(projection as usize) {
            packed.product(x, y, &mut scratch.panels);
            if let Some(bias) = &linear.bias {
                for row in y.chunks_exact_mut(outputs) {
                    add(row, bias);
                }
            }
            return;
        }
        let adapter = layer.adapters.map(|groups| &groups[projection.input_group()]).and_then(|group| {
            let member = group.members.iter().find(|member| member.projection == projection)?;
            Some(Adapter::of_group(member, View::new(low, rows, group.ranks())))
        });
        let x = Operand::new(View::new(x, rows, inputs), linear.weight.is_packed(), &mut scratch.rounded);
        let y = ViewMut::new(y, rows, outputs);
        linear::forward(linear, adapter, x, None, y, self.scratch, &mut scratch.adapters);
    }

    /// One token for each of a group of sequences.
    fn run(&self, tokens: &[u32], sequences: &mut [Sequence<R>], buffers: &mut StepBuffers<R>, logits: &mut [R]) {
        let ModelConfig { hidden, intermediate, head_dim, rms_epsilon, heads, kv_heads, .. } = self.model.config;
        let (rows, shape) = (tokens.len(), self.shape);
        let (query_width, key_width) = (heads * head_dim, kv_heads * head_dim);
        let positions = &mut buffers.positions;
        positions.clear();
        positions.extend(sequences.iter().map(|sequence| {
            assert!(sequence.length < shape.capacity, "the cache can hold one more token");
            sequence.length as u32
        }));
        let stream = fit(&mut buffers.stream, rows * hidden);
        for (row, &token) in stream.chunks_exact_mut(hidden).zip(tokens) {
            self.model.embedding.copy_row(token as usize, row);
        }
        let normed = fit(&mut buffers.normed, rows * hidden);
        let query = fit(&mut buffers.query, rows * query_width);
        let key = fit(&mut buffers.key, rows * key_width);
        let value = fit(&mut buffers.value, rows * key_width);
        let attention = fit(&mut buffers.attention, rows * query_width);
        let gate = fit(&mut buffers.gate, rows * intermediate);
        let up = fit(&mut buffers.up, rows * intermediate);
        let gated = fit(&mut buffers.product, rows * intermediate);
        // Wide enough for the queries of models that normalise them per head.
        let inverse = fit(&mut buffers.inverse, rows * heads.max(1));
        let scores = fit(&mut buffers.scores, shape.capacity);
        let scratch = &mut buffers.scratch;
        for (index, layer) in self.layers.iter().enumerate() {
            let parameters = layer.layer;
            norm::forward(stream, &parameters.input_norm, rms_epsilon, &mut inverse[..rows], normed);
            let low = low_inputs(layer, 0, normed, rows, &mut buffers.low, scratch);
            self.project(layer, Projection::Query, normed, low, query, scratch);
            self.project(layer, Projection::Key, normed, low, key, scratch);
            self.project(layer, Projection::Value, normed, low, value, scratch);
            for (state, scale, heads) in
                [(&mut *query, &parameters.query_norm, heads), (&mut *key, &parameters.key_norm, kv_heads)]
            {
                if let Some(scale) = scale {
                    // `attention` is not in use yet and wide enough for queries and keys.
                    let raw = &mut attention[..state.len()];
                    raw.copy_from_slice(state);
                    norm::forward(raw, scale, rms_epsilon, &mut inverse[..rows * heads], state);
                }
                self.rope.forward(state, positions, head_dim);
            }
            let window = self.model.config.window(index);
            for (row, sequence) in sequences.iter_mut().enumerate() {
                let position = positions[row] as usize;
                let keys = row * key_width..(row + 1) * key_width;
                sequence.store(shape, index, position, &key[keys.clone()], &value[keys]);
                let first = window.map_or(0, |window| (position + 1).saturating_sub(window));
                for head in 0..heads {
                    let at = row * query_width + head * head_dim..row * query_width + (head + 1) * head_dim;
                    let (keys, values) = sequence.head(shape, index, head / (heads / kv_heads));
                    attend(&query[at.clone()], keys, values, first..position + 1, scores, &mut attention[at]);
                }
            }
            let low = low_inputs(layer, 1, attention, rows, &mut buffers.low, scratch);
            self.project(layer, Projection::Output, attention, low, normed, scratch);
            add(stream, normed);

            norm::forward(stream, &parameters.post_attention_norm, rms_epsilon, &mut inverse[..rows], normed);
            let low = low_inputs(layer, 2, normed, rows, &mut buffers.low, scratch);
            self.project(layer, Projection::Gate, normed, low, gate, scratch);
            self.project(layer, Projection::Up, normed, low, up, scratch);
            swiglu::forward(gate, up, gated);
            let low = low_inputs(layer, 3, gated, rows, &mut buffers.low, scratch);
            self.project(layer, Projection::Down, gated, low, normed, scratch);
            add(stream, normed);
        }
        for sequence in sequences {
            sequence.length += 1;
        }
        norm::forward(stream, &self.model.norm, rms_epsilon, &mut inverse[..rows], normed);
        let vocabulary = self.model.config.vocabulary;
        match self.head {
            Head::Packed(panels) => panels.product(normed, logits, &mut scratch.panels),
            Head::Plain(matrix) => {
                let (states, logits) = (View::new(normed, rows, hidden), ViewMut::new(logits, rows, vocabulary));
                linear::forward_matrix(matrix, states, logits, self.scratch, &mut scratch.rounded);
            }
        }
    }
}

/// `x A^T` of an adapter group that is not merged.
fn low_inputs<'l, R: Real>(
    layer: &DecodeLayer<'_, R>,
    group: usize,
    x: &[R],
    rows: usize,
    low: &'l mut Vec<R>,
    scratch: &mut DecodeScratch<R>,
) -> &'l [R] {
    let Some(group) = layer.adapters.map(|groups| &groups[group]).filter(|group| !group.members.is_empty()) else {
        return &[];
    };
    let ranks = group.ranks();
    let low = fit(low, rows * ranks);
    let packed = layer.layer.projections[0].weight.is_packed();
    let x = Operand::new(View::new(x, rows, x.len() / rows), packed, &mut scratch.rounded);
    linear::forward_low(group, x, ViewMut::new(low, rows, ranks), &mut scratch.adapters);
    low
}

/// `x += y`
fn add<R: Real>(x: &mut [R], y: &[R]) {
    for (x, &y) in x.iter_mut().zip(y) {
        *x += y;
    }
}
