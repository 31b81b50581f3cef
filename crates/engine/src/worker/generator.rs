//! Generation step by step: the border below [`generate`](crate::generate).

use rayon::prelude::*;

use super::WorkerError;
use crate::cache::KvCache;
use crate::decode::Decoder;
use crate::generate::sample::{Sampling, choose, log_probability};
use crate::lora::Lora;
use crate::model::Model;
use crate::real::Real;

/// What a generator must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeneratorSize {
    /// Sequences that are decoded together.
    pub sequences: usize,
    /// Tokens of the longest sequence, its prompt included.
    pub capacity: usize,
}

/// A choice that is to be made among the tokens of one row of logits.
#[derive(Clone, Copy, Debug)]
pub struct Pick<'a> {
    /// Row of the last pass: the prompt's position after [`Generator::prefill`], the live sequence's after
    /// [`Generator::step`].
    pub row: usize,
    /// The tokens that may be chosen, as bits: token `t` is bit `t % 32` of word `t / 32`. `None` allows all.
    pub allowed: Option<&'a [u32]>,
    /// How it is chosen.
    pub sampling: &'a Sampling,
    /// The first coordinate of the random number that is drawn.
    pub request: u64,
    /// The second one.
    pub step: u64,
    /// Whether the token's log-probability is wanted.
    pub log_prob: bool,
}

/// A token that was chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Picked {
    /// The token; `None` if no token is allowed.
    pub token: Option<u32>,
    /// Its log-probability at temperature 1 without a constraint; 0 unless it was asked for.
    pub log_prob: f64,
}

/// Live sequences and the logits after their last tokens.
pub trait Generator {
    /// Adds a live sequence for each prompt; their logits are the rows of the next choice.
    fn prefill(&mut self, prompts: &[&[u32]]) -> Result<(), WorkerError>;

    /// Appends a token to every live sequence. May return before it is computed.
    fn step(&mut self, tokens: &[u32]) -> Result<(), WorkerError>;

    /// Chooses tokens from the rows of the last pass. May be called again for a row, with other tokens allowed.
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
            // A logit that is no number is the least likely and not the most to a comparison, and all of them give
            // the first token of the vocabulary: an answer that says nothing.
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
