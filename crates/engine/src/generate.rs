//! Completions: batched, greedy or sampled, optionally constrained by grammars.

use std::collections::VecDeque;

use rayon::prelude::*;
use tabpo_model::{Constraint, GrammarCompiler, GrammarError, Guide, ModelConfig, TokenMask};
use thiserror::Error;

use crate::sample::Sampling;
use crate::worker::{Generator, GeneratorSize, Pick, Worker, WorkerError};

/// What can go wrong in generation.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GenerateError {
    /// A prompt is empty.
    #[error("prompt {request} is empty")]
    EmptyPrompt {
        /// Its position in the list.
        request: usize,
    },
    /// A token is not in the model's vocabulary.
    #[error("prompt {request} has token {token}, but the model has a vocabulary of {vocabulary}")]
    UnknownToken {
        /// The prompt's position in the list.
        request: usize,
        /// The token.
        token: u32,
        /// The model's number of tokens.
        vocabulary: usize,
    },
    /// A prompt leaves no space for a completion. (A completion may exceed the limit.)
    #[error("prompt {request} has {length} tokens; the model supports sequences of at most {limit}")]
    TooLong {
        /// The prompt's position in the list.
        request: usize,
        /// Tokens of the prompt.
        length: usize,
        /// The model's longest sequence.
        limit: usize,
    },
    /// A grammar failed.
    #[error(transparent)]
    Grammar(#[from] GrammarError),
    /// A logit is not finite: weights or settings of the model are wrong.
    #[error(
        "the model's logits after {position} tokens are not finite: its weights or its settings (rotary \
         frequencies, norms, the scale of an adapter) are wrong"
    )]
    NotFinite {
        /// The number of tokens before it.
        position: usize,
    },
    /// The worker failed.
    #[error(transparent)]
    Worker(WorkerError),
    /// The caller stopped generation.
    #[error("stopped")]
    Stopped,
    /// A request has a constraint, but there is no compiler.
    #[error("constrained decoding: a request has a grammar, but there is no grammar compiler")]
    NoCompiler,
}

/// Options of generation.
#[derive(Clone, Debug)]
pub struct GenerateOptions {
    /// Largest number of new tokens, including the stop token.
    pub max_new_tokens: usize,
    /// How tokens are chosen.
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
    /// The grammar of the completion, if any.
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
    /// For every token its log-probability under the model, at temperature 1 and without the constraint;
    /// empty unless requested.
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
struct LiveSequence {
    /// Index of the request.
    request: usize,
    /// Length of the prompt.
    prompt: usize,
    completion: Completion,
    guide: Option<Guide>,
    done: bool,
}

/// Completes prompts and returns the completions in the order of the requests.
///
/// Up to `options.batch` sequences are decoded together, the longest prompts first; a finished sequence is
/// replaced by the next one at once. `progress` is called with the number of finished completions. If `stop`, which
/// is called before every step, returns true, the result is [`GenerateError::Stopped`].
pub fn generate(
    worker: &mut dyn Worker,
    compiler: Option<&GrammarCompiler>,
    requests: &[Request],
    options: &GenerateOptions,
    mut progress: impl FnMut(usize),
    stop: impl Fn() -> bool,
) -> Result<Vec<Completion>, GenerateError> {
    let mut completions: Vec<Option<Completion>> = vec![None; requests.len()];
    let mut queue = queue(worker.config(), requests)?;
    let longest = queue.front().map_or(0, |&request| requests[request].prompt.len());
    let sequences = options.batch.max(1).min(requests.len());
    let size = GeneratorSize { sequences, capacity: longest + options.max_new_tokens };
    let mut generator = worker.generator(size).map_err(GenerateError::Worker)?;
    let mut live: Vec<LiveSequence> = Vec::with_capacity(sequences);
    let mut done = 0;
    while !queue.is_empty() || !live.is_empty() {
        if stop() {
            return Err(GenerateError::Stopped);
        }
        let count = (sequences - live.len()).min(queue.len());
        if count > 0 {
            let mut new = Vec::with_capacity(count);
            for request in queue.drain(..count) {
                new.push(begin(request, &requests[request], compiler)?);
            }
            let prompts: Vec<&[u32]> = new.iter().map(|one| requests[one.request].prompt.as_slice()).collect();
            generator.prefill(&prompts).map_err(GenerateError::Worker)?;
            advance(&mut new, generator.as_mut(), options)?;
            live.append(&mut new);
        } else {
            let tokens: Vec<u32> =
                live.iter().map(|one| *one.completion.tokens.last().expect("a live sequence has a token")).collect();
            generator.step(&tokens).map_err(GenerateError::Worker)?;
            advance(&mut live, generator.as_mut(), options)?;
        }
        if live.iter().any(|one| one.done) {
            let keep: Vec<bool> = live.iter().map(|one| !one.done).collect();
            generator.retain(&keep);
            for one in live.extract_if(.., |one| one.done) {
                completions[one.request] = Some(one.completion);
                done += 1;
            }
            progress(done);
        }
    }
    Ok(completions.into_iter().map(|one| one.expect("every request was completed")).collect())
}

/// Checks the requests and sorts them by length, the longest prompts first, so that sequences of similar length
/// are decoded together.
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
) -> Result<LiveSequence, GenerateError> {
    let guide = match (constraint, compiler) {
        (None, _) => None,
        (Some(constraint), Some(compiler)) => Some(compiler.guide(constraint)?),
        (Some(_), None) => return Err(GenerateError::NoCompiler),
    };
    let completion = Completion { tokens: Vec::new(), finish: FinishReason::Length, log_probs: Vec::new() };
    Ok(LiveSequence { request, prompt: prompt.len(), completion, guide, done: false })
}

