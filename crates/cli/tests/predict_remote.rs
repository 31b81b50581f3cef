//! `tabpo predict --endpoint` and `tabpo serve-config`, the binary against a scripted server.

#[path = "../../remote/tests/support/mod.rs"]
mod server;
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

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn answers_inside_other_text_are_counted_and_taken_out_on_request() {
    let server = Server::start(|request: &Request| match request.prompt().as_str() {
        text if text.starts_with("New") => answer(&format!("<think>{{}}</think>Here:\n```json\n{GOLD}\n```\nDone.")),
        _ => answer("{\"entities\":[],\"relations\":[]}"),
    });
    let place = place();
    let strict = predict(&place, &server.url, &[]);
    assert!(stderr(&strict).contains("1 of 2 answers hold one JSON object inside other text"), "{}", stderr(&strict));
    assert!(stderr(&strict).contains("--unwrap") && stderr(&strict).contains(".tabpo-answers"), "{}", stderr(&strict));
    let output = |place: &Place| -> Value {
        let text = std::fs::read_to_string(place.path("out.jsonl")).unwrap();
        serde_json::from_str(text.lines().next().unwrap()).unwrap()
    };
    assert!(output(&place)["output"].as_str().unwrap().starts_with("<think>"));
    let taken_out = predict(&place, &server.url, &["--unwrap", "--json"]);
    let statistics: Value = serde_json::from_slice(&taken_out.stdout).unwrap();
    assert_eq!((&statistics["unwrapped"], &statistics["wrapped"]), (&json!(1), &json!(0)));
    assert_eq!(output(&place)["output"], GOLD.replace(",\"occ\":null", ""));
    assert_eq!((&output(&place)["unwrapped"], server.total()), (&json!(true), 2));
    assert!(!stderr(&taken_out).contains("answers are kept in"), "{}", stderr(&taken_out));
}

#[test]
fn what_an_option_changes_names_the_option() {
    for (message, hint) in [
        ("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.", "max_completion_tokens"),
        ("`temperature` does not support 0 with this model", "--temperature none"),
        ("System role not supported", "--no-system-role"),
    ] {
        let server = Server::start(move |_: &Request| error(400, "", message));
        let refused = predict(&place(), &server.url, &[]);
        assert_eq!(refused.status.code(), Some(2));
        assert!(stderr(&refused).contains("hint: ") && stderr(&refused).contains(hint), "{}", stderr(&refused));
    }
    // What the hint names is what the endpoint then gets.
    let server = Server::start(|request: &Request| {
        let body = request.json();
        assert!(body["temperature"].is_null() && body["messages"][0]["role"] == "user");
        assert!(body["messages"].as_array().unwrap().len() == 1 && body["max_completion_tokens"] == 1024);
        answer(GOLD)
    });
    let options = ["--temperature", "none", "--no-system-role", "--max-tokens-name", "max_completion_tokens"];
    assert!(predict(&place(), &server.url, &options).status.success());
}

#[test]
fn numbers_of_options_have_ranges_that_are_checked_before_anything_is_asked() {
    let server = Server::start(|_: &Request| answer(GOLD));
    for option in [
        "--timeout=-1",
        "--timeout=nan",
        "--timeout=1e300",
        "--requests-per-minute=1e-300",
        "--tokens-per-minute=inf",
        "--budget=nan",
        "--budget=-0.5",
        "--attempts=0",
        "--concurrency=0",
        "--max-tokens=0",
    ] {
        let place = place();
        let output = predict(&place, &server.url, &[option]);
        let name = option.split('=').next().unwrap();
        assert_eq!(output.status.code(), Some(2), "{option}: {}", stderr(&output));
        assert!(stderr(&output).contains(&format!("{name} is ")) && stderr(&output).contains(" from "), "{option}");
        assert!(!place.path(".tabpo-answers").exists());
    }
    assert_eq!(server.total(), 0);
}

#[test]
fn hosted_models_of_a_run_are_checked_before_its_first_stage() {
    let remote = |name: &str, lines: &str| {
        let base = example("quickstart.toml");
        format!("{base}\n[predict.remote.{name}]\nendpoint = \"http://127.0.0.1:9/v1\"\nmodel = \"m\"\n{lines}\n")
    };
    for (config, expected) in [
        (remote("far", "timeout_seconds = -1.0"), "predict.remote.far.timeout_seconds is -1"),
        (remote("far", "tokens_per_minute = nan"), "predict.remote.far.tokens_per_minute is NaN"),
        (remote("far", "attempts = 0"), "predict.remote.far.attempts is 0"),
        (remote("far", "budget = 1.0"), "predict.remote.far.prices is missing"),
        (remote("far", "prices = \"none.toml\""), "none.toml"),
        (remote("far", "extra = { n = 3 }"), "predict.remote.far.extra is about `n`"),
        (remote("\"../out\"", ""), "which has a `/`"),
        (remote("answers", ""), "cannot name a system"),
        (remote("far", "").replace("http://127.0.0.1:9/v1", ""), "predict.remote.far.endpoint is empty"),
        (remote("far", "").replace("http:", "ftp:"), "not an http or https address"),
    ] {
        let place = Place::new();
        place.write("run.toml", &config);
        let (_, stderr) = place.run(&["run", "run.toml", "--set", "data.synthetic.sft=20"], 2);
        assert!(stderr.contains(expected), "{expected}: {stderr}");
        assert_eq!(place.names(), ["run.toml"]);
    }
}

#[test]
fn damage_of_the_cache_is_said_and_costs_one_answer() {
    let server = Server::start(|_: &Request| answer(GOLD));
    let place = place();
    assert!(predict(&place, &server.url, &[]).status.success());
    let cache = place.path(".tabpo-answers/responses.jsonl");
    let text = std::fs::read_to_string(&cache).unwrap();
    std::fs::write(&cache, text.replacen("parsers", "pXrsers", 1)).unwrap();
    let again = predict(&place, &server.url, &["--quiet"]);
    assert!(again.status.success() && server.total() == 3, "{}", stderr(&again));
    assert!(stderr(&again).contains("warning: ") && stderr(&again).contains("responses.jsonl:1"), "{}", stderr(&again));
    assert!(std::fs::read_to_string(place.path(".tabpo-answers/responses.damaged.jsonl")).unwrap().contains("pXrsers"));
    let third = predict(&place, &server.url, &["--quiet"]);
    assert!(server.total() == 3 && !stderr(&third).contains("warning"), "{}", stderr(&third));
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
