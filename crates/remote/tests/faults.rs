//! Endpoints that state no usage, ask to wait for years, repeat the key or never answer, and a damaged
//! cache.

mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use support::{Reply, Request, Server, answer, completion, error};
use tabpo_remote::{
    ApiKey, ChatRole, Ending, Endpoint, Extraction, Job, Message, ModelPrice, Prompt, RemoteError, ReplyField,
    ReplyOutcome, ResponseCache, Settings, Structure, extract,
};

const KEY: &str = "sk-Qy8/invented+Key=71";
const PRICE: ModelPrice = ModelPrice { prompt: 1000.0, cached: None, completion: 2000.0, batch: None };

fn prompts(count: usize) -> Vec<Prompt> {
    let prompt = |index| Prompt {
        doc_key: "d".into(),
        sentence: None,
        messages: vec![Message::new(ChatRole::User, format!("text {index}"))],
        structure: Structure::None,
    };
    (0..count).map(prompt).collect()
}

fn settings() -> Settings {
    Settings { backoff_seconds: 0.01, concurrency: 1, max_tokens: 64, attempts: 4, ..Settings::default() }
}

fn run(server: &Server, count: usize, settings: &Settings, directory: &Path) -> Result<Extraction, RemoteError> {
    let stop = AtomicBool::new(false);
    run_until(server, count, settings, directory, &stop)
}

fn run_until(
    server: &Server,
    count: usize,
    settings: &Settings,
    directory: &Path,
    stop: &AtomicBool,
) -> Result<Extraction, RemoteError> {
    let endpoint = Endpoint::new(&server.url, "m", ApiKey::new(KEY)).unwrap();
    let mut cache = ResponseCache::open(directory)?;
    extract(
        &Job { endpoint: &endpoint, prompts: &prompts(count), settings, price: Some(PRICE) },
        &mut cache,
        stop,
        &mut |_| {},
    )
}

fn run_once(server: &Server, count: usize) -> Extraction {
    let directory = tempfile::tempdir().unwrap();
    run(server, count, &settings(), directory.path()).unwrap()
}

#[test]
fn a_reply_without_usage_counts_at_its_upper_bound() {
    for usage in [
        Value::Null,
        json!({"prompt_tokens": null, "completion_tokens": null}),
        json!({"prompt_tokens": -3, "completion_tokens": 2}),
        json!({"prompt_tokens": 3, "completion_tokens": 1e300}),
        json!({"prompt_tokens": 0, "completion_tokens": 0}),
    ] {
        let server = Server::start(move |_: &Request| {
            let mut reply = completion("{}");
            reply["usage"] = usage.clone();
            Reply::Json(200, Vec::new(), reply)
        });
        let directory = tempfile::tempdir().unwrap();
        // Each request can cost about 0.25: one token for each byte, and 64 tokens of answer.
        let limited = Settings { budget: Some(0.6), ..settings() };
        let done = run(&server, 9, &limited, directory.path()).unwrap();
        assert_eq!((&done.ending, server.total()), (&Ending::BudgetReached, 2));
        assert_eq!((done.statistics.without_usage, done.statistics.usage.prompt), (2, 0));
        let cost = done.statistics.cost.unwrap();
        assert!((0.4..=0.6).contains(&cost), "{cost}");
        // The same after a restart: nothing more is sent.
        let again = run(&server, 9, &limited, directory.path()).unwrap();
        assert_eq!((again.ending, server.total()), (Ending::BudgetReached, 2));
    }
}

#[test]
fn a_wait_of_years_ends_the_job_and_loses_nothing() {
    for wait in ["1e19", "1e9", "Fri, 31 Dec 9999 23:59:59 GMT"] {
        let server = Server::start(move |request: &Request| match request.prompt().as_str() {
            "text 3" => Reply::Json(429, vec![("retry-after", wait.into())], json!({})),
            _ => answer("{}"),
        });
        let directory = tempfile::tempdir().unwrap();
        let error = run(&server, 9, &settings(), directory.path()).unwrap_err();
        assert!(matches!(error, RemoteError::LongWait { .. }) && !error.is_input(), "{error}");
        assert!(error.to_string().contains("giving up"), "{error}");
        assert_eq!(ResponseCache::open(directory.path()).unwrap().len(), 3);
    }
}

