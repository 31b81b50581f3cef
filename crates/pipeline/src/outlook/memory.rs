//! The memory of a training on a card.

use serde::Serialize;
use tabpo_cuda::{
    Base as Projections,
    driver::Element,
    memory::{MemoryPlan, Request, Rung},
};
use tabpo_model::{LoraConfig, ModelConfig, SCALES_PER_GROUP, WEIGHTS_PER_SCALE};

use crate::run::CARD_LOGIT_BYTES;

/// How the frozen projections of a base model lie on a card.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Base {
    /// In the type that products read.
    #[default]
    Bf16,
    /// In NF4, with scales that are quantised themselves.
    Nf4,
}

/// Bytes a weight in NF4: half a byte, an eight-bit scale for 64 weights, and a scale in single precision for 256 of these
/// (Dettmers et al. 2023, QLoRA).
pub(super) const NF4_BYTES: f64 =
    0.5 + 1.0 / WEIGHTS_PER_SCALE as f64 + 4.0 / (WEIGHTS_PER_SCALE * SCALES_PER_GROUP) as f64;

/// A training, as far as its memory depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// The model.
    pub shape: &'a ModelConfig,
    /// Whether it computes in single precision instead of bf16.
    pub single: bool,
    /// How its frozen projections lie there; without an adapter, nothing is frozen.
    pub base: Base,
    /// The adapter that is trained; none if all parameters are.
    pub adapter: Option<&'a LoraConfig>,
    /// Tokens of the largest pass.
    pub max_tokens: usize,
    /// Whether the objective needs divergences from the reference.
    pub divergence: bool,
}

/// The memory of a training, in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Frozen weights with the room for adapters, or the copies that products read. With quantised weights, the buffer into
    /// which they are widened, one input group at a time.
    pub weights: u64,
    /// Trained parameters with gradient and moments.
    pub trained: u64,
    /// The reference of divergences.
    pub reference: u64,
    /// What is kept between the passes and what all blocks share.
    pub buffers: u64,
    /// Tokens, masks, tables and the workspace of products.
    pub other: u64,
    /// Blocks that keep everything, all but the outputs of norms, also without gate and up, and only their input.
    pub blocks: [usize; 4],
}

impl Memory {
    /// The whole.
    pub fn total(&self) -> u64 {
        self.weights + self.trained + self.reference + self.buffers + self.other
    }
}

impl Setting<'_> {
    fn element(&self) -> Element {
        if self.single { Element::F32 } else { Element::Bf16 }
    }

    fn request(&self) -> Request<'_> {
        Request {
            config: self.shape,
            element: self.element(),
            base: match self.base {
                Base::Bf16 => Projections::Plain,
                Base::Nf4 => Projections::Nf4 { nested: true },
            },
            adapter: self.adapter,
            rows: self.max_tokens,
            target_rows: self.max_tokens,
            logit_bytes: CARD_LOGIT_BYTES as u64,
            divergence: self.divergence,
        }
    }

    /// Whether weights are quantised.
    pub(super) fn is_quantised(&self) -> bool {
        self.base == Base::Nf4 && self.adapter.is_some()
    }

    /// The memory with as much kept between the passes as `limit` bytes hold; where even the least doesn't fit, that.
    pub fn within(&self, limit: u64) -> Memory {
        let plan = MemoryPlan::within(&self.request(), limit);
        let MemoryPlan { weights, trained, reference, buffers, lists, workspace, rungs } = plan;
        let blocks = Rung::ALL.map(|rung| rungs.iter().filter(|&&of_block| of_block == rung).count());
        Memory { weights, trained, reference, buffers, other: lists + workspace, blocks }
    }

    /// The most tokens in a pass that `limit` bytes hold, with all computed again that can be; 0 if not even the weights
    /// fit.
    pub fn most_tokens(&self, limit: u64) -> usize {
        let request = Request { target_rows: usize::MAX, ..self.request() };
        MemoryPlan::most_rows(&request, Rung::Input, limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outlook::{Card, shape};

    /// What is said to fit fits, one token more does not, and quantised weights take what they are said to take.
    #[test]
    fn the_plan_is_that_of_the_arena() {
        let (_, llama) = shape("llama-8b").expect("it is listed");
        let adapter = LoraConfig::new(16, 32.0);
        let limit = Card::named("4090").expect("it is listed").usable();
        for base in [Base::Bf16, Base::Nf4] {
            let setting = |max_tokens| Setting {
                shape: &llama,
                single: false,
                base,
                adapter: Some(&adapter),
                max_tokens,
                divergence: false,
            };
            let most = setting(1).most_tokens(limit);
            assert!(most > 1000, "{base:?}: {most}");
            assert!(setting(most).within(limit).total() <= limit, "{base:?}");
            assert!(setting(most + 1).within(limit).total() > limit, "{base:?}");
            let memory = setting(2048).within(limit);
            assert_eq!(memory.blocks.iter().sum::<usize>(), llama.layers);
            if base == Base::Nf4 {
                // 6.98e9 projections at 0.516 bytes, the two tables in bf16, room for B, the widened gate and up.
                assert!((5.8e9..6.4e9).contains(&(memory.weights as f64)), "{}", memory.weights);
            }
        }
    }
}
