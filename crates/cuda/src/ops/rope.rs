//! What is done to queries, keys and values between their projection and attention: bias, norm of heads, rotation.

use super::{Kernels, Parts, Rows, Shape, WARP, arguments};
use crate::driver::{Address, DriverError};

const THREADS: u32 = 128;

/// Rows of a projection: `heads` query heads, then `kv_heads` key heads, then as many value heads, `size` numbers each.
#[derive(Clone, Copy, Debug)]
pub struct Rope {
    /// Rows.
    pub rows: u32,
    /// Query heads.
    pub heads: u32,
    /// Key heads, and value heads.
    pub kv_heads: u32,
    /// Numbers of a head.
    pub size: u32,
    /// The bias of the projection in single precision, if it has one.
    pub bias: Option<Address>,
    /// The scales of the norms of query heads and of key heads, `[2, size]` in single precision, if heads have norms.
    pub scales: Option<Address>,
    /// Epsilon of these norms.
    pub epsilon: f32,
    /// `[positions, size / 2]` in single precision.
    pub cosines: Address,
    /// The same.
    pub sines: Address,
    /// The position of every row.
    pub positions: Address,
}

impl Rope {
    /// A warp a head.
    fn shape(&self, heads: u32) -> Shape {
        Shape { grid: [self.rows, heads.div_ceil(THREADS / WARP), 1], threads: THREADS, shared: 0 }
    }

    /// Writes what attention reads to `out`, which may be `raw` where heads have no norm. `inverse`,
    /// `[rows, heads + kv_heads]` in single precision, is written where they have one.
    pub fn forward(
        &self,
        kernels: Kernels<'_>,
        raw: Rows,
        inverse: Option<Address>,
        out: Rows,
    ) -> Result<(), DriverError> {
        let arguments = arguments![
            raw.address,
            raw.stride,
            self.bias,
            self.heads,
            self.kv_heads,
            self.size,
            self.scales,
            self.epsilon,
            self.cosines,
            self.sines,
            self.positions,
            inverse,
            out.address,
            out.stride,
        ];
        kernels.start("rope_forward", self.shape(self.heads + 2 * self.kv_heads), arguments)
    }

    /// Turns the gradient of what attention read into that of the projection, in place.
    pub fn backward(
        &self,
        kernels: Kernels<'_>,
        raw: Rows,
        inverse: Option<Address>,
        gradient: Rows,
    ) -> Result<(), DriverError> {
        let arguments = arguments![
            raw.address,
            raw.stride,
            self.bias,
            self.heads,
            self.kv_heads,
            self.size,
            self.scales,
            inverse,
            self.cosines,
            self.sines,
            self.positions,
            gradient.address,
            gradient.stride,
        ];
        kernels.start("rope_backward", self.shape(self.heads + self.kv_heads), arguments)
    }

    /// Adds the gradient of the norms' scales to `target`, `[2, size]` in single precision; `gradient` is that before
    /// [`backward`](Self::backward).
    pub fn scale_gradient(
        &self,
        kernels: Kernels<'_>,
        raw: Rows,
        inverse: Address,
        gradient: Rows,
        parts: Address,
        target: Address,
    ) -> Result<(), DriverError> {
        let of = Parts::of(self.rows);
        let shape = Shape { grid: [self.size.div_ceil(THREADS), of.count, 2], threads: THREADS, shared: 0 };
        let arguments = arguments![
            raw.address,
            raw.stride,
            self.bias,
            self.heads,
            self.kv_heads,
            self.size,
            inverse,
            self.cosines,
            self.sines,
            self.positions,
            gradient.address,
            gradient.stride,
            self.rows,
            of.rows_per_part,
            parts,
        ];
        kernels.start("rope_scale_gradient", shape, arguments)?;
        of.add_up(kernels, parts, 2 * u64::from(self.size), true, target)
    }
}
