//! Limits on requests and tokens per minute.

use std::cell::RefCell;
use std::time::Duration;

use tokio::time::Instant;

/// A token bucket with the capacity of one second. Taking more than it contains delays the next request,
/// so that no minute sees more than the rate of a minute and a second.
#[derive(Debug)]
struct Bucket {
    per_second: f64,
    /// When everything taken so far has been refilled.
    level_at: Instant,
}

/// The limits that all requests of a job share.
#[derive(Debug)]
pub(crate) struct Limits {
    state: RefCell<State>,
}

#[derive(Debug)]
struct State {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    /// The endpoint asked to wait until then.
    paused_until: Instant,
}

/// A duration that can safely be added to an instant: at most ten years.
fn seconds(seconds: f64) -> Duration {
    const LONGEST: Duration = Duration::from_secs(10 * 366 * 86_400);
    Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST).min(LONGEST)
}

impl Bucket {
    fn new(per_minute: f64, now: Instant) -> Self {
        Self { per_second: per_minute / 60.0, level_at: now }
    }

    /// Takes `amount` and returns when it may be used.
    fn take(&mut self, amount: f64, now: Instant) -> Instant {
        let full_since = now.checked_sub(Duration::from_secs(1)).unwrap_or(now);
        let start = self.level_at.max(full_since);
        self.level_at = start + seconds(amount / self.per_second);
        start.max(now)
    }

    /// Corrects an earlier estimate.
    fn correct(&mut self, estimated: f64, real: f64) {
        let late = (real - estimated) / self.per_second;
        let shift = seconds(late.abs());
        self.level_at =
            if late >= 0.0 { self.level_at + shift } else { self.level_at.checked_sub(shift).unwrap_or(self.level_at) };
    }
}

impl Limits {
    /// Limits per minute; `None` means no limit.
    pub(crate) fn new(requests_per_minute: Option<f64>, tokens_per_minute: Option<f64>) -> Self {
        let now = Instant::now();
        let bucket = |rate: Option<f64>| rate.filter(|&rate| rate > 0.0).map(|rate| Bucket::new(rate, now));
        let (requests, tokens) = (bucket(requests_per_minute), bucket(tokens_per_minute));
        Self { state: RefCell::new(State { requests, tokens, paused_until: now }) }
    }

    /// Takes one request of about this many tokens and returns when it may be sent.
    pub(crate) fn take(&self, tokens: u64) -> Instant {
        let now = Instant::now();
        let mut state = self.state.borrow_mut();
        let mut start = state.paused_until.max(now);
        if let Some(bucket) = &mut state.requests {
            start = start.max(bucket.take(1.0, now));
        }
        if let Some(bucket) = &mut state.tokens {
            start = start.max(bucket.take(tokens as f64, now));
        }
        start
    }

    /// Replaces the estimate for a finished request by its actual tokens.
    pub(crate) fn correct(&self, estimated: u64, real: u64) {
        if let Some(bucket) = &mut self.state.borrow_mut().tokens {
            bucket.correct(estimated as f64, real as f64);
        }
    }

    /// Pauses all requests. Returns whether this begins a pause, rather than extends one.
    pub(crate) fn pause(&self, duration: Duration) -> bool {
        let mut state = self.state.borrow_mut();
        let now = Instant::now();
        let begins = state.paused_until <= now && !duration.is_zero();
        state.paused_until = state.paused_until.max(now + seconds(duration.as_secs_f64()));
        begins
    }

    /// The end of the pause that the endpoint asked for.
    pub(crate) fn paused_until(&self) -> Instant {
        self.state.borrow().paused_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn any_minute_sees_at_most_the_limit_and_a_second() {
        let limits = Limits::new(Some(120.0), None);
        let start = Instant::now();
        let times: Vec<Duration> = (0..600).map(|_| limits.take(1) - start).collect();
        for (index, time) in times.iter().enumerate() {
            let within = times[index..].iter().filter(|other| **other < *time + Duration::from_secs(60)).count();
            assert!(within <= 122, "{within} requests in the minute from {time:?}");
        }
        assert!(times[599] >= Duration::from_secs(298));
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_request_delays_the_next_and_corrections_count() {
        let limits = Limits::new(None, Some(6000.0));
        let start = Instant::now();
        assert_eq!(limits.take(1000), start);
        assert!(limits.take(1) >= start + Duration::from_secs(8));
        limits.correct(1000, 200);
        assert!(limits.take(1) <= start + Duration::from_secs(3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_delays_every_request() {
        let limits = Limits::new(None, None);
        assert!(limits.pause(Duration::from_secs(7)));
        assert_eq!(limits.take(5), Instant::now() + Duration::from_secs(7));
        assert!(!limits.pause(Duration::from_secs(8)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_smallest_rates_and_the_longest_pauses_do_not_overflow() {
        let limits = Limits::new(Some(1e-300), Some(1e-300));
        for _ in 0..3 {
            limits.take(u64::MAX);
            limits.correct(0, u64::MAX);
            limits.correct(u64::MAX, 0);
        }
        limits.pause(Duration::MAX);
        assert!(limits.paused_until() > Instant::now());
    }
}
