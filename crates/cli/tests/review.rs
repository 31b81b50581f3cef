//! `tabpo review`: what it refuses, what it keeps, and what a run makes of it. `tabpo run --open`: what its page shows.
#![cfg(unix)]

#[path = "support/http.rs"]
mod http;
mod support;

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _, process::Stdio};

use http::{Serving, ask, command, interrupt, text, until};
use serde_json::{Value, json};
use support::{Place, tiny_run};

const ONTOLOGY: &str = "[[entity]]\nname = \"Drug\"\n[[entity]]\nname = \"Effect\"\n[[relation]]\nname = \"Causes\"\n";
const DOCUMENTS: &str = r#"{"doc_key": "a", "text": "Aspirin caused a nosebleed. It stopped."}
{"doc_key": "b", "text": "Ibuprofen was given."}
"#;
const PREDICTIONS: &str = r#"{"doc_key": "a", "sent": 0, "output": "{\"entities\":[{\"id\":\"e1\",\"text\":\"Aspirin\",\"type\":\"Effect\"},{\"id\":\"e2\",\"text\":\"nosebleed\",\"type\":\"Effect\"}],\"relations\":[]}"}
{"doc_key": "a", "sent": 1, "output": "{\"entities\":[],\"relations\":[]}"}
{"doc_key": "b", "sent": 0, "output": "{\"entities\":[{\"id\":\"e1\",\"text\":\"Ibuprofen\",\"type\":\"Effect\"}],\"relations\":[]}"}
"#;
const FILES: [&str; 7] = ["review", "--pred", "p.jsonl", "--data", "d.jsonl", "--ontology", "o.toml"];

fn with_files() -> Place {
    let place = Place::new();
    place.write("o.toml", ONTOLOGY);
    place.write("d.jsonl", DOCUMENTS);
    place.write("p.jsonl", PREDICTIONS);
    place
}

/// Makes the first entity of a text a drug, if it has one, and confirms the text.
fn correct(serving: &Serving, unit: usize) -> Value {
    let found = serving.get(&format!("api/unit/{unit}"));
    let mut state = found["state"].clone();
    if let Some(first) = state["entities"].get_mut(0) {
        first["label"] = json!("Drug");
    }
    state["confirmed"] = json!(true);
    let (status, saved) =
        serving.post(&format!("api/unit/{unit}"), &json!({"revision": found["revision"], "state": state}));
    assert_eq!(status, 200, "{saved}");
    saved["state"].clone()
}

#[test]
fn help_and_refusals() {
    let place = with_files();
    place.write("empty.jsonl", "{\"doc_key\": \"a\", \"text\": \"\"}\n");
    place.write("runs/begun/run.toml", &tiny_run(2, 1));
    place.write("notes/a.txt", "x");
    let run = |arguments: &[&str]| place.transcript(arguments);
    let other = ["review", "--pred", "p.jsonl", "--data", "empty.jsonl", "--ontology", "o.toml"];
    let transcripts = [
        run(&["review", "--help"]),
        run(&["run", "--help"]),
        run(&["review"]),
        run(&["review", "--data", "d.jsonl"]),
        run(&["review", "--pred", "p.jsonl"]),
        run(&["review", "runs/begun", "--pred", "p.jsonl", "--data", "d.jsonl"]),
        run(&["review", "runs/nothing"]),
        run(&["review", "notes"]),
        run(&["review", "runs/begun"]),
        run(&["review", "runs/begun", "--system", "dpo"]),
        run(&[&FILES[..], &["--port", "0"]].concat()),
        run(&[&FILES[..], &["--port", "65536"]].concat()),
        run(&[&FILES[..], &["--out", "d.jsonl/review"]].concat()),
        run(&other),
        run(&["review", "--data", "empty.jsonl", "--ontology", "o.toml"]),
        run(&["run", "config.toml", "--port", "8000"]),
    ];
    assert_transcripts!("review", transcripts);
}

