//! One decoder block, forward and backward.

use crate::batch::Batch;
use crate::config::ModelConfig;
use crate::forward::{ForwardOptions, Recompute};
use crate::lora::LoraGroup;
use crate::model::{Layer, Projection};
use crate::ops::attention::{Inputs, sum_groups};
use crate::ops::linear::{self, Adapter, Dropout};
use crate::ops::rope::RopeTable;
use crate::ops::{norm, swiglu};
use crate::real::Real;
use crate::view::{View, ViewMut};
use crate::workspace::{LayerBuffers, Plan, SharedBuffers, ThreadScratch, fit};

/// Places of the adapter groups in [`crate::INPUT_GROUPS`].
const ATTENTION: usize = 0;
const OUTPUT: usize = 1;
const FEED_FORWARD: usize = 2;
const DOWN: usize = 3;

/// Everything a block needs besides its parameters and its buffers.
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
    /// The adapters that read one input, if there are any.
    fn group(&self, group: usize) -> Option<&'a LoraGroup<R>> {
        self.adapters.map(|groups| &groups[group]).filter(|group| !group.members.is_empty())
    }

    fn adapter(&self, group: usize, projection: Projection, low: &'a [R], rows: usize) -> Option<Adapter<'a, R>> {
        let group = self.group(group)?;
        let member = group.members.iter().find(|member| member.projection == projection)?;
        Some(Adapter::of_group(member, View::new(low, rows, group.ranks())))
    }
}

