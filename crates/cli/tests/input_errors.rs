//! Wrong input: a clear message with place and nearest name, exit code 2, nothing left behind.

#[allow(dead_code, reason = "each test file uses a part of the support")]
mod support;

use support::{Place, example};

/// One document of invented text: "New parsers help translation ."
const DOCUMENT: &str = r#"{"doc_key":"d1","sentences":[["New","parsers","help","translation","."]],"ner":[[[1,1,"Method"],[3,3,"Task"]]],"relations":[[[1,1,3,3,"USED-FOR"]]]}"#;

fn stats(data: &str) -> (String, String) {
    let place = Place::new();
    place.write("ontology.toml", &example("scierc/ontology.toml"));
    place.write("data.json", data);
    let result = place.run(&["corpus", "stats", "--ontology", "ontology.toml", "data.json"], 2);
    assert_eq!(place.names(), ["data.json", "ontology.toml"], "nothing is left behind");
    result
}

/// Runs `tabpo run` on the quick start's configuration with one replacement in its text.
fn run_configuration(from: &str, to: &str) -> String {
    let text = example("quickstart.toml");
    assert!(text.contains(from), "the quick start still has `{from}`");
    let place = Place::new();
    place.write("config.toml", &text.replace(from, to));
    let (_, stderr) = place.run(&["run", "config.toml"], 2);
    assert_eq!(place.names(), ["config.toml"], "nothing is left behind");
    stderr
}

#[test]
fn a_missing_file_is_named() {
    let place = Place::new();
    let (_, stderr) = place.run(&["run", "nowhere.toml"], 2);
    assert!(stderr.contains("nowhere.toml"), "{stderr}");
    let (_, stderr) = place.run(&["ontology", "check", "nowhere.toml"], 2);
    assert!(stderr.contains("nowhere.toml"), "{stderr}");
    assert!(place.names().is_empty());
}

#[test]
fn a_broken_line_is_named_with_its_number() {
    let (_, stderr) = stats(&format!("{DOCUMENT}\n{{\"doc_key\": \"d2\", \"sentences\": [[\n"));
    assert!(stderr.contains("data.json:2"), "{stderr}");
}

#[test]
fn an_unknown_label_is_answered_with_the_nearest() {
    let (_, stderr) = stats(&DOCUMENT.replace("\"Method\"", "\"Methd\""));
    assert!(stderr.contains("data.json:1") && stderr.contains("Methd") && stderr.contains("`Method`"), "{stderr}");
}

#[test]
fn labels_of_ones_own_need_an_ontology() {
    let place = Place::new();
    place.write("data.json", &DOCUMENT.replace("\"Method\"", "\"Drug\""));
    for arguments in
        [&["corpus", "stats", "data.json"][..], &["corpus", "convert", "--to", "jsonl", "data.json", "out"]]
    {
        let (_, stderr) = place.run(arguments, 2);
        assert!(
            stderr.contains("`Drug`") && stderr.contains("hint: ") && stderr.contains("--ontology FILE"),
            "{stderr}"
        );
    }
    assert_eq!(place.names(), ["data.json"]);
}

#[test]
fn what_is_left_out_is_said_and_stops_whoever_wants_it() {
    let place = Place::new();
    place.write("ontology.toml", &example("scierc/ontology.toml"));
    place.write("data.json", &DOCUMENT.replace("[1,1,3,3,\"USED-FOR\"]", "[1,1,1,1,\"USED-FOR\"]"));
    place.write("pred.jsonl", "{\"doc_key\": \"d1\", \"sent\": 0, \"output\": \"\"}\n");
    let commands: [&[&str]; 3] = [
        &["corpus", "stats", "--ontology", "ontology.toml", "data.json"],
        &["eval", "--ontology", "ontology.toml", "--gold", "data.json", "--pred", "pred.jsonl"],
        &["errors", "--ontology", "ontology.toml", "--gold", "data.json", "--pred", "pred.jsonl"],
    ];
    for command in commands {
        let (_, stderr) = place.run(command, 0);
        assert!(stderr.contains("1 relations of a mention with itself left out"), "{stderr}");
        let (_, stderr) = place.run(&[command, &["--strict"]].concat(), 2);
        assert!(stderr.contains("the first at data.json:1 (document `d1`)"), "{stderr}");
    }
}

