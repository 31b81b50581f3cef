//! Jobs against a scripted server: successes and failures between prompt and answer.

mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use support::{Reply, Request, Server, answer, completion, error};
use tabpo_remote::{
    ApiKey, ChatRole, Ending, Endpoint, Extraction, Job, Message, ModelPrice, Prompt, RemoteError, ReplyOutcome,
    ResponseCache, Settings, Structure, StructureKind, estimate, extract,
};

const KEY: &str = "sk-test-0123456789-do-not-print";
const PRICE: ModelPrice = ModelPrice { prompt: 1000.0, cached: Some(500.0), completion: 2000.0, batch: None };

fn prompts(count: usize) -> Vec<Prompt> {
    (0..count).map(|index| prompt(&format!("text {index}"), Structure::None)).collect()
}

fn prompt(text: &str, structure: Structure) -> Prompt {
    let messages = vec![Message::new(ChatRole::System, "extract"), Message::new(ChatRole::User, text)];
    Prompt { doc_key: "d".into(), sentence: None, messages, structure }
}

fn settings() -> Settings {
    Settings { backoff_seconds: 0.01, timeout_seconds: 5.0, concurrency: 4, max_tokens: 64, ..Settings::default() }
}

fn endpoint(server: &Server) -> Endpoint {
    Endpoint::new(&server.url, "test-model", ApiKey::new(KEY)).unwrap()
}

fn run(server: &Server, prompts: &[Prompt], settings: &Settings, directory: &Path) -> Result<Extraction, RemoteError> {
    let mut cache = ResponseCache::open(directory)?;
    extract(
        &Job { endpoint: &endpoint(server), prompts, settings, price: Some(PRICE) },
        &mut cache,
        &AtomicBool::new(false),
        &mut |_| {},
    )
}

fn run_once(server: &Server, count: usize, settings: &Settings) -> Extraction {
    let directory = tempfile::tempdir().unwrap();
    run(server, &prompts(count), settings, directory.path()).unwrap()
}

fn outcomes(extraction: &Extraction) -> Vec<ReplyOutcome> {
    extraction.answers.iter().flatten().map(|answer| answer.outcome).collect()
}

#[test]
fn the_request_says_what_the_settings_say() {
    let server = Server::start(|request: &Request| {
        let body = request.json();
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/v1/chat/completions"));
        assert_eq!(request.headers["authorization"], format!("Bearer {KEY}"));
        assert_eq!((&body["model"], &body["stream"]), (&json!("test-model"), &json!(false)));
        assert_eq!((&body["max_completion_tokens"], &body["max_tokens"]), (&json!(64), &json!(null)));
        assert_eq!((&body["temperature"], &body["reasoning_effort"]), (&json!(null), &json!("low")));
        assert_eq!(body["messages"][0], json!({"role": "system", "content": "extract"}));
        let schema = &body["response_format"]["json_schema"];
        assert_eq!((&schema["strict"], &schema["schema"]["type"]), (&json!(true), &json!("object")));
        answer("{}")
    });
    let mut settings = settings();
    settings.max_tokens_name = "max_completion_tokens".into();
    settings.temperature = None;
    settings.extra.insert("reasoning_effort".into(), "low".into());
    let directory = tempfile::tempdir().unwrap();
    let prompts = [prompt("a", Structure::JsonSchema(json!({"type": "object"})))];
    let done = run(&server, &prompts, &settings, directory.path()).unwrap();
    assert_eq!(done.ending, Ending::Complete);
    let stored = done.answers[0].as_ref().unwrap();
    assert_eq!((stored.text.as_str(), stored.served_model.as_deref()), ("{}", Some("served-model")));
    assert_eq!((stored.usage.prompt, stored.usage.cached, stored.usage.completion), (100, 40, 10));
    let cost = done.statistics.cost.unwrap();
    assert!((cost - (60.0 * 1000.0 + 40.0 * 500.0 + 10.0 * 2000.0) / 1e6).abs() < 1e-12);
}

#[test]
fn a_grammar_is_sent_as_vllm_expects_it() {
    let server = Server::start(|request: &Request| {
        assert_eq!(request.json()["structured_outputs"], json!({"grammar": "start: \"x\""}));
        answer("x")
    });
    let directory = tempfile::tempdir().unwrap();
    let prompts = [prompt("a", Structure::Grammar("start: \"x\"".into()))];
    assert_eq!(run(&server, &prompts, &settings(), directory.path()).unwrap().ending, Ending::Complete);
}

