//! Ten thousand prompts, 256 at a time: nothing lost, nothing sent twice.

mod support;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use support::{Request, Server, answer};
use tabpo_remote::{ChatRole, Ending, Endpoint, Job, Message, Prompt, ResponseCache, Settings, Structure, extract};

const PROMPTS: usize = 10_000;
const CONCURRENCY: usize = 256;

#[test]
fn ten_thousand_prompts() {
    let server = Server::start(|request: &Request| answer(&format!("answer to {}", request.prompt())));
    let instructions = "Extract the entities and the relations between them. ".repeat(20);
    let prompt = |index| Prompt {
        doc_key: format!("d{index}"),
        sentence: None,
        messages: vec![
            Message::new(ChatRole::System, instructions.as_str()),
            Message::new(ChatRole::User, format!("text {index}")),
        ],
        structure: Structure::None,
    };
    let prompts: Vec<Prompt> = (0..PROMPTS).map(prompt).collect();
    let endpoint = Endpoint::new(&server.url, "m", None).unwrap();
    let settings = Settings { concurrency: CONCURRENCY, ..Settings::default() };
    let directory = tempfile::tempdir().unwrap();
    let mut cache = ResponseCache::open(directory.path()).unwrap();
    let mut reports = 0;
    let stop = AtomicBool::new(false);
    let done = extract(
        &Job { endpoint: &endpoint, prompts: &prompts, settings: &settings, price: None },
        &mut cache,
        &stop,
        &mut |_| reports += 1,
    )
    .unwrap();

    assert_eq!((done.ending, done.statistics.calls, reports), (Ending::Complete, PROMPTS, PROMPTS + 1));
    for (index, stored) in done.answers.iter().enumerate() {
        assert_eq!(stored.as_ref().unwrap().text, format!("answer to text {index}"));
    }
    assert_eq!(server.total(), PROMPTS + done.statistics.retries);
    assert_eq!(server.state.requests.lock().unwrap().len(), PROMPTS);
    assert!(server.state.most_in_flight.load(Ordering::SeqCst) <= CONCURRENCY);
    let lines = std::fs::read_to_string(directory.path().join("responses.jsonl")).unwrap();
    let digests: HashSet<&str> =
        lines.lines().filter_map(|line| line.split("\"digest\":\"").nth(1)?.get(..64)).collect();
    assert_eq!((digests.len(), cache.len()), (PROMPTS, PROMPTS));
}
