//! One decoder block, forward and backward.

use tabpo_model::{ModelConfig, Projection};

use crate::batch::Batch;
use crate::linear::{self, Adapter, AdapterScratch, Dropout, Operand};
use crate::lora::LoraGroup;
use crate::model::Layer;
use crate::ops::attention::{InputGradients, Inputs, Outputs};
use crate::ops::bf16::Rows;
use crate::ops::rope::RopeTable;
use crate::ops::{norm, swiglu};
use crate::options::{ForwardOptions, Recompute};
use crate::real::Real;
use crate::scratch::{ThreadScratch, fit};
use crate::view::{View, ViewMut};
use crate::workspace::{LayerBuffers, LowScratch, Plan, SharedBuffers};

/// Indices of the adapter groups in [`tabpo_model::INPUT_GROUPS`].
const ATTENTION: usize = 0;
const OUTPUT: usize = 1;
const FEED_FORWARD: usize = 2;
const DOWN: usize = 3;

/// Everything a block needs except its parameters and buffers.
pub(crate) struct Pass<'a, R> {
    pub(crate) config: &'a ModelConfig,
    pub(crate) batch: &'a Batch,
    pub(crate) plan: &'a Plan,
    pub(crate) rope: &'a RopeTable<R>,
    pub(crate) scratch: &'a ThreadScratch<R>,
    pub(crate) options: &'a ForwardOptions,
    /// Probability of dropout in the adapters.
    pub(crate) dropout: f64,
}

/// A block's parameters.
#[derive(Clone, Copy)]
pub(crate) struct Block<'a, R> {
    pub(crate) index: usize,
    pub(crate) layer: &'a Layer<R>,
    pub(crate) adapters: Option<&'a [LoraGroup<R>; 4]>,
}

impl<'a, R: Real> Block<'a, R> {
    /// Whether the weights are packed, so that products need rounded operands.
    fn packed(&self) -> bool {
        self.layer.projections[0].weight.is_packed()
    }

    /// The adapters of an input group, if there are any.
    fn group(&self, group: usize) -> Option<&'a LoraGroup<R>> {
        self.adapters.map(|groups| &groups[group]).filter(|group| !group.members.is_empty())
    }

    fn adapter(&self, projection: Projection, low: &'a [R], rows: usize) -> Option<Adapter<'a, R>> {
        let group = self.group(projection.input_group())?;
        let member = group.members.iter().find(|member| member.projection == projection)?;
        Some(Adapter::of_group(member, View::new(low, rows, group.ranks())))
    }
}

/// The input of a group's projections, with an adapter's low-rank input `x A^T`.
#[derive(Clone, Copy)]
struct Input<'a, R> {
    x: Operand<'a, R>,
    low: &'a [R],
}

