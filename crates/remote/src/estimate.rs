//! What a job will cost, before anything is sent.

use std::collections::HashSet;

use serde::Serialize;
use serde_json::Value;

use crate::body::{body, digest};
use crate::{Channel, Job, ResponseCache, Settings, Usage};

/// Bytes of English and JSON per token of a byte-level tokenizer, approximately.
const BYTES_PER_TOKEN: u64 = 4;

/// Estimated tokens and cost of a job.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize)]
pub struct JobEstimate {
    /// Prompts of the job.
    pub prompts: usize,
    /// Distinct requests among them.
    pub requests: usize,
    /// Requests that the cache answers.
    pub cached: usize,
    /// Prompt tokens of the others, approximately.
    pub prompt_tokens: u64,
    /// Completion tokens of the others, if answers are as long as the reference answers.
    pub completion_tokens: u64,
    /// Completion tokens of the others, if every answer reaches its limit.
    pub completion_tokens_most: u64,
    /// Cost of these tokens, in the currency of the price table.
    pub cost: Option<f64>,
    /// Upper bound on the cost: one token per byte of each request, every answer at its limit.
    pub cost_most: Option<f64>,
}

/// Estimates a job. `answer_bytes` is the mean length of a reference answer in bytes.
pub fn estimate(job: &Job, answer_bytes: f64, cache: &ResponseCache) -> JobEstimate {
    let &Job { endpoint, prompts, settings, price } = job;
    let channel = if settings.batch { Channel::Batch } else { Channel::Live };
    let mut seen = HashSet::new();
    let mut estimate = JobEstimate { prompts: prompts.len(), ..JobEstimate::default() };
    let mut most = 0.0;
    for prompt in prompts {
        let body = body(endpoint, prompt, settings);
        let digest = digest(endpoint, &body);
        if !seen.insert(digest) {
            continue;
        }
        estimate.requests += 1;
        if cache.contains(&digest) {
            estimate.cached += 1;
            continue;
        }
        estimate.prompt_tokens += about_prompt_tokens(&body);
        estimate.completion_tokens += (answer_bytes / BYTES_PER_TOKEN as f64).ceil() as u64;
        estimate.completion_tokens_most += u64::from(settings.max_tokens);
        most += price.map_or(0.0, |price| price.cost(most_usage(&body, settings), channel));
    }
    let usage = Usage { prompt: estimate.prompt_tokens, cached: 0, completion: estimate.completion_tokens };
    estimate.cost = price.map(|price| price.cost(usage, channel));
    estimate.cost_most = price.map(|_| most);
    estimate
}

/// Prompt tokens of a request, approximately.
pub(crate) fn about_prompt_tokens(body: &Value) -> u64 {
    (body.to_string().len() as u64).div_ceil(BYTES_PER_TOKEN)
}

/// The most that a request can use: a token has at least one byte, and everything that becomes tokens is
/// in the body.
pub(crate) fn most_usage(body: &Value, settings: &Settings) -> Usage {
    Usage { prompt: body.to_string().len() as u64, cached: 0, completion: u64::from(settings.max_tokens) }
}
