//! What a training run takes of a card's memory, and how much is kept between the passes.
//!
//! Weights and what is kept are in the kernels' type; parameters that are trained, their gradient and moments, logits and
//! statistics in single precision. The buffers are counted by the plan that cuts them.

use tabpo_model::{LoraConfig, ModelConfig};

use crate::adapter::AdapterLayout;
use crate::buffers::Sizes;
use crate::driver::Element;
use crate::listed::{Listed, Rotation};
use crate::quantised::{self, Base};
use crate::trained::{Trained, TrainedLayout};
use crate::weights::Layout;

/// Bytes of a number in single precision.
const SINGLE: u64 = 4;

/// What is kept of a block from the forward pass to the backward pass, from the most to the least. The rest is computed
/// again from it, to the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rung {
    /// Everything that the backward pass reads.
    Everything,
    /// All but the outputs of the norms, which cost little to compute again.
    Cheap,
    /// Of these, all but gate and up.
    WithoutGateUp,
    /// The block's input.
    Input,
}

impl Rung {
    /// All rungs, from the most to the least that is kept.
    pub const ALL: [Self; 4] = [Self::Everything, Self::Cheap, Self::WithoutGateUp, Self::Input];

    /// The highest rungs for this many blocks with which `takes` is at most `limit` bytes; the lowest where it never is.
    /// Blocks differ by one rung at most, the first being on the higher one.
    pub(crate) fn within(layers: usize, limit: u64, takes: impl Fn(&[Self]) -> u64) -> Vec<Self> {
        let base = Self::ALL.into_iter().find(|&rung| takes(&vec![rung; layers]) <= limit);
        let Some(base) = base else { return vec![Self::Input; layers] };
        // What is left over raises as many blocks as it can to the next rung.
        let Some(next) = Self::ALL.into_iter().rev().find(|&rung| rung < base) else { return vec![base; layers] };
        let raised =
            |count: usize| (0..layers).map(|layer| if layer < count { next } else { base }).collect::<Vec<_>>();
        let most = (0..layers).rev().find(|&count| takes(&raised(count)) <= limit).unwrap_or(0);
        raised(most)
    }
}

/// What a run's memory depends on.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The model.
    pub config: &'a ModelConfig,
    /// The type that the model is computed with.
    pub element: Element,
    /// How the projections lie on the card under an adapter.
    pub base: Base,
    /// The adapter that is trained; none if all parameters are.
    pub adapter: Option<&'a LoraConfig>,
    /// Rows of the largest micro-batch.
    pub rows: usize,
    /// Its distinct rows with targets.
    pub target_rows: usize,
    /// Most bytes of logits that are computed at a time.
    pub logit_bytes: u64,
    /// Whether the objective uses divergences from a reference, whose logits are computed beside the policy's.
    pub divergence: bool,
}

/// What a run takes, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Weights, with the room for adapters.
    pub weights: u64,
    /// Trained parameters with gradient, moments and the copies that products read.
    pub trained: u64,
    /// The reference of divergences.
    pub reference: u64,
    /// The buffers of the passes: what is kept between them, what all blocks share, and logits.
    pub buffers: u64,
    /// Tokens, masks and rotary tables.
    pub lists: u64,
    /// Workspace of matrix products.
    pub workspace: u64,
    /// The rung of every block.
    pub rungs: Vec<Rung>,
}

impl MemoryPlan {
    /// The plan that keeps the most within `limit` bytes. Where even the least doesn't fit, it is returned, and its total
    /// is above the limit.
    pub fn within(request: &Request<'_>, limit: u64) -> Self {
        let rungs = Rung::within(request.config.layers, limit, |rungs| Self::of(request, rungs.to_vec()).total());
        Self::of(request, rungs)
    }

    /// The plan for blocks on these rungs.
    pub fn of(request: &Request<'_>, rungs: Vec<Rung>) -> Self {
        let Request { config, element, base, adapter, rows, target_rows, divergence, .. } = *request;
        let size = element.bytes() as u64;
        let adapter = adapter.map(|adapter| AdapterLayout::new(config, adapter));
        let base = if adapter.is_some() { base } else { Base::Plain };
        let rooms = adapter.as_ref().map_or([0; 4], |adapter| adapter.rooms);
        let layout = Layout::new(config, rooms, base);
        let matrices = layout.matrices * size + quantised::bytes(config, base, rooms, element);
        let (weights, trained, reference) = match &adapter {
            Some(adapter) => {
                let trained = TrainedLayout::adapter(adapter, &layout);
                let trained = Trained::bytes(&trained) + adapter.copies * size;
                (matrices + layout.vector_numbers * SINGLE, trained, adapter.parameters * SINGLE)
            }
            None => {
                let (trained, _) = TrainedLayout::full(config, &layout);
                (matrices, Trained::bytes(&trained), matrices + layout.vector_numbers * SINGLE)
            }
        };
        let (plan, _) = request.sizes(adapter.as_ref()).plan(Some(&rungs));
        Self {
            weights,
            trained,
            reference: if divergence { reference } else { 0 },
            buffers: plan.bytes(),
            lists: Listed::most_bytes(config, rows, target_rows) + Rotation::bytes(config, rows),
            workspace: crate::driver::WORKSPACE_BYTES as u64,
            rungs,
        }
    }

