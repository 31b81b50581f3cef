//! When to ask again.

use std::time::{Duration, SystemTime};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use reqwest::header::HeaderMap;

use crate::body::Digest;

/// Delays never grow beyond this by doubling; what the endpoint asks for is honoured beyond it.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// Exponential back-off with full jitter: the delay before attempt n + 1 is uniform between nothing
/// and `base * 2^n`, and never below what the endpoint asked for. The jitter comes from a seed, so
/// that a run can be repeated.
#[derive(Debug)]
pub(crate) struct Backoff {
    base: Duration,
    random: ChaCha8Rng,
}

impl Backoff {
    /// For one prompt of a job.
    pub(crate) fn new(base: Duration, seed: u64, digest: &Digest) -> Self {
        let mut bytes = *digest.as_bytes();
        for (byte, salt) in bytes.iter_mut().zip(seed.to_le_bytes()) {
            *byte ^= salt;
        }
        Self { base, random: ChaCha8Rng::from_seed(bytes) }
    }

    /// The delay after the failed attempt `attempt`, counted from 0.
    pub(crate) fn delay(&mut self, attempt: u32, asked: Option<Duration>) -> Duration {
        let most = self.base.saturating_mul(1 << attempt.min(20)).min(LONGEST_BACKOFF);
        let jitter = most.mul_f64(self.random.random::<f64>());
        match asked {
            Some(asked) => asked + self.base.min(most).mul_f64(self.random.random::<f64>()),
            None => jitter,
        }
    }
}

/// What a reply asks for: `retry-after-ms`, or `Retry-After` in seconds or as a date.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let seconds = |text: &str, scale: f64| {
        let value = text.parse::<f64>().ok().filter(|value| value.is_finite() && *value >= 0.0)?;
        Duration::try_from_secs_f64(value * scale).ok()
    };
    if let Some(wait) = text("retry-after-ms").and_then(|text| seconds(text, 0.001)) {
        return Some(wait);
    }
    let value = text("retry-after")?;
    seconds(value, 1.0).or_else(|| {
        let date = httpdate::parse_http_date(value).ok()?;
        Some(date.duration_since(now).unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_jitter_and_honour_the_endpoint() {
        let base = Duration::from_millis(500);
        let mut backoff = Backoff::new(base, 7, &blake3::hash(b"a"));
        for attempt in 0..40 {
            assert!(backoff.delay(attempt, None) <= LONGEST_BACKOFF.min(base * (1 << attempt.min(10))));
            let asked = Duration::from_secs(30);
            let delay = backoff.delay(attempt, Some(asked));
            assert!(delay >= asked && delay <= asked + base);
        }
        let delays = |seed| -> Vec<Duration> {
            let mut backoff = Backoff::new(base, seed, &blake3::hash(b"a"));
            (0..5).map(|attempt| backoff.delay(attempt, None)).collect()
        };
        assert_eq!(delays(1), delays(1));
        assert_ne!(delays(1), delays(2));
    }

    #[test]
    fn every_form_of_retry_after_is_read() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let read = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            retry_after(&headers, now)
        };
        assert_eq!(read("retry-after", "2"), Some(Duration::from_secs(2)));
        assert_eq!(read("retry-after", "1.5"), Some(Duration::from_millis(1500)));
        assert_eq!(read("retry-after-ms", "250"), Some(Duration::from_millis(250)));
        assert_eq!(read("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT"), Some(Duration::from_secs(10)));
        assert_eq!(read("retry-after", "Sun, 06 Nov 1994 08:49:27 GMT"), Some(Duration::ZERO));
        assert_eq!(read("retry-after", "soon"), None);
        assert_eq!(read("retry-after", "-1"), None);
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
