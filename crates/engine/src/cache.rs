//! Keys and values of the tokens generated so far.

use crate::config::ModelConfig;
use crate::real::Real;

/// Keys and values of a set of live sequences of different lengths.
#[derive(Clone, Debug)]
pub struct KvCache<R> {
    lengths: Vec<usize>,
    values: Vec<R>,
}

impl<R: Real> KvCache<R> {
    /// Room for `sequences` live sequences of up to `capacity` tokens each.
    pub fn new(config: &ModelConfig, sequences: usize, capacity: usize) -> Self {
        unimplemented!()
    }

    /// Number of live sequences.
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Whether no sequence is live.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// Tokens of each live sequence.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// Longest sequence there is room for.
    pub fn capacity(&self) -> usize {
        unimplemented!()
    }

    /// Keeps the live sequences for which `keep` (one entry each) is true, in their order. No keys or
    /// values move.
    pub fn retain(&mut self, keep: &[bool]) {
        unimplemented!()
    }

    /// Drops all sequences.
    pub fn clear(&mut self) {
        unimplemented!()
    }
}
