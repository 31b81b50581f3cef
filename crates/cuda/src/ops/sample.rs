//! Choice of tokens from logits.

use super::{Kernels, Rows, Shape, WARP, arguments};
use crate::driver::{Address, DriverError};

/// Threads of a block, which has a pick.
const THREADS: u32 = 512;

/// Picks of tokens; several may be of one row.
#[derive(Clone, Copy, Debug)]
pub struct Picks {
    /// The number of picks.
    pub count: u32,
    /// Logits in single precision, `[.., vocabulary]`.
    pub logits: Rows,
    /// Tokens of the vocabulary.
    pub vocabulary: u32,
    /// The row of every pick.
    pub rows: Address,
    /// A bit for every token of every pick that is allowed, `[count, words]` with `words` the vocabulary in words of 32
    /// bits, rounded up; none allows all.
    pub masks: Option<Address>,
}

/// How tokens are drawn.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    /// Logits are divided by it; more than 0.
    pub temperature: f32,
    /// Only the most likely tokens with together this probability are drawn.
    pub top_p: f32,
    /// A number in [0, 1) for every pick, in double precision.
    pub draws: Address,
}

impl Picks {
    /// Writes the most likely allowed token of every pick (the smallest among equals), or one that is drawn, or
    /// `u32::MAX` where none is allowed; and its log-probability without mask and temperature, in double precision.
    pub fn choose(
        &self,
        kernels: Kernels<'_>,
        draw: Option<Draw>,
        tokens: Address,
        log_probs: Address,
    ) -> Result<(), DriverError> {
        let Self { count, logits, vocabulary, rows, masks } = *self;
        let words = vocabulary.div_ceil(32);
        let warps = THREADS / WARP * 8;
        let shape = |shared| Shape { grid: [count, 1, 1], threads: THREADS, shared };
        match draw {
            None => {
                let arguments =
                    arguments![logits.address, logits.stride, vocabulary, rows, masks, words, tokens, log_probs];
                kernels.start_exactly("choose_greedy", shape(warps), arguments)
            }
            Some(Draw { temperature, top_p, draws }) => {
                let arguments = arguments![
                    logits.address,
                    logits.stride,
                    vocabulary,
                    rows,
                    masks,
                    words,
                    temperature,
                    top_p,
                    draws,
                    tokens,
                    log_probs,
                ];
                kernels.start_exactly("choose_nucleus", shape(warps + 4 * THREADS), arguments)
            }
        }
    }
}
