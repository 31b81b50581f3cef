//! Exact attention over packed tries.

use super::{Kernels, Rows, Shape, WARP, arguments};
use crate::driver::{Address, Argument, DriverError, Element};
use crate::plan::TILE;

/// Head sizes with kernels for tensor cores.
pub(super) const FAST_SIZES: [u32; 3] = [64, 96, 128];
/// Threads of the kernels for tensor cores.
const FAST_THREADS: u32 = 128;
/// Warps of a block of the others; a warp has a row.
const PLAIN_WARPS: u32 = 4;

/// A list of tiles on the device, as [`Tiles`](crate::plan::Tiles) has it.
#[derive(Clone, Copy, Debug)]
pub struct TileLists {
    /// Where the list of every tile begins.
    pub bounds: Address,
    /// The lists.
    pub list: Address,
}

/// Queries, keys and values, as matrices of all heads; they may be columns of one buffer.
#[derive(Clone, Copy, Debug)]
pub struct Projected {
    /// `[rows, heads size]`.
    pub queries: Rows,
    /// `[rows, kv_heads size]`.
    pub keys: Rows,
    /// `[rows, kv_heads size]`.
    pub values: Rows,
}

/// Attention of rows in a plan's order.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// Rows.
    pub rows: u32,
    /// Query heads, a multiple of the key heads.
    pub heads: u32,
    /// Key heads.
    pub kv_heads: u32,
    /// Numbers of a head.
    pub size: u32,
    /// One past the last row that sees each row.
    pub ends: Address,
    /// The position of every row.
    pub positions: Address,
    /// A row sees keys at most `window - 1` positions before it; 0 for all.
    pub window: u32,
    /// The key tiles of every query tile.
    pub by_query: TileLists,
    /// The query tiles of every key tile.
    pub by_key: TileLists,
    /// Whether tensor cores are left unused even where they could be used.
    pub plain: bool,
}

/// What the backward pass reads and writes.
#[derive(Clone, Copy, Debug)]
pub struct AttentionGradient {
    /// The forward pass's output.
    pub out: Rows,
    /// The gradient of it.
    pub dout: Rows,
    /// The forward pass's log-sums.
    pub log_sums: Address,
    /// Room for `[heads, rows]` numbers in single precision.
    pub delta: Address,
    /// Where the gradients of queries, keys and values go.
    pub gradient: Projected,
}

impl Attention {
    fn is_fast(&self, kernels: Kernels<'_>) -> bool {
        kernels.element == Element::Bf16 && FAST_SIZES.contains(&self.size) && !self.plain
    }

    /// Starts one of the kernels: with tensor cores it takes so many tiles of shared memory, without so many numbers a
    /// warp. `arguments` are up to the group and after it.
    fn start(
        &self,
        kernels: Kernels<'_>,
        name: &str,
        heads: u32,
        [tiles, numbers]: [u32; 2],
        before: &[Argument],
        after: &[Argument],
    ) -> Result<(), DriverError> {
        let group = Argument::U32(self.heads / self.kv_heads);
        let (kernel, shape, size) = if self.is_fast(kernels) {
            let shared = tiles * TILE as u32 * self.size * 2;
            let grid = [self.rows.div_ceil(TILE as u32), heads, 1];
            (format!("attention_{name}_{}", self.size), Shape { grid, threads: FAST_THREADS, shared }, None)
        } else {
            let grid = [self.rows.div_ceil(PLAIN_WARPS), heads, 1];
            let shape = Shape { grid, threads: PLAIN_WARPS * WARP, shared: PLAIN_WARPS * numbers * 4 };
            (format!("attention_plain_{name}"), shape, Some(Argument::U32(self.size)))
        };
        let scale = Argument::F32(1.0 / (self.size as f32).sqrt());
        let arguments: Vec<Argument> =
            before.iter().copied().chain([group]).chain(size).chain([scale]).chain(after.iter().copied()).collect();
        kernels.start(&kernel, shape, &arguments)
    }

    /// Writes the output, `[rows, heads size]`, and the log-sums to base 2, `[heads, rows]` in single precision.
    pub fn forward(
        &self,
        kernels: Kernels<'_>,
        projected: Projected,
        out: Rows,
        log_sums: Address,
    ) -> Result<(), DriverError> {
        let Projected { queries, keys, values } = projected;
        let before = arguments![
            queries.address,
            queries.stride,
            keys.address,
            keys.stride,
            values.address,
            values.stride,
            self.ends,
            self.positions,
            self.window,
            self.rows,
            self.by_query.bounds,
            self.by_query.list,
        ];
        let after = arguments![out.address, out.stride, log_sums];
        self.start(kernels, "forward", self.heads, [5, self.size + WARP], before, after)
    }

    /// Writes the gradients of queries, keys and values.
    pub fn backward(
        &self,
        kernels: Kernels<'_>,
        projected: Projected,
        of: AttentionGradient,
    ) -> Result<(), DriverError> {
        let AttentionGradient { out, dout, log_sums, delta, gradient } = of;
        let shape =
            Shape { grid: [self.rows.div_ceil(PLAIN_WARPS), self.heads, 1], threads: PLAIN_WARPS * WARP, shared: 0 };
        let arguments = arguments![out.address, out.stride, dout.address, dout.stride, self.rows, self.size, delta];
        kernels.start("attention_delta", shape, arguments)?;
        let Projected { queries, keys, values } = projected;
        let before = |tiles: TileLists| {
            [
                Argument::from(queries.address),
                queries.stride.into(),
                keys.address.into(),
                keys.stride.into(),
                values.address.into(),
                values.stride.into(),
                dout.address.into(),
                dout.stride.into(),
                self.ends.into(),
                self.positions.into(),
                self.window.into(),
                self.rows.into(),
                tiles.bounds.into(),
                tiles.list.into(),
            ]
        };
        let after = arguments![log_sums, delta, gradient.queries.address, gradient.queries.stride];
        let room = [4, 2 * self.size + WARP];
        self.start(kernels, "query_gradient", self.heads, room, &before(self.by_query), after)?;
        let after = arguments![
            log_sums,
            delta,
            gradient.keys.address,
            gradient.keys.stride,
            gradient.values.address,
            gradient.values.stride,
        ];
        let room = [4, 2 * self.size + 2 * WARP];
        self.start(kernels, "key_gradient", self.kv_heads, room, &before(self.by_key), after)
    }
}
