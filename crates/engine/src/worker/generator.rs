//! Generation step by step, on which [`generate`](crate::generate) is based.

use rayon::prelude::*;

use super::WorkerError;
use crate::cache::KvCache;
use crate::decode::Decoder;
use crate::lora::Lora;
use crate::model::Model;
use crate::real::Real;
use crate::sample::{Sampling, choose, log_probability};

/// The capacity of a generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeneratorSize {
    /// Number of sequences that are decoded together.
    pub sequences: usize,
    /// Tokens of the longest sequence, including its prompt.
    pub capacity: usize,
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
    /// Adds a live sequence for each prompt; their logits are the rows for [`Generator::choose`].
    fn prefill(&mut self, prompts: &[&[u32]]) -> Result<(), WorkerError>;

    /// Appends a token to every live sequence. May return before the computation is finished.
    fn step(&mut self, tokens: &[u32]) -> Result<(), WorkerError>;

    /// Chooses tokens from the rows of the last pass. May be called again for a row with other allowed tokens.
    fn choose(&mut self, picks: &[Pick<'_>]) -> Result<Vec<Picked>, WorkerError>;

    /// Keeps the live sequences for which `keep` is true, in their order.
    fn retain(&mut self, keep: &[bool]);
}

/// [`Generator`] on the CPU.
pub(super) struct HostGenerator<'m, R> {
    decoder: Decoder<'m, R>,
    cache: KvCache<R>,
    vocabulary: usize,
}

impl<'m, R: Real> HostGenerator<'m, R> {
    pub(super) fn new(model: &'m Model<R>, adapter: Option<&'m Lora<R>>, size: GeneratorSize) -> Self {
        Self {
            decoder: Decoder::new(model, adapter),
            cache: KvCache::new(&model.config, size.sequences, size.capacity),
            vocabulary: model.config.vocabulary,
        }
    }
}

impl<R: Real> Generator for HostGenerator<'_, R> {
    fn prefill(&mut self, prompts: &[&[u32]]) -> Result<(), WorkerError> {
        self.decoder.prefill(prompts, &mut self.cache);
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

    fn retain(&mut self, keep: &[bool]) {
        self.cache.retain(keep);
    }
}