#[test]
fn a_port_that_is_taken_and_a_folder_in_use_are_named() {
    let place = with_files();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let (_, error) = place.run(&[&FILES[..], &["--port", &port]].concat(), 2);
    assert!(error.contains(&format!("error: port {port} of 127.0.0.1 is taken by another program")), "{error}");
    assert!(error.contains("hint: leave --port out to take any free port"), "{error}");
    let serving = Serving::start(&place, &FILES);
    let (_, error) = place.run(&FILES, 2);
    assert!(error.contains("error: another review is open in p.review"), "{error}");
    serving.kill();
}

/// The program is killed as soon as it has answered: whatever it has called saved is there afterwards.
#[test]
fn what_is_saved_outlives_a_kill_and_becomes_a_curated_set() {
    let place = with_files();
    let mut expected = Vec::new();
    for unit in [0, 2] {
        let serving = Serving::start(&place, &FILES);
        for (earlier, state) in &expected {
            assert_eq!(&serving.get(&format!("api/unit/{earlier}"))["state"], state);
        }
        expected.push((unit, correct(&serving, unit)));
        serving.kill();
    }
    let serving = Serving::start(&place, &FILES);
    assert_eq!(serving.get("api/unit/0")["summary"]["confirmed"], 2);
    correct(&serving, 1);
    let (code, printed) = serving.interrupt();
    assert_eq!(code, Some(0), "{printed}");
    let folder = place.path("p.review").canonicalize().expect("the review's folder");
    let folder = folder.display();
    assert_eq!(
        printed.trim(),
        format!(
            "tabpo run CONFIG --set data.curated={folder}/curated.jsonl --set pairs.patterns={folder}/patterns.toml"
        )
    );
    let curated = fs::read_to_string(place.path("p.review/curated.jsonl")).expect("curated documents");
    let keys: Vec<Value> =
        curated.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["doc_key"].clone()).collect();
    assert_eq!(keys, ["a", "b"]);
    let patterns = fs::read_to_string(place.path("p.review/patterns.toml")).expect("patterns");
    assert!(patterns.contains("from = [\"Drug\"]\nto = [\"Effect\"]"), "{patterns}");

    // The next run takes both.
    place.write(
        "next.toml",
        "run = { name = \"next\" }\nontology.file = \"o.toml\"\ndata = { train = \"d.jsonl\", hold_out = 1, test = \"d.jsonl\" }\n\
         model = { vocabulary = 300, hidden = 16, layers = 1, heads = 2, kv_heads = 2, intermediate = 32 }\n\
         sft = { steps = 1 }\npreference = { objectives = [\"dpo\"] }\n",
    );
    let sets: Vec<&str> = printed.trim().split(' ').skip(3).collect();
    let checked =
        place.tabpo().args(["check", "next.toml", "--quick", "--json"]).args(&sets).output().expect("it starts");
    let checked: Value = serde_json::from_slice(&checked.stdout).expect("JSON");
    let splits = checked["splits"].as_array().expect("splits");
    let row = splits.iter().find(|row| row["split"] == "curated").expect("the curated split");
    assert_eq!((&row["documents"], &row["mentions"]), (&json!(2), &json!(3)));
}

#[test]
fn the_answers_of_a_run_are_reviewed_least_certain_first() {
    let place = Place::new();
    place.write("tiny.toml", &tiny_run(2, 1));
    place.run(&["run", "tiny.toml"], 0);
    let serving = Serving::start(&place, &["review", "runs/tiny"]);
    let start = serving.get("api/start");
    assert_eq!(start["title"], "dpo of tiny, test documents");
    assert_eq!((&start["scored"], &start["summary"]["texts"]), (&json!(true), &json!(4)));
    let confidence = serving.get("api/unit/0")["confidence"].clone();
    let ends = confidence["complete"].as_array().expect("the ends of lists");
    assert!(!ends.is_empty() && ends.iter().all(|end| end.as_f64().is_some_and(|share| (0.0..=1.0).contains(&share))));
    serving.kill();
    assert!(place.path("runs/tiny/review/dpo/log-probs.bin").exists());
    let (_, error) = place.run(&["review", "runs/tiny", "--system", "dop"], 2);
    assert!(
        error.contains("the run has no answers of a system `dop`") && error.contains("hint: there are: sft, "),
        "{error}"
    );

    // Other documents are answered by the system first, once.
    let arguments = ["review", "runs/tiny", "--system", "sft", "--data", "new.jsonl"];
    place.write("new.jsonl", DOCUMENTS);
    let serving = Serving::start(&place, &arguments);
    assert_eq!(serving.get("api/start")["summary"]["texts"], 3);
    serving.kill();
    let answered = || -> Vec<String> {
        let names = fs::read_dir(place.path("runs/tiny/review/sft-new")).expect("the folder");
        let mut names: Vec<String> =
            names.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.retain(|name| name.starts_with("predictions-"));
        names
    };
    let before = answered();
    assert_eq!(before.len(), 1);
    Serving::start(&place, &arguments).kill();
    assert_eq!(answered(), before);
}

