//! Completions: batched, greedy or sampled, optionally constrained by grammars.

use std::collections::HashSet;
use std::ops::ControlFlow;

use rayon::prelude::*;
use tabpo_model::{Constraint, GrammarCompiler, GrammarError, Guide, ModelConfig, TokenMask};
use thiserror::Error;

use crate::fork::{Fork, ForkError, Outcome, decide};
use crate::prompts::PromptTree;
use crate::sample::Sampling;
use crate::schedule::Schedule;
use crate::worker::{Generator, GeneratorSize, Pick, Picked, Prefix, Prompt, Worker, WorkerError};

/// Prompts are begun when one in so many sequences of the batch is free.
const ADMITTED_SHARE: usize = 8;

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
    /// The caller could not tell where a completion forks.
    #[error("where the answer goes on or ends: {0}")]
    Fork(#[from] ForkError),
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
    /// What was decided at its forks, in order; empty unless [`Steering::forks`] finds any.
    pub outcomes: Vec<Outcome>,
}

impl Completion {
    /// The tokens without the stop token.
    pub fn text_tokens(&self) -> &[u32] {
        let stop = usize::from(self.finish == FinishReason::Stop);
        &self.tokens[..self.tokens.len() - stop]
    }
}

/// What decides about tokens besides the model.
#[derive(Clone, Copy)]
pub struct Steering<'a> {
    /// The grammar of a prompt's completion, if it has one.
    pub constraint: &'a dyn Fn(usize) -> Option<Constraint>,
    /// The forks at the next token of a prompt's completion; see [`Fork`].
    pub forks: Option<&'a ForkFinder<'a>>,
}

impl Steering<'_> {
    /// The model decides alone.
    pub const NONE: Steering<'static> = Steering { constraint: &|_| None, forks: None };
}

/// Finds the forks that a token of a completion passes, from the prompt's index, the tokens before it and the token that
/// would be chosen without forks. After the first, each fork is about the tokens that end the list before.
pub type ForkFinder<'a> = dyn Fn(usize, &[u32], u32) -> Result<Vec<Fork>, ForkError> + Sync + 'a;

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

/// How much of a job is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GenerateWork {
    /// Tokens of prompts that were computed; common beginnings count once.
    pub prompt_tokens: u64,
    /// Tokens of the prompts that were begun, each counted whole.
    pub prompt_tokens_apart: u64,
    /// New tokens.
    pub new_tokens: u64,
}

/// What happens in generation.
#[derive(Clone, Debug)]
pub enum Event {
    /// The tokens of a pass were computed.
    Worked(GenerateWork),
    /// A prompt was completed.
    Finished {
        /// Its index in the tree.
        prompt: usize,
        /// What the model wrote.
        completion: Completion,
    },
}

/// The size of the generator that completes the `pending` prompts of a tree.
pub fn generator_size(
    config: &ModelConfig,
    prompts: &PromptTree,
    pending: &[usize],
    options: &GenerateOptions,
) -> GeneratorSize {
    Schedule::new(prompts, pending, config, options).size
}

