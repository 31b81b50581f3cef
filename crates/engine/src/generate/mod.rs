//! Completions: batched, greedy or sampled, free or inside a grammar.

mod grammar;
mod sample;

use std::collections::VecDeque;

use rayon::prelude::*;
use thiserror::Error;

use crate::cache::KvCache;
use crate::config::ModelConfig;
use crate::decode::Decoder;
use crate::lora::Lora;
use crate::model::Model;
use crate::real::Real;

use sample::{choose, log_probability};

pub use grammar::{Constraint, GrammarCompiler, Guide, NextStage};
pub use sample::Sampling;

/// What can go wrong while completing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GenerateError {
    /// A prompt without tokens.
    #[error("prompt {request} is empty")]
    EmptyPrompt {
        /// Its position in the list.
        request: usize,
    },
    /// A token id that the model does not have.
    #[error("prompt {request} has token {token}, but the model has a vocabulary of {vocabulary}")]
    UnknownToken {
        /// The prompt's position in the list.
        request: usize,
        /// The token.
        token: u32,
        /// The model's number of tokens.
        vocabulary: usize,
    },
    /// A prompt leaves no room for a completion. A completion may run past the limit.
    #[error("prompt {request} has {length} tokens; the model is meant for sequences of at most {limit}")]
    TooLong {
        /// The prompt's position in the list.
        request: usize,
        /// Tokens of the prompt.
        length: usize,
        /// The model's longest sequence.
        limit: usize,
    },
    /// The tokenizer cannot be used for constrained decoding.
    #[error("constrained decoding: {0}")]
    Tokenizer(String),
    /// A grammar does not compile.
    #[error("constrained decoding: {message}\nin the grammar\n{grammar}")]
    Grammar {
        /// What is wrong.
        message: String,
        /// The grammar.
        grammar: String,
    },
    /// The grammar engine gave up.
    #[error("constrained decoding: {0}")]
    Decoding(String),
    /// A logit is no number: weights or settings of the model are wrong.
    #[error(
        "the model's logits after {position} tokens are no finite numbers: its weights or its settings (rotary \
         frequencies, norms, the scale of an adapter) are wrong"
    )]
    NotFinite {
        /// The number of tokens before it.
        position: usize,
    },
    /// The caller asked to stop.
    #[error("stopped")]
    Stopped,
    /// A constraint without a compiler.
    #[error("constrained decoding: a request has a grammar, but there is no grammar compiler")]
    NoCompiler,
}

/// How completions are made.
#[derive(Clone, Debug)]
pub struct GenerateOptions {
    /// Largest number of new tokens, the stop token included.
    pub max_new_tokens: usize,
    /// Greedy or sampled.
    pub sampling: Sampling,
    /// Tokens that end a completion.
    pub stop: Vec<u32>,
    /// Largest number of sequences decoded together.
    pub batch: usize,
    /// Whether log-probabilities are returned.
    pub log_probs: bool,
}

/// A prompt to complete.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Tokens of the prompt.
    pub prompt: Vec<u32>,
    /// What the completion has to follow.
    pub constraint: Option<Constraint>,
}

/// Why a completion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FinishReason {
    /// The model wrote a stop token.
    Stop,
    /// The limit was reached.
    Length,
}

/// What the model wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// The new tokens; the last one is the stop token if there is one.
    pub tokens: Vec<u32>,
    /// Why it ended.
    pub finish: FinishReason,
    /// For every token its log-probability under the model, at temperature 1 and without the
    /// constraint; empty unless asked for.
    pub log_probs: Vec<f64>,
}

impl Completion {
    /// The tokens without the stop token.
    pub fn text_tokens(&self) -> &[u32] {
        let stop = usize::from(self.finish == FinishReason::Stop);
        &self.tokens[..self.tokens.len() - stop]
    }
}

/// A sequence that is being completed.
struct Live {
    request: usize,
    /// Tokens of the prompt.
    prompt: usize,
    completion: Completion,
    guide: Option<Guide>,
    done: bool,
}

/// Completes prompts and returns the completions in the order of the requests.
///
/// Up to `options.batch` sequences are decoded together, the longest prompts first; a sequence that
/// ends makes room for the next one at once. `progress` hears how many are done.
pub fn generate<R: Real>(
    model: &Model<R>,
    lora: Option<&Lora<R>>,
    compiler: Option<&GrammarCompiler>,
    requests: &[Request],
    options: &GenerateOptions,
    progress: impl FnMut(usize),
) -> Result<Vec<Completion>, GenerateError> {
    generate_until(model, lora, compiler, requests, options, progress, || false)
}

