//! A whole job: many prompts at once, within limits, each paid for once.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use crate::budget::Budget;
use crate::call::{Caller, LOOK};
use crate::classify::Attempt;
use crate::estimate::{about_prompt_tokens, most_usage};
use crate::job::{Job, stored};
use crate::limits::Limits;
use crate::retry::Backoff;
use crate::{Channel, Endpoint, ModelPrice, Prompt, RemoteError, ResponseCache, Settings, Statistics, StoredAnswer};

/// After this many prompts in a row without answer the endpoint counts as down.
const DOWN_AFTER: usize = 10;

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Progress {
    /// Different requests that have an answer.
    pub done: usize,
    /// Different requests of the job.
    pub total: usize,
    /// Those that the cache had.
    pub reused: usize,
    /// Attempts that failed and were repeated.
    pub retries: usize,
    /// Cost of the answers so far, where the model has a price.
    pub cost: Option<f64>,
    /// A pause that begins now because the endpoint asks for it.
    pub pause: Option<Duration>,
}

/// Why a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every prompt has an answer.
    Complete,
    /// The user asked to stop.
    Interrupted,
    /// The next request could have passed the budget.
    BudgetReached,
    /// Some prompts got no answer although each was retried; calling again asks only for them.
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
    /// One for each prompt, in the order of the prompts; all are there if the job is complete.
    pub answers: Vec<Option<StoredAnswer>>,
    /// What the job took.
    pub statistics: Statistics,
    /// Why it ended.
    pub ending: Ending,
}

/// Asks for an answer to every prompt and waits for all of them. What the cache has is not asked
/// again, equal requests are asked once, and every answer is in the cache before the next progress
/// report. When `stop` becomes true, no new requests are sent and those in flight get a few seconds to
/// end.
pub fn extract(
    endpoint: &Endpoint,
    prompts: &[Prompt],
    settings: &Settings,
    price: Option<ModelPrice>,
    cache: &mut ResponseCache,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Extraction, RemoteError> {
    let started = Instant::now();
    let job = Job::new(endpoint, prompts, settings);
    let already = job.spent(price, Channel::Live, cache)?;
    let mut reused = 0;
    let open: Vec<usize> = job.unique.iter().copied().filter(|&index| !cache.contains(&job.digests[index])).collect();
    reused += job.unique.len() - open.len();

    let run = Run {
        job: &job,
        caller: Caller::new(endpoint, settings, stop)?,
        price,
        limits: runtime()?.block_on(async { Limits::new(settings.requests_per_minute, settings.tokens_per_minute) }),
        budget: Budget::new(settings.budget, already),
        open: &open,
        next: Cell::new(0),
        stop,
        cache: RefCell::new(cache),
        progress: RefCell::new(progress),
        state: RefCell::new(State::default()),
        reused,
    };
    run.report();
    let workers = settings.concurrency.clamp(1, open.len().max(1));
    let ended = runtime()?.block_on(async {
        join_all((0..workers).map(|_| run.work())).await;
        let fatal = run.state.borrow_mut().fatal.take();
        match fatal {
            Some(error) => Err(run.caller.explain(error).await),
            None => Ok(()),
        }
    });
    let state = run.state.take();
    let cache = run.cache.into_inner();
    cache.sync()?;
    ended?;

    let answers = job.collect(cache)?;
    let missing = answers.iter().filter(|answer| answer.is_none()).count();
    let ending = match missing {
        0 => Ending::Complete,
        _ if state.budget_reached => Ending::BudgetReached,
        _ if stop.load(Ordering::SeqCst) => Ending::Interrupted,
        prompts => Ending::Unanswered { prompts, last: state.last_failure },
    };
    let mut statistics = job.statistics(&answers, price, cache);
    statistics.calls = state.done;
    statistics.reused = reused;
    statistics.retries = state.retries;
    statistics.seconds = started.elapsed().as_secs_f64();
    Ok(Extraction { answers, statistics, ending })
}

/// The runtime of this crate: one thread, which is enough for waiting.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, RemoteError> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|error| RemoteError::Setup(error.to_string()))
}

/// What the workers of a job share; they all run on one thread.
struct Run<'a> {
    job: &'a Job<'a>,
    caller: Caller<'a>,
    price: Option<ModelPrice>,
    limits: Limits,
    budget: Budget,
    open: &'a [usize],
    next: Cell<usize>,
    stop: &'a AtomicBool,
    cache: RefCell<&'a mut ResponseCache>,
    progress: RefCell<&'a mut dyn FnMut(Progress)>,
    state: RefCell<State>,
    reused: usize,
}

#[derive(Default)]
struct State {
    done: usize,
    retries: usize,
    failures_in_a_row: usize,
    last_failure: String,
    budget_reached: bool,
    fatal: Option<RemoteError>,
}