#[test]
fn an_offset_out_of_range_is_shown() {
    let (_, stderr) = stats(&DOCUMENT.replace("[3,3,\"Task\"]", "[3,33,\"Task\"]"));
    assert!(stderr.contains("data.json:1") && stderr.contains("d1") && stderr.contains("33"), "{stderr}");
}

#[test]
fn a_relation_to_no_entity_is_shown() {
    let (_, stderr) = stats(&DOCUMENT.replace("[1,1,3,3,\"USED-FOR\"]", "[1,1,2,2,\"USED-FOR\"]"));
    assert!(stderr.contains("data.json:1") && stderr.contains("d1"), "{stderr}");
}

#[test]
fn a_warm_up_on_nothing_is_refused() {
    let stderr = run_configuration("[sft]\n", "[warmup]\nsentences = 0\n\n[sft]\n");
    assert!(stderr.contains("[warmup]") && stderr.contains("warmup.copies"), "{stderr}");
}

#[test]
fn a_wrong_configuration_key_is_answered_with_line_and_nearest() {
    let stderr = run_configuration("per_example = 2", "per_exmaple = 2");
    assert!(
        stderr.contains("config.toml:") && stderr.contains("per_exmaple") && stderr.contains("`per_example`"),
        "{stderr}"
    );
}

#[test]
fn a_wrong_objective_is_answered_with_the_nearest() {
    let stderr = run_configuration("\"tab-po\"]", "\"tab-pro\"]");
    assert!(stderr.contains("tab-pro") && stderr.contains("`tab-po`"), "{stderr}");
}

#[test]
fn a_wrong_hyper_parameter_is_answered_with_the_nearest() {
    let stderr = run_configuration("beta = 0.5", "betta = 0.5");
    assert!(stderr.contains("betta") && stderr.contains("beta"), "{stderr}");
}

#[test]
fn a_wrong_replacement_is_answered_with_the_nearest() {
    let place = Place::new();
    place.write("config.toml", &example("quickstart.toml"));
    let (_, stderr) = place.run(&["run", "config.toml", "--set", "sft.epoch=2"], 2);
    assert!(stderr.contains("sft.epoch=2") && stderr.contains("`epochs`"), "{stderr}");
    assert_eq!(place.names(), ["config.toml"]);
}

#[test]
fn a_memory_limit_is_above_nothing_in_every_section() {
    let place = Place::new();
    place.write("config.toml", &example("quickstart.toml"));
    let (_, stderr) = place.run(&["run", "config.toml", "--memory-gb", "0"], 2);
    assert!(stderr.contains("--memory-gb") && stderr.contains("above 0"), "{stderr}");
    let (_, stderr) = place.run(&["run", "config.toml", "--set", "sft.memory_gb=0"], 2);
    assert!(stderr.contains("sft.memory_gb"), "{stderr}");
    let warmup = "warmup={sentences=1,train={memory_gb=-1.0}}";
    let (_, stderr) = place.run(&["run", "config.toml", "--set", warmup], 2);
    assert!(stderr.contains("warmup.train.memory_gb"), "{stderr}");
    assert_eq!(place.names(), ["config.toml"], "nothing is left behind");
}

#[test]
fn an_empty_split_is_named() {
    let place = Place::new();
    place.write("ontology.toml", &example("scierc/ontology.toml"));
    place.write("train.json", &format!("{DOCUMENT}\n"));
    place.write("empty.json", "");
    place.write(
        "config.toml",
        "[run]\nname = \"x\"\n[ontology]\nfile = \"ontology.toml\"\n[data]\ndir = \".\"\ntrain = \"train.json\"\n\
         validation = \"train.json\"\ntest = \"empty.json\"\n[model]\n[sft]\n[preference]\nobjectives = [\"dpo\"]\n",
    );
    let (_, stderr) = place.run(&["run", "config.toml"], 2);
    assert!(stderr.contains("empty.json"), "{stderr}");
    assert_eq!(place.names(), ["config.toml", "empty.json", "ontology.toml", "train.json"]);
}

#[test]
fn a_wrong_flag_is_answered_with_usage() {
    let (_, stderr) = Place::new().run(&["run", "--sett", "a=1", "config.toml"], 2);
    assert!(stderr.contains("--set"), "{stderr}");
}
