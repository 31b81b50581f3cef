//! Endpoints and keys.

use std::fmt;
use std::sync::Arc;

use reqwest::Url;
use serde_json::Value;

use crate::secret::Redactor;
use crate::{RemoteError, Settings};

/// An API and a model there.
#[derive(Clone, Debug)]
pub struct Endpoint {
    base: Url,
    /// The model's name at the endpoint.
    pub model: String,
    /// The key, for endpoints that require one.
    pub key: Option<ApiKey>,
}

/// An API key. It can be sent, but neither printed nor serialised.
#[derive(Clone)]
pub struct ApiKey {
    text: String,
    redactor: Arc<Redactor>,
}

impl Endpoint {
    /// The endpoint, model and key of these settings. A missing key is an error only once the endpoint
    /// asks for one.
    pub fn of(settings: &Settings) -> Result<Self, RemoteError> {
        Self::new(&settings.endpoint, &settings.model, ApiKey::from_variable(&settings.key_variable)?)
    }

    /// The endpoint at a base address such as `https://host/v1`; a trailing `/chat/completions` is
    /// removed. Credentials and queries in the address are refused, because addresses are logged.
    pub fn new(url: &str, model: &str, key: Option<ApiKey>) -> Result<Self, RemoteError> {
        // Text that is not a URL may still contain a password.
        let shown = || url.rsplit('@').next().and_then(|rest| rest.split('?').next()).unwrap_or_default().to_owned();
        let mut base = Url::parse(url.trim())
            .map_err(|error| RemoteError::Address { url: shown(), problem: error.to_string() })?;
        let refuse = |base: &Url, problem: &str| {
            let mut shown = base.clone();
            let _ = shown.set_username("");
            let _ = shown.set_password(None);
            shown.set_query(None);
            Err(RemoteError::Address { url: shown.to_string(), problem: problem.to_owned() })
        };
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return refuse(&base, "not an http or https address");
        }
        if !base.username().is_empty() || base.password().is_some() {
            return refuse(&base, "credentials do not belong in the address; name an environment variable for the key");
        }
        if base.query().is_some() || base.fragment().is_some() {
            return refuse(&base, "a base address has no query");
        }
        let path = base.path().trim_end_matches('/');
        let path = path.strip_suffix("/chat/completions").unwrap_or(path).to_owned();
        base.set_path(&path);
        Ok(Self { base, model: model.to_owned(), key })
    }

    /// The base address without a trailing slash.
    pub fn base(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Whether the endpoint is on this machine: such addresses never go through a proxy.
    pub(crate) fn is_loopback(&self) -> bool {
        let host = self.base.host_str().unwrap_or_default().trim_matches(['[', ']']);
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// Text from the endpoint with the key redacted: some endpoints repeat what they were sent.
    pub(crate) fn redact(&self, text: String) -> String {
        match &self.key {
            Some(key) => key.redactor.redact(text),
            None => text,
        }
    }

    /// JSON from the endpoint, likewise.
    pub(crate) fn redact_value(&self, value: Value) -> Value {
        match &self.key {
            Some(key) => key.redactor.redact_value(value),
            None => value,
        }
    }
}

impl ApiKey {
    /// The key in an environment variable; `None` if the variable is not set.
    pub(crate) fn from_variable(variable: &str) -> Result<Option<Self>, RemoteError> {
        let refuse = |problem| Err(RemoteError::Key { variable: variable.to_owned(), problem });
        match std::env::var(variable) {
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => refuse("is not valid Unicode"),
            Ok(value) => match Self::new(value.trim()) {
                Some(key) => Ok(Some(key)),
                None => refuse("is empty or contains characters that cannot be sent in a header"),
            },
        }
    }

    /// A key of visible ASCII characters; `None` if it is empty or has others.
    pub fn new(key: &str) -> Option<Self> {
        let visible = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
        visible.then(|| Self { text: key.to_owned(), redactor: Arc::new(Redactor::new(key)) })
    }

    /// The value of the `Authorization` header, marked so that the HTTP library does not log it.
    pub(crate) fn header(&self) -> reqwest::header::HeaderValue {
        let mut value = reqwest::header::HeaderValue::from_str(&format!("Bearer {}", self.text))
            .expect("a key has only visible ASCII characters");
        value.set_sensitive(true);
        value
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("ApiKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_addresses_are_normalised() {
        let base = |url| Endpoint::new(url, "m", None).unwrap().base().to_owned();
        assert_eq!(base("http://127.0.0.1:8000/v1/"), "http://127.0.0.1:8000/v1");
        assert_eq!(base("https://host/v1/chat/completions"), "https://host/v1");
        assert_eq!(base("https://host"), "https://host");
    }

    #[test]
    fn addresses_with_secrets_are_refused_without_repeating_them() {
        for url in [
            "https://user:sk-secret@host/v1",
            "https://host/v1?key=sk-secret",
            "ftp://host",
            "host/v1",
            "https://u:sk-secret@",
        ] {
            let error = Endpoint::new(url, "m", None).unwrap_err().to_string();
            assert!(!error.contains("sk-secret"), "{error}");
        }
    }

    #[test]
    fn a_key_is_shown_nowhere() {
        let key = ApiKey::new("sk-secret").unwrap();
        let endpoint = Endpoint::new("http://[::1]:1/v1", "m", Some(key)).unwrap();
        assert!(endpoint.is_loopback());
        assert!(!format!("{endpoint:?} {:?}", endpoint.key.as_ref().unwrap().header()).contains("secret"));
        assert_eq!(endpoint.redact("you sent sk-secret".into()), "you sent [key]");
        assert!(ApiKey::new("two words").is_none() && ApiKey::new("").is_none());
    }
}