/// As [`generate`], asking `stop` before every step whether to end with [`GenerateError::Stopped`].
pub fn generate_until<R: Real>(
    model: &Model<R>,
    lora: Option<&Lora<R>>,
    compiler: Option<&GrammarCompiler>,
    requests: &[Request],
    options: &GenerateOptions,
    mut progress: impl FnMut(usize),
    stop: impl Fn() -> bool,
) -> Result<Vec<Completion>, GenerateError> {
    let mut completions: Vec<Option<Completion>> = vec![None; requests.len()];
    let mut queue = queue(&model.config, requests)?;
    let longest = queue.front().map_or(0, |&request| requests[request].prompt.len());
    let batch = options.batch.max(1).min(requests.len());
    let mut cache = KvCache::new(&model.config, batch, longest + options.max_new_tokens);
    let mut decoder = Decoder::new(model, lora);
    let mut live: Vec<Live> = Vec::with_capacity(batch);
    let mut done = 0;
    while !queue.is_empty() || !live.is_empty() {
        if stop() {
            return Err(GenerateError::Stopped);
        }
        let count = (batch - live.len()).min(queue.len());
        if count > 0 {
            let mut new = Vec::with_capacity(count);
            for request in queue.drain(..count) {
                new.push(begin(request, &requests[request], compiler)?);
            }
            let prompts: Vec<&[u32]> = new.iter().map(|one| requests[one.request].prompt.as_slice()).collect();
            let logits = decoder.prefill(&prompts, &mut cache);
            advance(&mut new, logits, model.config.vocabulary, options)?;
            live.append(&mut new);
        } else {
            let tokens: Vec<u32> =
                live.iter().map(|one| *one.completion.tokens.last().expect("a live sequence has a token")).collect();
            let logits = decoder.step(&tokens, &mut cache);
            advance(&mut live, logits, model.config.vocabulary, options)?;
        }
        if live.iter().any(|one| one.done) {
            let keep: Vec<bool> = live.iter().map(|one| !one.done).collect();
            cache.retain(&keep);
            for one in live.extract_if(.., |one| one.done) {
                completions[one.request] = Some(one.completion);
                done += 1;
            }
            progress(done);
        }
    }
    Ok(completions.into_iter().map(|one| one.expect("every request was completed")).collect())
}

/// Checks the requests and puts them in order: the longest prompts first, so that sequences of about
/// the same length run together.
fn queue(config: &ModelConfig, requests: &[Request]) -> Result<VecDeque<usize>, GenerateError> {
    for (request, Request { prompt, .. }) in requests.iter().enumerate() {
        if prompt.is_empty() {
            return Err(GenerateError::EmptyPrompt { request });
        }
        if let Some(&token) = prompt.iter().find(|&&token| token as usize >= config.vocabulary) {
            return Err(GenerateError::UnknownToken { request, token, vocabulary: config.vocabulary });
        }
        if prompt.len() >= config.longest() {
            return Err(GenerateError::TooLong { request, length: prompt.len(), limit: config.longest() });
        }
    }
    let mut order: Vec<usize> = (0..requests.len()).collect();
    order.sort_by_key(|&request| std::cmp::Reverse(requests[request].prompt.len()));
    Ok(order.into())
}

fn begin(
    request: usize,
    Request { prompt, constraint }: &Request,
    compiler: Option<&GrammarCompiler>,
) -> Result<Live, GenerateError> {
    let guide = match (constraint, compiler) {
        (None, _) => None,
        (Some(constraint), Some(compiler)) => Some(compiler.guide(constraint)?),
        (Some(_), None) => return Err(GenerateError::NoCompiler),
    };
    let completion = Completion { tokens: Vec::new(), finish: FinishReason::Length, log_probs: Vec::new() };
    Ok(Live { request, prompt: prompt.len(), completion, guide, done: false })
}

/// Chooses the next token of every sequence from its row of logits.
fn advance<R: Real>(
    live: &mut [Live],
    logits: &[R],
    vocabulary: usize,
    options: &GenerateOptions,
) -> Result<(), GenerateError> {
    live.par_iter_mut().zip(logits.par_chunks(vocabulary)).try_for_each(|(one, logits)| {
        let step = one.completion.tokens.len() as u64;
        // A logit that is no number is the least likely and not the most to a comparison, and all of them give
        // the first token of the vocabulary: an answer that says nothing.
        if !logits.iter().all(|logit| logit.to_f64().is_finite()) {
            return Err(GenerateError::NotFinite { position: one.prompt + one.completion.tokens.len() });
        }
        let pick = |allowed: &dyn Fn(u32) -> bool| choose(logits, allowed, &options.sampling, one.request as u64, step);
        let token = match &mut one.guide {
            None => pick(&|_| true).expect("a vocabulary is not empty"),
            Some(guide) => {
                let mut mask = guide.mask()?;
                loop {
                    let token = pick(&|token| mask.is_allowed(token))
                        .ok_or_else(|| GenerateError::Decoding("the grammar allows no token".into()))?;
                    if options.stop.contains(&token) || guide.take(token)? {
                        break token;
                    }
                    mask.disallow_token(token);
                }
            }
        };
        if options.log_probs {
            one.completion.log_probs.push(log_probability(logits, token));
        }
        one.completion.tokens.push(token);
        if options.stop.contains(&token) {
            one.completion.finish = FinishReason::Stop;
            one.done = true;
        }
        one.done |= one.completion.tokens.len() >= options.max_new_tokens;
        Ok(())
    })
}
