//! The buffers of the forward and backward passes.

use crate::batch::{Batch, Target};
use crate::linear::AdapterScratch;
use crate::ops::attention::{Attention, Layout};
use crate::ops::bf16::Rows;
use crate::ops::rope::RopeTable;
use crate::options::ForwardOptions;
use crate::real::Real;
use crate::scratch::{ThreadScratch, fit};
use tabpo_model::ModelConfig;

/// The layout of a batch and its targets, as needed by the passes.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) rows: usize,
    layout: Layout,
    pub(crate) targets: Vec<Target>,
    /// The distinct rows of the targets, increasing.
    pub(crate) target_rows: Vec<u32>,
    /// For every target the index of its row in `target_rows`.
    pub(crate) target_slots: Vec<usize>,
}

impl Plan {
    /// # Panics
    /// If the segments do not partition the rows in order, or a context does not precede its segment.
    pub(crate) fn set(&mut self, config: &ModelConfig, batch: &Batch, targets: &[Target]) {
        self.rows = batch.tokens.len();
        assert_eq!(batch.positions.len(), self.rows, "one position per token");
        let mut next = 0;
        for segment in &batch.segments {
            assert_eq!(segment.rows.start, next, "segments partition the rows in order");
            assert!(segment.context.iter().all(|rows| rows.end <= next), "a context precedes its segment");
            next = segment.rows.end;
        }
        assert_eq!(next, self.rows, "segments partition the rows in order");
        self.layout.set(batch, config.heads / config.kv_heads, config.kv_heads);
        self.targets.clear();
        self.targets.extend_from_slice(targets);
        self.set_rows(targets.iter().map(|target| target.row));
        self.target_slots.clear();
        for target in targets {
            let slot = self.target_rows.binary_search(&target.row).expect("every target's row is listed");
            self.target_slots.push(slot);
        }
    }

    fn set_rows(&mut self, rows: impl Iterator<Item = u32>) {
        self.target_rows.clear();
        self.target_rows.extend(rows);
        self.target_rows.sort_unstable();
        self.target_rows.dedup();
    }

    pub(crate) fn attention<'a>(&'a self, batch: &'a Batch, config: &ModelConfig, layer: usize) -> Attention<'a> {
        Attention {
            layout: &self.layout,
            segments: &batch.segments,
            positions: &batch.positions,
            window: config.window(layer),
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
        }
    }
}

/// What the forward pass of one block keeps for its backward pass. All buffers are `[rows, ...]`.
#[derive(Debug, Default)]
pub(crate) struct LayerBuffers<R> {
    /// Inverse root mean squares of the block's input, and of the stream between its halves.
    pub(crate) inverse: [Vec<R>; 2],
    /// The two normalised inputs, if they are stored.
    pub(crate) normed: [Vec<R>; 2],
    /// Low-rank inputs of the four adapter groups.
    pub(crate) low: [Vec<R>; 4],
    /// Queries and keys before their normalisation, if the model has one.
    pub(crate) raw: [Vec<R>; 2],
    /// Inverse root mean squares of queries and keys, per head.
    pub(crate) raw_inverse: [Vec<R>; 2],
    pub(crate) query: Vec<R>,
    pub(crate) key: Vec<R>,
    pub(crate) value: Vec<R>,
    pub(crate) attention: Vec<R>,
    pub(crate) log_sums: Vec<R>,
    /// The residual stream between attention and feed-forward part.
    pub(crate) middle: Vec<R>,
    pub(crate) gate: Vec<R>,
    pub(crate) up: Vec<R>,
}

/// Scratch for the low-rank inputs of an adapter group and their operands.
#[derive(Debug, Default)]
pub(crate) struct LowScratch<R> {
    /// An input after dropout, and its rounded copy.
    pub(crate) dropped: Vec<R>,
    pub(crate) dropped_rounded: Rows,
    pub(crate) adapters: AdapterScratch,
    pub(crate) gradient: Vec<R>,
}

/// Buffers that all blocks share.
#[derive(Debug, Default)]
pub(crate) struct SharedBuffers<R> {
    pub(crate) normed: Vec<R>,
    pub(crate) product: Vec<R>,
    pub(crate) low: LowScratch<R>,
    /// Rounded operands of packed weights: an input, or the gradients of up to three outputs.
    pub(crate) rounded: [Rows; 3],
    /// Gradient of the residual stream.
    pub(crate) stream_gradient: Vec<R>,
    pub(crate) normed_gradient: Vec<R>,
    pub(crate) attention_gradient: Vec<R>,
    pub(crate) query_gradient: Vec<R>,
    /// Per key head.
    pub(crate) key_gradient: Vec<R>,
    pub(crate) value_gradient: Vec<R>,
    /// Per part of a tree, if trees are split.
    pub(crate) key_gradient_parts: Vec<R>,
    pub(crate) value_gradient_parts: Vec<R>,
}