#[test]
fn too_many_requests_are_retried_after_the_requested_wait() {
    let server = Server::start(|request: &Request| match request.earlier {
        0 => Reply::Json(429, vec![("retry-after", "0.4".into())], json!({"error": {"message": "slow down"}})),
        _ => answer("{}"),
    });
    let started = Instant::now();
    let done = run_once(&server, 1, &settings());
    assert_eq!((done.ending, done.statistics.retries), (Ending::Complete, 1));
    assert!(started.elapsed() >= Duration::from_millis(400));
    assert_eq!(done.answers[0].as_ref().unwrap().attempts, 2);
}

#[test]
fn a_requested_wait_pauses_all_workers() {
    let at = Arc::new(std::sync::Mutex::new(Vec::new()));
    let times = Arc::clone(&at);
    let server = Server::start(move |request: &Request| {
        times.lock().unwrap().push(Instant::now());
        if request.prompt() == "text 0" && request.earlier == 0 {
            return Reply::Json(429, vec![("retry-after-ms", "500".into())], json!({}));
        }
        Reply::After(Duration::from_millis(100), Box::new(answer("{}")))
    });
    let done = run_once(&server, 12, &settings());
    assert_eq!(done.ending, Ending::Complete);
    let times = at.lock().unwrap();
    // Four are sent at once; the other nine attempts wait for the pause to end.
    assert_eq!(times.len(), 13);
    assert!(times[4] >= times[0] + Duration::from_millis(500), "{:?}", times[4] - times[0]);
}

#[test]
fn server_errors_closed_connections_and_broken_replies_are_repeated() {
    let server = Server::start(|request: &Request| match request.earlier {
        0 => error(500, "internal", "oops"),
        1 => Reply::Close,
        2 => Reply::HalfBody,
        3 => Reply::Text(200, "<html>not JSON</html>".into()),
        4 => Reply::Json(200, Vec::new(), json!({"object": "something else"})),
        _ => answer("{}"),
    });
    let done = run_once(&server, 3, &Settings { attempts: 8, ..settings() });
    assert_eq!((done.ending, done.statistics.retries), (Ending::Complete, 15));
    // The 500 had no answer and is not charged; the other four may have been.
    assert_eq!(done.statistics.unsettled, 12);
}

#[test]
fn a_time_out_is_repeated() {
    let server = Server::start(|request: &Request| match request.earlier {
        0 => Reply::After(Duration::from_secs(10), Box::new(answer("late"))),
        _ => answer("in time"),
    });
    let done = run_once(&server, 1, &Settings { timeout_seconds: 1.0, ..settings() });
    assert_eq!(done.answers[0].as_ref().unwrap().text, "in time");
    assert_eq!(done.statistics.unsettled, 1);
}

#[test]
fn refusals_truncation_and_nonsense_are_outcomes() {
    use ReplyOutcome::{Answered, Empty, Filtered, Refused, TooLong, Truncated};

    let server = Server::start(|request: &Request| {
        let mut reply = completion("partial");
        match request.prompt().as_str() {
            "text 0" => {
                reply["choices"][0]["message"] = json!({"role": "assistant", "content": null, "refusal": "I cannot"});
            }
            "text 1" => reply["choices"][0]["finish_reason"] = json!("length"),
            "text 2" => reply["choices"][0]["finish_reason"] = json!("content_filter"),
            "text 3" => reply["choices"][0]["message"]["content"] = json!(""),
            "text 4" => return error(400, "content_filter", "the prompt was filtered"),
            "text 5" => return error(400, "context_length_exceeded", "maximum context length is 8 tokens"),
            "text 6" => reply["choices"][0]["message"]["content"] = json!("{\"wrong\": \"schema\"}"),
            _ => reply["choices"][0]["message"]["content"] = json!("not { json"),
        }
        Reply::Json(200, Vec::new(), reply)
    });
    let done = run_once(&server, 8, &settings());
    assert_eq!((&done.ending, done.statistics.retries), (&Ending::Complete, 0));
    assert_eq!(outcomes(&done), [Refused, Truncated, Filtered, Empty, Filtered, TooLong, Answered, Answered]);
    assert_eq!(done.answers[0].as_ref().unwrap().refusal.as_deref(), Some("I cannot"));
    assert_eq!(done.answers[1].as_ref().unwrap().text, "partial");
    assert_eq!(done.statistics.outcomes[&Filtered], 2);
}

