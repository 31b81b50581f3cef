//! The time of a training on a card.
//!
//! A row (a token of a trie) takes two operations for every weight of the projections in the forward pass and two more in
//! the backward pass, which gives the gradient of the input; trained weights take another two for their own gradient, and
//! what is computed again takes its part of the forward pass. Keys and values of the rows before add
//! `4 x context x width` of all query heads in the forward pass, and two and a half times that in the backward pass. Rows with targets also
//! go through the head, forwards and backwards. Quantised weights are widened for every pass, which moves 0.516 + 2 bytes a
//! weight.

use serde::Serialize;
use tabpo_model::{INPUT_GROUPS, LoraConfig, Projection};

use super::{Card, Memory, Setting, memory::NF4_BYTES};

/// The share of a card's products that a whole training is reckoned to reach. It is an assumption until one was measured.
pub const SUSTAINED: f64 = 0.45;

/// What a row costs, in floating-point operations.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Cost {
    /// Forward and backward pass.
    pub training: f64,
    /// A forward pass alone, as of the reference.
    pub reference: f64,
    /// Times that all projections are widened in a training pass, if they are quantised, in units of forward passes.
    widened: f64,
    /// Projections that are quantised.
    quantised: f64,
}

impl Cost {
    /// The cost of a row of a training with this memory. `context` is the mean number of rows that a row sees,
    /// `targets` the share of rows with targets.
    pub fn new(setting: &Setting<'_>, memory: &Memory, context: f64, targets: f64) -> Self {
        let shape = setting.shape;
        let layers = shape.layers as f64;
        let numbers = |projection: &Projection| projection.shape(shape).iter().product::<usize>() as f64;
        let of_block: f64 = INPUT_GROUPS.iter().flat_map(|group| group.iter()).map(numbers).sum();
        let projections = layers * of_block;
        let gate_up: f64 = INPUT_GROUPS[2].iter().map(numbers).sum();
        let adapter = setting.adapter.map_or(0.0, |adapter| adapter_parameters(setting, adapter));
        let head = (shape.vocabulary * shape.hidden) as f64 * targets;
        let attention = layers * 4.0 * context * shape.query_width() as f64;
        let forward = 2.0 * (projections + adapter) + attention;
        let trained = if setting.adapter.is_some() { adapter } else { projections + head };
        // The last two rungs compute gate and up, or the whole block, again.
        let [_, _, without_gate_up, input] = memory.blocks.map(|count| count as f64);
        let of_layer = forward / layers;
        let again = without_gate_up * 2.0 * gate_up + input * of_layer;
        let backward = 2.0 * (projections + adapter) + 2.0 * trained + 2.5 * attention;
        let widened = 2.0 + (input + without_gate_up * gate_up / of_block) / layers;
        Self {
            training: forward + backward + again + 4.0 * head,
            reference: forward + 2.0 * head,
            widened,
            quantised: if setting.is_quantised() { projections } else { 0.0 },
        }
    }

    /// Seconds for this many rows, computed in passes of `max_tokens`, with or without a forward pass of the reference.
    pub fn seconds(&self, setting: &Setting<'_>, card: &Card, rows: f64, reference: bool) -> f64 {
        let operations = self.training + if reference { self.reference } else { 0.0 };
        let ceiling = if setting.single { card.single } else { card.bf16 };
        let products = rows * operations / (ceiling * 1e12 * SUSTAINED);
        let passes = (rows / setting.max_tokens as f64).ceil() * (self.widened + if reference { 1.0 } else { 0.0 });
        products + passes * self.quantised * (NF4_BYTES + 2.0) / (card.bandwidth * 1e12)
    }
}

/// The parameters of an adapter.
fn adapter_parameters(setting: &Setting<'_>, adapter: &LoraConfig) -> f64 {
    let of_layer = |layer: usize| -> usize {
        let of = |projection: &Projection| {
            adapter.rank_and_scale(*projection, layer).0 * projection.shape(setting.shape).iter().sum::<usize>()
        };
        adapter.targets.iter().map(of).sum()
    };
    (0..setting.shape.layers).map(of_layer).sum::<usize>() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outlook::{Base, shape};

    /// Four operations a parameter and token where nothing is computed again, six where everything is.
    #[test]
    fn operations_are_those_of_the_textbook() {
        let (_, llama) = shape("llama-8b").expect("it is listed");
        let adapter = LoraConfig::new(16, 32.0);
        let h200 = Card::named("h200").expect("it is listed");
        let setting = Setting {
            shape: &llama,
            single: false,
            base: Base::Bf16,
            adapter: Some(&adapter),
            max_tokens: 8192,
            divergence: false,
        };
        let projections = 6.98e9;
        let roomy = Cost::new(&setting, &setting.within(u64::MAX), 0.0, 0.0);
        assert!((roomy.training / (4.0 * projections) - 1.0).abs() < 0.02, "{}", roomy.training);
        assert!((roomy.reference / (2.0 * projections) - 1.0).abs() < 0.02, "{}", roomy.reference);
        let tight = Cost::new(&setting, &setting.within(0), 0.0, 0.0);
        assert!((tight.training / (6.0 * projections) - 1.0).abs() < 0.02, "{}", tight.training);
        let seconds = roomy.seconds(&setting, &h200, 8192.0, false);
        assert!((seconds - 8192.0 * roomy.training / (989e12 * SUSTAINED)).abs() < 1e-9);
        // Widening 70B for two passes moves 2 x 68e9 x 2.5 bytes.
        let (_, llama) = shape("llama-70b").expect("it is listed");
        let setting = Setting { shape: &llama, base: Base::Nf4, ..setting };
        let cost = Cost::new(&setting, &setting.within(u64::MAX), 0.0, 0.0);
        let plain = Cost { quantised: 0.0, ..cost };
        let more = cost.seconds(&setting, &h200, 8192.0, false) - plain.seconds(&setting, &h200, 8192.0, false);
        assert!((0.06..0.09).contains(&more), "{more}");
        // Full training: six.
        let full = Setting { adapter: None, ..setting };
        let cost = Cost::new(&full, &full.within(u64::MAX), 0.0, 0.0);
        assert!((cost.training / (6.0 * 68.45e9) - 1.0).abs() < 0.02, "{}", cost.training);
    }
}
