//! `--json`: every command that prints results has it, and then prints one JSON document and nothing else.

mod support;

use std::{collections::BTreeSet, path::Path};

use serde_json::Value;
use support::{Place, example, root};

/// A run that takes a second.
const RUN: &str = r#"
[run]
name = "json"
directory = "run"
seed = 1

[ontology]
file = "corpus/ontology.toml"

[data]
dir = "corpus"
train = "sft.jsonl"
curated = "gold.jsonl"
validation = "validation.jsonl"
test = "test.jsonl"

[model]
vocabulary = 300
hidden = 16
layers = 1
heads = 2
kv_heads = 2
intermediate = 32

[sft]
steps = 2

[pairs]
per_example = 1

[preference]
objectives = ["tab-po"]
learning_rates = [1e-4]

[preference.train]
steps = 1

[predict]
max_new_tokens = 8

[evaluate]
resamples = 100
"#;

/// Commands without `--json`, and why.
const WITHOUT: [(&str, &str); 6] = [
    ("config reference", "a document; `config schema` says the same to programs"),
    ("config schema", "prints JSON anyway"),
    ("ontology schema", "prints JSON anyway"),
    ("inspect tokens", "prints JSON anyway"),
    ("completions", "prints a script"),
    ("review", "serves a page; what it saves are documents"),
];

/// Commands that need an NVIDIA card or its compiler.
const NEED_CUDA: [&str; 3] = ["gpu compile", "gpu check", "gpu speed"];

/// Arguments that several commands have.
const ONTOLOGY: [&str; 2] = ["--ontology", "corpus/ontology.toml"];
const SCORED: [&str; 6] =
    ["--ontology", "corpus/ontology.toml", "--gold", "corpus/test.jsonl", "--pred", "run/sft/test.jsonl"];
const MODEL: [&str; 2] = ["--model", "run/sft/policy"];

/// The commands that have no further commands, with their help.
fn commands(place: &Place, path: &[&str]) -> Vec<(String, String)> {
    let (help, _) = place.run(&[path, &["--help"]].concat(), 0);
    let names = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // A description may go on in further lines, which are indented more.
    let names: Vec<&str> = names
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help" || path.is_empty())
        .collect();
    let mut found: Vec<(String, String)> = names
        .iter()
        .filter(|name| **name != "help")
        .flat_map(|name| commands(place, &[path, &[name]].concat()))
        .collect();
    // `inspect` is a command with further ones.
    if names.is_empty() || path == ["inspect"] {
        found.push((path.join(" "), help));
    }
    found
}

/// Runs a command with `--json` and returns the document that it prints.
fn document(place: &Place, arguments: &[&str]) -> Value {
    let output = place.tabpo().args(arguments).arg("--json").output().expect("the program starts");
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    // `check` finds that the model of this run learns nothing worth having.
    let fine = output.status.success() || (arguments[0] == "check" && output.status.code() == Some(1));
    assert!(fine, "tabpo {arguments:?} --json\nstdout: {stdout}\nstderr: {stderr}");
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("tabpo {arguments:?} --json: {error}\n{stdout}"))
}

/// Asserts that a document has these keys.
fn has(document: &Value, keys: &[&str], of: &str) {
    for key in keys {
        assert!(document.get(key).is_some(), "{of}: `{key}` is missing in {document:.300}");
    }
}

