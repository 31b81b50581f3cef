//! `tabpo pairs` as a user meets it: on the built-in corpus, and with wrong input.

mod support;

use std::{collections::BTreeMap, fs};

use serde_json::Value;
use support::{Place, example};

const BUILD: [&str; 13] = [
    "pairs",
    "build",
    "--ontology",
    "corpus/ontology.toml",
    "--data",
    "corpus/gold.jsonl",
    "--errors",
    "errors.json",
    "--per-example",
    "3",
    "--seed",
    "7",
    "--out",
];

/// A directory with the built-in corpus and the error modes of its biased annotator: the gold and
/// biased labels of the same sentences differ only in the labels.
fn place() -> Place {
    let place = Place::new();
    let sizes = ["--sft", "1", "--gold", "60", "--validation", "60", "--test", "1"];
    place.run(&[&["corpus", "generate", "corpus"], &sizes[..]].concat(), 0);
    let gold = fs::read_to_string(place.path("corpus/validation.jsonl")).expect("the corpus was written");
    // Predictions in which every Task is a Method, every Compare a Conjunction, and nothing else is wrong.
    let mut predictions = String::new();
    for line in gold.lines() {
        let mut document: Value = serde_json::from_str(line).expect("a line is JSON");
        let list = |document: &Value, key: &str| document[key].clone();
        let (ner, relations) = (list(&document, "ner"), list(&document, "relations"));
        let exchange = |value: Value, from: &str, to: &str| -> Value {
            let text = value.to_string().replace(&format!("\"{from}\""), &format!("\"{to}\""));
            serde_json::from_str(&text).expect("still JSON")
        };
        document["predicted_ner"] = exchange(ner, "Task", "Method");
        document["predicted_relations"] = exchange(relations, "COMPARE", "CONJUNCTION");
        predictions.push_str(&document.to_string());
        predictions.push('\n');
    }
    place.write("predictions.jsonl", &predictions);
    let errors = ["errors", "--ontology", "corpus/ontology.toml", "--gold", "corpus/validation.jsonl"];
    place.run(&[&errors[..], &["--pred", "predictions.jsonl", "--out", "errors.json"]].concat(), 0);
    place
}

