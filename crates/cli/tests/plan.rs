//! `tabpo plan`.
#![cfg(feature = "cuda")]

mod support;

use serde_json::Value;
use support::{Place, tiny_run};

fn json(place: &Place, arguments: &[&str]) -> Value {
    let (stdout, _) = place.run(&[&["plan", "--json"], arguments].concat(), 0);
    serde_json::from_str(&stdout).expect("JSON")
}

/// What a plan says would fit, fits, and a token more does not; so do the cards that it names.
#[test]
fn what_would_fit_is_said() {
    let place = Place::new();
    let plan = |card: &str, tokens: usize| {
        json(&place, &["--shape", "llama-8b", "--card", card, "--max-tokens", &tokens.to_string()])
    };
    let long = plan("4090", 100_000);
    assert_eq!(long["sections"][0]["fits"], false);
    let most = long["sections"][0]["most_tokens"].as_u64().expect("a number") as usize;
    let changes = long["changes"].as_array().expect("a list");
    assert_eq!(changes[0], format!("training: lower --max-tokens from 100000 to at most {most}"));
    assert_eq!(changes[2], "as it is, it fits on: h200, h100, a100-80");
    for (card, fits) in [("h200", true), ("h100", true), ("a100-80", true), ("a100-40", false), ("l40s", false)] {
        assert_eq!(plan(card, 100_000)["sections"][0]["fits"], fits, "{card}");
    }
    for (tokens, fits) in [(most, true), (most + 1, false)] {
        let found = plan("4090", tokens);
        assert_eq!(found["sections"][0]["fits"], fits);
        assert_eq!(found["sections"][0]["total"].as_u64() <= found["usable"].as_u64(), fits);
        assert_eq!(found["changes"].as_array().expect("a list").is_empty(), fits);
    }
    let (stdout, _) = place.run(&["plan", "--shape", "llama-70b", "--card", "l4"], 0);
    assert!(stdout.contains("it does not fit:\n") && stdout.contains("take a smaller model"), "{stdout}");
}

/// A configuration's trainings are planned with their steps, and on the CPU by a measurement.
#[test]
fn the_trainings_of_a_configuration_are_planned() {
    let place = Place::new();
    place.write("config.toml", &tiny_run(30, 6));
    let found = json(&place, &["config.toml", "--card", "l4"]);
    let stages = found["stages"].as_array().expect("a list");
    assert_eq!((&stages[0]["stage"], &stages[0]["steps"]), (&Value::from("sft"), &Value::from(30)));
    assert!(stages.iter().all(|stage| stage["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0)), "{stages:?}");
    assert!(stages.iter().any(|stage| stage["section"] == "preference.train" && stage["reference"] == true));
    let on_the_cpu = json(&place, &["config.toml"]);
    assert_eq!(on_the_cpu["sections"][1]["section"], "preference.train");
    assert!(on_the_cpu["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0));
    assert!(!place.path("runs").exists(), "a plan writes nothing");
}

/// The table has every model with both types of weights; a card with more memory never takes longer than one with less and
/// the same speed.
#[test]
fn the_table_is_complete() {
    let place = Place::new();
    let cells = json(&place, &["--table"]);
    let cells = cells.as_array().expect("a list");
    assert_eq!(cells.len(), 5 * 2 * 8);
    let seconds = |model: &Value, base: &Value, card: &str| {
        let cell = cells.iter().find(|cell| (&cell["model"], &cell["base"]) == (model, base) && cell["card"] == card);
        cell.and_then(|cell| cell["seconds"].as_f64()).unwrap_or(f64::INFINITY)
    };
    for cell in cells {
        for [larger, smaller] in [["h200", "h100"], ["a100-80", "a100-40"]] {
            let times = [larger, smaller].map(|card| seconds(&cell["model"], &cell["base"], card));
            assert!(times[0] <= times[1], "{cell}: {times:?}");
        }
    }
    let (markdown, _) = place.run(&["plan", "--table"], 0);
    assert_eq!(markdown.lines().filter(|line| line.starts_with("| ")).count(), 1 + 5 * 2);
}

#[test]
fn what_is_not_known_is_named() {
    let place = Place::new();
    for (arguments, said) in [
        (&["plan"][..], "<CONFIG>"),
        (&["plan", "--shape", "llama-8b"], "--card"),
        (&["plan", "--shape", "llama-9b", "--card", "l4"], "no built-in shape `llama-9b`"),
        (&["plan", "--shape", "llama-8b", "--card", "v100"], "known: h200, h100"),
    ] {
        let (_, stderr) = place.run(arguments, 2);
        assert!(stderr.contains(said), "{arguments:?}: {stderr}");
    }
}