    /// The whole.
    pub fn total(&self) -> u64 {
        self.weights + self.trained + self.reference + self.buffers + self.lists + self.workspace
    }

    /// The most rows that fit into `limit` bytes with all blocks on this rung, all of them with targets as in the
    /// request; 0 if not even the weights do.
    pub fn most_rows(request: &Request<'_>, rung: Rung, limit: u64) -> usize {
        let total = |rows: usize| {
            let request = Request { rows, target_rows: request.target_rows.min(rows), ..*request };
            Self::of(&request, vec![rung; request.config.layers]).total()
        };
        let (mut fits, mut too_many) = (0, 1);
        while total(too_many) <= limit {
            (fits, too_many) = (too_many, too_many * 2);
        }
        while too_many - fits > 1 {
            let middle = usize::midpoint(fits, too_many);
            if total(middle) <= limit { fits = middle } else { too_many = middle }
        }
        fits
    }
}

impl<'a> Request<'a> {
    fn sizes(&self, adapter: Option<&AdapterLayout>) -> Sizes<'a> {
        let Self { config, element, rows, target_rows, logit_bytes, divergence, .. } = *self;
        Sizes {
            config,
            element,
            rooms: adapter.map_or([0; 4], |adapter| adapter.rooms),
            dropout: self.adapter.is_some_and(|adapter| adapter.dropout > 0.0),
            full: adapter.is_none(),
            divergences: divergence,
            rows,
            target_rows,
            logit_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tabpo_model::{Architecture, RopeScaling};

    fn model(
        architecture: Architecture,
        [layers, hidden, intermediate, heads, kv_heads, vocabulary]: [usize; 6],
        tied_head: bool,
    ) -> ModelConfig {
        let qwen2 = architecture == Architecture::Qwen2;
        ModelConfig {
            architecture,
            layers,
            intermediate,
            kv_heads,
            head_dim: 128,
            rope_scaling: RopeScaling::None,
            query_key_value_bias: qwen2,
            query_key_norm: architecture == Architecture::Qwen3,
            tied_head,
            ..ModelConfig::small(vocabulary, hidden, layers, heads)
        }
    }

    const GB: f64 = 1e9;
    /// What CUDA takes itself: context and libraries.
    const CONTEXT: f64 = 0.8 * GB;

    /// No more is taken than the table of the design says, which was made by hand and shares fewer buffers: gigabytes at 8192 rows with block inputs and with
    /// `Cheap`, then thousands of rows that fit into 95 % of 80 GB and of 141 GB, each with both rungs.
    #[test]
    fn the_designs_table_comes_out() {
        use Architecture::{Llama, Qwen2, Qwen3};
        let qwen_1_5b = model(Qwen2, [28, 1536, 8960, 12, 2, 151_936], true);
        let llama_8b = model(Llama, [32, 4096, 14336, 32, 8, 128_256], false);
        let qwen_14b = model(Qwen3, [40, 5120, 17408, 40, 8, 151_936], false);
        let qwen_32b = model(Qwen2, [64, 5120, 27648, 40, 8, 152_064], false);
        let llama_70b = model(Llama, [80, 8192, 28672, 64, 8, 128_256], false);
        let cards = [81_559.0, 143_771.0].map(|mebibytes| mebibytes * 1_048_576.0 * 0.95 - CONTEXT);
        let table = [
            (&qwen_1_5b, 3.1, 0.3, [6.0, 17.0], [[425.0, 53.0], [772.0, 96.0]]),
            (&llama_8b, 16.1, 0.8, [22.0, 44.0], [[138.0, 20.0], [274.0, 39.0]]),
            (&qwen_14b, 29.5, 1.2, [38.0, 75.0], [[74.0, 9.0], [168.0, 21.0]]),
            (&qwen_32b, 65.5, 2.4, [77.0, f64::NAN], [[12.0, 1.0], [77.0, 7.0]]),
            (&llama_70b, 141.1, 3.7, [f64::NAN; 2], [[0.0; 2], [0.0; 2]]),
        ];
        let adapter = LoraConfig::new(16, 16.0);
        let rungs = [Rung::Input, Rung::Cheap];
        for (config, weights, trained, totals, rows) in table {
            let request = Request {
                config,
                element: Element::Bf16,
                base: Base::Plain,
                adapter: Some(&adapter),
                rows: 8192,
                target_rows: 2048,
                logit_bytes: 800_000_000,
                divergence: false,
            };
            let name = format!("{} layers of {}", config.layers, config.hidden);
            let plan = MemoryPlan::of(&request, vec![Rung::Input; config.layers]);
            // The table's weights are without the room for B, which it puts at about 1.5 %.
            let found = plan.weights as f64 / GB;
            assert!(found >= weights - 0.05 && found < weights * 1.02 + 0.05, "{name}: {found} of weights");
            let found = plan.trained as f64 / GB;
            assert!((found - trained).abs() < 0.06 * trained + 0.05, "{name}: {found} trained");
            for (&rung, total) in rungs.iter().zip(totals).filter(|(_, total)| !total.is_nan()) {
                let found = (MemoryPlan::of(&request, vec![rung; config.layers]).total() as f64 + CONTEXT) / GB;
                assert!(found < 1.03 * total + 0.5, "{name} {rung:?}: {found}, not at most {total}");
            }
            for (card, wanted) in cards.into_iter().zip(rows) {
                for (&rung, wanted) in rungs.iter().zip(wanted) {
                    let found = MemoryPlan::most_rows(&request, rung, card as u64) as f64 / 1e3;
                    let room = 0.06 * wanted + 1.0;
                    assert!(found + room >= wanted, "{name} {rung:?}: {found}k rows, not at least {wanted}k");
                }
            }
        }
    }

    #[test]
    fn a_limit_is_filled_block_by_block_and_never_passed() {
        let config = model(Architecture::Llama, [32, 4096, 14336, 32, 8, 128_256], false);
        let adapter = LoraConfig::new(16, 16.0);
        let request = Request {
            config: &config,
            element: Element::Bf16,
            base: Base::Plain,
            adapter: Some(&adapter),
            rows: 8192,
            target_rows: 4096,
            logit_bytes: 512 << 20,
            divergence: true,
        };
        let even = |rung| MemoryPlan::of(&request, vec![rung; config.layers]).total();
        assert!(Rung::ALL.windows(2).all(|pair| even(pair[0]) > even(pair[1])), "a lower rung takes less");
        let (least, most) = (even(Rung::Input), even(Rung::Everything));
        let mut before = 0;
        for step in 0..=50 {
            let limit = least + (most - least) * step / 50;
            let plan = MemoryPlan::within(&request, limit);
            assert!(plan.total() <= limit, "step {step}");
            // More memory is used, and no block more would fit.
            let kept = plan.buffers;
            assert!(kept >= before, "step {step}");
            before = kept;
            if let Some(at) = plan.rungs.iter().position(|&rung| rung == *plan.rungs.last().expect("it has blocks")) {
                let mut raised = plan.rungs.clone();
                let next = Rung::ALL.into_iter().rev().find(|&rung| rung < raised[at]);
                if let Some(next) = next {
                    raised[at] = next;
                    assert!(MemoryPlan::of(&request, raised).total() > limit, "step {step}");
                }
            }
        }
        assert!(MemoryPlan::within(&request, most).rungs.iter().all(|&rung| rung == Rung::Everything));
        let short = MemoryPlan::within(&request, least - 1);
        assert!(short.total() > least - 1 && short.rungs.iter().all(|&rung| rung == Rung::Input));
    }

    /// All parameters of 1.5B take 18 bytes each, 28 GB.
    #[test]
    fn full_training_takes_eighteen_bytes_a_parameter() {
        let config = model(Architecture::Qwen2, [28, 1536, 8960, 12, 2, 151_936], true);
        let request = Request {
            config: &config,
            element: Element::Bf16,
            base: Base::Plain,
            adapter: None,
            rows: 1,
            target_rows: 1,
            logit_bytes: 0,
            divergence: false,
        };
        let plan = MemoryPlan::of(&request, vec![Rung::Input; 28]);
        // Besides, there are only the optimiser's table and the places between parameters.
        let share = (plan.weights + plan.trained) as f64 / (18 * config.parameters()) as f64;
        assert!((share - 1.0).abs() < 1e-4, "{share}");
        assert!(((plan.weights + plan.trained) as f64 / GB - 28.0).abs() < 0.5);
    }
}
