//! When to retry.

use std::time::{Duration, SystemTime};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use reqwest::header::HeaderMap;

use crate::body::Digest;

/// Longest wait that an endpoint may ask for; beyond it, the job ends.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// Longest delay by doubling; a longer wait that the endpoint asks for is honoured.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// Exponential back-off with full jitter: the delay before attempt n + 1 is uniform between 0 and
/// `base * 2^n`, and never shorter than the endpoint asked for. The jitter is seeded, so that runs can be
/// reproduced.
#[derive(Debug)]
pub(crate) struct Backoff {
    base: Duration,
    random: ChaCha8Rng,
}

impl Backoff {
    /// The back-off of one request.
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
        match asked.filter(|asked| !asked.is_zero()) {
            Some(asked) => asked.min(LONGEST_WAIT) + self.base.min(most).mul_f64(self.random.random::<f64>()),
            None => jitter,
        }
    }
}

/// The wait that a reply asks for: `retry-after-ms`, or `Retry-After` in seconds or as a date, or the
/// seconds in its body. Waits too long to represent become [`Duration::MAX`]; negative and invalid numbers
/// are ignored.
pub(crate) fn retry_after(headers: &HeaderMap, in_body: Option<f64>, now: SystemTime) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let seconds = |value: f64| {
        let value = Some(value).filter(|value| *value >= 0.0)?;
        Some(Duration::try_from_secs_f64(value).unwrap_or(Duration::MAX))
    };
    let number = |text: &str| {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
        text.parse::<f64>().ok().filter(|_| plain)
    };
    if let Some(wait) = text("retry-after-ms").and_then(number).and_then(|value| seconds(value * 0.001)) {
        return Some(wait);
    }
    let in_header = text("retry-after").and_then(|value| {
        number(value).and_then(seconds).or_else(|| {
            let date = httpdate::parse_http_date(value).ok()?;
            Some(date.duration_since(now).unwrap_or_default())
        })
    });
    in_header.or_else(|| in_body.and_then(seconds))
}

/// Whether the endpoint says that a retry makes sense.
pub(crate) fn should_retry(headers: &HeaderMap) -> Option<bool> {
    headers.get("x-should-retry")?.to_str().ok()?.trim().parse().ok()
}

/// A duration in words: `45 seconds`, `31 years`.
pub fn in_words(duration: Duration) -> String {
    const UNITS: [(&str, u64); 5] =
        [("year", 31_557_600), ("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1)];
    let seconds = duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() >= 500_000_000));
    if seconds / UNITS[0].1 > 10_000 {
        return "for ever".to_owned();
    }
    // The largest unit of which there are at least two; a single one would be too coarse.
    let (name, size) = UNITS.into_iter().find(|(_, size)| seconds >= 2 * size).unwrap_or(UNITS[4]);
    let count = seconds / size;
    format!("{count} {name}{}", if count == 1 { "" } else { "s" })
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
            retry_after(&headers, None, now)
        };
        assert_eq!(read("retry-after", "2"), Some(Duration::from_secs(2)));
        assert_eq!(read("retry-after", "1.5"), Some(Duration::from_millis(1500)));
        assert_eq!(read("retry-after-ms", "250"), Some(Duration::from_millis(250)));
        assert_eq!(read("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT"), Some(Duration::from_secs(10)));
        assert_eq!(read("retry-after", "Sun, 06 Nov 1994 08:49:27 GMT"), Some(Duration::ZERO));
        assert_eq!(read("retry-after", "soon"), None);
        assert_eq!(read("retry-after", "-1"), None);
        assert_eq!(retry_after(&HeaderMap::new(), None, now), None);
    }

    #[test]
    fn waits_too_long_to_represent_are_read() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let read = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("retry-after", value.parse().unwrap());
            retry_after(&headers, None, now)
        };
        for long in ["1e19", "1e9", "1e300", "1e999", "99999999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT"] {
            assert!(read(long).unwrap() > LONGEST_WAIT, "{long}");
        }
        for nothing in ["-1e19", "nan", "inf", "infinity", "", "1 hour"] {
            assert_eq!(read(nothing), None, "{nothing}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), Some(2.0), now), Some(Duration::from_secs(2)));
        let mut backoff = Backoff::new(Duration::from_secs(1), 7, &blake3::hash(b"a"));
        assert!(backoff.delay(0, Some(Duration::MAX)) <= LONGEST_WAIT + Duration::from_secs(1));
        assert!(backoff.delay(9, Some(Duration::ZERO)) <= LONGEST_BACKOFF);
    }

    #[test]
    fn durations_are_put_in_words() {
        let words = |seconds: f64| in_words(Duration::from_secs_f64(seconds));
        assert_eq!(
            (words(1.0), words(45.0), words(90.0)),
            ("1 second".into(), "45 seconds".into(), "90 seconds".into())
        );
        assert_eq!((words(1e9), words(7300.0)), ("31 years".into(), "2 hours".into()));
        assert_eq!(words(4.0 * 86_400.0), "4 days");
        assert_eq!(in_words(Duration::MAX), "for ever");
    }
}