#[test]
fn an_invalid_wait_is_ignored() {
    for wait in ["-1e19", "nan", "Sun, 06 Nov 1994 08:49:37 GMT", "0", "later"] {
        let server = Server::start(move |request: &Request| match request.earlier {
            0 => Reply::Json(503, vec![("retry-after", wait.into())], json!({})),
            _ => answer("{}"),
        });
        assert_eq!(run_once(&server, 2).ending, Ending::Complete, "{wait}");
    }
}

#[test]
fn an_interrupt_abandons_a_request_that_is_never_answered() {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let server = Server::start(move |_: &Request| {
        flag.store(true, Ordering::SeqCst);
        // It would be answered if the job waited long enough.
        Reply::After(Duration::from_secs(40), Box::new(answer("late")))
    });
    let directory = tempfile::tempdir().unwrap();
    let done = run_until(&server, 3, &settings(), directory.path(), &stop).unwrap();
    assert_eq!((done.ending, done.statistics.unsettled), (Ending::Interrupted, 1));
}

#[test]
fn an_interrupt_ends_the_waits_of_a_batch() {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let server = Server::start(move |_: &Request| {
        flag.store(true, Ordering::SeqCst);
        Reply::Json(503, vec![("retry-after", "3000".into())], json!({}))
    });
    let endpoint = Endpoint::new(&server.url, "m", None).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut cache = ResponseCache::open(directory.path()).unwrap();
    let done = extract(
        &Job {
            endpoint: &endpoint,
            prompts: &prompts(2),
            settings: &Settings { batch: true, ..settings() },
            price: None,
        },
        &mut cache,
        &stop,
        &mut |_| {},
    )
    .unwrap();
    assert_eq!((done.ending, server.total()), (Ending::Interrupted, 1));
}

#[test]
fn the_key_is_redacted_in_every_form_and_field() {
    let forms = [
        KEY.replace('/', r"\/"),
        KEY.replace('+', r"\u002B").replace('=', r"\u003d"),
        KEY.replace('/', "%2F").replace('+', "%2b"),
        KEY.replace('/', r"\\\/"),
        KEY.replace('+', "&#43;"),
        format!("{}\\r\\n {}", &KEY[..9], &KEY[9..]),
        "Basic dXNlcjpzay1ReTgvaW52ZW50ZWQrS2V5PTcx".to_owned(),
    ];
    for form in forms {
        let written = form.clone();
        let server = Server::start(move |request: &Request| {
            let whole = completion("WHAT").to_string().replace("WHAT", &format!("sent {written} here"));
            match request.earlier {
                0 => Reply::Text(503, format!("{{\"error\":{{\"message\":\"sent {written} here\"}}}}")),
                1 => Reply::Text(503, format!("<p>sent {written} here</p>")),
                _ => Reply::Text(200, whole),
            }
        });
        let directory = tempfile::tempdir().unwrap();
        let done = run(&server, 1, &settings(), directory.path()).unwrap();
        let text = done.answers[0].as_ref().unwrap().text.clone();
        assert_eq!(text.replace("Basic ", ""), "sent [key] here", "{form}");
        let first = run(&server, 2, &Settings { attempts: 1, ..settings() }, directory.path()).unwrap();
        let Ending::Unanswered { last, .. } = first.ending else { panic!("{:?}", first.ending) };
        assert!(last.contains("[key] here"), "{last}");
        let kept = std::fs::read_to_string(directory.path().join("responses.jsonl")).unwrap();
        assert!(kept.contains("[key] here") && !kept.contains("invented") && !kept.contains("dXNlcjp"), "{kept}");
    }
}

#[test]
fn a_key_in_an_old_cache_is_redacted() {
    let server = Server::start(|_: &Request| answer(&format!("sent {KEY} here")));
    let directory = tempfile::tempdir().unwrap();
    let mut cache = ResponseCache::open(directory.path()).unwrap();
    // A job without a key cannot recognise one.
    let endpoint = Endpoint::new(&server.url, "m", None).unwrap();
    let stop = AtomicBool::new(false);
    extract(
        &Job { endpoint: &endpoint, prompts: &prompts(1), settings: &settings(), price: None },
        &mut cache,
        &stop,
        &mut |_| {},
    )
    .unwrap();
    drop(cache);
    let done = run(&server, 1, &settings(), directory.path()).unwrap();
    assert_eq!((done.answers[0].as_ref().unwrap().text.as_str(), server.total()), ("sent [key] here", 1));
}

