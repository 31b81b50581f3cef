//! Generation step by step, on which [`generate`](crate::generate) is based.

use std::collections::HashMap;

use rayon::prelude::*;

use super::WorkerError;
use crate::cache::{CacheShape, KvCache, SharedPrefix};
use crate::decode::{Decoder, PASS_ROWS, is_packed};
use crate::lora::Lora;
use crate::model::Model;
use crate::real::Real;
use crate::sample::{Sampling, choose, log_probability};

/// The capacity of a generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeneratorSize {
    /// Number of sequences that are decoded together.
    pub sequences: usize,
    /// Tokens of the longest sequence, including what its prompt doesn't share.
    pub capacity: usize,
    /// Tokens of the shared beginnings that are kept at the same time.
    pub shared: usize,
}

/// Estimated bytes of generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GenerationMemory {
    /// Weights of the model and of the adapter.
    pub weights: usize,
    /// What does not depend on the number of sequences: copies of weights, buffers, and shared beginnings.
    pub fixed: usize,
    /// Each sequence that is decoded together with others.
    pub sequence: usize,
}

impl GenerationMemory {
    /// The total for a number of sequences.
    pub fn total(&self, sequences: usize) -> usize {
        self.weights + self.fixed + sequences * self.sequence
    }
}

/// A beginning of prompts whose keys and values a generator keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prefix(pub u32);

/// A prompt: a kept beginning, then tokens of its own, at least one.
#[derive(Clone, Copy, Debug)]
pub struct Prompt<'a> {
    /// The beginning, if it is kept.
    pub after: Option<Prefix>,
    /// The tokens after it.
    pub tokens: &'a [u32],
}

/// A request to choose a token from one row of logits.
#[derive(Clone, Copy, Debug)]
pub struct Pick<'a> {
    /// Row of the last pass: the position of the prompt after [`Generator::prefill`], or of the live sequence
    /// after [`Generator::step`].
    pub row: usize,
    /// The tokens that may be chosen, as bits: token `t` is bit `t % 32` of word `t / 32`. `None` allows all.
    pub allowed: Option<&'a [u32]>,
    /// How the token is chosen.
    pub sampling: &'a Sampling,
    /// The position of the request, which selects the random number.
    pub request: u64,
    /// The position of the token in the completion, which also selects the random number.
    pub step: u64,
    /// Whether to compute the token's log-probability.
    pub log_prob: bool,
}

/// A chosen token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Picked {
    /// The token; `None` if no token is allowed.
    pub token: Option<u32>,
    /// Its log-probability at temperature 1 without a constraint; 0 unless requested.
    pub log_prob: f64,
}

/// Live sequences and the logits after their last tokens.
pub trait Generator {
    /// Computes the keys and values of a beginning, `tokens` after those of `above`, and keeps them under a name that
    /// is not in use.
    fn share(&mut self, name: Prefix, above: Option<Prefix>, tokens: &[u32]) -> Result<(), WorkerError>;

    /// Gives up a beginning, for which there will be no more prompts. Live sequences keep what they use of it.
    fn release(&mut self, name: Prefix);

