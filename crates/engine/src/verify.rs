//! Checks that an exported model computes the same as the original.

use thiserror::Error;

use crate::batch::{Batch, Segment};
use crate::forward::logits;
use crate::lora::Lora;
use crate::model::Model;
use crate::real::Real;
use crate::workspace::Workspace;
use tabpo_model::{ModelConfig, StoredType};

/// A reloaded export computes different logits from the original model.
#[derive(Clone, Debug, Error)]
#[error(
    "the exported model differs from the trained one: logits differ by up to {:.3e} times their standard deviation, \
at most {:.0e} is tolerated", difference.relative(), tolerance
)]
pub struct ExportError {
    /// What was measured.
    pub difference: LogitDifference,
    /// The largest relative difference that rounding can explain.
    pub tolerance: f64,
}

/// The difference between the logits of two models for the same tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogitDifference {
    /// Largest absolute difference of two logits.
    pub largest: f64,
    /// Standard deviation of the first model's logits.
    pub deviation: f64,
}

impl LogitDifference {
    /// The largest difference in standard deviations.
    pub fn relative(&self) -> f64 {
        if self.largest == 0.0 { 0.0 } else { self.largest / self.deviation }
    }
}

/// Compares the logits of two models, each with or without an adapter, on the same probe of 48
/// tokens spread over the vocabulary.
///
/// Call it with the trained model and the reloaded one after every export. `stored` is the type of the
/// written weights: f32 must agree up to rounding of the arithmetic, f16 and bf16 up to rounding of the weights.
pub fn verify_export<R: Real>(
    trained: (&Model<R>, Option<&Lora<R>>),
    written: (&Model<R>, Option<&Lora<R>>),
    stored: StoredType,
) -> Result<LogitDifference, ExportError> {
    let (batch, rows) = probe(&trained.0.config);
    let expected = logits(trained.0, trained.1, &batch, &rows, &mut Workspace::new());
    let found = logits(written.0, written.1, &batch, &rows, &mut Workspace::new());
    let count = expected.len() as f64;
    let mean = expected.iter().map(|logit| logit.to_f64()).sum::<f64>() / count;
    let variance = expected.iter().map(|logit| (logit.to_f64() - mean).powi(2)).sum::<f64>() / count;
    let largest = expected.iter().zip(&found).map(|(a, b)| (a.to_f64() - b.to_f64()).abs());
    // `max` would drop a NaN, which is the worst difference of all.
    let largest = largest.fold(0.0, |worst, next| if next > worst || next.is_nan() { next } else { worst });
    let difference = LogitDifference { largest, deviation: variance.sqrt() };
    let tolerance = match stored {
        StoredType::F32 => 1e-3,
        StoredType::F16 => 0.05,
        StoredType::Bf16 => 0.3,
    };
    if difference.relative() <= tolerance { Ok(difference) } else { Err(ExportError { difference, tolerance }) }
}

fn probe(config: &ModelConfig) -> (Batch, Vec<u32>) {
    const LENGTH: usize = 48;
    let tokens = (0..LENGTH).map(|i| ((i * 7919 + 13) % config.vocabulary) as u32).collect();
    let batch = Batch {
        tokens,
        positions: (0..LENGTH as u32).collect(),
        segments: vec![Segment { rows: 0..LENGTH, context: Vec::new() }],
    };
    (batch, (0..LENGTH as u32).collect())
}