#[test]
fn the_page_of_a_run_fills_while_it_goes_on_and_ends_with_ctrl_c() {
    let place = Place::new();
    place.write("tiny.toml", &tiny_run(2, 1));
    // A browser that writes down which address it is given.
    let browser = place.write("browser", "#!/bin/sh\necho \"$1\" > \"$0.address\"\n");
    fs::set_permissions(&browser, fs::Permissions::from_mode(0o755)).expect("it is made a program");
    let mut child = command(&place, &["run", "tiny.toml", "--open"])
        .env("BROWSER", &browser)
        .stdout(Stdio::piped())
        .stderr(fs::File::create(place.path("said")).expect("writable"))
        .spawn()
        .expect("it starts");
    let said = || fs::read_to_string(place.path("said")).expect("messages");
    let url = until("the address", || {
        let text = said();
        let line = text.lines().find_map(|line| line.strip_prefix("the page is at "))?;
        Some(line.trim().to_owned())
    });
    let once = fs::read_to_string(place.path("browser.address")).expect("the browser was called");
    assert!(once.contains("/once/") && !url.contains(once.trim().rsplit('/').next().expect("a part")), "{once}");
    let (status, page) = text(&url, "GET", "", "");
    assert!(status == 200 && page.contains("live.js"));
    // While it goes on, the page is made of what is there.
    let (mut versions, mut pages) = (Vec::new(), 0);
    let done = until("the end of the run", || {
        let (_, now) = ask(&url, "GET", "status", "");
        if let Some(version) = now["page"].as_str()
            && versions.last().map(String::as_str) != Some(version)
        {
            versions.push(version.to_owned());
            let (status, page) = text(&url, "GET", &format!("page/{version}"), "");
            pages += usize::from(status == 200 && page.contains("<h1>tiny</h1>"));
        }
        (now["state"] == "done").then_some(now)
    });
    assert!(versions.len() >= 2 && pages == versions.len(), "{versions:?}, {pages} pages");
    let stages = done["stages"].as_array().expect("stages");
    assert!(!stages.is_empty() && stages.iter().all(|stage| stage["state"] == "done"), "{done}");
    let last = done["page"].as_str().expect("a page");
    let (_, page) = text(&url, "GET", &format!("page/{last}"), "");
    assert_eq!(page, fs::read_to_string(place.path("runs/tiny/report.html")).expect("the report"));
    until("the last word", || said().contains("until Ctrl-C").then_some(()));
    assert_eq!(interrupt(&mut child).code(), Some(0), "{}", said());

    // In the middle of a run, Ctrl-C ends both.
    fs::write(place.path("long.toml"), tiny_run(2, 1).replace("steps = 2", "steps = 100000").replace("tiny", "long"))
        .expect("writable");
    let mut child = command(&place, &["run", "long.toml", "--open"])
        .env("BROWSER", "false")
        .stdout(Stdio::null())
        .stderr(fs::File::create(place.path("said")).expect("writable"))
        .spawn()
        .expect("it starts");
    let url = until("the address", || {
        let text = said();
        let line =
            text.lines().find_map(|line| line.split_once("no browser could be opened: the page is at "))?.1.to_owned();
        Some(line.trim().to_owned())
    });
    until("a step", || ask(&url, "GET", "status", "").1["progress"]["done"].as_u64().filter(|&done| done > 0));
    let (_, page) = text(&url, "GET", "page/x", "");
    assert!(page.contains("<h1>long</h1>") && page.contains("not finished"));
    assert_eq!(interrupt(&mut child).code(), Some(130), "{}", said());
}
