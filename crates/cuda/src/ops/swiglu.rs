//! The gated product of the feed-forward part.

use super::{Kernels, Rows, Shape, arguments};
use crate::driver::DriverError;

const THREADS: u32 = 256;

/// Rows of gate and up beside each other, `[rows, 2 inner]`.
#[derive(Clone, Copy, Debug)]
pub struct Swiglu {
    /// Rows.
    pub rows: u32,
    /// Numbers of gate, and of up.
    pub inner: u32,
}

impl Swiglu {
    fn shape(self, kernels: Kernels<'_>) -> Shape {
        Shape { grid: [self.rows, self.inner.div_ceil(THREADS * kernels.wide()), 1], threads: THREADS, shared: 0 }
    }

    /// Writes `silu(gate) up` to `product`, `[rows, inner]`.
    pub fn forward(self, kernels: Kernels<'_>, gate_up: Rows, product: Rows) -> Result<(), DriverError> {
        let arguments = arguments![gate_up.address, gate_up.stride, self.inner, product.address, product.stride];
        kernels.start("swiglu_forward", self.shape(kernels), arguments)
    }

    /// Overwrites gate and up with their gradients, and `gradient`, which has that of the product, with the product.
    pub fn backward(self, kernels: Kernels<'_>, gate_up: Rows, gradient: Rows) -> Result<(), DriverError> {
        let arguments = arguments![gate_up.address, gate_up.stride, self.inner, gradient.address, gradient.stride];
        kernels.start("swiglu_backward", self.shape(kernels), arguments)
    }
}
