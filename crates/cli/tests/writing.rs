//! What is written where: links, pipes, devices, `-`, files that another process writes, and what is
//! left by killed ones; what a terminal is shown; what tables say where there is nothing to say.

mod support;

use std::fs;

use serde_json::Value;
use support::Place;

const ONTOLOGY: &str = "[ontology]\nname = \"small\"\n[[entity]]\nname = \"Method\"\n[[entity]]\nname = \"Task\"\n";
const GOLD: &str = concat!(
    r#"{"doc_key":"a","text":"We use a parser .","entities":[{"start":9,"end":15,"type":"Method"}]}"#,
    "\n",
    r#"{"doc_key":"b","text":"The tagger helps .","entities":[{"start":4,"end":10,"type":"Method"}]}"#,
    "\n",
);
const FILES: [&str; 4] = ["--ontology", "ontology.toml", "--gold", "gold.jsonl"];

fn place() -> Place {
    let place = Place::new();
    place.write("ontology.toml", ONTOLOGY);
    place.write("gold.jsonl", GOLD);
    place
}

/// Writes raw answers, one for each document that has one.
fn answers(place: &Place, name: &str, answers: &[(&str, &str)]) {
    let line = |(key, output): &(&str, &str)| {
        format!("{}\n", serde_json::json!({"doc_key": key, "sent": null, "output": output}))
    };
    place.write(name, &answers.iter().map(line).collect::<String>());
}

const PARSER: &str = r#"{"entities":[{"id":"e1","text":"parser","type":"Method"}]}"#;
const TAGGER: &str = r#"{"entities":[{"id":"e1","text":"tagger","type":"Method"}]}"#;
const NOTHING: &str = r#"{"entities":[]}"#;

fn convert(output: &str) -> Vec<&str> {
    vec!["corpus", "convert", "--ontology", "ontology.toml", "--to", "jsonl", "gold.jsonl", output]
}

fn scored<'a>(command: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    [command].into_iter().chain(FILES).chain(rest.iter().copied()).collect()
}

fn obeyed(text: &str) -> Option<char> {
    text.chars().find(|&c| c != '\n' && c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c))
}

