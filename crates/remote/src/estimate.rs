//! What a job will take, before the first call.

use std::collections::HashSet;

use serde::Serialize;
use serde_json::Value;

use crate::body::{body, digest};
use crate::{Channel, Endpoint, ModelPrice, Prompt, ResponseCache, Settings, Usage};

/// A byte-level tokeniser makes about this many bytes of English and JSON into one token.
const BYTES_PER_TOKEN: u64 = 4;

/// What a job will take.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize)]
pub struct JobEstimate {
    /// Prompts of the job.
    pub prompts: usize,
    /// Different requests among them.
    pub requests: usize,
    /// Requests that the cache answers.
    pub cached: usize,
    /// Prompt tokens of the others, about.
    pub prompt_tokens: u64,
    /// Completion tokens of the others if each answer is as long as the reference answers, about.
    pub completion_tokens: u64,
    /// Completion tokens of the others if every answer reaches its limit.
    pub completion_tokens_most: u64,
    /// Cost with the first figures, in the currency of the price table.
    pub cost: Option<f64>,
    /// Cost that cannot be passed: every byte of a request a token, every answer at its limit.
    pub cost_most: Option<f64>,
}

/// Prices a job. `answer_bytes` is the mean length of a reference answer in bytes.
pub fn estimate(
    endpoint: &Endpoint,
    prompts: &[Prompt],
    settings: &Settings,
    price: Option<ModelPrice>,
    answer_bytes: f64,
    cache: &ResponseCache,
) -> JobEstimate {
    let channel = if settings.batch { Channel::Batch } else { Channel::Live };
    let mut seen = HashSet::new();
    let mut job = JobEstimate { prompts: prompts.len(), ..JobEstimate::default() };
    let mut most = 0.0;
    for prompt in prompts {
        let body = body(endpoint, prompt, settings);
        let digest = digest(endpoint, &body);
        if !seen.insert(digest) {
            continue;
        }
        job.requests += 1;
        if cache.contains(&digest) {
            job.cached += 1;
            continue;
        }
        job.prompt_tokens += about_prompt_tokens(&body);
        job.completion_tokens += (answer_bytes / BYTES_PER_TOKEN as f64).ceil() as u64;
        job.completion_tokens_most += u64::from(settings.max_tokens);
        most += price.map_or(0.0, |price| price.cost(most_usage(&body, settings), channel));
    }
    let usage = Usage { prompt: job.prompt_tokens, cached: 0, completion: job.completion_tokens };
    job.cost = price.map(|price| price.cost(usage, channel));
    job.cost_most = price.map(|_| most);
    job
}

/// Prompt tokens of a request, about.
pub(crate) fn about_prompt_tokens(body: &Value) -> u64 {
    (body.to_string().len() as u64).div_ceil(BYTES_PER_TOKEN)
}

/// The most that a request can use: a token has at least one byte, and the body holds everything
/// that the endpoint can turn into tokens.
pub(crate) fn most_usage(body: &Value, settings: &Settings) -> Usage {
    Usage { prompt: body.to_string().len() as u64, cached: 0, completion: u64::from(settings.max_tokens) }
}
