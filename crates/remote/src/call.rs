//! One HTTP exchange, and what its result means.

use std::sync::Once;
use std::time::{Duration, SystemTime};

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use reqwest::{Client, RequestBuilder, Response, redirect, retry};
use serde_json::{Value, json};

use crate::body::Digest;
use crate::completion::Completion;
use crate::retry::{Backoff, retry_after};
use crate::{Endpoint, Outcome, RemoteError, Settings, StructureKind};

/// No reply is longer than this.
const LONGEST_REPLY: usize = 256 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Sends requests to one endpoint.
#[derive(Debug)]
pub(crate) struct Caller<'a> {
    client: Client,
    endpoint: &'a Endpoint,
    settings: &'a Settings,
}

/// What came of one attempt.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// An answer, or an outcome that asking again would not change.
    Done(Completion),
    /// Ask again.
    Again {
        /// Why there is no answer.
        why: String,
        /// What the endpoint asks to wait.
        after: Option<Duration>,
        /// Whether the request may have been charged for.
        unsettled: bool,
    },
    /// No request of this job can succeed.
    Fatal(RemoteError),
}

impl<'a> Caller<'a> {
    pub(crate) fn new(endpoint: &'a Endpoint, settings: &'a Settings) -> Result<Self, RemoteError> {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            // An error means that the program has installed another provider, which serves as well.
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        let mut headers = HeaderMap::new();
        if let Some(key) = &endpoint.key {
            headers.insert(AUTHORIZATION, key.header());
        }
        // Redirects could carry the key elsewhere, and hidden retries could be charged for.
        let mut builder = Client::builder()
            .default_headers(headers)
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(Duration::from_secs_f64(settings.timeout_seconds))
            .pool_max_idle_per_host(settings.concurrency)
            .user_agent(concat!("tabpo/", env!("CARGO_PKG_VERSION")));
        if endpoint.is_loopback() {
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|error| RemoteError::Setup(error.to_string()))?;
        Ok(Self { client, endpoint, settings })
    }

    /// Asks for one chat completion, once. The digest goes along as idempotency key, so that an
    /// endpoint that knows such keys charges once for a request that is repeated.
    pub(crate) async fn complete(&self, body: &Value, digest: &Digest, asked: StructureKind) -> Attempt {
        let request = self
            .client
            .post(self.url("chat/completions"))
            .header(CONTENT_TYPE, "application/json")
            .header("idempotency-key", digest.to_hex().as_str())
            .body(body.to_string());
        match self.exchange(request).await {
            Ok((200, _, text)) => match Completion::parse(&text) {
                Ok(completion) => Attempt::Done(completion),
                Err(why) => Attempt::Again { why, after: None, unsettled: true },
            },
            Ok((status, headers, text)) => self.classify(status, &headers, &text, asked),
            Err(failure) => failure,
        }
    }

    /// What a reply that is no answer means.
    pub(crate) fn classify(&self, status: u16, headers: &HeaderMap, text: &str, asked: StructureKind) -> Attempt {
        let error = ApiError::parse(text);
        let message = error.message.clone();
        match status {
            429 if error.says(&["insufficient_quota", "billing"]) => {
                Attempt::Fatal(RemoteError::Rejected { status, message })
            }
            408 | 409 | 425 | 429 | 500..=599 => Attempt::Again {
                why: format!("the endpoint answered {status}: {message}"),
                after: retry_after(headers, SystemTime::now()),
                unsettled: false,
            },
            401 | 403 => Attempt::Fatal(RemoteError::Unauthorised { status, message }),
            404 => Attempt::Fatal(RemoteError::UnknownModel {
                model: self.endpoint.model.clone(),
                message,
                models: Vec::new(),
            }),
            400 | 413 | 422 if error.says(&["content_filter", "content_policy", "content management policy"]) => {
                Attempt::Done(Completion::without_text(Outcome::Filtered, message))
            }
            400 | 413 | 422
                if error.says(&["context_length", "context length", "maximum context", "context window"]) =>
            {
                Attempt::Done(Completion::without_text(Outcome::TooLong, message))
            }
            400 | 422
                if asked != StructureKind::None
                    && error.says(&["response_format", "json_schema", "json_object", "structured", "grammar"]) =>
            {
                Attempt::Fatal(RemoteError::UnsupportedStructure { asked, message, accepted: Vec::new() })
            }
            _ => Attempt::Fatal(RemoteError::Rejected { status, message }),
        }
    }

    /// Adds what only the endpoint can tell: the structured output that it does accept, found by
    /// asking for a word in each form, or the models that it lists.
    pub(crate) async fn explain(&self, error: RemoteError) -> RemoteError {
        match error {
            RemoteError::UnsupportedStructure { asked, message, .. } => {
                let mut accepted = Vec::new();
                for kind in StructureKind::ALL.into_iter().filter(|&kind| kind != asked) {
                    if self.accepts(kind).await {
                        accepted.push(kind);
                    }
                }
                RemoteError::UnsupportedStructure { asked, message, accepted }
            }
            RemoteError::UnknownModel { model, message, .. } => {
                let models = self.models().await;
                RemoteError::UnknownModel { model, message, models }
            }
            other => other,
        }
    }

