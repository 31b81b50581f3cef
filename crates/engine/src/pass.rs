//! One pass of generation: tokens appended to sequences, whose keys and values are cached.
//!
//! Prompts and single new tokens go through the same code, and no row's result depends, to the last bit, on what is
//! computed beside it: so neither the size of a batch nor the time at which a sequence joins it changes an answer.

use crate::cache::{CacheShape, Sequence};
use crate::decode::{DecodeLayer, Head};
use crate::linear::{self, Adapter, AdapterScratch, Operand};
use crate::lora::LoraGroup;
use crate::model::Model;
use crate::ops::bf16;
use crate::ops::cached::{Rows, padded};
use crate::ops::rope::RopeTable;
use crate::ops::strips::{RowPanels, Term, Weights, product};
use crate::ops::{norm, swiglu};
use crate::pass_layout::PassLayout;
use crate::real::Real;
use crate::scratch::{ThreadScratch, fit};
use crate::view::{Bands, View, ViewMut, for_each_tile};
use tabpo_model::{ModelConfig, Projection};

/// Tokens to append to a sequence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Feed<'t> {
    /// Index of the sequence.
    pub(crate) sequence: usize,
    pub(crate) tokens: &'t [u32],
    /// Where the hidden state after the last token is stored, if it is needed.
    pub(crate) state: Option<usize>,
}

/// Buffers of one group of sequences, `[rows, ...]`.
#[derive(Debug, Default)]
pub(crate) struct PassBuffers<R> {
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
    /// Normalised hidden states that were asked for.
    states: Vec<R>,
    inputs: Inputs<R>,
    layout: PassLayout,
}

/// Copies of the operands of products, in the layout that the weights need.
#[derive(Debug, Default)]
struct Inputs<R> {
    /// For weights that are packed in panels.
    panels: Vec<R>,
    /// For weights as their file has them: the input, and the low-rank input of an adapter.
    wide: RowPanels<R>,
    narrow: RowPanels<R>,
    /// For weights packed in bf16.
    rounded: bf16::Rows,
    adapters: AdapterScratch,
    /// Low-rank inputs of a group of adapters.
    low: Vec<R>,
}

/// What the groups of one pass share.
pub(crate) struct Pass<'a, R> {
    pub(crate) model: &'a Model<R>,
    pub(crate) layers: &'a [DecodeLayer<'a, R>],
    pub(crate) rope: &'a RopeTable<R>,
    pub(crate) scratch: &'a ThreadScratch<R>,
}

impl<R: Real> PassBuffers<R> {
    /// The hidden states that the feeds of the last pass asked for, in their order.
    pub(crate) fn states(&self, hidden: usize) -> impl Iterator<Item = &[R]> {
        self.states.chunks_exact(hidden)
    }

    /// The logits of normalised hidden states, `[rows, vocabulary]`.
    pub(crate) fn logits(&mut self, head: &Head<'_, R>, states: &[R], logits: &mut [R], scratch: &ThreadScratch<R>) {
        let inputs = &mut self.inputs;
        match head {
            Head::Packed(panels) => panels.product(states, logits, &mut inputs.panels),
            Head::Plain(matrix) => {
                let rows = states.len() / matrix.columns();
                let states = View::new(states, rows, matrix.columns());
                let logits = ViewMut::new(logits, rows, matrix.rows());
                if matrix.is_packed() {
                    return linear::forward_matrix(matrix, states, logits, scratch, &mut inputs.rounded);
                }
                inputs.wide.pack(states, R::ONE);
                let term = Term { x: &inputs.wide, weights: Weights::Matrix(matrix) };
                product(&[term], None, logits, scratch);
            }
        }
    }
}

impl<R: Real> Inputs<R> {
    /// Prepares the operands of the projections of an input group: the copy of `x`, and `x A^T` of its adapters.
    fn prepare(&mut self, layer: &DecodeLayer<'_, R>, group: usize, x: View<'_, R>, scratch: &ThreadScratch<R>) {
        if !layer.packed.is_empty() {
            return;
        }
        let rounded = layer.layer.projections[0].weight.is_packed();
        if !rounded {
            self.wide.pack(x, R::ONE);
        }
        let Some(group) = adapters(layer, group) else { return };
        let (rows, ranks) = (x.height(), group.ranks());
        let low = ViewMut::new(fit(&mut self.low, rows * ranks), rows, ranks);
        if rounded {
            let x = Operand::new(x, true, &mut self.rounded);
            linear::forward_low(group, x, low, &mut self.adapters);
        } else {
            let term = Term { x: &self.wide, weights: Weights::View(View::new(&group.a, ranks, x.width())) };
            product(&[term], None, low, scratch);
        }
    }

