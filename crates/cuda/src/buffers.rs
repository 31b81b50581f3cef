//! The buffers of the passes: cuts of one memory, which is planned before it is taken.
//!
//! What a block keeps from the forward pass to the backward pass depends on its [`Rung`]; what it doesn't keep lies in
//! buffers that all blocks share. All are `[rows, ...]` in the kernels' type unless something else is said.

use std::sync::Arc;

use tabpo_model::ModelConfig;

use crate::arena::{Arena, ArenaPlan, Cut};
use crate::driver::{Address, Driver, DriverError, Element};
use crate::memory::Rung;
use crate::ops::Parts;

/// The fewest rows of logits that are computed at a time, so that reading the head's weights doesn't dominate.
const FEWEST_LOGITS: usize = 16;

/// What the buffers depend on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes<'a> {
    pub(crate) config: &'a ModelConfig,
    pub(crate) element: Element,
    /// The adapter's room beside the inputs of every group.
    pub(crate) rooms: [usize; 4],
    /// Whether the adapter has dropout.
    pub(crate) dropout: bool,
    /// Whether all parameters are trained.
    pub(crate) full: bool,
    /// Whether logits of a reference are computed beside the policy's.
    pub(crate) divergences: bool,
    pub(crate) rows: usize,
    /// Distinct rows with targets.
    pub(crate) target_rows: usize,
    /// Most bytes of logits at a time.
    pub(crate) logit_bytes: u64,
}

/// The buffers of one block's forward pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockCuts {
    /// The stream before the block.
    pub(crate) input: Cut,
    /// The outputs of its norms with room for the low-rank inputs, and the inverse root mean squares in single
    /// precision.
    pub(crate) normed: [Cut; 2],
    pub(crate) inverse: [Cut; 2],
    /// What the projections give, and the same with bias, norm of the heads and rotation: queries, keys, values. One
    /// buffer where heads have no norm.
    pub(crate) raw: Cut,
    pub(crate) projected: Cut,
    /// Inverse root mean squares of the heads, in single precision.
    pub(crate) head_inverse: Cut,
    /// Attention's output with room for its low-rank input, and log-sums `[heads, rows]` in single precision.
    pub(crate) attention: Cut,
    pub(crate) log_sums: Cut,
    /// The stream between the halves.
    pub(crate) middle: Cut,
    pub(crate) gate_up: Cut,
}

/// The buffers of the head, for rows with targets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadCuts {
    pub(crate) stream: Cut,
    pub(crate) inverse: Cut,
    pub(crate) normed: Cut,
    pub(crate) gradient: Cut,
    /// The hidden states of the reference.
    pub(crate) reference: Cut,
    /// In single precision, a chunk of rows at a time.
    pub(crate) logits: Cut,
    pub(crate) reference_logits: Cut,
    /// In double precision.
    pub(crate) log_sums: Cut,
    pub(crate) reference_log_sums: Cut,
    pub(crate) divergences: Cut,
    /// dL/d(divergence) of every row, in single precision.
    pub(crate) divergence_seeds: Cut,
}

/// All buffers.
#[derive(Clone, Debug)]
pub(crate) struct Cuts {
    pub(crate) blocks: Vec<BlockCuts>,
    /// The stream after the last block.
    pub(crate) output: Cut,
    pub(crate) head: HeadCuts,
    /// The product of the feed-forward part, with room for its low-rank input; in the backward pass also its gradient.
    pub(crate) product: Cut,
    pub(crate) low: Cut,
    pub(crate) dropped: Cut,
    pub(crate) stream_gradient: Cut,
    pub(crate) normed_gradient: Cut,
    pub(crate) attention_gradient: Cut,
    pub(crate) projected_gradient: Cut,
    /// `[heads, rows]` in single precision.
    pub(crate) delta: Cut,
    /// Parts of sums over rows, in single precision.
    pub(crate) parts: Cut,
}

