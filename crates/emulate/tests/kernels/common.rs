//! What the tests of kernels share.

use half::bf16;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tabpo_cuda::driver::Element;

/// Random numbers that repeat.
pub(crate) struct Random(ChaCha8Rng);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0.random_range(0..end)
    }

    /// A number in [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Numbers in [-1, 1).
    pub(crate) fn values(&mut self, count: usize) -> Vec<f64> {
        (0..count).map(|_| self.unit() * 2.0 - 1.0).collect()
    }
}

/// A number as it is stored.
pub(crate) fn round(element: Element, value: f64) -> f64 {
    match element {
        Element::F32 => f64::from(value as f32),
        Element::Bf16 => bf16::from_f64(value).to_f64(),
    }
}
