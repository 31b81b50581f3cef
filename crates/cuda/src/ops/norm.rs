//! RMS normalisation of the residual stream.

use super::{Kernels, Parts, Rows, Shape, arguments};
use crate::driver::{Address, DriverError};

/// Threads of a block, which has one row.
const THREADS: u32 = 256;

/// A norm over rows without gaps, `[rows, width]`.
#[derive(Clone, Copy, Debug)]
pub struct Norm {
    /// Rows.
    pub rows: u32,
    /// Numbers of a row.
    pub width: u32,
    /// Epsilon under the root.
    pub epsilon: f32,
    /// The scale, `[width]` in single precision.
    pub scale: Address,
}

impl Norm {
    fn shape(&self, shared: u32) -> Shape {
        Shape { grid: [self.rows, 1, 1], threads: THREADS, shared }
    }

    /// Writes the normalised rows of `x` to `y`, and each row's inverse root mean square, in single precision, to
    /// `inverse`.
    pub fn forward(&self, kernels: Kernels<'_>, x: Address, inverse: Address, y: Rows) -> Result<(), DriverError> {
        let shape = self.shape(THREADS / 32 * 4);
        let arguments = arguments![x, self.scale, self.epsilon, self.width, inverse, y.address, y.stride];
        kernels.start("norm_forward", shape, arguments)
    }

    /// The forward pass again from the kept `inverse`, to the same bits.
    pub fn repeat(&self, kernels: Kernels<'_>, x: Address, inverse: Address, y: Rows) -> Result<(), DriverError> {
        kernels.start("norm_repeat", self.shape(0), arguments![x, self.scale, inverse, self.width, y.address, y.stride])
    }

    /// Writes the gradient of `x` to `target`, `[rows, width]`, or adds it. `target` may be `dy` if the strides agree.
    pub fn backward(
        &self,
        kernels: Kernels<'_>,
        x: Address,
        inverse: Address,
        dy: Rows,
        add: bool,
        target: Address,
    ) -> Result<(), DriverError> {
        let shape = self.shape(THREADS / 32 * 4);
        let arguments = arguments![x, self.scale, inverse, dy.address, dy.stride, self.width, add, target];
        kernels.start("norm_backward", shape, arguments)
    }

    /// Adds the gradient of the scale to `gradient`, `[width]` in single precision.
    pub fn scale_gradient(
        &self,
        kernels: Kernels<'_>,
        x: Address,
        inverse: Address,
        dy: Rows,
        parts: Address,
        gradient: Address,
    ) -> Result<(), DriverError> {
        let of = Parts::of(self.rows);
        let shape = Shape { grid: [self.width.div_ceil(THREADS), of.count, 1], threads: THREADS, shared: 0 };
        let arguments = arguments![x, inverse, dy.address, dy.stride, self.rows, self.width, of.rows_per_part, parts];
        kernels.start("norm_scale_gradient", shape, arguments)?;
        of.add_up(kernels, parts, u64::from(self.width), true, gradient)
    }
}
