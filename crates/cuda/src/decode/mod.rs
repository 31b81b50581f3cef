//! Decoding: new tokens of sequences whose keys and values are cached.
//!
//! Beginnings, prompts and single tokens go through the same pass: every new token is a row that attends to the pages of
//! its sequence up to its own position. So a row's attention doesn't depend on what is computed beside it.

mod generator;
mod pages;

use tabpo_engine::{GenerationMemory, GeneratorSize};
use tabpo_model::ModelConfig;

use crate::buffers::Sizes;
use crate::driver::{Address, DriverError};
use crate::ops::{Cache, DecodeAttention, Kernels, PAGE, Projected, Rows};

pub(crate) use generator::CudaGenerator;

/// The most new tokens of a pass.
const PASS_ROWS: usize = 256;
/// The fewest tokens of a beginning that prompts share, by which the number of their last pages is bounded.
const SHORTEST_SHARED: usize = 16;

/// The new tokens of one pass on the device.
pub(crate) struct Fed {
    pub(crate) rows: u32,
    pub(crate) tokens: Address,
    pub(crate) positions: Address,
    /// Where the keys and values of every row are stored.
    slots: Address,
    /// The pages of every row's sequence, and the positions that it sees.
    table: Address,
    lengths: Address,
    most_pages: u32,
    /// The cache of every layer.
    caches: Vec<Cache>,
    /// Room for the results of single pages.
    room: [Address; 2],
}

impl Fed {
    fn attention(&self, config: &ModelConfig, layer: usize) -> DecodeAttention {
        DecodeAttention {
            sequences: self.rows,
            heads: config.heads as u32,
            kv_heads: config.kv_heads as u32,
            size: config.head_dim as u32,
            table: self.table,
            table_stride: self.most_pages,
            lengths: self.lengths,
            window: config.window(layer).unwrap_or(0) as u32,
            most_pages: self.most_pages,
            plain: false,
        }
    }

    /// Caches the keys and values of the rows, and then attends.
    pub(crate) fn attend(
        &self,
        kernels: Kernels<'_>,
        config: &ModelConfig,
        layer: usize,
        projected: Projected,
        out: Rows,
    ) -> Result<(), DriverError> {
        let (attention, cache) = (self.attention(config, layer), self.caches[layer]);
        attention.store(kernels, projected, self.slots, self.rows, cache)?;
        attention.attend(kernels, projected.queries, cache, self.room, out)
    }
}

/// Pages that a generator begins with.
fn first_pages(size: GeneratorSize) -> usize {
    let pages = |tokens: usize| tokens.div_ceil(PAGE as usize);
    // Every sequence and every shared beginning may begin and end within a page.
    size.sequences * (pages(size.capacity) + 1) + pages(size.shared) + size.shared / SHORTEST_SHARED + 1
}

/// The memory of a generator on a device.
pub(crate) fn memory(sizes: &Sizes<'_>, weights: u64, size: GeneratorSize) -> GenerationMemory {
    let config = sizes.config;
    let page = pages::page_bytes(config, sizes.element) * 2 * config.layers as u64;
    let one = GeneratorSize { sequences: 1, shared: 0, ..size };
    let of_sequence = page * first_pages(one) as u64 + of_state(sizes);
    let (buffers, _) = Sizes { rows: PASS_ROWS, target_rows: 0, ..*sizes }.plan(None);
    let shared = page * first_pages(GeneratorSize { sequences: 0, ..size }) as u64;
    GenerationMemory {
        weights: weights as usize,
        fixed: (buffers.bytes() + shared + parts_bytes(config, PASS_ROWS, 64)) as usize,
        sequence: of_sequence as usize,
    }
}

/// Bytes of a sequence's hidden state and logits.
fn of_state(sizes: &Sizes<'_>) -> u64 {
    (2 * sizes.config.hidden * sizes.element.bytes() + 4 + 4 * sizes.logit_stride()) as u64
}

/// Bytes of the results of single pages.
fn parts_bytes(config: &ModelConfig, rows: usize, pages: usize) -> u64 {
    (rows * config.heads * pages * (config.head_dim + 2) * 4) as u64
}