fn lines(place: &Place, name: &str) -> Vec<Value> {
    let text = fs::read_to_string(place.path(name)).expect("the file was written");
    text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

#[test]
fn modes_and_patterns_are_used_and_nothing_else() {
    let place = place();
    let (_, talk) = place.run(&[&BUILD[..], &["modes.jsonl"]].concat(), 0);
    assert!(talk.contains("pairs in"), "{talk}");
    let modes = lines(&place, "modes.jsonl");
    let mut examples: BTreeMap<String, usize> = BTreeMap::new();
    for pair in &modes {
        *examples.entry(format!("{} {}", pair["doc_key"], pair["sent"])).or_default() += 1;
        let edit = &pair["edit"];
        assert_eq!((edit["source"].as_str(), edit["pattern"].is_null()), (Some("mode"), true));
        match edit["kind"].as_str().expect("a kind") {
            "label" => assert_eq!((edit["from"].as_str(), edit["to"].as_str()), (Some("Task"), Some("Method"))),
            "relation-label" => assert_eq!(edit["to"], "Conjunction"),
            "add-entity" => assert_eq!(edit["to"], "Method"),
            other => panic!("{other} was never seen: {pair}"),
        }
    }
    assert!(examples.len() == 60 && examples.values().all(|&count| count == 3), "{examples:?}");

    place.write("patterns.toml", &example("scierc/patterns.toml"));
    place.run(&[&BUILD[..], &["both.jsonl", "--patterns", "patterns.toml", "--threads", "1"]].concat(), 0);
    place.run(&[&BUILD[..], &["again.jsonl", "--patterns", "patterns.toml", "--threads", "2"]].concat(), 0);
    let both = fs::read(place.path("both.jsonl")).expect("the file was written");
    assert_eq!(both, fs::read(place.path("again.jsonl")).expect("the file was written"));
    let sources: Vec<Value> = lines(&place, "both.jsonl").iter().map(|pair| pair["edit"]["source"].clone()).collect();
    assert!(sources.contains(&"pattern".into()) && sources.contains(&"mode".into()));

    let (stats, _) = place.run(&["pairs", "stats", "both.jsonl", "--errors", "errors.json", "--json"], 0);
    let stats: Value = serde_json::from_str(&stats).expect("JSON");
    assert_eq!(stats["pairs"], 180);
    let (table, _) = place.run(&["pairs", "stats", "both.jsonl", "--errors", "errors.json"], 0);
    assert!(table.contains("180 pairs of 60 examples") && table.contains("Task"), "{table}");
    let (chat, _) = place.run(&["pairs", "export", "both.jsonl", "--format", "trl-chat"], 0);
    assert_eq!(chat.lines().count(), 180);
    let first: Value = serde_json::from_str(chat.lines().next().expect("a line")).expect("JSON");
    assert_eq!(first["chosen"][0]["role"], "assistant");
}

#[test]
fn own_answers_become_single_edits() {
    let place = place();
    let answers: String = lines(&place, "corpus/gold.jsonl")
        .iter()
        .map(|document| {
            let output = r#"{"entities":[{"id":"e1","text":"of","type":"Metric"}],"relations":[]}"#;
            serde_json::json!({"doc_key": document["doc_key"], "sent": 0, "output": output}).to_string() + "\n"
        })
        .collect();
    place.write("answers.jsonl", &answers);
    let own = ["own.jsonl", "--on-policy", "answers.jsonl", "--sources", "on-policy"];
    place.run(&[&BUILD[..], &own].concat(), 0);
    let pairs = lines(&place, "own.jsonl");
    assert!(!pairs.is_empty());
    assert!(pairs.iter().all(|pair| pair["edit"]["source"] == "on-policy"));
}

#[test]
fn wrong_input_is_named_and_leaves_nothing_behind() {
    let place = place();
    let before = place.names();
    let fails = |arguments: &[&str], parts: &[&str]| {
        let (_, talk) = place.run(arguments, 2);
        for part in parts {
            assert!(talk.contains(part), "{arguments:?}: {talk}");
        }
        assert_eq!(place.names(), before, "{arguments:?}");
    };
    let with = |index: usize, value: &'static str| {
        let mut arguments = BUILD.to_vec();
        arguments[index] = value;
        arguments.push("out.jsonl");
        arguments
    };
    place.write("corpus/broken.json", "{\"version\": 1,");
    place.write("corpus/empty.jsonl", "");
    fails(&with(9, "0"), &["--per-example", "0"]);
    fails(&with(7, "corpus/broken.json"), &["broken.json", "not a file of error modes", "tabpo errors"]);
    fails(&with(7, "nowhere.json"), &["nowhere.json"]);
    fails(&with(5, "corpus/empty.jsonl"), &["empty.jsonl"]);
    fails(&[&BUILD[..], &["errors.json/out.jsonl"]].concat(), &["cannot write errors.json/out.jsonl"]);
    fails(&["pairs", "stats", "corpus/empty.jsonl"], &["corpus/empty.jsonl holds no pairs"]);
    fails(&[&BUILD[..], &["corpus"]].concat(), &["cannot write corpus"]);
    fails(&[&BUILD[..], &["out.jsonl", "--sources", "paterns"]].concat(), &["did you mean `pattern`?"]);
    fails(&[&BUILD[..], &["out.jsonl", "--mix", "lable=1"]].concat(), &["did you mean `label`?"]);
    fails(&[&BUILD[..], &["out.jsonl", "--sources", "on-policy"]].concat(), &["--on-policy"]);

    let ontology = fs::read_to_string(place.path("corpus/ontology.toml")).expect("the ontology was written");
    place.write("corpus/other.toml", &ontology.replace("\"Method\"", "\"Methode\""));
    place.write("corpus/other.jsonl", r#"{"doc_key":"d","sentences":[["a"]],"ner":[[]],"relations":[[]]}"#);
    let mut other = with(3, "corpus/other.toml");
    other[5] = "corpus/other.jsonl";
    fails(&other, &["errors.json does not fit the ontology", "`Method`", "did you mean `Methode`?"]);
}

#[test]
fn faults_of_pattern_files_have_their_line() {
    let place = place();
    let check = |text: &str| {
        place.write("p.toml", text);
        place.run(&["pairs", "patterns", "check", "p.toml", "--ontology", "corpus/ontology.toml"], 2).1
    };
    let talk = check("[[pattern]]\nid = \"a\"\nkind = \"label\"\nfrom = [\"Metod\"]\n");
    assert!(talk.contains("p.toml:4: unknown entity label `Metod`; did you mean `Method`?"), "{talk}");
    let talk = check("[[pattern]]\nid = \"a\"\nkind = \"direction\"\nwhen = { cues = [\"of\"] }\n");
    assert!(talk.contains("p.toml:4: unknown key `cues`; did you mean `cue`?"), "{talk}");
    let (help, _) = place.run(&["pairs", "patterns", "check", "--help"], 0);
    for key in ["determiner_before", "neighbour", "mentions_between", "edge-word", "same_label"] {
        assert!(help.contains(key), "{key} is not documented");
    }

    place.write("p.toml", "[[pattern]]\nid = \"swap\"\nkind = \"direction\"\nfrom = [\"Used-for\"]\n");
    let files = ["p.toml", "--ontology", "corpus/ontology.toml", "--data", "corpus/gold.jsonl"];
    let (table, _) = place.run(&[&["pairs", "patterns", "match"], &files[..]].concat(), 0);
    assert!(table.contains("swap") && table.contains("Used-for > Used-for"), "{table}");
}

#[test]
fn own_answers_are_judged_as_an_evaluation_judges_them() {
    let place = place();
    let first = &lines(&place, "corpus/gold.jsonl")[0];
    let line = |sent: &str| format!("{{\"doc_key\":{},\"sent\":{sent},\"output\":\"{{}}\"}}\n", first["doc_key"]);
    let run = |text: &str, code: i32| {
        place.write("own.jsonl", text);
        let own = ["out.jsonl", "--on-policy", "own.jsonl", "--sources", "on-policy"];
        place.run(&[&BUILD[..], &own].concat(), code).1
    };
    for (text, found) in [
        (String::new(), "own.jsonl:1: the file holds no prediction"),
        (line("0") + &line("0"), "own.jsonl:2: sentence 0 was already predicted in line 1"),
        (line("9"), "own.jsonl:1: `sent` is 9"),
        (line("\"0\""), "expected a whole number of 0 or more"),
        (
            "{\"doc_key\":\"nowhere\",\"sent\":0,\"output\":\"\"}\n".to_owned(),
            "the gold corpus has no document `nowhere`",
        ),
    ] {
        let talk = run(&text, 2);
        assert!(talk.contains(found), "{text}: {talk}");
    }
    let talk = run(&format!("\u{feff}{}", line("0")), 0);
    assert!(talk.contains("59 of 60 examples have no answer"), "{talk}");
    // Predictions by offset: a mention with another label is one edit.
    let mut offsets = first.clone();
    let (ner, relations) = (first["ner"].clone(), first["relations"].clone());
    let other = ner.to_string().replace("\"Task\"", "\"Metric\"").replace("\"Method\"", "\"Task\"");
    offsets["predicted_ner"] = serde_json::from_str(&other).expect("still JSON");
    offsets["predicted_relations"] = relations;
    run(&format!("{offsets}\n"), 0);
    assert!(lines(&place, "out.jsonl").iter().all(|pair| pair["edit"]["source"] == "on-policy"));
}