/// Buffers of the head.
#[derive(Debug, Default)]
pub(crate) struct HeadBuffers<R> {
    /// The residual stream at the target rows.
    pub(crate) stream: Vec<R>,
    pub(crate) inverse: Vec<R>,
    /// The normalised stream at the target rows.
    pub(crate) hidden: Vec<R>,
    pub(crate) hidden_gradient: Vec<R>,
    pub(crate) logits: Vec<R>,
    pub(crate) reference_logits: Vec<R>,
    /// The rounded operand of a packed head.
    pub(crate) rounded: Rows,
    pub(crate) log_sums: Vec<f64>,
    pub(crate) reference_log_sums: Vec<f64>,
    pub(crate) divergences: Vec<f64>,
    /// Output gradients summed over the targets of a row: of log-probabilities, of divergences.
    pub(crate) output_gradients: [Vec<f64>; 2],
}

/// Buffers of the forward and backward pass. They grow to fit the largest batch and are reused, so that a
/// training loop allocates nothing after its largest batch.
#[derive(Debug)]
pub struct Workspace<R> {
    pub(crate) options: ForwardOptions,
    pub(crate) scratch: ThreadScratch<R>,
    pub(crate) rope: RopeTable<R>,
    pub(crate) plan: Plan,
    /// The residual stream before every block and after the last.
    pub(crate) streams: Vec<Vec<R>>,
    pub(crate) layers: Vec<LayerBuffers<R>>,
    pub(crate) shared: SharedBuffers<R>,
    pub(crate) head: HeadBuffers<R>,
}

impl<R: Real> Default for Workspace<R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R: Real> Workspace<R> {
    /// A workspace for the threads of the current rayon pool. Buffers are allocated by the first
    /// forward pass.
    pub fn new() -> Self {
        Self {
            options: ForwardOptions::default(),
            scratch: ThreadScratch::new(),
            rope: RopeTable::default(),
            plan: Plan::default(),
            streams: Vec::new(),
            layers: Vec::new(),
            shared: SharedBuffers::default(),
            head: HeadBuffers::default(),
        }
    }

    /// Bytes of all buffers.
    pub fn bytes(&self) -> usize {
        let size = |buffers: &[&Vec<R>]| buffers.iter().map(|buffer| buffer.len()).sum::<usize>();
        let mut elements = self.streams.iter().map(Vec::len).sum::<usize>();
        for layer in &self.layers {
            let groups = [&layer.inverse, &layer.normed, &layer.raw, &layer.raw_inverse];
            elements += groups.into_iter().flatten().chain(&layer.low).map(Vec::len).sum::<usize>();
            elements += size(&[&layer.query, &layer.key, &layer.value, &layer.attention, &layer.log_sums]);
            elements += size(&[&layer.middle, &layer.gate, &layer.up]);
        }
        let shared = &self.shared;
        elements += size(&[&shared.normed, &shared.product, &shared.stream_gradient]);
        elements += size(&[&shared.normed_gradient, &shared.attention_gradient]);
        elements += size(&[&shared.query_gradient, &shared.key_gradient, &shared.value_gradient]);
        elements += size(&[&shared.key_gradient_parts, &shared.value_gradient_parts]);
        let head = &self.head;
        elements += size(&[&head.stream, &head.inverse, &head.hidden, &head.hidden_gradient]);
        elements += size(&[&head.logits, &head.reference_logits]);
        elements += size(&[&shared.low.dropped, &shared.low.gradient]);
        let rounded = shared.rounded.iter().chain([&shared.low.dropped_rounded, &head.rounded]).map(Rows::bytes);
        let rounded = rounded.sum::<usize>() + shared.low.adapters.bytes();
        elements * size_of::<R>() + rounded + self.scratch.bytes() + self.rope.bytes()
    }

    /// The index of a block's buffers in `layers`.
    pub(crate) fn slot(options: &ForwardOptions, layer: usize) -> usize {
        if options.gradient { options.recompute.sets(layer + 1) - 1 } else { 0 }
    }

    /// The index of a block's input in `streams`.
    pub(crate) fn stream(options: &ForwardOptions, layer: usize) -> usize {
        if options.gradient { layer } else { layer % 2 }
    }

    /// Prepares the buffers for a pass over a batch.
    pub(crate) fn prepare(
        &mut self,
        config: &ModelConfig,
        batch: &Batch,
        targets: &[Target],
        options: &ForwardOptions,
    ) {
        self.options = *options;
        self.plan.set(config, batch, targets);
        let positions = batch.positions.iter().max().map_or(0, |&position| position as usize + 1);
        self.rope.extend(config, positions);
        let layers = Self::slot(options, config.layers - 1) + 1;
        if self.layers.len() < layers {
            self.layers.resize_with(layers, LayerBuffers::default);
        }
        let streams = if options.gradient { config.layers + 1 } else { 2 };
        if self.streams.len() < streams {
            self.streams.resize_with(streams, Vec::new);
        }
        for stream in &mut self.streams[..streams] {
            fit(stream, self.plan.rows * config.hidden);
        }
    }
}
