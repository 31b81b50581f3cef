//! The batch API against a scripted server that keeps files and batches.

mod support;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use support::{Reply, Request, Server, completion};
use tabpo_remote::{
    Channel, ChatRole, Ending, Endpoint, Job, Message, ModelPrice, Prompt, RemoteError, ReplyOutcome, ResponseCache,
    Settings, Structure, extract,
};

/// The state of the provider.
#[derive(Default)]
struct Provider {
    inputs: Mutex<Vec<Vec<Value>>>,
    created: AtomicUsize,
    polls: AtomicUsize,
    /// Batches end after this many polls.
    ready_after: AtomicUsize,
}

fn provider() -> (Server, Arc<Provider>) {
    let provider = Arc::new(Provider::default());
    let shared = Arc::clone(&provider);
    let server = Server::start(move |request: &Request| reply(&shared, request));
    (server, provider)
}

fn reply(provider: &Provider, request: &Request) -> Reply {
    let ok = |body| Reply::Json(200, Vec::new(), body);
    match (request.method.as_str(), request.path.as_str()) {
        ("POST", "/v1/files") => {
            let body = String::from_utf8_lossy(&request.body);
            assert!(body.contains("name=\"purpose\"") && body.contains("batch"));
            let lines = body.lines().filter(|line| line.starts_with('{'));
            let mut inputs = provider.inputs.lock().unwrap();
            inputs.push(lines.map(|line| serde_json::from_str(line).unwrap()).collect());
            ok(json!({"id": format!("file-{}", inputs.len() - 1)}))
        }
        ("POST", "/v1/batches") => {
            assert_eq!(request.json()["endpoint"], "/v1/chat/completions");
            assert!(request.headers.contains_key("idempotency-key"));
            provider.created.fetch_add(1, Ordering::SeqCst);
            let file = request.json()["input_file_id"].as_str().unwrap().to_owned();
            ok(json!({"id": file.replace("file", "batch"), "status": "validating"}))
        }
        ("GET", path) if path.starts_with("/v1/batches/") => {
            let number = path.rsplit('-').next().unwrap();
            let looks = provider.polls.fetch_add(1, Ordering::SeqCst);
            if looks < provider.ready_after.load(Ordering::SeqCst) {
                return ok(json!({"status": "in_progress"}));
            }
            ok(
                json!({"status": "completed", "output_file_id": format!("out-{number}"), "error_file_id": format!("err-{number}")}),
            )
        }
        ("GET", path) => {
            let wanted_errors = path.contains("/err-");
            let number: usize = path.trim_end_matches("/content").rsplit('-').next().unwrap().parse().unwrap();
            let requests = &provider.inputs.lock().unwrap()[number];
            let lines = requests.iter().filter_map(|line| {
                let prompt = line["body"]["messages"][0]["content"].as_str().unwrap();
                let (status, body) = match prompt {
                    "text 2" => (400, json!({"error": {"code": "content_filter", "message": "filtered"}})),
                    "text 3" => (500, json!({"error": {"message": "internal"}})),
                    text => (200, completion(&format!("answer to {text}"))),
                };
                let result = json!({"custom_id": line["custom_id"], "response": {"status_code": status, "body": body}});
                ((status != 200) == wanted_errors).then(|| result.to_string())
            });
            // Results may come in any order.
            let mut lines: Vec<String> = lines.collect();
            lines.reverse();
            Reply::Text(200, lines.join("\n"))
        }
        other => panic!("{other:?}"),
    }
}

fn prompts(texts: &[&str]) -> Vec<Prompt> {
    let prompt = |text: &&str| Prompt {
        doc_key: "d".into(),
        sentence: None,
        messages: vec![Message::new(ChatRole::User, *text)],
        structure: Structure::None,
    };
    texts.iter().map(prompt).collect()
}

fn settings() -> Settings {
    Settings { batch: true, poll_seconds: 0.02, backoff_seconds: 0.01, ..Settings::default() }
}

