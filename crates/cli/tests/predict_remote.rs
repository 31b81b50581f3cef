//! `tabpo predict --endpoint` and `tabpo serve-config`, the binary against a scripted server.

#[path = "../../remote/tests/support/mod.rs"]
mod server;
#[allow(dead_code, reason = "each test file uses a part of the support")]
mod support;

use std::process::Output;

use serde_json::{Value, json};
use server::{Reply, Request, Server, answer, completion, error};
use support::{Place, example};

const KEY: &str = "sk-cli-0123456789-never-shown";

/// Two sentences of invented text.
const DOCUMENT: &str = r#"{"doc_key":"d1","sentences":[["New","parsers","help","translation","."],["It","works","."]],"ner":[[[1,1,"Method"],[3,3,"Task"]],[]],"relations":[[[1,1,3,3,"USED-FOR"]],[]]}"#;
const GOLD: &str = r#"{"entities":[{"id":"e1","text":"parsers","type":"Method","occ":null},{"id":"e2","text":"translation","type":"Task","occ":null}],"relations":[{"head":"e1","type":"Used-for","tail":"e2"}]}"#;

fn place() -> Place {
    let place = Place::new();
    place.write("ontology.toml", &example("scierc/ontology.toml"));
    place.write("data.json", DOCUMENT);
    place.write(
        "prices.toml",
        "date = \"2026-01-01\"\ncurrency = \"USD\"\n[models.m]\nprompt = 1.0\ncompletion = 4.0\n",
    );
    place
}

fn predict(place: &Place, url: &str, more: &[&str]) -> Output {
    let mut command = place.tabpo();
    command.env("TABPO_TEST_KEY", KEY).args(["predict", "--endpoint", url, "--model", "m"]);
    command.args(["--ontology", "ontology.toml", "--data", "data.json", "--out", "out.jsonl"]);
    command.args(["--key-variable", "TABPO_TEST_KEY", "--prices", "prices.toml"]).args(more);
    command.output().unwrap()
}

/// Everything that a run left behind: what it printed, and every file below the directory.
fn everything(place: &Place, output: &Output) -> String {
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text += &String::from_utf8_lossy(&output.stderr);
    let mut open = vec![place.path(".")];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            text += &String::from_utf8_lossy(&std::fs::read(path).unwrap());
        }
    }
    text
}

#[test]
fn predictions_are_written_scored_and_never_paid_twice() {
    let server = Server::start(|request: &Request| {
        assert_eq!(request.headers["authorization"], format!("Bearer {KEY}"));
        if request.prompt().starts_with("New") {
            return answer(GOLD);
        }
        let mut refusal = completion("");
        refusal["choices"][0]["message"] = json!({"role": "assistant", "content": null, "refusal": "I cannot"});
        Reply::Json(200, Vec::new(), refusal)
    });
    let place = place();
    let first = predict(&place, &server.url, &["--json"]);
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    let statistics: Value = serde_json::from_slice(&first.stdout).unwrap();
    assert_eq!((&statistics["calls"], &statistics["outcomes"]["refused"]), (&json!(2), &json!(1)));

    let text = std::fs::read_to_string(place.path("out.jsonl")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["doc_key"], &lines[0]["sent"], &lines[1]["sent"]), (&json!("d1"), &json!(0), &json!(1)));
    // The nulls of the strict schema are gone.
    assert_eq!(lines[0]["output"], GOLD.replace(",\"occ\":null", ""));
    assert_eq!((&lines[1]["outcome"], &lines[1]["output"]), (&json!("refused"), &json!("")));

    let again = predict(&place, &server.url, &[]);
    assert!(again.status.success() && server.total() == 2);
    assert_eq!(std::fs::read_to_string(place.path("out.jsonl")).unwrap(), text);
    assert!(String::from_utf8_lossy(&again.stdout).contains("answers from the cache"));
}

#[test]
fn a_dry_run_and_a_small_budget_ask_for_nothing() {
    let server = Server::start(|_: &Request| answer(GOLD));
    let place = place();
    let dry = predict(&place, &server.url, &["--dry-run", "--json"]);
    let estimate: Value = serde_json::from_slice(&dry.stdout).unwrap();
    assert_eq!((&estimate["requests"], &estimate["cached"]), (&json!(2), &json!(0)));
    assert!(estimate["cost_most"].as_f64().unwrap() > estimate["cost"].as_f64().unwrap());
    let poor = predict(&place, &server.url, &["--budget", "0.000001"]);
    assert_eq!(poor.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&poor.stderr).contains("budget"));
    assert_eq!(server.total(), 0);
    assert!(!place.path("out.jsonl").exists());
}

#[test]
fn the_key_is_in_no_file_and_no_output() {
    let echo = Server::start(|request: &Request| {
        let sent = request.headers["authorization"].clone();
        if request.earlier == 0 { error(500, "internal", &sent) } else { answer(&sent) }
    });
    let refuse = Server::start(|request: &Request| error(401, "invalid_api_key", &request.headers["authorization"]));
    for (server, code) in [(&echo, 0), (&refuse, 2)] {
        for more in [&[][..], &["--json"]] {
            let place = place();
            let output = predict(&place, &server.url, more);
            let all = everything(&place, &output);
            assert_eq!(output.status.code(), Some(code), "{all}");
            assert!(all.contains("[key]") && !all.contains(KEY));
        }
    }
}

#[test]
fn serving_a_folder_is_explained() {
    let place = Place::new();
    place.write("merged/config.json", "{}");
    place.write("merged/tokenizer.json", r#"{"added_tokens": [{"content": "<|assistant|>"}]}"#);
    let (stdout, _) = place.run(&["serve-config", "merged", "--name", "tab-po"], 0);
    assert!(stdout.contains("vllm serve merged") && stdout.contains("--chat-template"), "{stdout}");
    place.write("adapter/adapter_config.json", r#"{"base_model_name_or_path": "merged", "r": 12}"#);
    let (stdout, _) = place.run(&["serve-config", "adapter"], 0);
    assert!(stdout.contains("--lora-modules tabpo=adapter --max-lora-rank 16"), "{stdout}");
    let (_, stderr) = place.run(&["serve-config", "nowhere"], 2);
    assert!(stderr.contains("neither a model folder nor an adapter"), "{stderr}");
}