    /// One projection of a prepared input: `y = x W^T + b`, plus the adapter's update.
    fn project(
        &mut self,
        layer: &DecodeLayer<'_, R>,
        projection: Projection,
        x: View<'_, R>,
        y: &mut [R],
        scratch: &ThreadScratch<R>,
    ) {
        let linear = layer.layer.projection(projection);
        let (rows, outputs) = (x.height(), linear.weight.rows());
        let bias = linear.bias.as_deref();
        if let Some(packed) = layer.packed.get(projection as usize) {
            packed.product(x.all(), y, &mut self.panels);
            if let Some(bias) = bias {
                y.chunks_exact_mut(outputs).for_each(|row| add(row, bias));
            }
            return;
        }
        let adapter = adapters(layer, projection.input_group()).and_then(|group| {
            let member = group.members.iter().find(|member| member.projection == projection)?;
            Some(Adapter::of_group(member, View::new(&self.low, rows, group.ranks())))
        });
        let y = ViewMut::new(y, rows, outputs);
        if linear.weight.is_packed() {
            let x = Operand::new(x, true, &mut self.rounded);
            return linear::forward(linear, adapter, x, None, y, scratch, &mut self.adapters);
        }
        let own = Term { x: &self.wide, weights: Weights::Matrix(&linear.weight) };
        let Some(Adapter { member, low }) = adapter else { return product(&[own], bias, y, scratch) };
        self.narrow.pack(low, member.scale);
        let update = Weights::View(View::new(&member.b, outputs, member.rank));
        product(&[own, Term { x: &self.narrow, weights: update }], bias, y, scratch);
    }
}

/// The adapters of an input group that are not merged, if there are any.
fn adapters<'m, R>(layer: &DecodeLayer<'m, R>, group: usize) -> Option<&'m LoraGroup<R>> {
    layer.adapters.map(|groups| &groups[group]).filter(|group| !group.members.is_empty())
}