impl Run<'_> {
    /// Answers one open prompt after the other.
    async fn work(&self) {
        while !self.stopping() {
            let place = self.next.get();
            let Some(&index) = self.open.get(place) else { return };
            self.next.set(place + 1);
            if let Err(error) = self.answer(index).await {
                self.state.borrow_mut().fatal.get_or_insert(error);
            }
        }
    }

    fn stopping(&self) -> bool {
        let state = self.state.borrow();
        state.fatal.is_some() || state.budget_reached || self.stop.load(Ordering::SeqCst)
    }

    /// Asks until there is an answer, attempts run out, or the job stops.
    async fn answer(&self, index: usize) -> Result<(), RemoteError> {
        let settings = self.job.settings;
        let (digest, body) = (self.job.digests[index], self.job.body(index));
        let asked = self.job.prompts[index].structure.kind();
        let about = about_prompt_tokens(&body) + u64::from(settings.max_tokens) / 4;
        let most_tokens = most_usage(&body, settings);
        let most = self.price.map_or(0.0, |price| price.cost(most_tokens, Channel::Live));
        let base = Duration::from_secs_f64(settings.backoff_seconds);
        let mut backoff = Backoff::new(base, settings.seed, &digest);
        for attempt in 0..settings.attempts.max(1) {
            if !self.budget.reserve(most).await {
                self.state.borrow_mut().budget_reached = true;
                return Ok(());
            }
            if !self.wait_for_turn(about).await {
                self.budget.settle(most, 0.0);
                return Ok(());
            }
            let sent = Instant::now();
            let (why, after, unsettled) = match self.caller.complete(&body, &digest, asked, most_tokens).await {
                Attempt::Done(completion) => {
                    let latency = sent.elapsed();
                    let (endpoint, channel) = (self.job.endpoint, Channel::Live);
                    let answer = stored(endpoint, &digest, completion, most_tokens, channel, latency, attempt + 1);
                    self.cache.borrow_mut().put(digest, &answer)?;
                    self.budget.settle(most, self.price.map_or(0.0, |price| price.cost(answer.charged(), channel)));
                    if answer.usage_at_most.is_none() {
                        self.limits.correct(about, answer.usage.prompt + answer.usage.completion);
                    }
                    let mut state = self.state.borrow_mut();
                    state.done += 1;
                    state.failures_in_a_row = 0;
                    drop(state);
                    self.report();
                    return Ok(());
                }
                Attempt::Fatal(error) => {
                    self.budget.settle(most, 0.0);
                    return Err(error);
                }
                Attempt::Again { why, after, unsettled } => (why, after, unsettled),
            };
            self.budget.settle(most, if unsettled { most } else { 0.0 });
            if unsettled {
                self.cache.borrow_mut().put_unsettled(digest, &why)?;
            }
            self.state.borrow_mut().last_failure = why;
            if self.stopping() {
                return Ok(());
            }
            if after.is_some_and(|after| self.limits.pause(after)) {
                self.report_pause(after);
            }
            if attempt + 1 == settings.attempts.max(1) {
                break;
            }
            self.state.borrow_mut().retries += 1;
            if !self.sleep_until(Instant::now() + backoff.delay(attempt, after)).await {
                return Ok(());
            }
        }
        self.gave_up()
    }

    /// Counts a prompt that got no answer; many in a row end the job.
    fn gave_up(&self) -> Result<(), RemoteError> {
        let mut state = self.state.borrow_mut();
        state.failures_in_a_row += 1;
        if state.failures_in_a_row < DOWN_AFTER {
            return Ok(());
        }
        Err(RemoteError::EndpointDown { prompts: state.failures_in_a_row, last: state.last_failure.clone() })
    }

    /// Waits until the limits allow a request; false if the job stops before.
    async fn wait_for_turn(&self, tokens: u64) -> bool {
        if !self.sleep_until(self.limits.take(tokens)).await {
            return false;
        }
        // The endpoint may have asked for a pause in the meantime.
        while self.limits.paused_until() > Instant::now() {
            if !self.sleep_until(self.limits.paused_until()).await {
                return false;
            }
        }
        !self.stopping()
    }

    /// Sleeps; false if the job stops before.
    async fn sleep_until(&self, end: Instant) -> bool {
        while Instant::now() < end {
            if self.stopping() {
                return false;
            }
            tokio::time::sleep_until(end.min(Instant::now() + LOOK)).await;
        }
        !self.stopping()
    }

    fn report(&self) {
        self.report_pause(None);
    }

    fn report_pause(&self, pause: Option<Duration>) {
        let state = self.state.borrow();
        let progress = Progress {
            done: self.reused + state.done,
            total: self.job.unique.len(),
            reused: self.reused,
            retries: state.retries,
            cost: self.price.map(|_| self.budget.spent()),
            pause,
        };
        drop(state);
        (self.progress.borrow_mut())(progress);
    }
}
