//! One decoder block, forward and backward.

use tabpo_model::ModelConfig;

use crate::adapter::Member;
use crate::driver::{Address, DriverError};
use crate::memory::Rung;
use crate::ops::{AttentionGradient, Rows, Swiglu, bias_gradient, dropout, weight_gradient};
use crate::pass::{Gradient, Pass};
use crate::weights::MatrixPlace;

/// Indices of the input groups in [`INPUT_GROUPS`](tabpo_model::INPUT_GROUPS).
const ATTENTION: usize = 0;
const OUTPUT: usize = 1;
const FEED_FORWARD: usize = 2;
const DOWN: usize = 3;

/// What the gradient of a group's parameters follows from.
#[derive(Clone, Copy)]
struct GroupRows {
    /// The gradient of its outputs.
    dy: Rows,
    /// Its input, and `x A^T`.
    x: Rows,
    low: Rows,
    /// The gradient of its low-rank input.
    dlow: Rows,
}

impl Pass<'_> {
    fn inputs(&self, layer: usize, group: usize) -> usize {
        self.weights.layout.blocks[layer][group].inputs
    }

    /// What an adapter reads: x, or what dropout leaves of it.
    fn dropped(&self, layer: usize, group: usize, x: Rows) -> Result<Rows, DriverError> {
        let Some(mask) = self.mask(layer, group) else { return Ok(x) };
        let inputs = self.inputs(layer, group);
        let target = self.matrix(self.buffers.cuts.dropped, inputs);
        dropout(self.kernels, &mask, x, (self.rows(), inputs as u32, self.job().batch_rows), false, target)?;
        Ok(target)
    }

    /// `low = x A^T`, after dropout.
    fn low(&self, layer: usize, group: usize, x: Rows, low: Rows) -> Result<(), DriverError> {
        let Some((a, _)) = self.low_rank(layer, group) else { return Ok(()) };
        let x = self.dropped(layer, group, x)?;
        a.forward(self.kernels, x, self.rows(), None, low)
    }

    /// The low-rank input of a group beside its input.
    fn beside(&self, layer: usize, group: usize, x: Rows) -> Rows {
        self.columns(x, self.inputs(layer, group))
    }

    /// `[x | x A^T] [W | s B]^T`, plus `residual`. The low-rank input is written beside x.
    fn project(&self, layer: usize, group: usize, x: Rows, residual: Option<Rows>, y: Rows) -> Result<(), DriverError> {
        self.low(layer, group, x, self.beside(layer, group, x))?;
        self.weights.group(self.kernels, layer, group)?.forward(self.kernels, x, self.rows(), residual, y)
    }

    /// The stream as a matrix.
    fn of_stream(&self, address: Address) -> Rows {
        Rows { address, stride: self.config.hidden as u32 }
    }

    /// A norm's output, with the norm's scale, input and inverse root mean square: 0 before attention, 1 before the
    /// feed-forward part.
    fn norm_of(&self, layer: usize, which: usize) -> (Rows, u64, Address, Address) {
        let (cuts, vectors) = (self.cuts(layer), self.weights.block(layer));
        let normed = self.matrix(cuts.normed[which], self.sizes.normed_width());
        let inverse = self.buffers.at(cuts.inverse[which]);
        match which {
            0 => (normed, vectors.input_norm, self.stream(layer), inverse),
            _ => (normed, vectors.second_norm, self.buffers.at(cuts.middle), inverse),
        }
    }

    /// A norm's output from what the forward pass kept, with the low-rank input beside it.
    fn normed_again(&self, layer: usize, which: usize, group: usize) -> Result<Rows, DriverError> {
        let (normed, scale, x, inverse) = self.norm_of(layer, which);
        if self.rung(layer) != Rung::Everything {
            self.norm(scale).repeat(self.kernels, x, inverse, normed)?;
            self.low(layer, group, normed, self.beside(layer, group, normed))?;
        }
        Ok(normed)
    }

    fn swiglu(&self) -> Swiglu {
        Swiglu { rows: self.rows(), inner: self.config.intermediate as u32 }
    }

    /// `x + attention(norm(x))`, then the same with the feed-forward part, into `output`. A repeated forward pass ends
    /// with gate and up.
    pub(crate) fn forward_block(&self, layer: usize, output: Option<Address>) -> Result<(), DriverError> {
        let (kernels, cuts) = (self.kernels, self.cuts(layer));
        let (normed, scale, input, inverse) = self.norm_of(layer, 0);
        self.norm(scale).forward(kernels, input, inverse, normed)?;
        let raw = self.matrix(cuts.raw, self.sizes.projected_width());
        self.project(layer, ATTENTION, normed, None, raw)?;
        let projected = self.matrix(cuts.projected, self.sizes.projected_width());
        let head_inverse = self.config.query_key_norm.then(|| self.buffers.at(cuts.head_inverse));
        self.rope(layer).forward(kernels, raw, head_inverse, projected)?;

        let attention = self.matrix(cuts.attention, self.sizes.attention_width());
        let log_sums = self.buffers.at(cuts.log_sums);
        self.attend(layer, self.projected(projected), attention, log_sums)?;
        let middle = self.of_stream(self.buffers.at(cuts.middle));
        self.project(layer, OUTPUT, attention, Some(self.of_stream(input)), middle)?;

        let (normed, scale, middle, inverse) = self.norm_of(layer, 1);
        self.norm(scale).forward(kernels, middle, inverse, normed)?;
        let gate_up = self.matrix(cuts.gate_up, 2 * self.config.intermediate);
        self.project(layer, FEED_FORWARD, normed, None, gate_up)?;
        let Some(output) = output else { return Ok(()) };
        let product = self.matrix(self.buffers.cuts.product, self.sizes.product_width());
        self.swiglu().forward(kernels, gate_up, product)?;
        self.project(layer, DOWN, product, Some(self.of_stream(middle)), self.of_stream(output))
    }

    /// Replaces the gradient of the block's output by that of its input, and adds the gradients of its parameters. The
    /// block's buffers are consumed. If nothing below the block is trained, the last steps are skipped.
    pub(crate) fn backward_block(
        &self,
        layer: usize,
        gradient: Gradient<'_>,
        input_gradient: bool,
    ) -> Result<(), DriverError> {
        let ModelConfig { hidden, intermediate, .. } = *self.config;
        let (kernels, rows) = (self.kernels, self.rows());
        let (cuts, shared) = (self.cuts(layer), &self.buffers.cuts);
        let stream_gradient = self.buffers.at(shared.stream_gradient);
        let dstream = self.of_stream(stream_gradient);
        let parts = self.buffers.at(shared.parts);

        // Feed-forward part.
        let gate_up = self.matrix(cuts.gate_up, 2 * intermediate);
        if self.rung(layer) == Rung::WithoutGateUp {
            let normed = self.normed_again(layer, 1, FEED_FORWARD)?;
            self.weights.group(kernels, layer, FEED_FORWARD)?.forward(kernels, normed, rows, None, gate_up)?;
        }
        let product = self.matrix(shared.product, self.sizes.product_width());
        self.input_gradient(layer, DOWN, dstream, product)?;
        let dlow = self.beside(layer, DOWN, product);
        // Where the gradient of the product was, the product comes out.
        self.swiglu().backward(kernels, gate_up, product)?;
        let low = self.matrix(shared.low, self.sizes.rooms[DOWN]);
        self.low(layer, DOWN, product, low)?;
        self.parameter_gradients(layer, DOWN, GroupRows { dy: dstream, x: product, low, dlow }, gradient)?;

        let normed = match self.rung(layer) {
            // What was repeated for gate and up is still there.
            Rung::WithoutGateUp | Rung::Input => self.norm_of(layer, 1).0,
            _ => self.normed_again(layer, 1, FEED_FORWARD)?,
        };
        let dnormed = self.matrix(shared.normed_gradient, self.sizes.normed_width());
        self.input_gradient(layer, FEED_FORWARD, gate_up, dnormed)?;
        self.beside_gradients(layer, FEED_FORWARD, gate_up, normed, dnormed, gradient)?;
        let (_, scale, middle, inverse) = self.norm_of(layer, 1);
        if let Gradient::Full(memory, layout) = gradient {
            let target = memory.offset(layout.vectors.blocks[layer].second_norm * 4);
            self.norm(scale).scale_gradient(kernels, middle, inverse, dnormed, parts, target)?;
        }
        self.norm(scale).backward(kernels, middle, inverse, dnormed, true, stream_gradient)?;

        // Attention.
        let attention = self.matrix(cuts.attention, self.sizes.attention_width());
        let dattention = self.matrix(shared.attention_gradient, self.sizes.attention_width());
        self.input_gradient(layer, OUTPUT, dstream, dattention)?;
        self.beside_gradients(layer, OUTPUT, dstream, attention, dattention, gradient)?;
        let projected = self.matrix(cuts.projected, self.sizes.projected_width());
        let dprojected = self.matrix(shared.projected_gradient, self.sizes.projected_width());
        let of_attention = AttentionGradient {
            out: attention,
            dout: dattention,
            log_sums: self.buffers.at(cuts.log_sums),
            delta: self.buffers.at(shared.delta),
            gradient: self.projected(dprojected),
        };
        self.attention(layer).backward(kernels, self.projected(projected), of_attention)?;
        let raw = self.matrix(cuts.raw, self.sizes.projected_width());
        let head_inverse = self.config.query_key_norm.then(|| self.buffers.at(cuts.head_inverse));
        let rope = self.rope(layer);
        if let (Gradient::Full(memory, layout), Some(inverse)) = (gradient, head_inverse) {
            let [queries, _] = layout.vectors.blocks[layer].head_norms.expect("heads have norms");
            rope.scale_gradient(kernels, raw, inverse, dprojected, parts, memory.offset(queries * 4))?;
        }
        rope.backward(kernels, raw, head_inverse, dprojected)?;
        if let Gradient::Full(memory, layout) = gradient
            && let Some([queries, ..]) = layout.vectors.blocks[layer].biases
        {
            let shape = [rows, self.sizes.projected_width() as u32];
            bias_gradient(kernels, dprojected, shape, parts, memory.offset(queries * 4))?;
        }
        let normed = match self.rung(layer) {
            Rung::Everything => self.norm_of(layer, 0).0,
            _ => self.normed_again(layer, 0, ATTENTION)?,
        };
        if input_gradient {
            self.input_gradient(layer, ATTENTION, dprojected, dnormed)?;
        } else if self.low_rank(layer, ATTENTION).is_some() {
            let beside = self.weights.beside(kernels, layer, ATTENTION);
            beside.input_gradient(kernels, dprojected, rows, false, self.columns(dnormed, hidden))?;
        }
        self.beside_gradients(layer, ATTENTION, dprojected, normed, dnormed, gradient)?;
        if input_gradient {
            let (_, scale, input, inverse) = self.norm_of(layer, 0);
            if let Gradient::Full(memory, layout) = gradient {
                let target = memory.offset(layout.vectors.blocks[layer].input_norm * 4);
                self.norm(scale).scale_gradient(kernels, input, inverse, dnormed, parts, target)?;
            }
            self.norm(scale).backward(kernels, input, inverse, dnormed, true, stream_gradient)?;
        }
        Ok(())
    }

    /// `[dx | dlow] = dy [W | s B]`, and then `dx += mask(dlow A)`.
    fn input_gradient(&self, layer: usize, group: usize, dy: Rows, dx: Rows) -> Result<(), DriverError> {
        let (kernels, rows) = (self.kernels, self.rows());
        self.weights.group(kernels, layer, group)?.input_gradient(kernels, dy, rows, false, dx)?;
        let Some((a, _)) = self.low_rank(layer, group) else { return Ok(()) };
        let dlow = self.beside(layer, group, dx);
        let Some(mask) = self.mask(layer, group) else { return a.input_gradient(kernels, dlow, rows, true, dx) };
        let dropped = self.matrix(self.buffers.cuts.dropped, a.inputs as usize);
        a.input_gradient(kernels, dlow, rows, false, dropped)?;
        dropout(kernels, &mask, dropped, (rows, a.inputs, self.job().batch_rows), true, dx)
    }

    /// The gradients of a group's parameters, with the low-rank input beside x and its gradient beside dx.
    fn beside_gradients(
        &self,
        layer: usize,
        group: usize,
        dy: Rows,
        x: Rows,
        dx: Rows,
        gradient: Gradient<'_>,
    ) -> Result<(), DriverError> {
        let (low, dlow) = (self.beside(layer, group, x), self.beside(layer, group, dx));
        self.parameter_gradients(layer, group, GroupRows { dy, x, low, dlow }, gradient)
    }

    /// `dW += dy^T x`, or for an adapter `dB += s dy^T low` and `dA += dlow^T mask(x)`.
    fn parameter_gradients(
        &self,
        layer: usize,
        group: usize,
        GroupRows { dy, x, low, dlow }: GroupRows,
        gradient: Gradient<'_>,
    ) -> Result<(), DriverError> {
        let (kernels, rows) = (self.kernels, self.rows());
        match gradient {
            Gradient::Full(memory, layout) => {
                let MatrixPlace { outputs, inputs, .. } = self.weights.layout.blocks[layer][group];
                let target = Self::single(memory, layout.blocks[layer][group], inputs);
                weight_gradient(kernels, (dy, outputs as u32), (x, inputs as u32), rows, 1.0, target)
            }
            Gradient::Adapter(memory) => {
                let Some((a, of_group)) = self.low_rank(layer, group) else { return Ok(()) };
                if of_group.members.is_empty() {
                    return Ok(());
                }
                for member in &of_group.members {
                    let &Member { output, shape: [outputs, _], offset, scale, b, .. } = member;
                    let (dy, low) = (self.columns(dy, output), self.columns(low, offset));
                    let target = Self::single(memory, b, member.width());
                    weight_gradient(kernels, (dy, outputs as u32), (low, member.width() as u32), rows, scale, target)?;
                }
                let x = self.dropped(layer, group, x)?;
                let target = Self::single(memory, of_group.a, a.inputs as usize);
                weight_gradient(kernels, (dlow, of_group.ranks as u32), (x, a.inputs), rows, 1.0, target)
            }
        }
    }
}