#[test]
fn refused_structured_output_is_reported_with_what_is_accepted() {
    let server = Server::start(|request: &Request| {
        let body = request.json();
        match body["response_format"]["type"].as_str() {
            Some("json_schema") => error(400, "unsupported", "response_format json_schema is not supported"),
            _ if !body["structured_outputs"].is_null() => error(422, "extra", "unexpected field structured_outputs"),
            _ => answer("{}"),
        }
    });
    let directory = tempfile::tempdir().unwrap();
    let prompts = [prompt("a", Structure::JsonSchema(json!({"type": "object"})))];
    let error = run(&server, &prompts, &settings(), directory.path()).unwrap_err();
    let RemoteError::UnsupportedStructure { asked, accepted, .. } = &error else { panic!("{error}") };
    assert_eq!(
        (*asked, accepted.as_slice()),
        (StructureKind::JsonSchema, &[StructureKind::JsonObject, StructureKind::None][..])
    );
    assert!(error.to_string().contains("it accepts: json-object, none"), "{error}");
}

#[test]
fn a_grammar_counts_as_accepted_only_where_it_is_heeded() {
    // As llama.cpp's servers: the field `grammar` decides what is written, other fields are ignored.
    let server = Server::start(|request: &Request| {
        let body = request.json();
        match (body["response_format"]["type"].as_str(), body["grammar"].as_str()) {
            (Some("json_schema"), _) => error(400, "unsupported", "response_format json_schema is not supported"),
            (_, Some(grammar)) => {
                let literal = grammar.strip_prefix("root ::= ").expect("one rule");
                answer(&serde_json::from_str::<String>(literal).expect("a literal"))
            }
            _ => answer("{}"),
        }
    });
    let directory = tempfile::tempdir().unwrap();
    let prompts = [prompt("a", Structure::JsonSchema(json!({"type": "object"})))];
    let error = run(&server, &prompts, &settings(), directory.path()).unwrap_err();
    assert!(error.to_string().contains("it accepts: gbnf, json-object, none"), "{error}");
}

#[test]
fn permanent_errors_end_the_job_at_once() {
    let server = Server::start(|request: &Request| match request.path.as_str() {
        "/v1/models" => Reply::Json(200, Vec::new(), json!({"data": [{"id": "real-model"}]})),
        _ => error(404, "model_not_found", "no such model"),
    });
    let directory = tempfile::tempdir().unwrap();
    let found = run(&server, &prompts(20), &settings(), directory.path()).unwrap_err();
    assert!(found.to_string().contains("it lists: real-model"), "{found}");
    assert!(server.total() <= 5);

    for (status, code) in [(401, "invalid_api_key"), (403, "forbidden"), (429, "insufficient_quota"), (400, "bad")] {
        let server = Server::start(move |_: &Request| error(status, code, "no"));
        let directory = tempfile::tempdir().unwrap();
        assert!(run(&server, &prompts(20), &settings(), directory.path()).is_err());
        assert!(server.total() <= 4, "{code}: {}", server.total());
    }
}

#[test]
fn an_endpoint_that_is_down_ends_the_job_and_loses_nothing() {
    let down = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&down);
    let server =
        Server::start(move |_: &Request| if switch.load(Ordering::SeqCst) { Reply::Close } else { answer("{}") });
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings { attempts: 2, ..settings() };
    run(&server, &prompts(5), &settings, directory.path()).unwrap();
    down.store(true, Ordering::SeqCst);
    let error = run(&server, &prompts(100), &settings, directory.path()).unwrap_err();
    assert!(matches!(error, RemoteError::EndpointDown { prompts: 10, .. }), "{error}");
    down.store(false, Ordering::SeqCst);
    let done = run(&server, &prompts(100), &settings, directory.path()).unwrap();
    assert_eq!((done.ending, done.statistics.reused, done.statistics.calls), (Ending::Complete, 5, 95));

    let unreachable = Endpoint::new("http://127.0.0.1:9/v1", "m", None).unwrap();
    let mut cache = ResponseCache::open(directory.path()).unwrap();
    let stop = AtomicBool::new(false);
    let error = extract(
        &Job { endpoint: &unreachable, prompts: &prompts(20), settings: &settings, price: None },
        &mut cache,
        &stop,
        &mut |_| {},
    )
    .unwrap_err();
    assert!(error.to_string().contains("10 prompts in a row"), "{error}");
}

