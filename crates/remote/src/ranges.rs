//! Valid values of settings, checked before anything is sent.

use serde_json::Value;

use crate::{RemoteError, Settings};

/// The range of a numeric setting.
struct Range {
    key: &'static str,
    what: &'static str,
    least: f64,
    most: f64,
}

const fn range(key: &'static str, what: &'static str, least: f64, most: f64) -> Range {
    Range { key, what, least, most }
}

const SHOTS: Range = range("shots", "a whole number", 0.0, 1000.0);
const TEMPERATURE: Range = range("temperature", "a number", 0.0, 2.0);
const MAX_TOKENS: Range = range("max_tokens", "a whole number", 1.0, 10_000_000.0);
const CONCURRENCY: Range = range("concurrency", "a whole number", 1.0, 10_000.0);
const REQUESTS: Range = range("requests_per_minute", "a number", 0.001, 1e9);
const TOKENS: Range = range("tokens_per_minute", "a number", 1.0, 1e12);
const TIMEOUT: Range = range("timeout_seconds", "a number of seconds", 0.001, 86_400.0);
const ATTEMPTS: Range = range("attempts", "a whole number", 1.0, 1000.0);
const BACKOFF: Range = range("backoff_seconds", "a number of seconds", 0.0, 3600.0);
const BUDGET: Range = range("budget", "an amount", 0.0, 1e12);
const POLL: Range = range("poll_seconds", "a number of seconds", 0.001, 86_400.0);

/// Every range.
const ALL: [Range; 11] =
    [SHOTS, TEMPERATURE, MAX_TOKENS, CONCURRENCY, REQUESTS, TOKENS, TIMEOUT, ATTEMPTS, BACKOFF, BUDGET, POLL];

/// Fields of the request that have their own setting, with its key.
const FIELDS: [(&str, &str); 7] = [
    ("model", "model"),
    ("messages", "no_system_role and shots"),
    ("stream", "none, because replies are read as a whole"),
    ("max_tokens", "max_tokens"),
    ("max_completion_tokens", "max_tokens and max_tokens_name"),
    ("max_output_tokens", "max_tokens and max_tokens_name"),
    ("max_new_tokens", "max_tokens and max_tokens_name"),
];

impl Range {
    fn check(&self, value: Option<f64>) -> Result<(), RemoteError> {
        let Some(value) = value.filter(|value| !(self.least..=self.most).contains(value)) else { return Ok(()) };
        let expected = format!("{} from {} to {}", self.what, self.least, self.most);
        Err(RemoteError::Setting { key: self.key, value: number(value), expected })
    }
}

/// A number in its usual notation: `1e-300` rather than three hundred zeros.
fn number(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 || !value.is_finite() || (1e-4..1e13).contains(&size) {
        value.to_string()
    } else {
        format!("{value:e}")
    }
}

impl Settings {
    /// The least and the most of every setting that is a number, by key.
    pub fn ranges() -> impl Iterator<Item = (&'static str, f64, f64)> {
        ALL.iter().map(|range| (range.key, range.least, range.most))
    }

    /// Checks every number and name. The error names the key, its value and what is expected.
    pub fn check(&self) -> Result<(), RemoteError> {
        self.check_numbers()?;
        self.check_names()?;
        self.check_extra()
    }

    /// The part of [`Settings::check`] that the arithmetic of a job relies on.
    pub(crate) fn check_numbers(&self) -> Result<(), RemoteError> {
        let all = [
            (SHOTS, Some(self.shots as f64)),
            (TEMPERATURE, self.temperature),
            (MAX_TOKENS, Some(f64::from(self.max_tokens))),
            (CONCURRENCY, Some(self.concurrency as f64)),
            (REQUESTS, self.requests_per_minute),
            (TOKENS, self.tokens_per_minute),
            (TIMEOUT, Some(self.timeout_seconds)),
            (ATTEMPTS, Some(f64::from(self.attempts))),
            (BACKOFF, Some(self.backoff_seconds)),
            (BUDGET, self.budget),
            (POLL, Some(self.poll_seconds)),
        ];
        all.iter().try_for_each(|(range, value)| range.check(*value))
    }

    fn check_names(&self) -> Result<(), RemoteError> {
        let empty = |key, expected: &str| {
            Err(RemoteError::Setting { key, value: "empty".to_owned(), expected: expected.to_owned() })
        };
        if self.endpoint.trim().is_empty() {
            return empty("endpoint", "an address such as `https://host/v1` or `http://127.0.0.1:8000/v1`");
        }
        if self.model.trim().is_empty() {
            return empty("model", "the model's name at the endpoint");
        }
        let variable = &self.key_variable;
        if variable.is_empty() || variable.contains(['=', '\0']) {
            let expected = "the name of an environment variable, such as OPENAI_API_KEY".to_owned();
            return Err(RemoteError::Setting { key: "key_variable", value: format!("`{variable}`"), expected });
        }
        let name = &self.max_tokens_name;
        let taken = ["model", "messages", "stream", "temperature", "response_format", "structured_outputs", "grammar"];
        if name.trim().is_empty() || taken.contains(&name.as_str()) {
            let expected = "the name of a field, such as max_tokens or max_completion_tokens".to_owned();
            return Err(RemoteError::Setting { key: "max_tokens_name", value: format!("`{name}`"), expected });
        }
        if self.budget.is_some() && self.prices.is_none() {
            return Err(RemoteError::Setting {
                key: "prices",
                value: "missing".to_owned(),
                expected: "a price table, because there is a budget".to_owned(),
            });
        }
        Ok(())
    }

