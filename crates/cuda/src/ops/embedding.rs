//! Token embeddings.

use super::{Kernels, Shape, arguments};
use crate::driver::{Address, DriverError};

const THREADS: u32 = 128;

/// Embeddings of `width` numbers.
#[derive(Clone, Copy, Debug)]
pub struct Embedding {
    /// Numbers of a row.
    pub width: u32,
}

impl Embedding {
    /// Copies the rows of `tokens` from `table`, `[vocabulary, width]`, to `x`, `[rows, width]`.
    pub fn forward(
        &self,
        kernels: Kernels<'_>,
        table: Address,
        tokens: Address,
        rows: u32,
        x: Address,
    ) -> Result<(), DriverError> {
        let shape = Shape { grid: [rows, 1, 1], threads: THREADS, shared: 0 };
        kernels.start("embed_forward", shape, arguments![table, tokens, self.width, x])
    }

    /// Adds the rows of `dx` to the rows of their tokens in `gradient`, `[vocabulary, width]` in single precision. There
    /// are `distinct` tokens; the lists are those of [`ByToken`](crate::plan::ByToken).
    pub fn backward(
        &self,
        kernels: Kernels<'_>,
        dx: Address,
        distinct: u32,
        [tokens, bounds, places]: [Address; 3],
        gradient: Address,
    ) -> Result<(), DriverError> {
        let columns = self.width.div_ceil(THREADS * kernels.wide());
        let shape = Shape { grid: [distinct, columns, 1], threads: THREADS, shared: 0 };
        kernels.start("embed_backward", shape, arguments![dx, tokens, bounds, places, self.width, gradient])
    }
}