#[test]
fn a_prompt_that_never_gets_an_answer_leaves_the_others_alone() {
    let broken = Arc::new(AtomicBool::new(true));
    let switch = Arc::clone(&broken);
    let server = Server::start(move |request: &Request| {
        let fails = switch.load(Ordering::SeqCst) && request.prompt() == "text 3";
        if fails { error(503, "overloaded", "busy") } else { answer("{}") }
    });
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings { attempts: 3, ..settings() };
    let done = run(&server, &prompts(8), &settings, directory.path()).unwrap();
    let Ending::Unanswered { prompts: 1, last } = &done.ending else { panic!("{:?}", done.ending) };
    assert!(last.contains("503") && last.contains("busy"), "{last}");
    assert!(done.answers[3].is_none() && done.answers.iter().flatten().count() == 7);
    broken.store(false, Ordering::SeqCst);
    let before = server.total();
    assert_eq!(run(&server, &prompts(8), &settings, directory.path()).unwrap().ending, Ending::Complete);
    assert_eq!(server.total() - before, 1);
}

#[test]
fn equal_prompts_are_sent_once_and_other_settings_again() {
    let server = Server::start(|_: &Request| answer("{}"));
    let directory = tempfile::tempdir().unwrap();
    let same: Vec<Prompt> = (0..6).map(|_| prompt("the same", Structure::None)).collect();
    let done = run(&server, &same, &settings(), directory.path()).unwrap();
    assert_eq!((done.answers.iter().flatten().count(), done.statistics.calls, server.total()), (6, 1, 1));
    assert_eq!((done.statistics.usage.prompt, done.statistics.outcomes[&ReplyOutcome::Answered]), (100, 6));
    run(&server, &same, &Settings { temperature: Some(1.0), ..settings() }, directory.path()).unwrap();
    assert_eq!(server.total(), 2);
    run(&server, &same, &Settings { concurrency: 1, attempts: 1, ..settings() }, directory.path()).unwrap();
    assert_eq!(server.total(), 2);
}

#[test]
fn a_slow_server_gets_as_many_concurrent_requests_as_allowed() {
    let arrived = AtomicUsize::new(0);
    let server = Server::start(move |_: &Request| {
        // No request is answered before 64 have arrived.
        let mine = arrived.fetch_add(1, Ordering::SeqCst);
        while mine < 64 && arrived.load(Ordering::SeqCst) < 64 {
            std::thread::sleep(Duration::from_millis(1));
        }
        answer("{}")
    });
    let done = run_once(&server, 256, &Settings { concurrency: 64, timeout_seconds: 60.0, ..settings() });
    assert_eq!((done.ending, done.statistics.calls, done.statistics.retries), (Ending::Complete, 256, 0));
    assert_eq!(server.state.most_in_flight.load(Ordering::SeqCst), 64);
}

#[test]
fn an_interrupt_waits_for_requests_in_flight_and_stores_their_answers() {
    let stop = Arc::new(AtomicBool::new(false));
    let (flag, seen) = (Arc::clone(&stop), AtomicUsize::new(0));
    let server = Server::start(move |_: &Request| {
        if seen.fetch_add(1, Ordering::SeqCst) == 9 {
            flag.store(true, Ordering::SeqCst);
        }
        Reply::After(Duration::from_millis(80), Box::new(answer("{}")))
    });
    let directory = tempfile::tempdir().unwrap();
    let mut cache = ResponseCache::open(directory.path()).unwrap();
    let done = extract(
        &Job { endpoint: &endpoint(&server), prompts: &prompts(40), settings: &settings(), price: None },
        &mut cache,
        &stop,
        &mut |_| {},
    )
    .unwrap();
    drop(cache);
    assert_eq!(done.ending, Ending::Interrupted);
    let asked = server.total();
    assert!((10..=12).contains(&asked), "{asked}");
    assert_eq!(done.answers.iter().flatten().count(), asked);
    let done = run(&server, &prompts(40), &settings(), directory.path()).unwrap();
    assert_eq!((done.ending, server.total()), (Ending::Complete, 40));
}

#[test]
fn an_interrupt_ends_a_long_wait() {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let server = Server::start(move |_: &Request| {
        flag.store(true, Ordering::SeqCst);
        Reply::Json(429, vec![("retry-after", "3600".into())], json!({}))
    });
    let directory = tempfile::tempdir().unwrap();
    let mut cache = ResponseCache::open(directory.path()).unwrap();
    let done = extract(
        &Job { endpoint: &endpoint(&server), prompts: &prompts(3), settings: &settings(), price: None },
        &mut cache,
        &stop,
        &mut |_| {},
    )
    .unwrap();
    assert_eq!(done.ending, Ending::Interrupted);
}

