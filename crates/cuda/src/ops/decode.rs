//! Attention of new tokens over cached keys and values, which lie in pages that sequences may share.

use super::{Kernels, Projected, Rows, Shape, WARP, arguments};
use crate::driver::{Address, Argument, DriverError, Element};
use crate::ops::attention::FAST_SIZES;

/// Positions of a page.
pub const PAGE: u32 = 64;
/// Warps of a block; a warp has a page.
const WARPS: u32 = 2;
/// The most query heads of a key head with tensor cores: they are the rows of one product.
const MOST_GROUPED: u32 = 16;
const STORE_THREADS: u32 = 128;

/// The cache of a layer: pools of pages, `[pages, kv_heads, 64, size]`.
#[derive(Clone, Copy, Debug)]
pub struct Cache {
    /// Keys.
    pub keys: Address,
    /// Values.
    pub values: Address,
}

/// One new token of each of some sequences.
#[derive(Clone, Copy, Debug)]
pub struct DecodeAttention {
    /// Sequences.
    pub sequences: u32,
    /// Query heads, a multiple of the key heads.
    pub heads: u32,
    /// Key heads.
    pub kv_heads: u32,
    /// Numbers of a head.
    pub size: u32,
    /// The pages of every sequence, `[sequences, table_stride]`.
    pub table: Address,
    /// Numbers from one sequence's pages to the next's.
    pub table_stride: u32,
    /// Positions of every sequence, the new token's included.
    pub lengths: Address,
    /// A token sees keys at most `window - 1` positions before it; 0 for all.
    pub window: u32,
    /// The most pages of a sequence.
    pub most_pages: u32,
    /// Whether tensor cores are left unused even where they could be used.
    pub plain: bool,
}

impl DecodeAttention {
    /// Stores the keys and values of `rows` new tokens at `slots`: page times 64 plus position within the page.
    pub fn store(
        &self,
        kernels: Kernels<'_>,
        projected: Projected,
        slots: Address,
        rows: u32,
        cache: Cache,
    ) -> Result<(), DriverError> {
        let Projected { keys, values, .. } = projected;
        let shape = Shape { grid: [rows, 1, 1], threads: STORE_THREADS, shared: 0 };
        let arguments = arguments![
            keys.address,
            keys.stride,
            values.address,
            values.stride,
            slots,
            self.kv_heads,
            self.size,
            cache.keys,
            cache.values,
        ];
        kernels.start("cache_store", shape, arguments)
    }

    /// Bytes of the pages' outputs, and of their maxima and sums.
    pub fn room(&self) -> (u64, u64) {
        let parts = [self.sequences, self.heads, self.most_pages].map(u64::from).iter().product::<u64>() * 4;
        (parts * u64::from(self.size), parts * 2)
    }

    /// Writes the output of every sequence's token, `[sequences, heads size]`; `parts` and `stats` are room for the
    /// pages.
    pub fn attend(
        &self,
        kernels: Kernels<'_>,
        queries: Rows,
        cache: Cache,
        [parts, stats]: [Address; 2],
        out: Rows,
    ) -> Result<(), DriverError> {
        let group = self.heads / self.kv_heads;
        let fast =
            kernels.element == Element::Bf16 && FAST_SIZES.contains(&self.size) && group <= MOST_GROUPED && !self.plain;
        let pages = self.most_pages.div_ceil(WARPS);
        let (kernel, heads, shared, size) = if fast {
            (format!("attention_decode_{}", self.size), self.kv_heads, 2 * PAGE * self.size * 2, None)
        } else {
            let size = Some(Argument::U32(self.size));
            ("attention_decode_plain".to_owned(), self.heads, (self.size + WARP) * 4, size)
        };
        let shape = Shape { grid: [self.sequences, heads, pages], threads: WARPS * WARP, shared: WARPS * shared };
        let before = arguments![
            queries.address,
            queries.stride,
            cache.keys,
            cache.values,
            self.table,
            self.table_stride,
            self.lengths,
            self.window,
            self.kv_heads,
            group,
        ];
        let after = arguments![1.0 / (self.size as f32).sqrt(), self.most_pages, parts, stats];
        let all: Vec<Argument> = before.iter().copied().chain(size).chain(after.iter().copied()).collect();
        kernels.start(&kernel, shape, &all)?;
        let shape = Shape { grid: [self.sequences, self.heads.div_ceil(WARPS), 1], threads: WARPS * WARP, shared: 0 };
        let arguments = arguments![
            parts,
            stats,
            self.lengths,
            self.window,
            self.heads,
            self.size,
            self.most_pages,
            out.address,
            out.stride,
        ];
        kernels.start("attention_combine", shape, arguments)
    }
}
