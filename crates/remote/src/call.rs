//! HTTP exchanges, and what their results mean.

#[cfg(fuzzing)]
pub mod fuzzing;

use std::pin::pin;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::{Either, select};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, LOCATION};
use reqwest::{Client, RequestBuilder, Response, redirect, retry};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api_error::ApiError;
use crate::body::Digest;
use crate::classify::{Asked, Attempt, classify};
use crate::completion::Reading;
use crate::retry::Backoff;
use crate::{Endpoint, RemoteError, Settings, StructureKind, Usage, received};

/// Largest results of a batch, in bytes.
const LONGEST_RESULTS: usize = 256 << 20;
/// Largest other reply, in bytes, ...
const LONGEST_REPLY: usize = 4 << 20;
/// ... plus this many for each token of the answer: a stream of events repeats much for every token.
const BYTES_OF_TOKEN: usize = 1 << 10;
/// What a grammar makes an endpoint write that heeds it.
const FORCED: &str = r#"{"grammar":1}"#;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long requests in flight may continue once the user has asked to stop: they may be charged anyway.
const LAST_WAIT: Duration = Duration::from_secs(5);
/// Interval at which waits check whether the user has asked to stop.
pub(crate) const LOOK: Duration = Duration::from_millis(50);

/// Sends requests to one endpoint.
#[derive(Debug)]
pub(crate) struct Caller<'a> {
    client: Client,
    endpoint: &'a Endpoint,
    settings: &'a Settings,
    stop: &'a AtomicBool,
}

/// A reply.
#[derive(Debug)]
pub(crate) struct Reply {
    status: u16,
    headers: HeaderMap,
    /// The body; it may contain the key.
    raw: String,
    /// The body as JSON, with the key redacted; the error says why it is not JSON.
    json: Result<Value, String>,
}