    /// Adds a live sequence for each prompt; their logits are the rows for [`Generator::choose`].
    fn prefill(&mut self, prompts: &[Prompt<'_>]) -> Result<(), WorkerError>;

    /// Appends a token to every live sequence. May return before the computation is finished.
    fn step(&mut self, tokens: &[u32]) -> Result<(), WorkerError>;

    /// Chooses tokens from the rows of the last pass. May be called again for a row with other allowed tokens.
    fn choose(&mut self, picks: &[Pick<'_>]) -> Result<Vec<Picked>, WorkerError>;

    /// The logits of tokens in rows of the last pass, in the order of these pairs of row and token.
    fn logits(&mut self, places: &[(usize, u32)]) -> Result<Vec<f64>, WorkerError>;

    /// Keeps the live sequences for which `keep` is true, in their order.
    fn retain(&mut self, keep: &[bool]);
}

/// [`Generator`] on the CPU.
pub(super) struct HostGenerator<'m, R> {
    decoder: Decoder<'m, R>,
    cache: KvCache<R>,
    shared: HashMap<Prefix, SharedPrefix<R>>,
    vocabulary: usize,
}

impl<'m, R: Real> HostGenerator<'m, R> {
    pub(super) fn new(model: &'m Model<R>, adapter: Option<&'m Lora<R>>, size: GeneratorSize) -> Self {
        Self {
            decoder: Decoder::new(model, adapter),
            cache: KvCache::new(&model.config, size.sequences, size.capacity),
            shared: HashMap::new(),
            vocabulary: model.config.vocabulary,
        }
    }
}

/// The memory of a generator for a model, which is not made yet.
pub(super) fn memory<R: Real>(model: &Model<R>, adapter: Option<&Lora<R>>, size: GeneratorSize) -> GenerationMemory {
    let config = &model.config;
    let element = size_of::<R>();
    let shape = CacheShape::of(config);
    let of_adapter = adapter.map_or(0, |adapter| adapter.parameters().iter().map(|part| part.len()).sum::<usize>());
    let packed = if is_packed(config) { config.parameters() } else { 0 };
    let row = 4 * config.hidden + 2 * config.query_width() + 2 * config.key_width() + 4 * config.intermediate;
    let elements = |tokens: usize| shape.vectors(tokens) * crate::ops::reduce::LANES;
    GenerationMemory {
        weights: model.bytes() + of_adapter * element,
        fixed: element * (packed + 2 * PASS_ROWS * row + elements(size.shared)) + (32 << 20),
        sequence: element * (elements(size.capacity) + config.hidden + 2 * config.vocabulary),
    }
}

impl<R: Real> Generator for HostGenerator<'_, R> {
    fn share(&mut self, name: Prefix, above: Option<Prefix>, tokens: &[u32]) -> Result<(), WorkerError> {
        let above = above.map(|name| &self.shared[&name]);
        let prefix = self.decoder.share(above, tokens);
        self.shared.insert(name, prefix);
        Ok(())
    }

    fn release(&mut self, name: Prefix) {
        self.shared.remove(&name);
    }

    fn prefill(&mut self, prompts: &[Prompt<'_>]) -> Result<(), WorkerError> {
        let prompts: Vec<(Option<&SharedPrefix<R>>, &[u32])> =
            prompts.iter().map(|prompt| (prompt.after.map(|name| &self.shared[&name]), prompt.tokens)).collect();
        self.decoder.prefill_after(&prompts, &mut self.cache);
        Ok(())
    }

    fn step(&mut self, tokens: &[u32]) -> Result<(), WorkerError> {
        self.decoder.step(tokens, &mut self.cache);
        Ok(())
    }

    fn choose(&mut self, picks: &[Pick<'_>]) -> Result<Vec<Picked>, WorkerError> {
        let (decoder, vocabulary) = (&self.decoder, self.vocabulary);
        let pick = |pick: &Pick<'_>| {
            let logits = &decoder.logits()[pick.row * vocabulary..][..vocabulary];
            // A NaN compares as neither larger nor smaller, so that a row of them would silently choose the first
            // token of the vocabulary.
            if !logits.iter().all(|logit| logit.to_f64().is_finite()) {
                return Err(WorkerError::NotFinite { row: pick.row });
            }
            let allowed = |token: u32| {
                pick.allowed.is_none_or(|words| {
                    words.get(token as usize / 32).is_some_and(|word| word >> (token % 32) & 1 == 1)
                })
            };
            let token = choose(logits, allowed, pick.sampling, pick.request, pick.step);
            let log_prob = match token {
                Some(token) if pick.log_prob => log_probability(logits, token),
                _ => 0.0,
            };
            Ok(Picked { token, log_prob })
        };
        picks.par_iter().map(pick).collect()
    }

    fn logits(&mut self, places: &[(usize, u32)]) -> Result<Vec<f64>, WorkerError> {
        let logits = self.decoder.logits();
        Ok(places.iter().map(|&(row, token)| logits[row * self.vocabulary + token as usize].to_f64()).collect())
    }

    fn retain(&mut self, keep: &[bool]) {
        self.cache.retain(keep);
    }
}