impl<R: Real> Pass<'_, R> {
    /// Appends the tokens of a group of feeds, in which sequences with the same beginning are neighbours.
    pub(crate) fn run(&self, work: &mut [(Feed<'_>, &mut Sequence<R>)], buffers: &mut PassBuffers<R>) {
        let ModelConfig { hidden, intermediate, head_dim, rms_epsilon, heads, kv_heads, .. } = self.model.config;
        let (query_width, key_width) = (heads * head_dim, kv_heads * head_dim);
        let PassBuffers { inputs, layout, .. } = buffers;
        layout.set(work, heads / kv_heads);
        let rows = layout.positions.len();
        let stream = fit(&mut buffers.stream, rows * hidden);
        let tokens = work.iter().flat_map(|(feed, _)| feed.tokens);
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
        let scratch = self.scratch;
        for (index, layer) in self.layers.iter().enumerate() {
            let parameters = layer.layer;
            norm::forward(stream, &parameters.input_norm, rms_epsilon, &mut inverse[..rows], normed);
            let x = View::new(normed, rows, hidden);
            inputs.prepare(layer, 0, x, scratch);
            inputs.project(layer, Projection::Query, x, query, scratch);
            inputs.project(layer, Projection::Key, x, key, scratch);
            inputs.project(layer, Projection::Value, x, value, scratch);
            for (state, scale, heads) in
                [(&mut *query, &parameters.query_norm, heads), (&mut *key, &parameters.key_norm, kv_heads)]
            {
                if let Some(scale) = scale {
                    // `attention` is not in use yet and wide enough for queries and keys.
                    let raw = &mut attention[..state.len()];
                    raw.copy_from_slice(state);
                    norm::forward(raw, scale, rms_epsilon, &mut inverse[..rows * heads], state);
                }
                self.rope.forward(state, &layout.positions, head_dim);
            }
            self.store(index, work, key, value);
            let of_row = View::new(query, rows, query_width);
            self.attend(index, work, layout, of_row, ViewMut::new(attention, rows, query_width));
            let x = View::new(attention, rows, query_width);
            inputs.prepare(layer, 1, x, scratch);
            inputs.project(layer, Projection::Output, x, normed, scratch);
            add(stream, normed);

            norm::forward(stream, &parameters.post_attention_norm, rms_epsilon, &mut inverse[..rows], normed);
            let x = View::new(normed, rows, hidden);
            inputs.prepare(layer, 2, x, scratch);
            inputs.project(layer, Projection::Gate, x, gate, scratch);
            inputs.project(layer, Projection::Up, x, up, scratch);
            swiglu::forward(gate, up, gated);
            let x = View::new(gated, rows, intermediate);
            inputs.prepare(layer, 3, x, scratch);
            inputs.project(layer, Projection::Down, x, normed, scratch);
            add(stream, normed);
        }
        let mut last = 0;
        buffers.states.clear();
        for (feed, sequence) in work {
            sequence.own.length += feed.tokens.len();
            last += feed.tokens.len();
            if feed.state.is_some() {
                buffers.states.extend_from_slice(&stream[(last - 1) * hidden..last * hidden]);
            }
        }
        let count = buffers.states.len() / hidden;
        let raw = &mut normed[..count * hidden];
        raw.copy_from_slice(&buffers.states);
        norm::forward(raw, &self.model.norm, rms_epsilon, &mut inverse[..count], &mut buffers.states);
    }

    /// Appends the rows' keys and values to their sequences.
    fn store(&self, layer: usize, work: &mut [(Feed<'_>, &mut Sequence<R>)], key: &[R], value: &[R]) {
        let shape = CacheShape::of(&self.model.config);
        let width = self.model.config.key_width();
        let mut rows = key.chunks_exact(width).zip(value.chunks_exact(width));
        for (feed, sequence) in work {
            for (offset, (key, value)) in rows.by_ref().take(feed.tokens.len()).enumerate() {
                let position = sequence.own.length + offset;
                sequence.own.store(shape, layer, position, key, value);
            }
        }
    }

    /// Attention of all rows to what their sequences have stored, `[rows, heads * head_dim]`.
    fn attend(
        &self,
        layer: usize,
        work: &[(Feed<'_>, &mut Sequence<R>)],
        layout: &PassLayout,
        query: View<'_, R>,
        out: ViewMut<'_, R>,
    ) {
        let config = &self.model.config;
        let (shape, window) = (CacheShape::of(config), config.window(layer));
        let (width, group) = (config.head_dim, config.heads / config.kv_heads);
        for_each_tile([out], Bands::At(&layout.bounds), [group * width], |[mut out], tile| {
            let columns = tile.column * group * width;
            let count = tile.rows.len() * group;
            let queries: Vec<&[R]> = tile
                .rows
                .clone()
                .flat_map(|row| query.row(row)[columns..columns + group * width].chunks_exact(width))
                .collect();
            let mut sums = vec![R::ZERO; count * (padded(width) + 2)];
            let (sums, rest) = sums.split_at_mut(count * padded(width));
            let (totals, maxima) = rest.split_at_mut(count);
            let mut rows = Rows { queries: &queries, sums, totals, maxima };
            rows.clear();
            self.scratch.with(|scores| {
                for piece in layout.pieces(tile.band) {
                    let sequence = &work[piece.feed].1;
                    let (start, end, part) = match sequence.shared.get(piece.level) {
                        Some(part) => (part.start(), part.length(), part.stretch()),
                        None => (sequence.before, usize::MAX, &sequence.own),
                    };
                    let visible = |index: usize| {
                        let position = layout.positions[tile.rows.start + index / group] as usize;
                        let first = window.map_or(0, |window| (position + 1).saturating_sub(window)).max(start);
                        let end = end.min(position + 1);
                        if first < end { first - start..end - start } else { 0..0 }
                    };
                    let local = piece.rows.start - tile.rows.start..piece.rows.end - tile.rows.start;
                    let stacked = local.start * group..local.end * group;
                    rows.attend(stacked, part.head(shape, layer, tile.column), visible, scores);
                }
            });
            for index in 0..count {
                let at = index % group * width;
                rows.finish(index, &mut out.row_mut(index / group)[at..at + width]);
            }
        });
    }
}

/// `x += y`
fn add<R: Real>(x: &mut [R], y: &[R]) {
    for (x, &y) in x.iter_mut().zip(y) {
        *x += y;
    }
}
