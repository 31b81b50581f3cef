//! Checks that an exported model computes the same as the original.

use tabpo_model::{FileType, ModelConfig, StoredType};
use thiserror::Error;

use crate::batch::{Batch, Segment};
use crate::forward::logits;
use crate::lora::Lora;
use crate::model::Model;
use crate::real::Real;
use crate::workspace::Workspace;

/// A reloaded export computes different logits from the original model.
#[derive(Clone, Debug, Error)]
#[error("the exported model differs from the original: {difference}, at most {tolerance} is tolerated")]
pub struct ExportError {
    /// What was measured.
    pub difference: LogitDifference,
    /// What rounding can explain.
    pub tolerance: Tolerance,
}

/// The largest difference that the rounding of written weights can explain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tolerance {
    /// The largest difference of two logits, in standard deviations of the original's.
    Logits(f64),
    /// The mean Kullback-Leibler divergence of the distributions of the next token, in nats.
    Divergence(f64),
}

impl Tolerance {
    /// For NF4. A model in `Q4_K_M` that gets it on top (Qwen2.5-Coder-0.5B) shows 0.17 nats on the probe, one in `Q4_1`
    /// (SmolLM2-135M) 0.7.
    pub const NF4: Self = Self::Divergence(2.0);
}

impl std::fmt::Display for Tolerance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Logits(most) => write!(f, "{most:.0e} standard deviations"),
            Self::Divergence(most) => write!(f, "a divergence of {most} nats"),
        }
    }
}

impl From<StoredType> for Tolerance {
    /// f32 must agree up to rounding of the arithmetic, f16 and bf16 up to rounding of the weights.
    fn from(stored: StoredType) -> Self {
        Self::Logits(match stored {
            StoredType::F32 => 1e-3,
            StoredType::F16 => 0.05,
            StoredType::Bf16 => 0.3,
        })
    }
}

impl From<FileType> for Tolerance {
    /// The bounds of quantised types are several times what pretrained models show on the probe: SmolLM2-135M, a small
    /// model that quantisation harms most, 0.003 nats in `Q8_0` and 0.16 in `Q4_K_M`.
    fn from(file_type: FileType) -> Self {
        match file_type {
            FileType::F32 => StoredType::F32.into(),
            FileType::F16 => StoredType::F16.into(),
            FileType::BF16 => StoredType::Bf16.into(),
            FileType::Q8_0 => Self::Divergence(0.05),
            FileType::Q4_K_M => Self::Divergence(1.0),
        }
    }
}

/// The difference between the logits of two models for the same tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogitDifference {
    /// Largest absolute difference of two logits.
    pub largest: f64,
    /// Standard deviation of the first model's logits.
    pub deviation: f64,
    /// Mean over the tokens of the Kullback-Leibler divergence of the second model's distribution of the next token from
    /// the first's, in nats.
    pub divergence: f64,
}

impl LogitDifference {
    /// The largest difference in standard deviations.
    pub fn relative(&self) -> f64 {
        if self.largest == 0.0 { 0.0 } else { self.largest / self.deviation }
    }

    fn between(expected: &[f64], found: &[f64], vocabulary: usize) -> Self {
        let count = expected.len() as f64;
        let mean = expected.iter().sum::<f64>() / count;
        let variance = expected.iter().map(|logit| (logit - mean).powi(2)).sum::<f64>() / count;
        let largest = expected.iter().zip(found).map(|(a, b)| (a - b).abs());
        // `max` would drop a NaN, which is the worst difference of all.
        let largest = largest.fold(0.0, |worst, next| if next > worst || next.is_nan() { next } else { worst });
        let rows = expected.chunks_exact(vocabulary).zip(found.chunks_exact(vocabulary));
        let divergence = rows.map(|(expected, found)| divergence(expected, found)).sum::<f64>();
        Self { largest, deviation: variance.sqrt(), divergence: divergence * vocabulary as f64 / count }
    }

    fn is_within(&self, tolerance: Tolerance) -> bool {
        match tolerance {
            Tolerance::Logits(most) => self.relative() <= most,
            Tolerance::Divergence(most) => self.divergence <= most,
        }
    }
}

impl std::fmt::Display for LogitDifference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "logits differ by at most {:.1e} ({:.1e} standard deviations), the distributions of the next token by {:.1e} nats",
            self.largest,
            self.relative(),
            // Rounding may leave a divergence of nothing slightly below it.
            if self.divergence < 0.0 { 0.0 } else { self.divergence },
        )
    }
}

/// The Kullback-Leibler divergence of `softmax(found)` from `softmax(expected)`, in nats.
fn divergence(expected: &[f64], found: &[f64]) -> f64 {
    let normaliser = |logits: &[f64]| {
        let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        largest + logits.iter().map(|logit| (logit - largest).exp()).sum::<f64>().ln()
    };
    let (expected_sum, found_sum) = (normaliser(expected), normaliser(found));
    let terms = expected.iter().zip(found).map(|(a, b)| {
        let log_p = a - expected_sum;
        log_p.exp() * (log_p - (b - found_sum))
    });
    terms.sum()
}

/// Compares the logits of two models, each with or without an adapter, on the same probe of 48
/// tokens spread over the vocabulary.
///
/// Call it with the original model and the reloaded one after every export. `tolerance` follows from the type of the
/// written weights.
pub fn verify_export<R: Real>(
    original: (&Model<R>, Option<&Lora<R>>),
    written: (&Model<R>, Option<&Lora<R>>),
    tolerance: impl Into<Tolerance>,
) -> Result<LogitDifference, ExportError> {
    let tolerance = tolerance.into();
    let (batch, rows) = probe(&original.0.config);
    let computed = |(model, adapter): (&Model<R>, Option<&Lora<R>>)| -> Vec<f64> {
        let logits = logits(model, adapter, &batch, &rows, &mut Workspace::new());
        logits.iter().map(|logit| logit.to_f64()).collect()
    };
    let difference = LogitDifference::between(&computed(original), &computed(written), original.0.config.vocabulary);
    if difference.is_within(tolerance) { Ok(difference) } else { Err(ExportError { difference, tolerance }) }
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