impl Sizes<'_> {
    /// Width of a norm's output with the room of either group that reads one.
    pub(crate) fn normed_width(&self) -> usize {
        self.config.hidden + self.rooms[0].max(self.rooms[2])
    }

    /// Width of attention's output with its room.
    pub(crate) fn attention_width(&self) -> usize {
        self.config.query_width() + self.rooms[1]
    }

    /// Width of the feed-forward product with its room.
    pub(crate) fn product_width(&self) -> usize {
        self.config.intermediate + self.rooms[3]
    }

    /// Width of queries, keys and values together.
    pub(crate) fn projected_width(&self) -> usize {
        self.config.query_width() + 2 * self.config.key_width()
    }

    /// Numbers from one row of logits to the next.
    pub(crate) fn logit_stride(&self) -> usize {
        self.config.vocabulary.next_multiple_of(8)
    }

    /// Rows of logits that are computed at a time.
    pub(crate) fn logit_rows(&self) -> usize {
        let copies = if self.divergences { 2 } else { 1 };
        let most = self.logit_bytes as usize / (self.logit_stride() * 4 * copies);
        most.max(FEWEST_LOGITS).min(self.target_rows)
    }

    /// Plans the buffers for blocks on these rungs, or for passes without a gradient.
    pub(crate) fn plan(&self, rungs: Option<&[Rung]>) -> (ArenaPlan, Cuts) {
        let ModelConfig { hidden, intermediate, heads, kv_heads, query_key_norm, layers, .. } = *self.config;
        let mut plan = ArenaPlan::default();
        let (rows, size) = (self.rows, self.element.bytes());
        let nothing = plan.reserve(0);
        // Numbers a row in the kernels' type, and in single precision.
        let narrow = |plan: &mut ArenaPlan, width: usize| plan.reserve((rows * width * size) as u64);
        let single = |plan: &mut ArenaPlan, width: usize| plan.reserve((rows * width * 4) as u64);

        let stream_gradient = if rungs.is_some() { narrow(&mut plan, hidden) } else { nothing };
        let gate_up = |plan: &mut ArenaPlan| narrow(plan, 2 * intermediate);
        let normed = |plan: &mut ArenaPlan| narrow(plan, self.normed_width());
        // All but the input, the norms' outputs, gate and up, which are set where the block has its own.
        let attention = |plan: &mut ArenaPlan, input: Cut, normed: [Cut; 2], gate_up: Cut| {
            let projected = narrow(plan, self.projected_width());
            BlockCuts {
                input,
                normed,
                inverse: [single(plan, 1), single(plan, 1)],
                raw: if query_key_norm { narrow(plan, self.projected_width()) } else { projected },
                projected,
                head_inverse: if query_key_norm { single(plan, heads + kv_heads) } else { nothing },
                attention: narrow(plan, self.attention_width()),
                log_sums: single(plan, heads),
                middle: narrow(plan, hidden),
                gate_up,
            }
        };
        let lowest = rungs.map_or(Rung::Input, |rungs| rungs.iter().copied().max().unwrap_or(Rung::Input));
        let mut own: Vec<(Rung, Option<BlockCuts>, Cut)> = Vec::with_capacity(layers);
        let output = match rungs {
            None => {
                let streams = [narrow(&mut plan, hidden), narrow(&mut plan, hidden)];
                own.extend((0..layers).map(|layer| (Rung::Input, None, streams[layer % 2])));
                streams[layers % 2]
            }
            Some(rungs) => {
                assert_eq!(rungs.len(), layers, "every block has a rung");
                for &rung in rungs {
                    let input = narrow(&mut plan, hidden);
                    let cuts = (rung != Rung::Input).then(|| {
                        let normed = match rung {
                            Rung::Everything => [normed(&mut plan), normed(&mut plan)],
                            _ => [nothing; 2],
                        };
                        let gate_up = if rung == Rung::WithoutGateUp { nothing } else { gate_up(&mut plan) };
                        attention(&mut plan, input, normed, gate_up)
                    });
                    own.push((rung, cuts, input));
                }
                narrow(&mut plan, hidden)
            }
        };
        let parts = if self.full && rungs.is_some() {
            plan.reserve(Parts::most_bytes(rows as u32, hidden.max(self.projected_width()) as u64))
        } else {
            nothing
        };
        // The head comes between the blocks' passes, so that its buffers lie where theirs do.
        // Only what the reference's pass leaves for the policy's head outlives the passes through the blocks.
        let reference = if self.divergences { self.target_rows * hidden * size } else { 0 };
        let reference = plan.reserve(reference as u64);
        let mark = plan.mark();
        let head = self.head(&mut plan, rungs.is_some(), reference);
        plan.release(mark);

        let shared_normed = if lowest > Rung::Everything { normed(&mut plan) } else { nothing };
        let shared_gate_up = if lowest >= Rung::WithoutGateUp { gate_up(&mut plan) } else { nothing };
        let shared = (lowest == Rung::Input).then(|| attention(&mut plan, nothing, [shared_normed; 2], shared_gate_up));
        let block = |(rung, own, input): (Rung, Option<BlockCuts>, Cut)| match own {
            None => BlockCuts { input, ..shared.expect("a block on the lowest rung has the shared buffers") },
            Some(cuts) => BlockCuts {
                normed: if rung == Rung::Everything { cuts.normed } else { [shared_normed; 2] },
                gate_up: if rung == Rung::WithoutGateUp { shared_gate_up } else { cuts.gate_up },
                ..cuts
            },
        };
        let blocks = own.into_iter().map(block).collect();
        let most = hidden.max(intermediate).max(self.config.query_width());
        let dropped = if self.dropout && rungs.is_some() { narrow(&mut plan, most) } else { nothing };
        let normed_gradient = if rungs.is_some() { normed(&mut plan) } else { nothing };
        // The halves of a block come one after the other.
        let mark = plan.mark();
        let product = narrow(&mut plan, self.product_width());
        let low = if rungs.is_some() { narrow(&mut plan, self.rooms[3]) } else { nothing };
        plan.release(mark);
        let [attention_gradient, projected_gradient, delta] = if rungs.is_some() {
            let of_attention = narrow(&mut plan, self.attention_width());
            [of_attention, narrow(&mut plan, self.projected_width()), single(&mut plan, heads)]
        } else {
            [nothing; 3]
        };
        let cuts = Cuts {
            blocks,
            output,
            head,
            product,
            low,
            dropped,
            stream_gradient,
            normed_gradient,
            attention_gradient,
            projected_gradient,
            delta,
            parts,
        };
        (plan, cuts)
    }

    fn head(&self, plan: &mut ArenaPlan, gradient: bool, reference: Cut) -> HeadCuts {
        let rows = self.target_rows;
        let width = (rows * self.config.hidden * self.element.bytes()) as u64;
        let [stream, normed] = [plan.reserve(width), plan.reserve(width)];
        let gradient = plan.reserve(if gradient { width } else { 0 });
        let logit_bytes = (self.logit_rows() * self.logit_stride() * 4) as u64;
        let of_reference = |bytes: u64| if self.divergences { bytes } else { 0 };
        let (single, double) = ((rows * 4) as u64, (rows * 8) as u64);
        HeadCuts {
            stream,
            inverse: plan.reserve(single),
            normed,
            gradient,
            reference,
            logits: plan.reserve(logit_bytes),
            reference_logits: plan.reserve(of_reference(logit_bytes)),
            log_sums: plan.reserve(double),
            reference_log_sums: plan.reserve(of_reference(double)),
            divergences: plan.reserve(of_reference(double)),
            divergence_seeds: plan.reserve(of_reference(single)),
        }
    }
}

/// The buffers on a device.
pub(crate) struct Buffers {
    arena: Arena,
    pub(crate) cuts: Cuts,
    /// The most rows, and rows with targets, of a pass.
    pub(crate) rows: usize,
    pub(crate) target_rows: usize,
    /// Rows of logits that are computed at a time.
    pub(crate) logit_rows: usize,
    /// The rung of every block; none for passes without a gradient.
    pub(crate) rungs: Option<Vec<Rung>>,
}

impl Buffers {
    pub(crate) fn new(
        driver: &Arc<dyn Driver>,
        sizes: &Sizes<'_>,
        rungs: Option<Vec<Rung>>,
    ) -> Result<Self, DriverError> {
        let (plan, cuts) = sizes.plan(rungs.as_deref());
        let Sizes { rows, target_rows, .. } = *sizes;
        Ok(Self { arena: plan.allocate(driver)?, cuts, rows, target_rows, logit_rows: sizes.logit_rows(), rungs })
    }

    /// The place of a buffer.
    pub(crate) fn at(&self, cut: Cut) -> Address {
        self.arena.address(cut)
    }

    /// Bytes of the whole.
    pub(crate) fn bytes(&self) -> u64 {
        self.arena.bytes()
    }
}
