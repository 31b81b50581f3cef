//! Random weights for training from scratch.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::model::Model;
use crate::real::Real;
use crate::weights::Matrix;
use tabpo_model::ModelConfig;

impl<R: Real> Model<R> {
    /// A model with random weights as in GPT-2: matrices normal with standard deviation 0.02, those
    /// that write into the residual stream (`o_proj`, `down_proj`) divided by `sqrt(2 * layers)`,
    /// biases 0, norms 1. Embeddings have standard deviation `sqrt(2 / (5 hidden))` (Nguyen and
    /// Salazar 2019), so that even in a small model they dominate the initial output of the blocks.
    pub fn initialise(config: ModelConfig, seed: u64) -> Self {
        Self::initialise_from(config, &mut ChaCha8Rng::seed_from_u64(seed))
    }

    /// As [`Model::initialise`], with numbers from a given generator.
    pub fn initialise_from(config: ModelConfig, random: &mut impl Rng) -> Self {
        let embeddings = embedding_spread(&config);
        let residual = 1.0 / (2.0 * config.layers as f64).sqrt();
        let built = Self::from_tensors(config, |name, [rows, columns]| {
            let values = if name.ends_with("norm.weight") {
                vec![R::ONE; rows * columns]
            } else if name.rsplit_once('.').is_some_and(|(_, kind)| kind == "bias") {
                vec![R::ZERO; rows * columns]
            } else {
                let deviation = match name {
                    "model.embed_tokens.weight" => embeddings,
                    _ if name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight") => 0.02 * residual,
                    _ => 0.02,
                };
                (0..rows * columns).map(|_| R::from_f64(deviation * standard_normal(random))).collect()
            };
            Ok::<_, std::convert::Infallible>(Matrix::owned(rows, columns, values))
        });
        match built {
            Ok(model) => model,
            Err(never) => match never {},
        }
    }
}

/// Standard deviation of the embeddings of a new model.
pub fn embedding_spread(config: &ModelConfig) -> f64 {
    (2.0 / (5.0 * config.hidden as f64)).sqrt()
}

/// A standard normal number (Box-Muller transform).
pub fn standard_normal(random: &mut impl Rng) -> f64 {
    // 53 random bits, shifted off zero so that the logarithm is finite.
    let mut unit = || ((random.next_u64() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    let (radius, angle) = (unit(), unit());
    (-2.0 * radius.ln()).sqrt() * (2.0 * std::f64::consts::PI * angle).cos()
}
