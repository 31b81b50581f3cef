//! A job that is killed, with a signal that cannot be caught, and started again.

mod support;

use std::collections::HashMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use support::{Reply, Request, Server, answer};
use tabpo_remote::{
    ChatRole, Ending, Endpoint, Extraction, Job, Message, Prompt, ResponseCache, Settings, Structure, extract,
};

const PROMPTS: usize = 300;
const CONCURRENCY: usize = 8;

fn prompts() -> Vec<Prompt> {
    let prompt = |index| Prompt {
        doc_key: format!("d{index}"),
        sentence: Some(0),
        messages: vec![Message::new(ChatRole::User, format!("text {index}"))],
        structure: Structure::None,
    };
    (0..PROMPTS).map(prompt).collect()
}

fn run(url: &str, directory: &Path) -> Extraction {
    let settings = Settings { concurrency: CONCURRENCY, backoff_seconds: 0.01, ..Settings::default() };
    let endpoint = Endpoint::new(url, "m", None).unwrap();
    let mut cache = ResponseCache::open(directory).unwrap();
    extract(
        &Job { endpoint: &endpoint, prompts: &prompts(), settings: &settings, price: None },
        &mut cache,
        &AtomicBool::new(false),
        &mut |_| {},
    )
    .unwrap()
}

/// The job in its own process: this test file, run again by the test below.
#[test]
#[ignore = "started by the test that kills it"]
fn job_in_a_process() {
    let (url, directory) = (std::env::var("JOB_URL").unwrap(), std::env::var("JOB_DIRECTORY").unwrap());
    run(&url, Path::new(&directory));
}

fn start(url: &str, directory: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "job_in_a_process", "--ignored", "--nocapture"])
        .env("JOB_URL", url)
        .env("JOB_DIRECTORY", directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_killed_job_resumes_without_paying_twice() {
    let server = Server::start(|request: &Request| {
        Reply::After(Duration::from_millis(20), Box::new(answer(&format!("answer to {}", request.prompt()))))
    });
    let directory = tempfile::tempdir().unwrap();
    for stage in 1..=3 {
        let mut child = start(&server.url, directory.path());
        while server.total() < stage * 60 {
            assert!(child.try_wait().unwrap().is_none(), "the job ended before it was killed");
            std::thread::sleep(Duration::from_millis(5));
        }
        // SIGKILL.
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let done = run(&server.url, directory.path());
    assert_eq!(done.ending, Ending::Complete);
    assert!(done.statistics.reused >= 3 * (60 - CONCURRENCY) - 60, "{}", done.statistics.reused);
    for (index, stored) in done.answers.iter().enumerate() {
        assert_eq!(stored.as_ref().unwrap().text, format!("answer to text {index}"));
    }

    // A reply that reached the process is never requested again. Only requests in flight when the process
    // died were sent twice, with the same idempotency key.
    let charged: HashMap<String, usize> = server.state.charged.lock().unwrap().clone();
    assert_eq!(charged.len(), PROMPTS);
    let twice: usize = charged.values().map(|count| count - 1).sum();
    assert!(twice <= 3 * CONCURRENCY, "{twice}");
    let lines = std::fs::read_to_string(directory.path().join("responses.jsonl")).unwrap();
    assert_eq!(lines.lines().filter(|line| line.contains("\"kind\":\"answer\"")).count(), PROMPTS);
}
