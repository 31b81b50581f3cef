//! The type in which products with frozen weights are computed.

use std::hint::black_box;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tabpo_model::{ModelConfig, StoredType};

use crate::linear::{backward_matrix, forward_matrix};
use crate::model::Model;
use crate::ops::bf16::{self, Rows};
use crate::ops::on_pool;
use crate::scratch::ThreadScratch;
use crate::view::{View, ViewMut};
use crate::weights::Matrix;

/// The type in which products with frozen weights are computed. Trained parameters, their gradients and all
/// other operations are always in single precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compute {
    /// bf16 if the weights are stored in bf16, so that nothing is lost by rounding them, and products in bf16 are
    /// faster on this machine ([`ProductSpeeds`]); otherwise single precision. Quantised weights are computed with in
    /// single precision: packed in bf16 they would take two to four times the memory of their file.
    #[default]
    Auto,
    /// Single precision.
    F32,
    /// bf16, to which weights of other types are rounded; by a portable kernel on machines without instructions for it.
    Bf16,
}

impl Compute {
    /// The name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Compute::Auto => "auto",
            Compute::F32 => "f32",
            Compute::Bf16 => "bf16",
        }
    }

    /// This machine's instructions for products in bf16: `amx`, `avx512-bf16` or none.
    pub fn bf16_instructions() -> Option<&'static str> {
        bf16::kernel().instructions()
    }
}

/// How fast this machine computes products with weights of a model, in GFLOP/s. Having instructions for bf16 says
/// little: without AMX, some processors are no faster with them than in single precision.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProductSpeeds {
    /// In single precision, with weights that are widened from bf16.
    pub f32_gflops: f64,
    /// In bf16, with packed weights.
    pub bf16_gflops: f64,
}

impl ProductSpeeds {
    /// bf16 is chosen if it is faster by this factor, so that noise does not choose it for nothing.
    const WORTHWHILE: f64 = 1.1;

    /// Measures the forward and the backward product of the feed-forward part with both kernels in turn. The medians of
    /// several rounds count, because other work on the machine disturbs single ones.
    pub fn measure(config: &ModelConfig) -> Self {
        const ROWS: usize = 512;
        const ROUNDS: usize = 7;
        // Larger matrices would take longer and show the same.
        let (outputs, inputs) = (config.intermediate.clamp(1, 1024), config.hidden.clamp(1, 1024));
        // Small numbers of both signs; what they are has no influence on the time.
        let value = |index: usize| (index * 7919 % 255) as f32 / 255.0 - 0.5;
        let bytes: Vec<u8> = (0..outputs * inputs).flat_map(|i| half::bf16::from_f32(value(i)).to_le_bytes()).collect();
        let stored = Matrix::stored(outputs, inputs, StoredType::Bf16, std::sync::Arc::new(bytes), 0);
        let mut packed = stored.clone();
        packed.pack();
        let x: Vec<f32> = (0..ROWS * inputs).map(value).collect();
        let (mut y, mut dx) = (vec![0.0; ROWS * outputs], vec![0.0; ROWS * inputs]);
        let (scratch, mut rounded) = (ThreadScratch::new(), Rows::default());
        let mut seconds = |matrix: &Matrix<f32>| {
            let started = Instant::now();
            on_pool(|| {
                let target = ViewMut::new(&mut y, ROWS, outputs);
                forward_matrix(matrix, View::new(&x, ROWS, inputs), target, &scratch, &mut rounded);
                let target = ViewMut::new(&mut dx, ROWS, inputs);
                backward_matrix(matrix, View::new(&y, ROWS, outputs), target, &scratch, &mut rounded);
            });
            black_box(&dx);
            started.elapsed().as_secs_f64()
        };
        // The first round allocates.
        let rounds: Vec<[f64; 2]> = (0..=ROUNDS).map(|_| [seconds(&stored), seconds(&packed)]).skip(1).collect();
        let median = |which: usize| {
            let mut times: Vec<f64> = rounds.iter().map(|round| round[which]).collect();
            times.sort_unstable_by(f64::total_cmp);
            4.0 * (ROWS * outputs * inputs) as f64 / times[times.len() / 2].max(1e-9) / 1e9
        };
        Self { f32_gflops: median(0), bf16_gflops: median(1) }
    }

    /// The type to compute in.
    pub fn choice(&self) -> Compute {
        if self.bf16_gflops > Self::WORTHWHILE * self.f32_gflops { Compute::Bf16 } else { Compute::F32 }
    }
}

impl Model<f32> {
    /// Prepares the matrices for products as frozen weights, and returns the type of these products: either
    /// [`Compute::F32`], or [`Compute::Bf16`] with every matrix rounded and packed, two bytes per element. A
    /// packed model cannot be trained unless [`Model::make_trainable`] is called.
    ///
    /// [`Compute::Auto`] measures where it has a choice: a caller that opens a model several times chooses once
    /// ([`ProductSpeeds::measure`]) and names the type.
    pub fn freeze(&mut self, compute: Compute) -> Compute {
        let in_bf16 = |matrix: &Matrix<f32>| matches!(matrix.as_stored(), Some((StoredType::Bf16, _)));
        let chosen = match compute {
            Compute::Auto if self.matrices_mut().all(|matrix| in_bf16(matrix)) => {
                ProductSpeeds::measure(&self.config).choice()
            }
            Compute::Auto | Compute::F32 => Compute::F32,
            Compute::Bf16 => Compute::Bf16,
        };
        if chosen == Compute::Bf16 {
            self.matrices_mut().for_each(Matrix::pack);
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_must_be_clearly_faster_to_be_chosen() {
        let choice = |f32_gflops, bf16_gflops| ProductSpeeds { f32_gflops, bf16_gflops }.choice();
        assert_eq!(choice(157.0, 94.0), Compute::F32);
        assert_eq!(choice(100.0, 105.0), Compute::F32);
        assert_eq!(choice(100.0, 300.0), Compute::Bf16);
    }

    #[test]
    fn both_kernels_are_measured_for_small_and_odd_shapes() {
        let config = ModelConfig { intermediate: 50, ..ModelConfig::small(100, 24, 1, 2) };
        let ProductSpeeds { f32_gflops, bf16_gflops } = ProductSpeeds::measure(&config);
        assert!(f32_gflops > 0.0 && f32_gflops.is_finite() && bf16_gflops > 0.0 && bf16_gflops.is_finite());
    }

    #[test]
    fn without_a_choice_nothing_is_packed() {
        let mut model = Model::initialise(ModelConfig::small(100, 24, 1, 2), 1);
        assert_eq!(model.freeze(Compute::Auto), Compute::F32);
        assert!(!model.embedding.is_packed());
    }
}
