//! Single requests, many at a time.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use crate::budget::Budget;
use crate::call::{Caller, LOOK};
use crate::classify::Attempt;
use crate::estimate::{about_prompt_tokens, most_usage};
use crate::extract::{Asked, runtime};
use crate::limits::Limits;
use crate::requests::{Requests, stored};
use crate::retry::Backoff;
use crate::{Channel, Progress, RemoteError, ResponseCache};

/// After this many prompts in a row without an answer, the endpoint counts as down.
const DOWN_AFTER: usize = 10;

/// Sends the open requests, many at a time, within the limits and the budget.
pub(crate) fn run(
    requests: &Requests,
    reused: usize,
    cache: &mut ResponseCache,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Asked, RemoteError> {
    let settings = requests.settings;
    let spent = requests.spent(Channel::Live, cache)?;
    let open: Vec<usize> =
        requests.unique.iter().copied().filter(|&index| !cache.contains(&requests.digests[index])).collect();
    let run = Run {
        requests,
        caller: Caller::new(requests.endpoint, settings, stop)?,
        limits: Limits::new(settings.requests_per_minute, settings.tokens_per_minute),
        budget: Budget::new(settings.budget, spent),
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
    runtime()?.block_on(async {
        join_all((0..workers).map(|_| run.work())).await;
        let fatal = run.state.borrow_mut().fatal.take();
        match fatal {
            Some(error) => Err(run.caller.explain(error).await),
            None => Ok(()),
        }
    })?;
    let State { retries, last_failure, budget_reached, .. } = run.state.take();
    Ok(Asked { retries, budget_reached, last_failure })
}

/// The shared state of the workers, which all run on one thread.
struct Run<'a> {
    requests: &'a Requests<'a>,
    caller: Caller<'a>,
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
    /// Answers open prompts one after another.
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

    /// Asks until there is an answer, no attempts are left, or the job stops.
    async fn answer(&self, index: usize) -> Result<(), RemoteError> {
        let settings = self.requests.settings;
        let (digest, body) = (self.requests.digests[index], self.requests.body(index));
        let asked = self.requests.prompts[index].structure.kind();
        let about = about_prompt_tokens(&body) + u64::from(settings.max_tokens) / 4;
        let most_tokens = most_usage(&body, settings);
        let most = self.requests.price.map_or(0.0, |price| price.cost(most_tokens, Channel::Live));
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
                    let (endpoint, channel) = (self.requests.endpoint, Channel::Live);
                    let answer = stored(endpoint, &digest, completion, most_tokens, channel, latency, attempt + 1);
                    self.cache.borrow_mut().put(digest, &answer)?;
                    self.budget
                        .settle(most, self.requests.price.map_or(0.0, |price| price.cost(answer.charged(), channel)));
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

    /// Counts a prompt without an answer; many in a row end the job.
    fn gave_up(&self) -> Result<(), RemoteError> {
        let mut state = self.state.borrow_mut();
        state.failures_in_a_row += 1;
        if state.failures_in_a_row < DOWN_AFTER {
            return Ok(());
        }
        Err(RemoteError::EndpointDown { prompts: state.failures_in_a_row, last: state.last_failure.clone() })
    }

    /// Waits until the limits allow a request; false if the job stops first.
    async fn wait_for_turn(&self, tokens: u64) -> bool {
        if !self.sleep_until(self.limits.take(tokens)).await {
            return false;
        }
        // The endpoint may have asked for a pause meanwhile.
        while self.limits.paused_until() > Instant::now() {
            if !self.sleep_until(self.limits.paused_until()).await {
                return false;
            }
        }
        !self.stopping()
    }

    /// Sleeps until `end`; false if the job stops first.
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
            total: self.requests.unique.len(),
            reused: self.reused,
            retries: state.retries,
            cost: self.requests.price.map(|_| self.budget.spent()),
            pause,
        };
        drop(state);
        (self.progress.borrow_mut())(progress);
    }
}