impl<'a> Caller<'a> {
    pub(crate) fn new(
        endpoint: &'a Endpoint,
        settings: &'a Settings,
        stop: &'a AtomicBool,
    ) -> Result<Self, RemoteError> {
        static PROVIDER: Once = Once::new();
        settings.check_numbers()?;
        PROVIDER.call_once(|| {
            // An error means that another provider is installed already, which is just as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        let mut headers = HeaderMap::new();
        if let Some(key) = &endpoint.key {
            headers.insert(AUTHORIZATION, key.header());
        }
        // Redirects could leak the key, and hidden retries could be charged.
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
        Ok(Self { client, endpoint, settings, stop })
    }

    /// Asks for one chat completion, once. The digest is sent as idempotency key, so that an endpoint
    /// that supports such keys charges a repeated request only once. `most` is the most that the request
    /// can use.
    pub(crate) async fn complete(&self, body: &Value, digest: &Digest, asked: StructureKind, most: Usage) -> Attempt {
        let request = self
            .client
            .post(self.url("chat/completions"))
            .header(CONTENT_TYPE, "application/json")
            .header("idempotency-key", digest.to_hex().as_str())
            .body(body.to_string());
        match self.exchange(request, self.longest_reply()).await {
            Ok(reply) => self.attempt(&reply, asked, most),
            Err(failure) => failure,
        }
    }

    /// What a reply to a request for a completion means.
    fn attempt(&self, reply: &Reply, asked: StructureKind, most: Usage) -> Attempt {
        let again = |why| Attempt::Again { why, after: None, unsettled: true };
        match (reply.status, &reply.json) {
            (200, Ok(value)) => match self.read(reply.status, &reply.headers, value, asked, most) {
                Ok(attempt) => attempt,
                Err(why) => again(why),
            },
            (200, Err(problem)) => again(problem.clone()),
            _ => self.classified(reply, asked),
        }
    }

    /// What a body with a status means; the error says what is missing in a reply with status 200 that is
    /// neither an answer nor an error.
    pub(crate) fn read(
        &self,
        status: u16,
        headers: &HeaderMap,
        body: &Value,
        structure: StructureKind,
        most: Usage,
    ) -> Result<Attempt, String> {
        if status != 200 {
            return Ok(classify(self.asked(structure), status, headers, &ApiError::of(body)));
        }
        match Reading::of(body, most) {
            Reading::Completion(completion) => Ok(Attempt::Done(completion)),
            Reading::Error(error) => Ok(classify(self.asked(structure), status, headers, &error)),
            Reading::BrokenOff(why) | Reading::Unreadable(why) => Err(why),
        }
    }

    fn asked(&self, structure: StructureKind) -> Asked<'_> {
        Asked { model: &self.endpoint.model, settings: self.settings, structure }
    }

    /// What a reply with a status other than 200 means.
    fn classified(&self, reply: &Reply, structure: StructureKind) -> Attempt {
        let error = match &reply.json {
            Ok(value) => ApiError::of(value),
            Err(_) => ApiError::of_text(&self.endpoint.redact(reply.raw.clone())),
        };
        if let (300..=399, Some(place)) = (reply.status, reply.headers.get(LOCATION)) {
            // Redirects are not followed, because the key would be sent along.
            let place = self.endpoint.redact(String::from_utf8_lossy(place.as_bytes()).into_owned());
            return Attempt::Fatal(RemoteError::Rejected {
                status: reply.status,
                message: format!("moved to {place}"),
            });
        }
        classify(self.asked(structure), reply.status, &reply.headers, &error)
    }

    /// Adds what only the endpoint knows: the kinds of structured output that it accepts, found by trying
    /// each, or the models that it lists.
    pub(crate) async fn explain(&self, error: RemoteError) -> RemoteError {
        match error {
            RemoteError::UnsupportedStructure { asked, message, .. } => {
                let mut accepted = Vec::new();
                for kind in StructureKind::ALL.into_iter().filter(|&kind| kind != asked) {
                    if !self.stopped() && self.accepts(kind).await {
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
            StructureKind::Grammar => {
                body["structured_outputs"] = json!({"grammar": format!("start: {}", json!(FORCED))});
            }
            StructureKind::Gbnf => body["grammar"] = format!("root ::= {}", json!(FORCED)).into(),
        }
        let request = self.client.post(self.url("chat/completions")).header(CONTENT_TYPE, "application/json");
        let sent = self.exchange(request.body(body.to_string()), LONGEST_REPLY);
        let Ok(Reply { status: 200, json, .. }) = sent.await else { return false };
        if !matches!(kind, StructureKind::Grammar | StructureKind::Gbnf) {
            return true;
        }
        // Many servers ignore fields that they don't know.
        json.is_ok_and(|json| json.pointer("/choices/0/message/content").and_then(Value::as_str) == Some(FORCED))
    }

    async fn models(&self) -> Vec<String> {
        let reply = self.exchange(self.client.get(self.url("models")), LONGEST_REPLY).await;
        let Ok(Reply { status: 200, json: Ok(list), .. }) = reply else { return Vec::new() };
        let ids = list.pointer("/data").and_then(Value::as_array).into_iter().flatten();
        ids.filter_map(|model| model.get("id").and_then(Value::as_str)).map(str::to_owned).take(20).collect()
    }

    /// Sends the request that `build` makes until it succeeds, for calls that cost nothing.
    pub(crate) async fn reliable(&self, name: &str, build: impl Fn() -> RequestBuilder) -> Result<Reply, RemoteError> {
        let base = Duration::from_secs_f64(self.settings.backoff_seconds);
        let mut backoff = Backoff::new(base, self.settings.seed, &blake3::hash(name.as_bytes()));
        let mut attempt = 0;
        loop {
            // The results of a batch are one file.
            let result = match self.exchange(build(), LONGEST_RESULTS).await {
                Ok(reply) if matches!(reply.status, 200 | 201) => return Ok(reply),
                Ok(reply) => self.classified(&reply, StructureKind::None),
                Err(failure) => failure,
            };
            match result {
                Attempt::Again { .. } if self.stopped() => return Err(RemoteError::Stopped),
                Attempt::Again { why, after, .. } => {
                    let delay = backoff.delay(attempt, after);
                    attempt += 1;
                    if attempt >= self.settings.attempts {
                        return Err(RemoteError::EndpointDown { prompts: 1, last: why });
                    }
                    if !self.sleep_until(Instant::now() + delay).await {
                        return Err(RemoteError::Stopped);
                    }
                }
                Attempt::Fatal(error) => return Err(error),
                Attempt::Done(completion) => {
                    let message = completion.refusal.unwrap_or_default();
                    return Err(RemoteError::Rejected { status: 400, message });
                }
            }
        }
    }

    /// The values of a reply in JSON lines, with the key redacted.
    pub(crate) fn json_lines(&self, reply: &Reply) -> impl Iterator<Item = Value> {
        let lines = reply.raw.lines().filter(|line| !line.trim().is_empty());
        lines.map(|line| self.endpoint.redact_value(received::value(line).unwrap_or_default()))
    }

    /// Whether the user has asked to stop.
    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Sleeps until `end`; false if the user asks to stop earlier.
    pub(crate) async fn sleep_until(&self, end: Instant) -> bool {
        while Instant::now() < end && !self.stopped() {
            tokio::time::sleep_until(end.min(Instant::now() + LOOK)).await;
        }
        !self.stopped()
    }

    /// A request to a path of the API.
    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(self.url(path))
    }

    /// A request with a body to a path of the API.
    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(self.url(path))
    }

    /// Largest reply to a request for a completion, in bytes.
    fn longest_reply(&self) -> usize {
        let tokens = usize::try_from(self.settings.max_tokens).unwrap_or(usize::MAX);
        tokens.saturating_mul(BYTES_OF_TOKEN).saturating_add(LONGEST_REPLY).min(LONGEST_RESULTS)
    }

    fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.endpoint.base())
    }

