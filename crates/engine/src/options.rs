//! Options of the passes.

use serde::{Deserialize, Serialize};

/// What the forward pass keeps for the backward pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Recompute {
    /// Everything is stored.
    Nothing,
    /// Normalised inputs are recomputed, which takes about one percent more time.
    #[default]
    Cheap,
    /// As [`Recompute::Cheap`], and of the first blocks, this many, only the inputs are stored: a block's forward pass
    /// is repeated before its backward pass.
    Blocks(usize),
}

impl Recompute {
    /// Only the inputs of all blocks are stored.
    pub const ALL_BLOCKS: Self = Self::Blocks(usize::MAX);

    /// Whether the forward pass of a block is repeated.
    pub(crate) fn repeats(self, layer: usize) -> bool {
        matches!(self, Self::Blocks(count) if layer < count)
    }

    /// Sets of buffers for `layers` blocks: one for all blocks whose forward pass is repeated.
    pub(crate) fn sets(self, layers: usize) -> usize {
        match self {
            Self::Blocks(count) if count > 0 => layers - count.min(layers) + 1,
            _ => layers,
        }
    }
}

/// Options of a forward pass.
#[derive(Clone, Copy, Debug)]
pub struct ForwardOptions {
    /// Whether a backward pass follows. Otherwise memory does not grow with the number of layers.
    pub gradient: bool,
    /// What is kept for the backward pass.
    pub recompute: Recompute,
    /// Seed of the adapter's dropout masks, which must differ between steps; `None` disables dropout, as for
    /// reference log-probabilities and evaluation.
    pub dropout_seed: Option<u64>,
    /// Most bytes of logits in memory at the same time. If the logits of all target rows fit, they are kept
    /// for the backward pass; otherwise they are computed in chunks, and again in the backward pass.
    pub logit_bytes: usize,
}

impl Default for ForwardOptions {
    fn default() -> Self {
        Self { gradient: true, recompute: Recompute::default(), dropout_seed: None, logit_bytes: 64 << 20 }
    }
}

impl ForwardOptions {
    /// Options for evaluation and reference log-probabilities: no backward pass, no dropout.
    pub fn inference() -> Self {
        Self { gradient: false, ..Self::default() }
    }
}