#[test]
fn a_batch_is_uploaded_polled_and_downloaded() {
    let (server, provider) = provider();
    provider.ready_after.store(2, Ordering::SeqCst);
    let endpoint = Endpoint::new(&server.url, "m", None).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut cache = ResponseCache::open(directory.path()).unwrap();
    let price = ModelPrice { prompt: 1000.0, cached: None, completion: 0.0, batch: Some(0.5) };
    let all = prompts(&["text 0", "text 1", "text 2", "text 3", "text 1"]);
    let stop = AtomicBool::new(false);
    let done = extract(
        &Job { endpoint: &endpoint, prompts: &all, settings: &settings(), price: Some(price) },
        &mut cache,
        &stop,
        &mut |_| {},
    )
    .unwrap();

    let Ending::Unanswered { prompts: 1, last } = &done.ending else { panic!("{:?}", done.ending) };
    assert!(last.contains("500"), "{last}");
    let texts: Vec<Option<&str>> =
        done.answers.iter().map(|answer| answer.as_ref().map(|answer| answer.text.as_str())).collect();
    assert_eq!(texts, [Some("answer to text 0"), Some("answer to text 1"), Some(""), None, Some("answer to text 1")]);
    assert_eq!(done.answers[2].as_ref().unwrap().outcome, ReplyOutcome::Filtered);
    assert_eq!(done.answers[0].as_ref().unwrap().channel, Channel::Batch);
    assert_eq!(done.statistics.cost, Some(0.1));
    assert_eq!(provider.inputs.lock().unwrap()[0].len(), 4);

    // The second call sends only the missing requests, in a new batch.
    let again = extract(
        &Job { endpoint: &endpoint, prompts: &all, settings: &settings(), price: Some(price) },
        &mut cache,
        &stop,
        &mut |_| {},
    )
    .unwrap();
    assert_eq!(again.statistics.reused, 3);
    assert_eq!(provider.inputs.lock().unwrap()[1].len(), 1);
}

#[test]
fn a_stopped_job_resumes_waiting_for_the_same_batch() {
    let (server, provider) = provider();
    provider.ready_after.store(usize::MAX, Ordering::SeqCst);
    let endpoint = Endpoint::new(&server.url, "m", None).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let all = prompts(&["text 0", "text 1"]);
    let stop = Arc::new(AtomicBool::new(false));
    let (flag, looks) = (Arc::clone(&stop), Arc::clone(&provider));
    let watcher = std::thread::spawn(move || {
        while looks.polls.load(Ordering::SeqCst) < 3 {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        flag.store(true, Ordering::SeqCst);
    });
    let mut cache = ResponseCache::open(directory.path()).unwrap();
    let stopped = extract(
        &Job { endpoint: &endpoint, prompts: &all, settings: &settings(), price: None },
        &mut cache,
        &stop,
        &mut |_| {},
    )
    .unwrap();
    watcher.join().unwrap();
    assert_eq!(stopped.ending, Ending::Interrupted);
    drop(cache);

    provider.ready_after.store(0, Ordering::SeqCst);
    let mut cache = ResponseCache::open(directory.path()).unwrap();
    let stop = AtomicBool::new(false);
    let done = extract(
        &Job { endpoint: &endpoint, prompts: &all, settings: &settings(), price: None },
        &mut cache,
        &stop,
        &mut |_| {},
    )
    .unwrap();
    assert_eq!((done.ending, done.statistics.calls), (Ending::Complete, 2));
    assert_eq!(provider.created.load(Ordering::SeqCst), 1);
    let again = extract(
        &Job { endpoint: &endpoint, prompts: &all, settings: &settings(), price: None },
        &mut cache,
        &stop,
        &mut |_| {},
    )
    .unwrap();
    assert_eq!((again.statistics.reused, provider.created.load(Ordering::SeqCst)), (2, 1));
}

#[test]
fn a_batch_beyond_the_budget_is_not_sent() {
    let (server, provider) = provider();
    let endpoint = Endpoint::new(&server.url, "m", None).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut cache = ResponseCache::open(directory.path()).unwrap();
    let price = ModelPrice { prompt: 1000.0, cached: None, completion: 0.0, batch: None };
    let settings = Settings { budget: Some(0.01), ..settings() };
    let stop = AtomicBool::new(false);
    let all = prompts(&["text 0"]);
    let done = extract(
        &Job { endpoint: &endpoint, prompts: &all, settings: &settings, price: Some(price) },
        &mut cache,
        &stop,
        &mut |_| {},
    )
    .unwrap();
    assert_eq!((done.ending, provider.created.load(Ordering::SeqCst)), (Ending::BudgetReached, 0));
}

#[test]
fn a_failed_batch_is_an_error_that_names_it() {
    let server = Server::start(|request: &Request| {
        let replies: HashMap<&str, Value> = HashMap::from([
            ("/v1/files", json!({"id": "f"})),
            ("/v1/batches", json!({"id": "b-7"})),
            ("/v1/batches/b-7", json!({"status": "failed", "errors": {"data": [{"message": "bad line 1"}]}})),
        ]);
        Reply::Json(200, Vec::new(), replies[request.path.as_str()].clone())
    });
    let endpoint = Endpoint::new(&server.url, "m", None).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut cache = ResponseCache::open(directory.path()).unwrap();
    let stop = AtomicBool::new(false);
    let error = extract(
        &Job { endpoint: &endpoint, prompts: &prompts(&["a"]), settings: &settings(), price: None },
        &mut cache,
        &stop,
        &mut |_| {},
    );
    let error = error.unwrap_err();
    assert!(
        matches!(&error, RemoteError::Batch { .. })
            && error.to_string().contains("batch b-7 ended as `failed`: bad line 1")
    );
}