    async fn accepts(&self, kind: StructureKind) -> bool {
        let mut body = json!({
            "model": self.endpoint.model,
            "messages": [{"role": "user", "content": "Answer with an empty JSON object."}],
            "stream": false,
            (self.settings.max_tokens_name.clone()): 16,
        });
        match kind {
            StructureKind::None => {}
            StructureKind::JsonObject => body["response_format"] = json!({"type": "json_object"}),
            StructureKind::JsonSchema => {
                let schema = json!({"type": "object", "properties": {}, "required": [], "additionalProperties": false});
                let named = json!({"name": "probe", "strict": true, "schema": schema});
                body["response_format"] = json!({"type": "json_schema", "json_schema": named});
            }
            StructureKind::Grammar => body["structured_outputs"] = json!({"grammar": "start: \"{}\""}),
        }
        let request = self.client.post(self.url("chat/completions")).header(CONTENT_TYPE, "application/json");
        matches!(self.exchange(request.body(body.to_string())).await, Ok((200, _, _)))
    }

    async fn models(&self) -> Vec<String> {
        let Ok((200, _, text)) = self.exchange(self.client.get(self.url("models"))).await else { return Vec::new() };
        let list: Value = serde_json::from_str(&text).unwrap_or_default();
        let ids = list.pointer("/data").and_then(Value::as_array).into_iter().flatten();
        ids.filter_map(|model| model.get("id").and_then(Value::as_str)).map(str::to_owned).take(20).collect()
    }

    /// Sends the request that `build` makes until it succeeds, for the calls that cost nothing.
    pub(crate) async fn reliable(&self, name: &str, build: impl Fn() -> RequestBuilder) -> Result<String, RemoteError> {
        let base = Duration::from_secs_f64(self.settings.backoff_seconds);
        let mut backoff = Backoff::new(base, self.settings.seed, &blake3::hash(name.as_bytes()));
        let mut attempt = 0;
        loop {
            let result = match self.exchange(build()).await {
                Ok((200 | 201, _, text)) => return Ok(text),
                Ok((status, headers, text)) => self.classify(status, &headers, &text, StructureKind::None),
                Err(failure) => failure,
            };
            match result {
                Attempt::Again { why, after, .. } => {
                    let delay = backoff.delay(attempt, after);
                    attempt += 1;
                    if attempt >= self.settings.attempts {
                        return Err(RemoteError::EndpointDown { prompts: 1, last: why });
                    }
                    tokio::time::sleep(delay).await;
                }
                Attempt::Fatal(error) => return Err(error),
                Attempt::Done(completion) => {
                    let message = completion.refusal.unwrap_or_default();
                    return Err(RemoteError::Rejected { status: 400, message });
                }
            }
        }
    }

    /// A request to a path of the API.
    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(self.url(path))
    }

    /// A request with a body to a path of the API.
    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(self.url(path))
    }

    fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.endpoint.base())
    }

    /// Status, headers and text of a reply, without the key; a failure is one to repeat.
    async fn exchange(&self, request: RequestBuilder) -> Result<(u16, HeaderMap, String), Attempt> {
        let mut response = request.send().await.map_err(|error| self.broken(&error))?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = self.whole(&mut response).await?;
        let text = self.endpoint.redact(String::from_utf8_lossy(&bytes).into_owned());
        Ok((status, headers, text))
    }

    async fn whole(&self, response: &mut Response) -> Result<Vec<u8>, Attempt> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(&error))? {
            if bytes.len() + chunk.len() > LONGEST_REPLY {
                let why = format!("the reply is longer than {LONGEST_REPLY} bytes");
                return Err(Attempt::Again { why, after: None, unsettled: true });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// A connection that never came about cost nothing; any other failure may have.
    fn broken(&self, error: &reqwest::Error) -> Attempt {
        let mut why = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            why = format!("{why}: {cause}");
            source = cause.source();
        }
        Attempt::Again { why: self.endpoint.redact(why), after: None, unsettled: !error.is_connect() }
    }
}

/// The error object of a reply; servers write it in different forms.
#[derive(Debug)]
struct ApiError {
    message: String,
    /// Everything in lower case, to search in.
    all: String,
}

impl ApiError {
    fn parse(text: &str) -> Self {
        const LONGEST: usize = 400;
        let body: Value = serde_json::from_str(text).unwrap_or_default();
        let places = ["/error/message", "/message", "/detail", "/error"];
        let found = places.iter().filter_map(|place| body.pointer(place)).find(|found| !found.is_null());
        let message = match found {
            Some(Value::String(message)) => message.clone(),
            Some(other) => other.to_string(),
            None => text.trim().to_owned(),
        };
        let message = match message.char_indices().nth(LONGEST) {
            Some((end, _)) => format!("{}…", &message[..end]),
            None if message.is_empty() => "no message".to_owned(),
            None => message,
        };
        Self { message, all: text.to_lowercase() }
    }

    fn says(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.all.contains(word))
    }
}