#[test]
fn a_budget_is_never_exceeded() {
    let server = Server::start(|_: &Request| Reply::After(Duration::from_millis(5), Box::new(answer("{}"))));
    let directory = tempfile::tempdir().unwrap();
    // An answer costs 0.1 and at most about 0.3, with one token for every byte of its request.
    let settings = Settings { budget: Some(2.0), concurrency: 16, ..settings() };
    let done = run(&server, &prompts(100), &settings, directory.path()).unwrap();
    assert_eq!(done.ending, Ending::BudgetReached);
    let spent = done.statistics.cost.unwrap();
    assert!((1.5..=2.0).contains(&spent), "{spent}");
    // Earlier costs count, so nothing is left of the budget and no call is made.
    let before = server.total();
    let again = run(&server, &prompts(100), &settings, directory.path()).unwrap();
    assert_eq!((again.ending, again.statistics.calls, server.total()), (Ending::BudgetReached, 0, before));
    let done = run(&server, &prompts(100), &Settings { budget: Some(11.0), ..settings }, directory.path()).unwrap();
    assert_eq!((done.ending, server.total()), (Ending::Complete, 100));
}

#[test]
fn requests_without_a_reply_count_against_the_budget() {
    let server = Server::start(|_: &Request| Reply::HalfBody);
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings { budget: Some(0.5), attempts: 100, concurrency: 1, ..settings() };
    let done = run(&server, &prompts(1), &settings, directory.path()).unwrap();
    assert_eq!(done.ending, Ending::BudgetReached);
    assert!(server.total() <= 4, "{}", server.total());
}

#[test]
fn a_dry_run_prices_the_job_without_a_call() {
    let server = Server::start(|_: &Request| answer("{}"));
    let directory = tempfile::tempdir().unwrap();
    run(&server, &prompts(3), &settings(), directory.path()).unwrap();
    let cache = ResponseCache::open(directory.path()).unwrap();
    let mut all = prompts(10);
    all.push(prompt("text 9", Structure::None));
    let job = estimate(
        &Job { endpoint: &endpoint(&server), prompts: &all, settings: &settings(), price: Some(PRICE) },
        40.0,
        &cache,
    );
    assert_eq!((job.prompts, job.requests, job.cached), (11, 10, 3));
    assert_eq!((job.completion_tokens, job.completion_tokens_most), (70, 448));
    let (about, most) = (job.cost.unwrap(), job.cost_most.unwrap());
    assert!(about > 0.0 && most > about, "{about} {most}");
    assert_eq!(server.total(), 3);
}

#[test]
fn the_key_is_nowhere_even_if_the_endpoint_repeats_it() {
    let server = Server::start(|request: &Request| {
        let sent = request.headers["authorization"].clone();
        match request.earlier {
            0 => error(500, "internal", &format!("you sent {sent}")),
            _ => answer(&format!("you sent {sent}")),
        }
    });
    let directory = tempfile::tempdir().unwrap();
    let done = run(&server, &prompts(2), &settings(), directory.path()).unwrap();
    assert!(done.answers[0].as_ref().unwrap().text.ends_with("Bearer [key]"));
    let refusing =
        Server::start(|request: &Request| error(401, "key", &format!("wrong {}", request.headers["authorization"])));
    let error = run(&refusing, &prompts(2), &settings(), directory.path()).unwrap_err();
    for shown in [format!("{done:?}"), format!("{error} {error:?}"), format!("{:?}", endpoint(&server))] {
        assert!(!shown.contains(KEY));
    }
    for file in std::fs::read_dir(directory.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains(KEY));
    }
}

#[test]
fn limits_on_requests_per_minute_are_respected() {
    let server = Server::start(|_: &Request| answer("{}"));
    let settings = Settings { requests_per_minute: Some(600.0), concurrency: 32, ..settings() };
    let started = Instant::now();
    let done = run_once(&server, 20, &settings);
    assert_eq!(done.ending, Ending::Complete);
    // At ten per second, the twentieth may be sent 1.9 s after the first, or 0.9 s with a full bucket.
    assert!(started.elapsed() >= Duration::from_millis(850), "{:?}", started.elapsed());
}
