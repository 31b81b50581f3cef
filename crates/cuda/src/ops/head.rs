//! The head: rows with targets, their log-probabilities, and the gradient of the logits.

use super::{Kernels, Rows, Shape, arguments};
use crate::driver::{Address, DriverError};

const COPY_THREADS: u32 = 128;
/// Threads of a block, which has one row of logits.
const THREADS: u32 = 512;

/// Logits in single precision, `[rows, vocabulary]`, with the targets of the rows as
/// [`Targets`](crate::plan::Targets) lists them.
#[derive(Clone, Copy, Debug)]
pub struct Logits {
    /// The logits.
    pub values: Rows,
    /// `ln sum e^z` of every row, in double precision.
    pub log_sums: Address,
}

/// The head over rows with targets.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// Rows with targets.
    pub rows: u32,
    /// Numbers of a row of logits.
    pub vocabulary: u32,
    /// The targets of row `i` are `bounds[i]..bounds[i + 1]`.
    pub bounds: Address,
    /// Their tokens.
    pub tokens: Address,
}

/// A reference's logits, with the derivative of the loss with respect to every row's divergence from it, in single
/// precision.
#[derive(Clone, Copy, Debug)]
pub struct ReferenceLogits {
    /// The logits; their stride is that of the policy's.
    pub logits: Logits,
    /// The derivatives.
    pub seeds: Address,
}

impl Head {
    fn shape(&self, shared: u32) -> Shape {
        Shape { grid: [self.rows, 1, 1], threads: THREADS, shared }
    }

    /// Copies the rows at `places` of `stream`, `[.., width]`, to `out`, `[rows, width]`.
    pub fn gather(
        &self,
        kernels: Kernels<'_>,
        stream: Address,
        places: Address,
        width: u32,
        out: Address,
    ) -> Result<(), DriverError> {
        let shape = Shape { grid: [self.rows, 1, 1], threads: COPY_THREADS, shared: 0 };
        kernels.start("gather_rows", shape, arguments![stream, places, width, out])
    }

    /// Fills `stream`, `[all, width]`, with the rows of `from` that `slots` names, and zeros elsewhere.
    pub fn scatter(
        kernels: Kernels<'_>,
        from: Address,
        slots: Address,
        [all, width]: [u32; 2],
        stream: Address,
    ) -> Result<(), DriverError> {
        let shape = Shape { grid: [all, 1, 1], threads: COPY_THREADS, shared: 0 };
        kernels.start("scatter_rows", shape, arguments![from, slots, width, stream])
    }

    /// Writes every row's log-sum and the log-probability of every target, in double precision.
    pub fn log_probs(&self, kernels: Kernels<'_>, logits: Logits, log_probs: Address) -> Result<(), DriverError> {
        let Logits { values, log_sums } = logits;
        let arguments =
            arguments![values.address, values.stride, self.vocabulary, self.bounds, self.tokens, log_sums, log_probs];
        kernels.start_exactly("head_log_probs", self.shape(THREADS / 32 * 8), arguments)
    }

    /// Writes every row's divergence of the policy from the reference, `KL(reference || policy)`, in double precision.
    pub fn divergence(
        &self,
        kernels: Kernels<'_>,
        reference: Logits,
        logits: Logits,
        divergences: Address,
    ) -> Result<(), DriverError> {
        let arguments = arguments![
            reference.values.address,
            reference.log_sums,
            logits.values.address,
            logits.log_sums,
            logits.values.stride,
            self.vocabulary,
            divergences,
        ];
        kernels.start_exactly("head_divergence", self.shape(THREADS / 32 * 8), arguments)
    }

    /// Writes the gradient of the logits, `[rows, vocabulary]`, from `seeds`, the derivative of the loss with respect to
    /// every target's log-probability in single precision. `gradient` may lie over the logits.
    pub fn gradient(
        &self,
        kernels: Kernels<'_>,
        logits: Logits,
        seeds: Address,
        reference: Option<ReferenceLogits>,
        gradient: Rows,
    ) -> Result<(), DriverError> {
        let arguments = arguments![
            logits.values.address,
            logits.values.stride,
            self.vocabulary,
            logits.log_sums,
            self.bounds,
            self.tokens,
            seeds,
            reference.map(|reference| reference.logits.values.address),
            reference.map(|reference| reference.logits.log_sums),
            reference.map(|reference| reference.seeds),
            gradient.address,
            gradient.stride,
        ];
        kernels.start("head_gradient", self.shape(0), arguments)
    }
}
