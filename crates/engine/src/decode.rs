//! Generation one token at a time, batched, with a cache of keys and values.

use crate::cache::KvCache;
use crate::lora::Lora;
use crate::model::Model;
use crate::real::Real;

/// A model made ready for generation.
#[derive(Debug)]
pub struct Decoder<'m, R> {
    model: &'m Model<R>,
}

impl<'m, R: Real> Decoder<'m, R> {
    /// Prepares a model, with an adapter added into a copy of the weights.
    pub fn new(model: &'m Model<R>, lora: Option<&'m Lora<R>>) -> Self {
        unimplemented!()
    }

    /// Appends one sequence per prompt to the cache and returns the logits after each prompt's last
    /// token, `[prompts, vocabulary]`.
    ///
    /// # Panics
    /// If a prompt is empty or longer than the cache's capacity, or the cache has no room for all.
    pub fn prefill(&mut self, prompts: &[&[u32]], cache: &mut KvCache<R>) -> &[R] {
        unimplemented!()
    }

    /// Appends one token to every live sequence and returns the logits after it,
    /// `[live sequences, vocabulary]`.
    ///
    /// # Panics
    /// If `tokens` does not have one token per live sequence, or a sequence is full.
    pub fn step(&mut self, tokens: &[u32], cache: &mut KvCache<R>) -> &[R] {
        unimplemented!()
    }
}
