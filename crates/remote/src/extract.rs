//! A whole job: every prompt answered, each paid for once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::requests::Requests;
use crate::{Endpoint, ModelPrice, Prompt, RemoteError, ResponseCache, Settings, Statistics, StoredAnswer};
use crate::{batch, live};

/// What to ask, where, and at which price.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The endpoint and its model.
    pub endpoint: &'a Endpoint,
    /// The prompts.
    pub prompts: &'a [Prompt],
    /// How to ask. [`Settings::batch`] decides between single requests and the batch API.
    pub settings: &'a Settings,
    /// The price of the model, if it is known; a budget needs one.
    pub price: Option<ModelPrice>,
}

/// How far a job has got.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Progress {
    /// Distinct requests that have an answer.
    pub done: usize,
    /// Distinct requests of the job.
    pub total: usize,
    /// Those that were answered from the cache.
    pub reused: usize,
    /// Attempts that failed and were repeated.
    pub retries: usize,
    /// Cost of the answers so far, if the model has a price.
    pub cost: Option<f64>,
    /// A pause that begins now because the endpoint asked for it.
    pub pause: Option<Duration>,
}

/// Why a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every prompt has an answer.
    Complete,
    /// The user asked to stop.
    Interrupted,
    /// The next request could have exceeded the budget.
    BudgetReached,
    /// Some prompts got no answer despite retries; another call asks only for them.
    Unanswered {
        /// How many.
        prompts: usize,
        /// Why the last of them failed.
        last: String,
    },
}

/// The answers of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Extraction {
    /// One for each prompt, in order; none is missing if the job is complete.
    pub answers: Vec<Option<StoredAnswer>>,
    /// Tokens, cost, time and outcomes.
    pub statistics: Statistics,
    /// Why the job ended.
    pub ending: Ending,
}

/// What single requests or batches report when they end.
#[derive(Default)]
pub(crate) struct Asked {
    pub(crate) retries: usize,
    pub(crate) budget_reached: bool,
    pub(crate) last_failure: String,
}

/// Asks for an answer to every prompt and waits for all of them. Prompts that the cache can answer are
/// not asked again, equal requests are sent once, and every answer is in the cache before the next
/// progress report.
///
/// Once `stop` is true, no new requests are sent. Those in flight get a few seconds to finish; batches
/// continue at the endpoint, and another call collects them.
pub fn extract(
    job: &Job,
    cache: &mut ResponseCache,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Extraction, RemoteError> {
    let started = Instant::now();
    let requests = Requests::new(job);
    let reused = requests.answered(cache);
    let asked = if job.settings.batch {
        batch::run(&requests, reused, cache, stop, progress)
    } else {
        live::run(&requests, reused, cache, stop, progress)
    };
    cache.sync()?;
    let Asked { retries, budget_reached, last_failure } = asked?;

    let answers = requests.collect(cache)?;
    let missing = answers.iter().filter(|answer| answer.is_none()).count();
    let ending = match missing {
        0 => Ending::Complete,
        _ if budget_reached => Ending::BudgetReached,
        _ if stop.load(Ordering::SeqCst) => Ending::Interrupted,
        prompts => Ending::Unanswered { prompts, last: last_failure },
    };
    let mut statistics = requests.statistics(&answers, cache);
    statistics.calls = requests.answered(cache) - reused;
    statistics.reused = reused;
    statistics.retries = retries;
    statistics.seconds = started.elapsed().as_secs_f64();
    Ok(Extraction { answers, statistics, ending })
}

/// The runtime of this crate: one thread is enough for waiting.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, RemoteError> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|error| RemoteError::Setup(error.to_string()))
}