/// Where a block's parameter gradients go.
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

    /// The dropout mask of an adapter group, where one is wanted.
    fn mask(&self, layer: usize, group: usize) -> Option<Dropout> {
        let seed = self.options.dropout_seed.filter(|_| self.dropout > 0.0)?;
        Some(Dropout::new(seed, layer, group, self.dropout))
    }

    /// `x A^T` of a group, after dropout.
    fn low(&self, block: Block<'_, R>, group: usize, x: &[R], low: &mut Vec<R>, dropped: &mut Vec<R>) {
        let Some(adapters) = block.group(group) else { return };
        let rows = self.rows();
        let width = x.len() / rows;
        let x = match self.mask(block.index, group) {
            Some(mask) => {
                let dropped = fit(dropped, x.len());
                mask.apply(x, dropped, false);
                View::new(dropped, rows, width)
            }
            None => View::new(x, rows, width),
        };
        let ranks = adapters.ranks();
        linear::forward_low(adapters, x, ViewMut::new(fit(low, rows * ranks), rows, ranks));
    }

    /// One projection of the block: `y = x W^T + b + s low B^T`, plus `residual` where given.
    fn project(
        &self,
        block: Block<'_, R>,
        (group, projection): (usize, Projection),
        (x, low): (&[R], &[R]),
        residual: Option<&[R]>,
        y: &mut [R],
    ) {
        let rows = self.rows();
        let linear = block.layer.projection(projection);
        let (outputs, inputs) = (linear.weight.rows(), linear.weight.columns());
        linear::forward(
            linear,
            block.adapter(group, projection, low, rows),
            View::new(x, rows, inputs),
            residual.map(|residual| View::new(residual, rows, outputs)),
            ViewMut::new(y, rows, outputs),
            self.scratch,
        );
    }

    /// `x + attention(norm(x))`, then the same with the feed-forward part, into `output`. Without an
    /// output, which a repeated forward pass does not need, the down projection is left out.
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
        self.low(block, ATTENTION, normed, &mut buffers.low[ATTENTION], &mut shared.dropped);
        let low = &buffers.low[ATTENTION];
        let query = fit(&mut buffers.query, rows * config.query_width());
        let key = fit(&mut buffers.key, rows * config.key_width());
        let value = fit(&mut buffers.value, rows * config.key_width());
        let scales = [(&layer.query_norm, Projection::Query), (&layer.key_norm, Projection::Key)];
        let states = [&mut *query, &mut *key].into_iter().zip(&mut buffers.raw).zip(&mut buffers.raw_inverse);
        for (((state, raw), inverse), (scale, projection)) in states.zip(scales) {
            if let Some(scale) = scale {
                let raw = fit(raw, state.len());
                self.project(block, (ATTENTION, projection), (normed, low), None, raw);
                let inverse = fit(inverse, raw.len() / config.head_dim);
                norm::forward(raw, scale, config.rms_epsilon, inverse, state);
            } else {
                self.project(block, (ATTENTION, projection), (normed, low), None, state);
            }
            self.rope.forward(state, &self.batch.positions, config.head_dim);
        }
        self.project(block, (ATTENTION, Projection::Value), (normed, low), None, value);

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
        self.low(block, OUTPUT, attention, &mut buffers.low[OUTPUT], &mut shared.dropped);
        let middle = fit(&mut buffers.middle, width);
        let low = &buffers.low[OUTPUT];
        self.project(block, (OUTPUT, Projection::Output), (attention, low), Some(input), middle);

        let normed = fit(if keeps { second_normed } else { &mut shared.normed }, width);
        let inverse = fit(&mut buffers.inverse[1], rows);
        norm::forward(middle, &layer.post_attention_norm, config.rms_epsilon, inverse, normed);
        self.low(block, FEED_FORWARD, normed, &mut buffers.low[FEED_FORWARD], &mut shared.dropped);
        let low = &buffers.low[FEED_FORWARD];
        let gate = fit(&mut buffers.gate, rows * config.intermediate);
        self.project(block, (FEED_FORWARD, Projection::Gate), (normed, low), None, gate);
        let up = fit(&mut buffers.up, rows * config.intermediate);
        self.project(block, (FEED_FORWARD, Projection::Up), (normed, low), None, up);
        // The down projection's low-rank input is needed by the backward pass even without an output.
        if output.is_some() || block.group(DOWN).is_some() {
            let product = fit(&mut shared.product, rows * config.intermediate);
            swiglu::forward(gate, up, product);
            self.low(block, DOWN, product, &mut buffers.low[DOWN], &mut shared.dropped);
            if let Some(output) = output {
                let low = &buffers.low[DOWN];
                self.project(block, (DOWN, Projection::Down), (product, low), Some(middle), output);
            }
        }
    }

    /// Turns the gradient of the block's output in `shared.stream_gradient` into that of its input, and
    /// adds the gradients of its parameters. `buffers` are used up. Where nothing below the block is
    /// trained, `input_gradient` is false and the last steps are left out.
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
        let mut temporary = Temporary { low: &mut shared.low_gradient, dropped: &mut shared.dropped };

        // Feed-forward part.
        let product = fit(&mut shared.product, rows * config.intermediate);
        let gate = fit(&mut buffers.gate, rows * config.intermediate);
        let up = fit(&mut buffers.up, rows * config.intermediate);
        self.input_gradient(block, DOWN, [(Projection::Down, stream_gradient)], product, &mut temporary);
        swiglu::backward(gate, up, product);
        let inputs = (&*product, &buffers.low[DOWN][..]);
        self.parameter_gradients(block, DOWN, [(Projection::Down, stream_gradient)], inputs, &mut temporary, gradients);
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
        self.input_gradient(block, FEED_FORWARD, outputs, normed_gradient, &mut temporary);
        let inputs = (&*normed, &buffers.low[FEED_FORWARD][..]);
        self.parameter_gradients(block, FEED_FORWARD, outputs, inputs, &mut temporary, gradients);
        if let BlockGradients::Full(gradient) = gradients {
            norm::backward_scale(middle, inverse, normed_gradient, &mut gradient.post_attention_norm);
        }
        norm::backward_add(middle, &layer.post_attention_norm, inverse, normed_gradient, stream_gradient);

        // Attention.
        let attention_gradient = fit(&mut shared.attention_gradient, rows * config.query_width());
        let outputs = [(Projection::Output, &*stream_gradient)];
        self.input_gradient(block, OUTPUT, outputs, attention_gradient, &mut temporary);
        let attention = fit(&mut buffers.attention, rows * config.query_width());
        let inputs = (&*attention, &buffers.low[OUTPUT][..]);
        self.parameter_gradients(block, OUTPUT, outputs, inputs, &mut temporary, gradients);
        let query_gradient = fit(&mut shared.query_gradient, rows * config.query_width());
        let key_gradient = fit(&mut shared.key_gradient, rows * config.key_width());
        let value_gradient = fit(&mut shared.value_gradient, rows * config.key_width());
        {
            let views = Inputs {
                query: View::new(&buffers.query, rows, config.query_width()),
                key: View::new(&buffers.key, rows, config.key_width()),
                value: View::new(&buffers.value, rows, config.key_width()),
            };
            let per_head = rows * config.query_width();
            let grouped = config.heads != config.kv_heads;
            let (key_target, value_target) = if grouped {
                (fit(&mut shared.key_gradient_per_head, per_head), fit(&mut shared.value_gradient_per_head, per_head))
            } else {
                (&mut *key_gradient, &mut *value_gradient)
            };
            let view = |slice| ViewMut::new(slice, rows, config.query_width());
            self.plan.attention(self.batch, config, block.index).backward(
                views,
                View::new(attention, rows, config.query_width()),
                View::new(&buffers.log_sums, rows, config.heads),
                View::new(attention_gradient, rows, config.query_width()),
                [view(query_gradient), view(key_target), view(value_target)],
                self.scratch,
            );
            if grouped {
                let per_head = |slice| View::new(slice, rows, config.query_width());
                let target = ViewMut::new(key_gradient, rows, config.key_width());
                sum_groups(per_head(&shared.key_gradient_per_head), target, config.head_dim);
                let target = ViewMut::new(value_gradient, rows, config.key_width());
                sum_groups(per_head(&shared.value_gradient_per_head), target, config.head_dim);
            }
        }
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
        if input_gradient {
            self.input_gradient(block, ATTENTION, outputs, normed_gradient, &mut temporary);
        } else {
            self.low_gradient(block, ATTENTION, outputs, &mut temporary);
        }
        let inputs = (&*normed, &buffers.low[ATTENTION][..]);
        self.parameter_gradients(block, ATTENTION, outputs, inputs, &mut temporary, gradients);
        if input_gradient {
            if let BlockGradients::Full(gradient) = gradients {
                norm::backward_scale(input, inverse, normed_gradient, &mut gradient.input_norm);
            }
            norm::backward_add(input, &layer.input_norm, inverse, normed_gradient, stream_gradient);
        }
    }

    /// The gradient of a group's low-rank inputs, into `temporary.low`.
    fn low_gradient<const N: usize>(
        &self,
        block: Block<'_, R>,
        group: usize,
        outputs: [(Projection, &[R]); N],
        temporary: &mut Temporary<'_, R>,
    ) {
        let Some(adapters) = block.group(group) else { return };
        let (rows, ranks) = (self.rows(), adapters.ranks());
        let low = fit(temporary.low, rows * ranks);
        for member in &adapters.members {
            let (_, dy) = outputs
                .iter()
                .find(|(projection, _)| *projection == member.projection)
                .expect("a group holds the adapters of its own projections");
            let target = ViewMut::new(low, rows, ranks).columns(member.offset..member.offset + member.rank);
            linear::backward_low(member, View::new(dy, rows, dy.len() / rows), target);
        }
    }

    /// The gradient of what a group of projections read, into `target`, and of its low-rank inputs.
    fn input_gradient<const N: usize>(
        &self,
        block: Block<'_, R>,
        group: usize,
        outputs: [(Projection, &[R]); N],
        target: &mut [R],
        temporary: &mut Temporary<'_, R>,
    ) {
        let rows = self.rows();
        let width = target.len() / rows;
        self.low_gradient(block, group, outputs, temporary);
        let linears = outputs.map(|(projection, dy)| {
            let linear = block.layer.projection(projection);
            (linear, View::new(dy, rows, linear.weight.rows()))
        });
        let adapters = block.group(group);
        let low = adapters.map(|adapters| (adapters, View::new(temporary.low, rows, adapters.ranks())));
        let mask = self.mask(block.index, group);
        let direct = if mask.is_some() { None } else { low };
        linear::backward_input(&linears, direct, ViewMut::new(target, rows, width), self.scratch);
        if let (Some(mask), Some((adapters, low))) = (mask, low) {
            let dropped = fit(temporary.dropped, target.len());
            linear::backward_low_input(adapters, low, ViewMut::new(dropped, rows, width));
            mask.apply(dropped, target, true);
        }
    }

    /// The gradients of the parameters of a group of projections that read `x`, with low-rank inputs
    /// `low` whose gradient is in `temporary.low`.
    fn parameter_gradients<const N: usize>(
        &self,
        block: Block<'_, R>,
        group: usize,
        outputs: [(Projection, &[R]); N],
        (x, low): (&[R], &[R]),
        temporary: &mut Temporary<'_, R>,
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
                        let dropped = fit(temporary.dropped, x.len());
                        mask.apply(x, dropped, false);
                        &*dropped
                    }
                    None => x,
                };
                let low_gradient = View::new(temporary.low, rows, ranks);
                linear::backward_a(low_gradient, view(x, x.len()), &mut gradient[group].a);
            }
        }
    }
}

/// Buffers for the gradients of low-rank inputs and for inputs after dropout.
struct Temporary<'a, R> {
    low: &'a mut Vec<R>,
    dropped: &'a mut Vec<R>,
}