#[test]
fn only_a_damaged_answer_is_requested_again() {
    let server = Server::start(|request: &Request| answer(&format!("answer to {}", request.prompt())));
    let directory = tempfile::tempdir().unwrap();
    run(&server, 7, &settings(), directory.path()).unwrap();
    let path = directory.path().join("responses.jsonl");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x20;
    std::fs::write(&path, bytes).unwrap();
    let cache = ResponseCache::open(directory.path()).unwrap();
    assert_eq!((cache.len(), cache.damage().map(|damage| damage.lines).sum::<usize>()), (6, 1));
    drop(cache);
    let done = run(&server, 7, &settings(), directory.path()).unwrap();
    assert_eq!((done.ending, done.statistics.reused, server.total()), (Ending::Complete, 6, 8));
    for (index, answer) in done.answers.iter().enumerate() {
        assert_eq!(answer.as_ref().unwrap().text, format!("answer to text {index}"));
    }
}

#[test]
fn too_long_prompts_are_outcomes_and_not_retried() {
    let server = Server::start(|request: &Request| match request.prompt().as_str() {
        "text 1" => error(500, "", "the request exceeds the available context size, try increasing it"),
        "text 2" => error(413, "", "Payload Too Large"),
        "text 3" => Reply::Json(200, Vec::new(), json!({"error": {"code": 400, "message": "prompt is too long"}})),
        _ => answer("{}"),
    });
    let done = run_once(&server, 5);
    assert_eq!((&done.ending, server.total()), (&Ending::Complete, 5));
    assert_eq!(done.statistics.outcomes[&ReplyOutcome::TooLong], 3);
    let kept = done.answers[1].as_ref().unwrap();
    assert!(kept.refusal.as_ref().unwrap().contains("context size") && kept.usage_at_most.is_none());
}

#[test]
fn misplaced_and_interrupted_answers_are_distinguished() {
    let server = Server::start(|request: &Request| {
        let mut reply = completion("{\"en");
        let choice = &mut reply["choices"][0];
        match (request.prompt().as_str(), request.earlier) {
            ("text 0", 0) => choice["finish_reason"] = json!("error"),
            ("text 0", 1) => choice["finish_reason"] = json!("abort"),
            ("text 0", 2) => return Reply::Json(200, Vec::new(), json!({"error": {"message": "lost", "code": 502}})),
            ("text 1", _) => choice["message"] = json!({"content": null, "reasoning_content": "{}"}),
            ("text 2", _) => choice["message"] = json!({"content": "", "reasoning": "I think of it."}),
            ("text 3", _) => {
                choice["message"] = json!({"content": null, "tool_calls": [{"function": {"arguments": "{}"}}]});
            }
            _ => choice["message"]["content"] = json!("{}"),
        }
        Reply::Json(200, Vec::new(), reply)
    });
    let done = run_once(&server, 5);
    assert_eq!((&done.ending, done.statistics.retries, done.statistics.unsettled), (&Ending::Complete, 3, 2));
    let texts: Vec<(&str, ReplyField)> =
        done.answers.iter().flatten().map(|answer| (answer.text.as_str(), answer.place)).collect();
    let expected = [
        ("{}", ReplyField::Content),
        ("{}", ReplyField::Reasoning),
        ("", ReplyField::OnlyReasoning),
        ("{}", ReplyField::ToolCall),
        ("{}", ReplyField::Content),
    ];
    assert_eq!(texts, expected);
    let counts = &done.statistics;
    assert_eq!((counts.in_reasoning, counts.only_reasoning, counts.in_tool_call), (1, 1, 1));
}

#[test]
fn out_of_range_numbers_are_refused_before_anything_is_sent() {
    let server = Server::start(|_: &Request| answer("{}"));
    let directory = tempfile::tempdir().unwrap();
    for wrong in [
        Settings { timeout_seconds: f64::NAN, ..settings() },
        Settings { backoff_seconds: -1.0, ..settings() },
        Settings { requests_per_minute: Some(1e-300), ..settings() },
        Settings { budget: Some(f64::NAN), ..settings() },
    ] {
        let error = run(&server, 1, &wrong, directory.path()).unwrap_err();
        assert!(matches!(error, RemoteError::Setting { .. }) && error.is_input(), "{error}");
    }
    assert_eq!(server.total(), 0);
}

