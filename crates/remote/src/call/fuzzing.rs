//! Reading replies without a server, for fuzz targets; built only with `--cfg fuzzing`.

use std::sync::LazyLock;
use std::sync::atomic::AtomicBool;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;

use super::Caller;
use crate::classify::Attempt;
use crate::{ApiKey, Endpoint, Settings, StructureKind, Usage, unwrap_json, without_nulls};

/// The key of the endpoint; no output may contain it.
pub const KEY: &str = "sk-fuzz-0123456789";

static ENDPOINT: LazyLock<Endpoint> = LazyLock::new(|| {
    Endpoint::new("https://localhost/v1", "model", ApiKey::new(KEY)).expect("the address is one of an endpoint")
});
static SETTINGS: LazyLock<Settings> = LazyLock::new(|| Settings {
    endpoint: ENDPOINT.base().to_owned(),
    model: ENDPOINT.model.clone(),
    structure: StructureKind::JsonSchema,
    temperature: Some(0.0),
    extra: serde_json::Map::from_iter([("top_k".to_owned(), json!(1))]),
    ..Settings::default()
});
static STOP: AtomicBool = AtomicBool::new(false);
static CALLER: LazyLock<Caller<'static>> =
    LazyLock::new(|| Caller::new(&ENDPOINT, &SETTINGS, &STOP).expect("the settings are valid"));

/// What a reply means to a job, and as the results of a batch, in words. `source` is the source text.
/// Invalid headers are left out.
pub fn read_reply(status: u16, headers: &[(&str, &str)], body: &[u8], source: &str) -> String {
    let headers: HeaderMap = headers
        .iter()
        .filter_map(|(name, value)| Some((HeaderName::try_from(*name).ok()?, HeaderValue::try_from(*value).ok()?)))
        .collect();
    let reply = CALLER.reply_of(status, headers, body.to_vec());
    let most = Usage { prompt: 1000, completion: 1000, ..Usage::default() };
    let mut report = String::new();
    let mut report_attempt = |attempt| match attempt {
        Attempt::Done(completion) => {
            let answer = unwrap_json(&completion.text, source).unwrap_or_else(|| completion.text.clone());
            let answer = without_nulls(&answer);
            report.push_str(&format!("{completion:?} {answer}\n"));
        }
        Attempt::Again { why, after, .. } => report.push_str(&format!("{why} {after:?}\n")),
        Attempt::Fatal(error) => report.push_str(&format!("{error}\n")),
    };
    report_attempt(CALLER.attempt(&reply, StructureKind::JsonSchema, most));
    for result in CALLER.json_lines(&reply) {
        let status = result.pointer("/response/status_code").and_then(serde_json::Value::as_u64).unwrap_or(0) as u16;
        let body = result.pointer("/response/body").unwrap_or(&result["error"]);
        if let Ok(attempt) = CALLER.read(status, &HeaderMap::new(), body, StructureKind::None, most) {
            report_attempt(attempt);
        }
    }
    report
}