#[test]
fn every_command_that_prints_results_prints_one_json_document() {
    let place = Place::new();
    let scierc = root().join("examples/scierc");
    let objective = root().join("crates/objective/tests/fixtures/golden_a.json");
    let path = |path: &Path| path.to_str().expect("paths of the tests are UTF-8").to_owned();
    let (patterns, objective) = (path(&scierc.join("patterns.toml")), path(&objective));
    let llama = root().join("crates/engine/tests/fixtures/llama");
    let (llama, adapter) = (path(&llama), path(&llama.join("adapter")));
    place.write("run.toml", RUN);
    place.write("annotation.conf", "[entities]\nDrug\n[relations]\nTreats Arg1:Drug, Arg2:Drug\n");
    place.write("talk.json", r#"[{"role": "user", "content": "Hello"}]"#);
    place.write("tokens.json", r#"{"input_ids": [[1, 2, 3]]}"#);

    let sizes = ["corpus", "--sft", "30", "--gold", "8", "--validation", "6", "--test", "6"];
    let line = |parts: &[&[&str]]| -> Vec<String> { parts.concat().iter().map(ToString::to_string).collect() };
    // Each command, its arguments, and keys of its document. The order matters: later commands use what earlier ones made.
    let lines: Vec<(&str, Vec<String>, &[&str])> = vec![
        ("corpus generate", line(&[&sizes]), &["splits", "bias"]),
        ("corpus stats", line(&[&["corpus/test.jsonl"], &ONTOLOGY]), &["documents", "mentions"]),
        (
            "corpus convert",
            line(&[&["corpus/test.jsonl", "test.plain.jsonl", "--to", "jsonl"], &ONTOLOGY]),
            &["documents", "reading", "writing"],
        ),
        ("ontology check", line(&[&["corpus/ontology.toml"]]), &["entity_labels", "relation_types"]),
        ("ontology show", line(&[&["corpus/ontology.toml"]]), &["entity", "relation"]),
        ("ontology prompt", line(&[&["corpus/ontology.toml"]]), &["prompt"]),
        ("ontology grammar", line(&[&["corpus/ontology.toml", "--form", "gbnf"]]), &["form", "grammar"]),
        ("ontology import", line(&[&["annotation.conf"]]), &["entity", "relation"]),
        ("init", line(&[&["corpus", "--out", "new"]]), &["found", "written"]),
        ("check", line(&[&["run.toml", "--quick"]]), &["stages", "splits", "problems"]),
        ("plan", line(&[&["run.toml", "--card", "l4"]]), &["card", "usable", "sections", "stages", "changes"]),
        ("config show", line(&[&["run.toml"]]), &["run", "model", "sft"]),
        ("sft", line(&[&["run.toml"]]), &["output", "comparison"]),
        ("train", line(&[&["run.toml"]]), &["output", "comparison"]),
        ("run", line(&[&["run.toml"]]), &["output", "comparison"]),
        ("report", line(&[&["run.toml"]]), &["output", "comparison"]),
        (
            "predict",
            line(&[
                &["--out", "p.jsonl", "--max-new-tokens", "8", "--data", "corpus/validation.jsonl"],
                &MODEL,
                &ONTOLOGY,
            ]),
            &["out", "answers", "valid", "seconds"],
        ),
        (
            "thresholds",
            line(&[
                &["--folder", "thresholds", "--max-new-tokens", "8", "--data", "corpus/validation.jsonl"],
                &MODEL,
                &ONTOLOGY,
            ]),
            &[],
        ),
        ("try", line(&[&["run/sft/policy", "A text.", "--max-new-tokens", "4"], &ONTOLOGY]), &["doc_key", "text"]),
        ("errors", line(&[&SCORED, &["--out", "modes.json"]]), &["modes"]),
        ("eval", line(&[&SCORED, &["--resamples", "100"]]), &["profile", "intervals"]),
        (
            "compare",
            line(&[&SCORED[..5], &["a=run/sft/test.jsonl", "--resamples", "100"]]),
            &["metrics", "systems", "differences"],
        ),
        (
            "pairs build",
            line(&[
                &["--data", "corpus/gold.jsonl", "--errors", "modes.json", "--sources", "random", "--seed", "1"],
                &["--per-example", "1", "--out", "pairs.jsonl"],
                &ONTOLOGY,
            ]),
            &["pairs", "examples"],
        ),
        (
            "pairs select",
            line(&[&["pairs.jsonl", "--keep", "1", "--out", "hard.jsonl"], &MODEL, &ONTOLOGY]),
            &["examples", "all", "kept"],
        ),
        ("pairs stats", line(&[&["pairs.jsonl"]]), &["pairs", "kinds"]),
        ("pairs export", line(&[&["pairs.jsonl", "--format", "trl", "--out", "trl.jsonl"]]), &["pairs", "out"]),
        ("pairs patterns check", line(&[&[&patterns], &ONTOLOGY]), &[]),
        (
            "pairs patterns match",
            line(&[&[&patterns, "--data", "corpus/gold.jsonl"], &ONTOLOGY]),
            &["patterns", "matches"],
        ),
        (
            "merge",
            line(&[&["--model", &llama, "--adapter", &adapter, "--out", "merged"]]),
            &["out", "logits", "modelfile"],
        ),
        ("model quantise", line(&[&["run/sft/policy", "nf4"]]), &["out", "logits", "modelfile"]),
        ("model convert", line(&[&["run/sft/policy", "copy", "--type", "f32"]]), &["out", "logits", "modelfile"]),
        (
            "generate",
            line(&[&MODEL, &["--prompt", "A", "--max-new-tokens", "4"]]),
            &["text", "token_ids", "finish_reason"],
        ),
        ("chat-template", line(&[&MODEL, &["--messages", "talk.json", "--chat-template", "alpaca"]]), &["text"]),
        ("inspect", line(&[&["run/sft/policy"]]), &["supported", "parameters"]),
        (
            "inspect logits",
            line(&[&MODEL, &["--tokens", "tokens.json", "--out", "logits.safetensors"]]),
            &["out", "sequences", "vocabulary"],
        ),
        ("objective", line(&[&["--inputs", &objective]]), &["objectives"]),
        ("serve-config", line(&[&["run/sft/policy"]]), &[]),
        (
            "bench step",
            line(&[
                &MODEL,
                &["--steps", "1", "--sequences", "1", "--length", "16", "--prefix", "8", "--lora-rank", "4"],
            ]),
            &["tokens_per_second", "peak_gflops"],
        ),
        (
            "bench prepare",
            line(&[&["--out", "bench", "--examples", "2", "--negatives", "1"]]),
            &["examples", "pairs", "mean_prompt_tokens"],
        ),
        (
            "bench preference",
            line(&[&MODEL, &ONTOLOGY, &["--pairs", "hard.jsonl", "--examples", "2", "--lora-rank", "2"]]),
            &["objective"],
        ),
        (
            "bench decode",
            line(&[&MODEL, &["--prompts", "2", "--prompt-tokens", "8", "--new-tokens", "4", "--repeats", "1"]]),
            &["tokens_per_second"],
        ),
        ("gpu info", vec![], &["cards", "driver"]),
    ];
    for (command, arguments, keys) in &lines {
        let arguments: Vec<&str> = command.split(' ').chain(arguments.iter().map(String::as_str)).collect();
        has(&document(&place, &arguments), keys, command);
    }
    let list = document(&place, &["objective", "--list"]);
    assert!(list.as_array().is_some_and(|list| list.iter().any(|entry| entry["name"] == "tab-po")));

    // No command is left out, and none says that it has no `--json` that has it.
    let covered: BTreeSet<&str> = lines.iter().map(|(command, ..)| *command).chain(NEED_CUDA).collect();
    let without: BTreeSet<&str> = WITHOUT.iter().map(|(command, _)| *command).collect();
    for (command, help) in commands(&place, &[]) {
        let named = if without.contains(&*command) { "without" } else { "covered" };
        let expected = if help.contains("--json") { "covered" } else { "without" };
        assert_eq!(named, expected, "{command}");
        assert!(without.contains(&*command) || covered.contains(&*command), "{command} is not tested here");
    }
}

#[test]
fn an_example_of_scierc_is_counted_by_patterns_and_listed_in_one_document() {
    let place = Place::new();
    place.write("ontology.toml", &example("scierc/ontology.toml"));
    place.write("patterns.toml", "[[pattern]]\nid = \"swap\"\nkind = \"direction\"\nfrom = [\"Used-for\"]\n");
    let line = r#"{"doc_key":"d1","sentences":[["New","parsers","help","translation","."]],"ner":[[[1,1,"Method"],[3,3,"Task"]]],"relations":[[[1,1,3,3,"USED-FOR"]]]}"#;
    place.write("data.json", line);
    let arguments =
        ["pairs", "patterns", "match", "patterns.toml", "--ontology", "ontology.toml", "--data", "data.json"];
    let found = document(&place, &arguments);
    assert_eq!(found["patterns"][0]["id"], "swap");
    assert_eq!((&found["patterns"][0]["edits"], &found["patterns"][0]["examples"]), (&1.into(), &1.into()));
    assert_eq!(found["matches"].as_array().map(Vec::len), Some(1));
    assert_eq!(found["matches"][0]["doc_key"], "d1");
}