    /// Sends a request and waits for its reply of at most `longest` bytes; failures are worth repeating.
    /// Once the user has asked to stop, it waits for the reply a little longer and then gives up.
    async fn exchange(&self, request: RequestBuilder, longest: usize) -> Result<Reply, Attempt> {
        let given_up = async {
            while !self.stopped() {
                tokio::time::sleep(LOOK).await;
            }
            tokio::time::sleep(LAST_WAIT).await;
        };
        let reply = pin!(self.reply(request, longest));
        match select(reply, pin!(given_up)).await {
            Either::Left((reply, _)) => reply,
            Either::Right(((), _)) => {
                let why = "the endpoint did not answer before the job was stopped".to_owned();
                Err(Attempt::Again { why, after: None, unsettled: true })
            }
        }
    }

    async fn reply(&self, request: RequestBuilder, longest: usize) -> Result<Reply, Attempt> {
        let mut response = request.send().await.map_err(|error| self.broken(&error))?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = self.whole(&mut response, longest).await?;
        Ok(self.reply_of(status, headers, bytes))
    }

    /// A reply from its parts.
    fn reply_of(&self, status: u16, headers: HeaderMap, bytes: Vec<u8>) -> Reply {
        let raw =
            String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        let json =
            received::body(&raw, |text| self.endpoint.redact(text)).map(|value| self.endpoint.redact_value(value));
        Reply { status, headers, raw, json }
    }

    async fn whole(&self, response: &mut Response, longest: usize) -> Result<Vec<u8>, Attempt> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(&error))? {
            if bytes.len() + chunk.len() > longest {
                let why = format!("the reply is longer than {longest} bytes");
                return Err(Attempt::Again { why, after: None, unsettled: true });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// A failure to connect costs nothing; any other failure may have been charged.
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

impl Reply {
    /// The body as JSON, with the key redacted; null if it is not JSON.
    pub(crate) fn value(&self) -> &Value {
        self.json.as_ref().unwrap_or(&Value::Null)
    }
}