#[test]
fn standard_output_takes_a_file_and_nothing_else() {
    let place = place();
    answers(&place, "pred.jsonl", &[("a", PARSER), ("b", NOTHING)]);
    let (stdout, stderr) = place.run(&convert("-"), 0);
    assert_eq!(stdout.lines().count(), 2);
    assert!(stdout.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{stdout}");
    assert!(stderr.contains("2 documents"), "{stderr}");
    for rest in [&["--pred", "pred.jsonl", "--out", "-"][..], &["--pred", "pred.jsonl", "--out", "-", "--json"]] {
        let (stdout, stderr) = place.run(&scored("errors", rest), 0);
        let modes: Value = serde_json::from_str(&stdout).expect("standard output is the file");
        assert_eq!(modes["version"], 1);
        assert!(stderr.contains("missing-entity"), "{stderr}");
    }
    place.run(&scored("errors", &["--pred", "pred.jsonl", "--out", "modes.json"]), 0);
    let pairs = ["pairs", "build", "--ontology", "ontology.toml", "--data", "gold.jsonl", "--errors", "modes.json"];
    let pairs = [&pairs[..], &["--per-example", "1", "--seed", "1", "--out", "-", "--level", "document"]].concat();
    let (stdout, stderr) = place.run(&pairs, 0);
    assert!(stdout.lines().count() == 2 && stdout.lines().all(|line| line.starts_with('{')), "{stdout}");
    assert!(stderr.contains("drop-entity"), "{stderr}");
    assert_eq!(place.names(), ["gold.jsonl", "modes.json", "ontology.toml", "pred.jsonl"]);
}

#[test]
fn folders_and_files_are_not_taken_for_each_other() {
    let place = place();
    fs::create_dir(place.path("folder")).expect("a new folder");
    let (_, stderr) = place.run(&convert("folder"), 2);
    assert!(stderr.contains("folder, not a file") && stderr.contains("hint:"), "{stderr}");
    let (_, stderr) = place.run(&convert("new/"), 2);
    assert!(stderr.contains("folder"), "{stderr}");
    for output in ["gold.jsonl", "-"] {
        let brat = ["corpus", "convert", "--ontology", "ontology.toml", "--to", "brat", "gold.jsonl", output];
        let (_, stderr) = place.run(&brat, 2);
        assert!(stderr.contains("folder of files"), "{stderr}");
    }
    assert_eq!(fs::read_to_string(place.path("gold.jsonl")).expect("it stays"), GOLD);
    let (_, stderr) = place.run(&["corpus", "generate", "gold.jsonl"], 2);
    assert!(stderr.contains("folder of files"), "{stderr}");
}

#[test]
fn what_a_killed_command_left_is_collected_by_the_next() {
    let place = place();
    place.write(".tmp-tabpo.out.jsonl", "{\"doc_key\":\"half");
    place.write(".tmp-mine", "of the user");
    place.run(&convert("out.jsonl"), 0);
    assert_eq!(place.names(), [".tmp-mine", "gold.jsonl", "ontology.toml", "out.jsonl"]);
    assert_eq!(fs::read_to_string(place.path("out.jsonl")).expect("whole").lines().count(), 2);
}

#[test]
fn a_file_that_another_process_writes_is_refused() {
    let place = place();
    let other = tabpo_files::Replacement::create(&place.path("out.jsonl")).expect("no one else writes it");
    let (_, stderr) = place.run(&convert("out.jsonl"), 2);
    assert!(stderr.contains("out.jsonl") && stderr.contains("another process"), "{stderr}");
    assert!(!place.path("out.jsonl").exists());
    drop(other);
    place.run(&convert("out.jsonl"), 0);
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{FileTypeExt, symlink};

    use super::*;

    #[test]
    fn links_pipes_and_devices_stay_what_they_are() {
        let place = place();
        place.write("data/real.jsonl", "old");
        symlink("data/real.jsonl", place.path("link.jsonl")).expect("a link");
        symlink("/dev/null", place.path("nowhere")).expect("a link");
        for name in ["link.jsonl", "nowhere", "/dev/null"] {
            place.run(&convert(name), 0);
        }
        assert!(fs::symlink_metadata(place.path("link.jsonl")).expect("it is there").is_symlink());
        assert_eq!(fs::read_to_string(place.path("data/real.jsonl")).expect("the target").lines().count(), 2);
        assert!(fs::metadata("/dev/null").expect("it is there").file_type().is_char_device());
        let pipe = place.path("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read_to_string(pipe).expect("what was written")
        });
        place.run(&convert("pipe"), 0);
        assert_eq!(reader.join().expect("the reader ends").lines().count(), 2);
        assert!(fs::metadata(&pipe).expect("it is there").file_type().is_fifo());
        assert_eq!(place.names(), ["data", "gold.jsonl", "link.jsonl", "nowhere", "ontology.toml", "pipe"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_device_without_room_is_an_error() {
        let (_, stderr) = place().run(&convert("/dev/full"), 2);
        assert!(stderr.contains("/dev/full"), "{stderr}");
    }
}

#[test]
fn no_control_character_reaches_the_terminal() {
    let place = place();
    let hostile = "d\\u001b]0;owned\\u0007\\u009b\\u202e\\r";
    place.write("trap.jsonl", &GOLD.replace("\"a\"", &format!("\"{hostile}\"")));
    answers(&place, "pred.jsonl", &[("b", TAGGER)]);
    let gold = ["--ontology", "ontology.toml", "--gold", "trap.jsonl"];
    let name = "s\u{1b}[2J\u{202e}=pred.jsonl";
    let commands: [&[&str]; 6] = [
        &["errors", "--pred", "pred.jsonl"],
        &["errors", "--pred", "pred.jsonl", "--json"],
        &["compare", "--pred", name, "--resamples", "10"],
        &["compare", "--pred", name, "--resamples", "10", "--format", "csv"],
        &["compare", "--pred", name, "--resamples", "10", "--format", "latex"],
        &["compare", "--pred", name, "--resamples", "10", "--json"],
    ];
    for command in commands {
        let arguments = [&command[..1], &gold, &command[1..]].concat();
        let (stdout, stderr) = place.run(&arguments, 0);
        assert_eq!(obeyed(&format!("{stdout}{stderr}")), None, "{command:?}: {stdout}{stderr}");
        assert!(stderr.contains("d\\u{1b}]0;owned\\u{7}\\u{9b}\\u{202e}\\u{d}"), "{stderr}");
    }
    place.write("trap.toml", &ONTOLOGY.replace("\"Method\"", "\"Model\"\ndescription = \"a\\u001b[31m\\u202eb\""));
    for (arguments, code) in [
        (&["ontology", "show", "trap.toml"][..], 0),
        (&["ontology", "show", "trap.toml", "--json"], 0),
        (&["ontology", "schema", "trap.toml"], 0),
        (&["corpus", "stats", "--ontology", "trap.toml", "gold.jsonl"], 2),
        (&["run", "a\u{1b}[2J.toml"], 2),
        (&["run", "--a\u{1b}[2J", "x.toml"], 2),
        (&["eval", "--profile", "\u{9b}2J"], 2),
    ] {
        let (stdout, stderr) = place.run(arguments, code);
        assert_eq!(obeyed(&format!("{stdout}{stderr}")), None, "{arguments:?}: {stdout}{stderr}");
    }
}

#[test]
fn a_new_line_in_a_name_fakes_no_message() {
    let place = place();
    let (_, stderr) = place.run(&["run", "a\nerror: all is lost\nhint: rm"], 2);
    assert_eq!(stderr.lines().filter(|line| line.starts_with("error:")).count(), 1, "{stderr}");
    assert!(!stderr.lines().any(|line| line.starts_with("hint: rm")), "{stderr}");
}

#[test]
fn missing_predictions_are_told_by_every_command() {
    let place = place();
    answers(&place, "pred.jsonl", &[("a", PARSER)]);
    let told = "1 of 2 documents have no prediction and count as empty: b";
    for arguments in [
        scored("eval", &["--pred", "pred.jsonl"]),
        scored("compare", &["--pred", "x=pred.jsonl"]),
        scored("errors", &["--pred", "pred.jsonl", "--out", "modes.json"]),
        scored("errors", &["--pred", "pred.jsonl", "--json", "--quiet"]),
    ] {
        let (_, stderr) = place.run(&arguments, 0);
        assert!(stderr.contains(&format!("warning: pred.jsonl: {told}")), "{arguments:?}: {stderr}");
    }
    let pairs = ["pairs", "build", "--ontology", "ontology.toml", "--data", "gold.jsonl", "--errors", "modes.json"];
    let own = ["--per-example", "1", "--seed", "1", "--out", "pairs.jsonl", "--level", "document"];
    let (_, stderr) = place.run(&[&pairs[..], &own, &["--on-policy", "pred.jsonl"]].concat(), 0);
    assert!(stderr.contains(&format!("warning: modes.json: {told}")), "{stderr}");
    assert!(stderr.contains("warning: pred.jsonl: 1 of 2 examples have no answer"), "{stderr}");
}

#[test]
fn a_rate_over_nothing_is_a_dash() {
    let place = place();
    answers(&place, "silent.jsonl", &[("a", NOTHING), ("b", NOTHING)]);
    answers(&place, "speaking.jsonl", &[("a", PARSER), ("b", PARSER)]);
    let silent = ["--pred", "silent.jsonl", "--resamples", "20"];
    let (table, _) = place.run(&scored("eval", &silent), 0);
    let row = |name: &str| table.lines().find(|line| line.starts_with(name)).expect("the row").to_owned();
    assert!(row("Ungrounded").contains('–') && !row("Ungrounded").contains("0.0"), "{table}");
    assert!(row("NER F1").contains('–') && row("NER F1").contains("0.0"), "{table}");
    let (text, _) = place.run(&scored("eval", &[&silent[..], &["--json"]].concat()), 0);
    let value: Value = serde_json::from_str(&text).expect("JSON");
    assert!(value["raw"]["grounding"]["hallucination_not_token_aligned"].is_null(), "{text}");
    assert!(value["set"]["ner"]["micro"]["p"].is_null() && value["set"]["ner"]["micro"]["f1"] == 0.0);
    let both = ["--pred", "silent=silent.jsonl", "speaking=speaking.jsonl", "--resamples", "20", "--format"];
    for format in ["table", "markdown", "latex", "csv"] {
        let (table, _) = place.run(&scored("compare", &[&both[..], &[format]].concat()), 0);
        let ungrounded = table.lines().filter(|line| line.contains("Ungrounded")).nth(1).expect("the difference");
        assert!(ungrounded.matches('–').count() >= 5, "{ungrounded}");
        assert!(!table.contains("NaN"), "{table}");
    }
    place.write("empty.toml", ONTOLOGY);
    place.write("bare.jsonl", "{\"doc_key\":\"a\",\"text\":\"Nothing here .\",\"entities\":[]}\n");
    let (table, _) = place.run(&["corpus", "stats", "--ontology", "empty.toml", "bare.jsonl"], 0);
    assert!(table.lines().any(|line| line.starts_with("tokens per mention") && line.contains('–')), "{table}");
}

#[test]
fn one_document_and_no_resamples_have_no_intervals() {
    let place = place();
    place.write("one.jsonl", GOLD.lines().next().expect("a line"));
    answers(&place, "pred.jsonl", &[("a", PARSER)]);
    answers(&place, "other.jsonl", &[("a", NOTHING)]);
    let one = ["--ontology", "ontology.toml", "--gold", "one.jsonl", "--pred"];
    let several = ["--ontology", "ontology.toml", "--gold", "gold.jsonl", "--resamples", "0", "--pred"];
    for (files, reason) in [(&one[..], "one document"), (&several[..], "no resamples")] {
        let (table, stderr) = place.run(&[&["eval"], files, &["pred.jsonl"]].concat(), 0);
        assert!(stderr.contains("warning: no intervals") && stderr.contains(reason), "{stderr}");
        assert!(table.lines().nth(2).expect("the first row").ends_with('–'), "{table}");
        let (text, _) = place.run(&[&["eval", "--json"], files, &["pred.jsonl"]].concat(), 0);
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert!(value["intervals"][0]["low"].is_null() && value["intervals"][0]["value"].is_number(), "{text}");
        let systems = ["a=pred.jsonl", "b=other.jsonl"];
        let (table, _) = place.run(&[&["compare"], files, &systems].concat(), 0);
        assert!(table.contains("[–]") && !table.contains("NaN"), "{table}");
        let (text, _) = place.run(&[&["compare", "--json"], files, &systems].concat(), 0);
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert!(value["differences"][0]["differences"][0]["p_holm"].is_null(), "{text}");
    }
}

#[test]
fn the_same_predictions_are_one_seed() {
    let place = place();
    answers(&place, "one.jsonl", &[("a", PARSER), ("b", NOTHING)]);
    answers(&place, "copy.jsonl", &[("a", PARSER), ("b", NOTHING)]);
    answers(&place, "other.jsonl", &[("a", PARSER), ("b", TAGGER)]);
    for second in ["s=one.jsonl", "s=./one.jsonl"] {
        let (_, stderr) = place.run(&scored("compare", &["--pred", "s=one.jsonl", second]), 2);
        assert!(stderr.contains("one.jsonl") && stderr.contains("one file is one seed"), "{stderr}");
    }
    let copied = ["--resamples", "10", "--pred", "s=one.jsonl", "s=copy.jsonl"];
    let (table, stderr) = place.run(&scored("compare", &copied), 0);
    assert!(
        !table.contains("seeds") && stderr.contains("warning: copy.jsonl: the same predictions"),
        "{table}{stderr}"
    );
    let fine = ["--resamples", "10", "--pred", "s=one.jsonl", "s=other.jsonl", "t=copy.jsonl"];
    let (table, _) = place.run(&scored("compare", &fine), 0);
    assert!(table.contains("s (2 seeds)"), "{table}");
}