/// Chooses the next token of every sequence; the sequences are the rows of the generator's last pass.
fn advance(
    live: &mut [LiveSequence],
    generator: &mut dyn Generator,
    options: &GenerateOptions,
) -> Result<(), GenerateError> {
    let mut masks: Vec<Option<TokenMask>> = live
        .par_iter_mut()
        .map(|one| one.guide.as_mut().map(Guide::mask).transpose())
        .collect::<Result<_, GrammarError>>()?;
    let mut waiting: Vec<usize> = (0..live.len()).collect();
    while !waiting.is_empty() {
        let picks: Vec<Pick<'_>> = waiting
            .iter()
            .map(|&row| Pick {
                row,
                allowed: masks[row].as_ref().map(TokenMask::words),
                sampling: &options.sampling,
                request: live[row].request as u64,
                step: live[row].completion.tokens.len() as u64,
                log_prob: options.log_probs,
            })
            .collect();
        let picked = generator.choose(&picks).map_err(|error| match error {
            WorkerError::NotFinite { row } => {
                GenerateError::NotFinite { position: live[row].prompt + live[row].completion.tokens.len() }
            }
            other => GenerateError::Worker(other),
        })?;
        let mut choices = vec![None; live.len()];
        for (&row, picked) in waiting.iter().zip(picked) {
            choices[row] = Some(picked);
        }
        let settled: Vec<bool> = live
            .par_iter_mut()
            .zip(&mut masks)
            .zip(&choices)
            .map(|((one, mask), choice)| {
                let Some(picked) = choice else { return Ok(true) };
                let none = || GrammarError::Decoding("the grammar allows no token".into());
                let token = picked.token.ok_or_else(none)?;
                if let (Some(guide), Some(mask)) = (&mut one.guide, mask)
                    && !options.stop.contains(&token)
                    && !guide.take(token)?
                {
                    mask.disallow(token);
                    return Ok(false);
                }
                one.append(token, picked.log_prob, options);
                Ok(true)
            })
            .collect::<Result<_, GrammarError>>()?;
        waiting.retain(|&row| !settled[row]);
    }
    Ok(())
}

impl LiveSequence {
    fn append(&mut self, token: u32, log_prob: f64, options: &GenerateOptions) {
        let completion = &mut self.completion;
        if options.log_probs {
            completion.log_probs.push(log_prob);
        }
        completion.tokens.push(token);
        if options.stop.contains(&token) {
            completion.finish = FinishReason::Stop;
            self.done = true;
        }
        self.done |= completion.tokens.len() >= options.max_new_tokens;
    }
}