/// The gradient of a block's parameters.
pub(crate) enum BlockGradients<'a, R> {
    Full(&'a mut Layer<R>),
    Lora(&'a mut [LoraGroup<R>; 4]),
}

impl<R: Real> Pass<'_, R> {
    fn rows(&self) -> usize {
        self.plan.rows
    }

    fn keeps_norms(&self) -> bool {
        self.options.gradient && self.options.recompute == Recompute::Nothing
    }

    /// The dropout mask of an adapter group, if there is one.
    fn mask(&self, layer: usize, group: usize) -> Option<Dropout> {
        let seed = self.options.dropout_seed.filter(|_| self.dropout > 0.0)?;
        Some(Dropout::new(seed, layer, group, self.dropout))
    }

    /// The operand of a group's projections; its rounded copy is made in `copy`.
    fn operand<'x>(&self, block: Block<'_, R>, x: &'x [R], copy: &'x mut Rows) -> Operand<'x, R> {
        Operand::new(View::new(x, self.rows(), x.len() / self.rows()), block.packed(), copy)
    }

    /// `x A^T` of a group, after dropout.
    fn low(
        &self,
        block: Block<'_, R>,
        group: usize,
        x: &[R],
        operand: Operand<'_, R>,
        low: &mut Vec<R>,
        scratch: &mut LowScratch<R>,
    ) {
        let Some(adapters) = block.group(group) else { return };
        let (rows, ranks) = (self.rows(), adapters.ranks());
        let low = ViewMut::new(fit(low, rows * ranks), rows, ranks);
        let operand = match self.mask(block.index, group) {
            Some(mask) => {
                let dropped = fit(&mut scratch.dropped, x.len());
                mask.apply(x, dropped, false);
                self.operand(block, dropped, &mut scratch.dropped_rounded)
            }
            None => operand,
        };
        linear::forward_low(adapters, operand, low, &mut scratch.adapters);
    }

    /// One projection of the block: `y = x W^T + b + s low B^T`, plus `residual` if given.
    fn project(
        &self,
        block: Block<'_, R>,
        projection: Projection,
        input: Input<'_, R>,
        residual: Option<&[R]>,
        y: &mut [R],
        scratch: &mut AdapterScratch,
    ) {
        let rows = self.rows();
        let linear = block.layer.projection(projection);
        let outputs = linear.weight.rows();
        linear::forward(
            linear,
            block.adapter(projection, input.low, rows),
            input.x,
            residual.map(|residual| View::new(residual, rows, outputs)),
            ViewMut::new(y, rows, outputs),
            self.scratch,
            scratch,
        );
    }

    /// `x + attention(norm(x))`, then the same with the feed-forward part, into `output`. A repeated forward
    /// pass needs no output and skips the down projection.
    pub(crate) fn forward(
        &self,
        block: Block<'_, R>,
        input: &[R],
        buffers: &mut LayerBuffers<R>,
        shared: &mut SharedBuffers<R>,
        output: Option<&mut [R]>,
    ) {
        let config = self.config;
        let rows = self.rows();
        let layer = block.layer;
        let width = rows * config.hidden;

        let keeps = self.keeps_norms();
        let [first_normed, second_normed] = &mut buffers.normed;
        let normed = fit(if keeps { first_normed } else { &mut shared.normed }, width);
        let inverse = fit(&mut buffers.inverse[0], rows);
        norm::forward(input, &layer.input_norm, config.rms_epsilon, inverse, normed);
        let x = self.operand(block, normed, &mut shared.rounded[0]);
        self.low(block, ATTENTION, normed, x, &mut buffers.low[ATTENTION], &mut shared.low);
        let (low, scratch) = (&buffers.low[ATTENTION], &mut shared.low.adapters);
        let query = fit(&mut buffers.query, rows * config.query_width());
        let key = fit(&mut buffers.key, rows * config.key_width());
        let value = fit(&mut buffers.value, rows * config.key_width());
        let scales = [(&layer.query_norm, Projection::Query), (&layer.key_norm, Projection::Key)];
        let states = [&mut *query, &mut *key].into_iter().zip(&mut buffers.raw).zip(&mut buffers.raw_inverse);
        for (((state, raw), inverse), (scale, projection)) in states.zip(scales) {
            if let Some(scale) = scale {
                let raw = fit(raw, state.len());
                self.project(block, projection, Input { x, low }, None, raw, scratch);
                let inverse = fit(inverse, raw.len() / config.head_dim);
                norm::forward(raw, scale, config.rms_epsilon, inverse, state);
            } else {
                self.project(block, projection, Input { x, low }, None, state, scratch);
            }
            self.rope.forward(state, &self.batch.positions, config.head_dim);
        }
        self.project(block, Projection::Value, Input { x, low }, None, value, scratch);

        let attention = fit(&mut buffers.attention, rows * config.query_width());
        let log_sums = fit(&mut buffers.log_sums, rows * config.heads);
        self.plan.attention(self.batch, config, block.index).forward(
            Inputs {
                query: View::new(query, rows, config.query_width()),
                key: View::new(key, rows, config.key_width()),
                value: View::new(value, rows, config.key_width()),
            },
            ViewMut::new(attention, rows, config.query_width()),
            ViewMut::new(log_sums, rows, config.heads),
            self.scratch,
        );
        let x = self.operand(block, attention, &mut shared.rounded[0]);
        self.low(block, OUTPUT, attention, x, &mut buffers.low[OUTPUT], &mut shared.low);
        let middle = fit(&mut buffers.middle, width);
        let (low, scratch) = (&buffers.low[OUTPUT], &mut shared.low.adapters);
        self.project(block, Projection::Output, Input { x, low }, Some(input), middle, scratch);

        let normed = fit(if keeps { second_normed } else { &mut shared.normed }, width);
        let inverse = fit(&mut buffers.inverse[1], rows);
        norm::forward(middle, &layer.post_attention_norm, config.rms_epsilon, inverse, normed);
        let x = self.operand(block, normed, &mut shared.rounded[0]);
        self.low(block, FEED_FORWARD, normed, x, &mut buffers.low[FEED_FORWARD], &mut shared.low);
        let (low, scratch) = (&buffers.low[FEED_FORWARD], &mut shared.low.adapters);
        let gate = fit(&mut buffers.gate, rows * config.intermediate);
        self.project(block, Projection::Gate, Input { x, low }, None, gate, scratch);
        let up = fit(&mut buffers.up, rows * config.intermediate);
        self.project(block, Projection::Up, Input { x, low }, None, up, scratch);
        // The backward pass needs the down projection's low-rank input even without an output.
        if output.is_some() || block.group(DOWN).is_some() {
            let product = fit(&mut shared.product, rows * config.intermediate);
            swiglu::forward(gate, up, product);
            let x = self.operand(block, product, &mut shared.rounded[0]);
            self.low(block, DOWN, product, x, &mut buffers.low[DOWN], &mut shared.low);
            if let Some(output) = output {
                let (low, scratch) = (&buffers.low[DOWN], &mut shared.low.adapters);
                self.project(block, Projection::Down, Input { x, low }, Some(middle), output, scratch);
            }
        }
    }

    /// Replaces the gradient of the block's output in `shared.stream_gradient` by that of its input, and
    /// adds the gradients of its parameters. `buffers` are consumed. If nothing below the block is trained,
    /// `input_gradient` is false and the last steps are skipped.
    pub(crate) fn backward(
        &self,
        block: Block<'_, R>,
        input: &[R],
        buffers: &mut LayerBuffers<R>,
        shared: &mut SharedBuffers<R>,
        gradients: &mut BlockGradients<'_, R>,
        input_gradient: bool,
    ) {
        let config = self.config;
        let rows = self.rows();
        let layer = block.layer;
        let width = rows * config.hidden;
        let stream_gradient = fit(&mut shared.stream_gradient, width);
        let mut scratch = GradientScratch { rounded: &mut shared.rounded, low: &mut shared.low };

        // Feed-forward part.
        let product = fit(&mut shared.product, rows * config.intermediate);
        let gate = fit(&mut buffers.gate, rows * config.intermediate);
        let up = fit(&mut buffers.up, rows * config.intermediate);
        self.input_gradient(block, DOWN, [(Projection::Down, stream_gradient)], Some(product), &mut scratch);
        swiglu::backward(gate, up, product);
        let inputs = GroupInput { x: product, low: &buffers.low[DOWN] };
        self.parameter_gradients(block, DOWN, [(Projection::Down, stream_gradient)], inputs, &mut scratch, gradients);
        let middle = fit(&mut buffers.middle, width);
        let keeps = self.keeps_norms();
        let [first_normed, second_normed] = &mut buffers.normed;
        let normed = fit(if keeps { second_normed } else { &mut shared.normed }, width);
        let inverse = fit(&mut buffers.inverse[1], rows);
        if !keeps {
            norm::repeat(middle, &layer.post_attention_norm, inverse, normed);
        }
        let normed_gradient = fit(&mut shared.normed_gradient, width);
        let outputs = [(Projection::Gate, &*gate), (Projection::Up, &*up)];
        self.input_gradient(block, FEED_FORWARD, outputs, Some(normed_gradient), &mut scratch);
        let inputs = GroupInput { x: normed, low: &buffers.low[FEED_FORWARD] };
        self.parameter_gradients(block, FEED_FORWARD, outputs, inputs, &mut scratch, gradients);
        if let BlockGradients::Full(gradient) = gradients {
            norm::backward_scale(middle, inverse, normed_gradient, &mut gradient.post_attention_norm);
        }
        norm::backward_add(middle, &layer.post_attention_norm, inverse, normed_gradient, stream_gradient);

        // Attention.
        let attention_gradient = fit(&mut shared.attention_gradient, rows * config.query_width());
        let outputs = [(Projection::Output, &*stream_gradient)];
        self.input_gradient(block, OUTPUT, outputs, Some(attention_gradient), &mut scratch);
        let attention = fit(&mut buffers.attention, rows * config.query_width());
        let inputs = GroupInput { x: attention, low: &buffers.low[OUTPUT] };
        self.parameter_gradients(block, OUTPUT, outputs, inputs, &mut scratch, gradients);
        let query_gradient = fit(&mut shared.query_gradient, rows * config.query_width());
        let key_gradient = fit(&mut shared.key_gradient, rows * config.key_width());
        let value_gradient = fit(&mut shared.value_gradient, rows * config.key_width());
        self.plan.attention(self.batch, config, block.index).backward(
            Inputs {
                query: View::new(&buffers.query, rows, config.query_width()),
                key: View::new(&buffers.key, rows, config.key_width()),
                value: View::new(&buffers.value, rows, config.key_width()),
            },
            Outputs {
                out: View::new(attention, rows, config.query_width()),
                log_sums: View::new(&buffers.log_sums, rows, config.heads),
                gradient: View::new(attention_gradient, rows, config.query_width()),
            },
            InputGradients {
                query: ViewMut::new(query_gradient, rows, config.query_width()),
                key: ViewMut::new(key_gradient, rows, config.key_width()),
                value: ViewMut::new(value_gradient, rows, config.key_width()),
                parts: [&mut shared.key_gradient_parts, &mut shared.value_gradient_parts],
            },
            self.scratch,
        );
        let scales = [(&layer.query_norm, 0), (&layer.key_norm, 1)];
        for (gradient, (scale, which)) in [&mut *query_gradient, &mut *key_gradient].into_iter().zip(scales) {
            self.rope.backward(gradient, &self.batch.positions, config.head_dim);
            if let Some(scale) = scale {
                let raw = &buffers.raw[which][..gradient.len()];
                let inverse = &buffers.raw_inverse[which][..gradient.len() / config.head_dim];
                if let BlockGradients::Full(target) = gradients {
                    let target = if which == 0 { &mut target.query_norm } else { &mut target.key_norm };
                    let target = target.as_mut().expect("the gradient has the shape of the model");
                    norm::backward_scale(raw, inverse, gradient, target);
                }
                norm::backward_in_place(raw, scale, inverse, gradient);
            }
        }
        let normed = fit(if keeps { first_normed } else { &mut shared.normed }, width);
        let inverse = fit(&mut buffers.inverse[0], rows);
        if !keeps {
            norm::repeat(input, &layer.input_norm, inverse, normed);
        }
        let outputs = [
            (Projection::Query, &*query_gradient),
            (Projection::Key, &*key_gradient),
            (Projection::Value, &*value_gradient),
        ];
        let target = input_gradient.then_some(&mut *normed_gradient);
        self.input_gradient(block, ATTENTION, outputs, target, &mut scratch);
        let inputs = GroupInput { x: normed, low: &buffers.low[ATTENTION] };
        self.parameter_gradients(block, ATTENTION, outputs, inputs, &mut scratch, gradients);
        if input_gradient {
            if let BlockGradients::Full(gradient) = gradients {
                norm::backward_scale(input, inverse, normed_gradient, &mut gradient.input_norm);
            }
            norm::backward_add(input, &layer.input_norm, inverse, normed_gradient, stream_gradient);
        }
    }

    /// The gradients of the outputs of a group of projections, as operands.
    fn operands<'x, const N: usize>(
        &self,
        block: Block<'_, R>,
        outputs: [(Projection, &'x [R]); N],
        copies: &'x mut [Rows; 3],
    ) -> [(Projection, Operand<'x, R>); N] {
        let mut copies = copies.iter_mut();
        outputs.map(|(projection, dy)| {
            let copy = copies.next().expect("at most three projections read one input");
            (projection, self.operand(block, dy, copy))
        })
    }

    /// The gradient of a group's low-rank inputs, into `scratch.gradient`.
    fn low_gradient<const N: usize>(
        &self,
        block: Block<'_, R>,
        group: usize,
        outputs: &[(Projection, Operand<'_, R>); N],
        scratch: &mut LowScratch<R>,
    ) {
        let Some(adapters) = block.group(group) else { return };
        let (rows, ranks) = (self.rows(), adapters.ranks());
        let low = fit(&mut scratch.gradient, rows * ranks);
        for member in &adapters.members {
            let (_, dy) = outputs
                .iter()
                .find(|(projection, _)| *projection == member.projection)
                .expect("a group holds the adapters of its own projections");
            let target = ViewMut::new(low, rows, ranks).columns(member.offset..member.offset + member.rank);
            linear::backward_low(member, *dy, target, &mut scratch.adapters);
        }
    }

    /// The gradient of the input of a group of projections, into `target` if given, and of its low-rank
    /// inputs.
    fn input_gradient<const N: usize>(
        &self,
        block: Block<'_, R>,
        group: usize,
        outputs: [(Projection, &[R]); N],
        target: Option<&mut [R]>,
        scratch: &mut GradientScratch<'_, R>,
    ) {
        let rows = self.rows();
        let outputs = self.operands(block, outputs, scratch.rounded);
        let scratch = &mut *scratch.low;
        self.low_gradient(block, group, &outputs, scratch);
        let Some(target) = target else { return };
        let width = target.len() / rows;
        let linears = outputs.map(|(projection, dy)| (block.layer.projection(projection), dy));
        let adapters = block.group(group);
        let low = adapters.map(|adapters| (adapters, View::new(&scratch.gradient, rows, adapters.ranks())));
        let mask = self.mask(block.index, group);
        let direct = if mask.is_some() { None } else { low };
        let view = ViewMut::new(target, rows, width);
        linear::backward_input(linears, direct, view, self.scratch, &mut scratch.adapters);
        if let (Some(mask), Some((adapters, low))) = (mask, low) {
            let dropped = fit(&mut scratch.dropped, target.len());
            linear::backward_low_input(adapters, low, ViewMut::new(dropped, rows, width));
            mask.apply(dropped, target, true);
        }
    }

    /// The gradients of the parameters of a group of projections. The gradient of the low-rank inputs is in
    /// `scratch.low`.
    fn parameter_gradients<const N: usize>(
        &self,
        block: Block<'_, R>,
        group: usize,
        outputs: [(Projection, &[R]); N],
        GroupInput { x, low }: GroupInput<'_, R>,
        scratch: &mut GradientScratch<'_, R>,
        gradients: &mut BlockGradients<'_, R>,
    ) {
        let rows = self.rows();
        let view = |slice, length: usize| View::new(slice, rows, length / rows);
        match gradients {
            BlockGradients::Full(gradient) => {
                for (projection, dy) in outputs {
                    let linear = &mut gradient.projections[projection as usize];
                    let weight = linear.weight.as_owned_mut().expect("gradients own their elements");
                    linear::backward_weight(view(dy, dy.len()), view(x, x.len()), weight);
                    if let Some(bias) = &mut linear.bias {
                        linear::backward_bias(view(dy, dy.len()), bias);
                    }
                }
            }
            BlockGradients::Lora(gradient) => {
                let Some(adapters) = block.group(group) else { return };
                let ranks = adapters.ranks();
                for (member, target) in adapters.members.iter().zip(&mut gradient[group].members) {
                    let dy = outputs.iter().find(|(projection, _)| *projection == member.projection);
                    let (_, dy) = dy.expect("a group holds the adapters of its own projections");
                    let adapter = Adapter::of_group(member, View::new(low, rows, ranks));
                    linear::backward_b(adapter, view(dy, dy.len()), &mut target.b);
                }
                let x = match self.mask(block.index, group) {
                    Some(mask) => {
                        let dropped = fit(&mut scratch.low.dropped, x.len());
                        mask.apply(x, dropped, false);
                        &*dropped
                    }
                    None => x,
                };
                let low_gradient = View::new(&scratch.low.gradient, rows, ranks);
                linear::backward_a(low_gradient, view(x, x.len()), &mut gradient[group].a);
            }
        }
    }
}

/// The input `[rows, inputs]` of a group's projections and their low-rank inputs `[rows, ranks]`, as kept by
/// the forward pass.
#[derive(Clone, Copy)]
struct GroupInput<'a, R> {
    x: &'a [R],
    low: &'a [R],
}

/// Scratch for the operands and the low-rank inputs of gradients.
struct GradientScratch<'a, R> {
    rounded: &'a mut [Rows; 3],
    low: &'a mut LowScratch<R>,
}