#[test]
fn an_endless_reply_is_abandoned_after_a_few_mebibytes() {
    let server = Server::start(|_: &Request| Reply::Blanks(64));
    let directory = tempfile::tempdir().unwrap();
    let done = run(&server, 1, &Settings { attempts: 2, ..settings() }, directory.path()).unwrap();
    let Ending::Unanswered { last, .. } = done.ending else { panic!("{:?}", done.ending) };
    assert!(last.starts_with("the reply is longer than 4259840 bytes"), "{last}");
    assert_eq!((server.total(), done.statistics.unsettled), (2, 2));
}

#[test]
fn replies_in_unusual_forms_are_read_at_the_first_attempt() {
    let server = Server::start(|request: &Request| {
        let whole = |content: &str| completion("WHAT").to_string().replace("WHAT", content);
        let piece = |content: &str| format!("data: {}\n\n", json!({"choices": [{"delta": {"content": content}}]}));
        match request.prompt().as_str() {
            "text 0" => Reply::Text(200, whole("half \\ud83d of it")),
            "text 1" => Reply::Text(200, format!("\u{feff}{}", whole("marked"))),
            "text 2" => Reply::Text(200, format!("{}{}data: [DONE]\n\n", piece("in "), piece("pieces"))),
            _ => Reply::Json(200, Vec::new(), json!({"choices": [{"finish_reason": "stop", "index": 0}]})),
        }
    });
    let done = run_once(&server, 4);
    assert_eq!((&done.ending, server.total()), (&Ending::Complete, 4));
    let texts: Vec<(&str, ReplyOutcome)> =
        done.answers.iter().flatten().map(|answer| (answer.text.as_str(), answer.outcome)).collect();
    let expected = [
        ("half \u{fffd} of it", ReplyOutcome::Answered),
        ("marked", ReplyOutcome::Answered),
        ("in pieces", ReplyOutcome::Answered),
        ("", ReplyOutcome::Empty),
    ];
    assert_eq!(texts, expected);
}

#[test]
fn errors_instead_of_answers_are_reported() {
    let stream = format!("data: {}\n\n", json!({"choices": [{"delta": {"content": "{"}}]}));
    for (status, body, said) in [
        (200, "{\"error\":\"boom\"}".to_owned(), "the endpoint answered 200: an error inside the reply: boom"),
        (200, json!({"error": {"message": "lost", "code": 502}}).to_string(), "200: error 502 inside the reply: lost"),
        (204, String::new(), "the endpoint answered 204: no message"),
        (
            200,
            "<html><title>Chat</title></html>".to_owned(),
            "`<html><title>Chat</title></html>`: is the address right",
        ),
        (200, stream, "the stream of events ends before the answer does"),
        (424, json!({"error": "Request failed during generation: x", "error_type": "generation"}).to_string(), "424"),
    ] {
        let server = Server::start(move |_: &Request| Reply::Text(status, body.clone()));
        let directory = tempfile::tempdir().unwrap();
        let done = run(&server, 1, &Settings { attempts: 2, ..settings() }, directory.path()).unwrap();
        let Ending::Unanswered { last, .. } = done.ending else { panic!("{:?}", done.ending) };
        assert!(last.contains(said), "{last}");
        assert_eq!(server.total(), 2, "{said}");
    }
}

#[test]
fn an_answer_without_the_requested_form_is_still_an_answer() {
    let server = Server::start(|request: &Request| {
        let generated = if request.prompt() == "text 1" { "" } else { "{\"entities\": [" };
        let error = json!({"message": "Failed to generate JSON.", "code": "json_validate_failed", "failed_generation": generated});
        Reply::Json(400, Vec::new(), json!({"error": error}))
    });
    let done = run_once(&server, 2);
    assert_eq!((&done.ending, server.total()), (&Ending::Complete, 2));
    let answers: Vec<_> = done.answers.iter().flatten().map(|answer| (answer.outcome, answer.text.as_str())).collect();
    assert_eq!(answers, [(ReplyOutcome::Answered, "{\"entities\": ["), (ReplyOutcome::Empty, "")]);
    assert_eq!(done.statistics.without_usage, 2);
}