    /// Refuses fields that would make replies unreadable, or costlier than the budget assumes.
    fn check_extra(&self) -> Result<(), RemoteError> {
        let refuse = |field: &str, expected: String| {
            Err(RemoteError::Setting { key: "extra", value: format!("about `{field}`"), expected })
        };
        for (field, instead) in FIELDS {
            let harmless = field == "stream" && self.extra.get(field) == Some(&Value::Bool(false));
            if self.extra.contains_key(field) && !harmless {
                return refuse(field, format!("other fields only; the setting for this is {instead}"));
            }
        }
        for field in ["n", "best_of"] {
            if self.extra.get(field).is_some_and(|count| count.as_u64() != Some(1)) {
                return refuse(field, "one answer for each prompt".to_owned());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn good() -> Settings {
        Settings { endpoint: "https://host/v1".into(), model: "m".into(), ..Settings::default() }
    }

    fn refused(change: impl FnOnce(&mut Settings)) -> String {
        let mut settings = good();
        change(&mut settings);
        settings.check().unwrap_err().to_string()
    }

    #[test]
    fn numbers_outside_their_range_are_named_with_it() {
        good().check().unwrap();
        for wrong in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 1e300] {
            for message in [
                refused(|settings| settings.timeout_seconds = wrong),
                refused(|settings| settings.backoff_seconds = wrong),
                refused(|settings| settings.poll_seconds = wrong),
                refused(|settings| settings.temperature = Some(wrong)),
                refused(|settings| settings.requests_per_minute = Some(wrong)),
                refused(|settings| settings.tokens_per_minute = Some(wrong)),
                refused(|settings| {
                    settings.budget = Some(wrong);
                    settings.prices = Some("prices.toml".into());
                }),
            ] {
                assert!(message.contains(" from ") && message.contains(" to "), "{message}");
            }
        }
        let message = refused(|settings| settings.requests_per_minute = Some(1e-300));
        assert_eq!(message, "`requests_per_minute` is 1e-300: expected a number from 0.001 to 1000000000");
        let message = refused(|settings| settings.timeout_seconds = 0.0);
        assert_eq!(message, "`timeout_seconds` is 0: expected a number of seconds from 0.001 to 86400");
        assert!(refused(|settings| settings.attempts = 0).starts_with("`attempts` is 0"));
        assert!(refused(|settings| settings.concurrency = usize::MAX).starts_with("`concurrency` is 1.8"));
        assert!(refused(|settings| settings.shots = usize::MAX).starts_with("`shots`"));
        assert!(refused(|settings| settings.max_tokens = 0).starts_with("`max_tokens` is 0"));
    }

    #[test]
    fn names_and_extra_fields_are_checked() {
        assert!(refused(|settings| settings.endpoint = " ".into()).starts_with("`endpoint` is empty"));
        assert!(refused(|settings| settings.model = String::new()).starts_with("`model` is empty"));
        assert!(refused(|settings| settings.key_variable = "a=b".into()).starts_with("`key_variable`"));
        assert!(refused(|settings| settings.max_tokens_name = "messages".into()).starts_with("`max_tokens_name`"));
        assert!(refused(|settings| settings.budget = Some(1.0)).starts_with("`prices` is missing"));
        for (field, value) in [("n", json!(4)), ("stream", json!(true)), ("max_completion_tokens", json!(9))] {
            assert!(refused(|settings| drop(settings.extra.insert(field.into(), value))).contains(field));
        }
        let mut settings = good();
        settings.extra.insert("n".into(), json!(1));
        settings.extra.insert("reasoning_effort".into(), json!("low"));
        settings.check().unwrap();
    }

    #[test]
    fn no_temperature_can_be_written_in_a_file() {
        let read = |text: &str| toml::from_str::<Settings>(text);
        assert_eq!(read("temperature = \"none\"").unwrap().temperature, None);
        assert_eq!(read("temperature = 1").unwrap().temperature, Some(1.0));
        assert_eq!(read("").unwrap().temperature, Some(0.0));
        assert!(read("temperature = \"warm\"").unwrap_err().to_string().contains("from 0 to 2"));
        let none = Settings { temperature: None, ..good() };
        assert_eq!(read(&toml::to_string(&none).unwrap()).unwrap(), none);
    }
}