/// Completes requests and returns the completions in their order. `progress` is called with the number of finished
/// completions. If `stop`, which is called after every pass, returns true, the result is [`GenerateError::Stopped`].
/// See [`generate_each`].
pub fn generate(
    worker: &mut dyn Worker,
    compiler: Option<&GrammarCompiler>,
    requests: &[Request],
    options: &GenerateOptions,
    mut progress: impl FnMut(usize),
    stop: impl Fn() -> bool,
) -> Result<Vec<Completion>, GenerateError> {
    let mut prompts = PromptTree::new();
    for request in requests {
        prompts.push(&request.prompt);
    }
    let pending: Vec<usize> = (0..requests.len()).collect();
    let mut completions: Vec<Option<Completion>> = vec![None; requests.len()];
    let mut done = 0;
    let constraint = |request: usize| requests[request].constraint.clone();
    let steering = Steering { constraint: &constraint, forks: None };
    generate_each(worker, compiler, &prompts, &pending, steering, options, &mut |event| {
        if let Event::Finished { prompt, completion } = event {
            completions[prompt] = Some(completion);
            done += 1;
            progress(done);
        }
        if stop() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(completions.into_iter().map(|one| one.expect("every request was completed")).collect())
}

/// Completes the `pending` prompts of a tree, each with the grammar and the forks that `steering` gives, and reports every
/// completion as soon as it is finished. If `report` breaks, the result is [`GenerateError::Stopped`].
///
/// What prompts have in common is computed once. Up to `options.batch` sequences are decoded together, and finished
/// ones are replaced from the queue. Neither of this changes a completion, to the last bit: it depends only on its
/// prompt, on what that shares with other prompts of the tree, and for sampling on its index.
pub fn generate_each(
    worker: &mut dyn Worker,
    compiler: Option<&GrammarCompiler>,
    prompts: &PromptTree,
    pending: &[usize],
    steering: Steering<'_>,
    options: &GenerateOptions,
    report: &mut dyn FnMut(Event) -> ControlFlow<()>,
) -> Result<(), GenerateError> {
    let mut schedule =
        check(worker.config(), prompts, pending).map(|()| Schedule::new(prompts, pending, worker.config(), options))?;
    let sequences = schedule.size.sequences;
    let mut generator = worker.generator(schedule.size).map_err(GenerateError::Worker)?;
    let mut live: Vec<LiveSequence> = Vec::with_capacity(sequences);
    let mut work = GenerateWork::default();
    let mut kept: HashSet<u32> = HashSet::new();
    let mut begun = 0;
    let mut tell = |event| if report(event).is_break() { Err(GenerateError::Stopped) } else { Ok(()) };
    while begun < schedule.order.len() || !live.is_empty() {
        let free = sequences - live.len();
        let waiting = schedule.order.len() - begun;
        // A pass over a few prompts costs little more than one over a single prompt.
        if waiting > 0 && (live.is_empty() || free >= waiting.min(sequences.div_ceil(ADMITTED_SHARE))) {
            let places = begun..begun + free.min(waiting);
            begun = places.end;
            let mut new = Vec::with_capacity(places.len());
            let mut tokens = Vec::with_capacity(places.len());
            for place in places.clone() {
                let prompt = schedule.order[place];
                let whole = prompts.tokens(prompt);
                new.push(begin(prompt, whole.len(), (steering.constraint)(prompt), compiler)?);
                let mut above = None;
                let mut start = 0;
                for part in &schedule.shared[place] {
                    if kept.insert(part.id) {
                        generator
                            .share(Prefix(part.id), above, &whole[start..part.end])
                            .map_err(GenerateError::Worker)?;
                        work.prompt_tokens += (part.end - start) as u64;
                        tell(Event::Worked(work))?;
                    }
                    (above, start) = (Some(Prefix(part.id)), part.end);
                }
                work.prompt_tokens_apart += whole.len() as u64;
                work.prompt_tokens += (whole.len() - start) as u64;
                tokens.push((above, start, whole));
            }
            let new_prompts: Vec<Prompt<'_>> =
                tokens.iter().map(|(after, start, whole)| Prompt { after: *after, tokens: &whole[*start..] }).collect();
            generator.prefill(&new_prompts).map_err(GenerateError::Worker)?;
            for part in places.flat_map(|place| &schedule.shared[place]) {
                let uses = schedule.uses.get_mut(&part.id).expect("every part in use is counted");
                *uses -= 1;
                if *uses == 0 {
                    generator.release(Prefix(part.id));
                }
            }
            advance(&mut new, generator.as_mut(), steering.forks, options)?;
            work.new_tokens += new.len() as u64;
            live.append(&mut new);
        } else {
            let tokens: Vec<u32> =
                live.iter().map(|one| *one.completion.tokens.last().expect("a live sequence has a token")).collect();
            generator.step(&tokens).map_err(GenerateError::Worker)?;
            advance(&mut live, generator.as_mut(), steering.forks, options)?;
            work.new_tokens += live.len() as u64;
        }
        if live.iter().any(|one| one.done) {
            let keep: Vec<bool> = live.iter().map(|one| !one.done).collect();
            generator.retain(&keep);
            for LiveSequence { request, completion, .. } in live.extract_if(.., |one| one.done) {
                tell(Event::Finished { prompt: request, completion })?;
            }
        }
        tell(Event::Worked(work))?;
    }
    Ok(())
}

/// Checks the pending prompts.
fn check(config: &ModelConfig, prompts: &PromptTree, pending: &[usize]) -> Result<(), GenerateError> {
    for &request in pending {
        let length = prompts.length(request);
        if length == 0 {
            return Err(GenerateError::EmptyPrompt { request });
        }
        if length >= config.longest() {
            return Err(GenerateError::TooLong { request, length, limit: config.longest() });
        }
        if let Some(token) = prompts.tokens(request).into_iter().find(|&token| token as usize >= config.vocabulary) {
            return Err(GenerateError::UnknownToken { request, token, vocabulary: config.vocabulary });
        }
    }
    Ok(())
}

fn begin(
    request: usize,
    prompt: usize,
    constraint: Option<Constraint>,
    compiler: Option<&GrammarCompiler>,
) -> Result<LiveSequence, GenerateError> {
    let guide = match (constraint, compiler) {
        (None, _) => None,
        (Some(constraint), Some(compiler)) => Some(compiler.guide(&constraint)?),
        (Some(_), None) => return Err(GenerateError::NoCompiler),
    };
    let completion =
        Completion { tokens: Vec::new(), finish: FinishReason::Length, log_probs: Vec::new(), outcomes: Vec::new() };
    Ok(LiveSequence { request, prompt, completion, guide, done: false })
}

/// Chooses the next token of every sequence; the sequences are the rows of the generator's last pass.
fn advance(
    live: &mut [LiveSequence],
    generator: &mut dyn Generator,
    forks: Option<&ForkFinder<'_>>,
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
        let mut choices: Vec<Option<Choice>> = vec![None; live.len()];
        for (&row, picked) in waiting.iter().zip(picked) {
            let none = || GrammarError::Decoding("the grammar allows no token".into());
            let Picked { token, log_prob } = picked;
            choices[row] = Some(Choice { token: token.ok_or_else(none)?, log_prob, outcomes: Vec::new() });
        }
        if let Some(forks) = forks {
            decide_forks(live, &masks, &mut choices, generator, forks, options)?;
        }
        let settled: Vec<bool> = live
            .par_iter_mut()
            .zip(&mut masks)
            .zip(&choices)
            .map(|((one, mask), choice)| {
                let Some(choice) = choice else { return Ok(true) };
                let token = choice.token;
                if let (Some(guide), Some(mask)) = (&mut one.guide, mask)
                    && !options.stop.contains(&token)
                    && !guide.take(token)?
                {
                    mask.disallow(token);
                    return Ok(false);
                }
                one.append(choice, options);
                Ok(true)
            })
            .collect::<Result<_, GrammarError>>()?;
        waiting.retain(|&row| !settled[row]);
    }
    Ok(())
}

/// The next token of a sequence.
#[derive(Clone)]
struct Choice {
    token: u32,
    log_prob: f64,
    /// What was decided at the forks that it passes.
    outcomes: Vec<Outcome>,
}

/// Decides at the forks among these choices.
fn decide_forks(
    live: &[LiveSequence],
    masks: &[Option<TokenMask>],
    choices: &mut [Option<Choice>],
    generator: &mut dyn Generator,
    forks: &ForkFinder<'_>,
    options: &GenerateOptions,
) -> Result<(), GenerateError> {
    let found: Vec<Vec<Fork>> = live
        .par_iter()
        .zip(&*choices)
        .map(|(one, choice)| match choice {
            Some(choice) if !options.stop.contains(&choice.token) => {
                forks(one.request, &one.completion.tokens, choice.token)
            }
            _ => Ok(Vec::new()),
        })
        .collect::<Result<_, ForkError>>()?;
    for (row, forks) in found.iter().enumerate() {
        let (Some(choice), Some(first)) = (&mut choices[row], forks.first()) else { continue };
        // The tokens of a later fork are those of the first.
        let tokens: Vec<u32> = [first.go_on, choice.token].into_iter().chain(first.stop.iter().copied()).collect();
        let places: Vec<(usize, u32)> = tokens.iter().map(|&token| (row, token)).collect();
        let logits = generator.logits(&places).map_err(GenerateError::Worker)?;
        let logit = |token: u32| {
            let place = tokens.iter().position(|&other| other == token);
            logits[place.expect("every token of a fork has a logit")]
        };
        let allowed = |token: u32| masks[row].as_ref().is_none_or(|mask| mask.allows(token));
        let (token, outcomes) = decide(forks, choice.token, logit, allowed);
        if options.log_probs {
            choice.log_prob += logit(token) - logit(choice.token);
        }
        choice.token = token;
        choice.outcomes = outcomes;
    }
    Ok(())
}

impl LiveSequence {
    fn append(&mut self, choice: &Choice, options: &GenerateOptions) {
        let &Choice { token, log_prob, ref outcomes } = choice;
        let completion = &mut self.completion;
        if options.log_probs {
            completion.log_probs.push(log_prob);
        }
        completion.outcomes.extend(outcomes);
        completion.tokens.push(token);
        if options.stop.contains(&token) {
            completion.finish = FinishReason::Stop;
            self.done = true;
        }
        self.done |= completion.tokens.len() >= options.max_new_tokens;
    }
}
