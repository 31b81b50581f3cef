//! Conversions of sections of a configuration into the settings of libraries. Where a library's settings have no
//! default here, every field is named, so that a new one cannot be forgotten.

use tabpo_model::{LoraConfig, ModelConfig};
use tabpo_synthetic::SyntheticConfig;
use tabpo_train::TrainBudget;

use super::{AdapterSection, ModelSection, SyntheticSection, TrainSection};

impl ModelSection {
    /// The decoder that a checked section describes, with a vocabulary of this size.
    pub fn shape(&self, vocabulary: usize) -> ModelConfig {
        let &Self {
            folder: _,
            chat_template: _,
            vocabulary: _,
            compute: _,
            device: _,
            kv_heads,
            intermediate,
            hidden,
            layers,
            heads,
        } = self;
        ModelConfig { kv_heads, intermediate, ..ModelConfig::small(vocabulary, hidden, layers, heads) }
    }
}

impl AdapterSection {
    /// The settings of a new adapter.
    pub fn lora(&self) -> LoraConfig {
        let Self { folder: _, rank, alpha, dropout, rslora, targets } = self.clone();
        LoraConfig { dropout, rslora, targets, ..LoraConfig::new(rank, alpha) }
    }
}

impl SyntheticSection {
    /// How to generate the built-in corpus.
    pub fn corpus(&self, seed: u64) -> SyntheticConfig {
        let &Self { sft, curated, validation, test, label_bias } = self;
        SyntheticConfig { seed, sft, gold: curated, validation, test, bias: label_bias }
    }
}

impl TrainSection {
    /// How long to train on this many examples.
    pub fn budget(&self, examples: usize) -> TrainBudget {
        let epochs = || (self.epochs * examples as f64 / self.batch_size as f64).ceil() as u64;
        TrainBudget::Steps(self.steps.map_or_else(epochs, |steps| steps as u64).max(1))
    }
}
