//! From documents to a run: `tabpo init`, `check`, `config`, `inspect` and `try`.

mod support;

use std::{collections::BTreeSet, fs};

use serde_json::Value;
use support::Place;

/// Settings with which a model from scratch takes a moment.
const SMALL: [&str; 12] = [
    "--set",
    "model.hidden=32",
    "--set",
    "model.layers=1",
    "--set",
    "model.heads=2",
    "--set",
    "model.kv_heads=2",
    "--set",
    "warmup.copies=1",
    "--set",
    "sft.steps=2",
];

/// A place with documents of the built-in corpus in a single file.
fn with_documents(count: &str) -> Place {
    let place = Place::new();
    let sizes = ["--sft", count, "--gold", "0", "--validation", "0", "--test", "0"];
    place.run(&[&["corpus", "generate", "corpus"][..], &sizes].concat(), 0);
    fs::rename(place.path("corpus/sft.jsonl"), place.path("notes.jsonl")).expect("the documents are there");
    fs::remove_dir_all(place.path("corpus")).expect("nothing else is needed");
    place
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn what_init_writes_passes_check_and_runs_through_the_stages_that_check_lists() {
    let place = with_documents("240");
    let (said, _) = place.run(&["init", "notes.jsonl"], 0);
    assert!(
        said.contains("the documents are split into 36 for training, 4 for validation and 9 for the test"),
        "{said}"
    );
    assert_eq!(place.names(), ["data", "notes.jsonl", "ontology.toml", "tabpo.toml"]);
    place.run(&["ontology", "check", "ontology.toml"], 0);
    let more = ["pairs.sources=[\"modes\",\"on-policy\"]", "predict.threshold=tuned", "preference.train.steps=1"];
    let more: Vec<&str> = more.iter().flat_map(|replacement| ["--set", replacement]).collect();
    let arguments = |command| [&[command, "tabpo.toml"][..], &SMALL, &more].concat();
    let (checked, _) = place.run(&[&arguments("check")[..], &["--json", "--quick"]].concat(), 0);
    let checked = json(&checked);
    assert_eq!(checked["problems"], Value::Array(Vec::new()));
    assert!(checked["speed"].is_null());
    let counts: Vec<u64> = checked["splits"]
        .as_array()
        .expect("splits")
        .iter()
        .map(|row| row["documents"].as_u64().expect("a count"))
        .collect();
    assert_eq!(counts, [36, 36, 4, 9]);
    assert!(!place.path("runs").exists(), "a check makes no run directory");

    let (_, told) = place.run(
        &[
            &arguments("run")[..],
            &["--set", "evaluate.resamples=20"],
            &["--set", "predict.max_new_tokens=8"],
            &["--set", "warmup.train.steps=1"],
        ]
        .concat(),
        0,
    );
    let stages = json(&fs::read_to_string(place.path("runs/notes/stages.json")).expect("the record of stages"));
    let done: BTreeSet<String> = stages.as_object().expect("stages").keys().map(|name| without_rate(name)).collect();
    let planned: Vec<&str> = checked["stages"]
        .as_array()
        .expect("stages")
        .iter()
        .map(|stage| stage["name"].as_str().expect("a name"))
        .collect();
    assert_eq!(planned.iter().map(|name| without_rate(name)).collect::<BTreeSet<_>>(), done);
    assert_eq!(planned.len(), stages.as_object().expect("stages").len());
    // Every stage is told with its place in the plan, in order.
    let places: Vec<&str> =
        told.lines().filter_map(|line| line.strip_prefix('[')?.split_once("] ").map(|(place, _)| place)).collect();
    // A rate that was tried and is chosen comes again.
    let mut firsts: Vec<&str> = Vec::new();
    for place in places {
        if !firsts.contains(&place) {
            firsts.push(place);
        }
    }
    let expected: Vec<String> = (1..=planned.len()).map(|number| format!("{number}/{}", planned.len())).collect();
    assert_eq!(firsts, expected, "{told}");
    let units: Vec<u64> = checked["splits"]
        .as_array()
        .expect("splits")
        .iter()
        .map(|row| row["units"].as_u64().expect("a count"))
        .collect();
    let counted = format!("prompts: train {0}, curated {0}, validation {1}, test {2}", units[0], units[2], units[3]);
    assert!(told.contains(&counted), "{told}");
    assert!(told.contains("sft: on validation, NER F1 0.0"), "{told}");
    assert!(told.contains("warning: sft: no answer is valid"), "two steps teach nothing: {told}");
}

/// A stage's name without the learning rate where that is known only once one of those that were tried is chosen.
fn without_rate(name: &str) -> String {
    let chosen = name.contains("/test") || name.contains("/thresholds/");
    let parts = name.split('/').map(|part| if part.starts_with("lr-") && chosen { "lr" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

#[test]
fn check_measures_this_machine() {
    let place = with_documents("240");
    place.run(&["init", "notes.jsonl"], 0);
    let (checked, _) = place.run(&[&["check", "tabpo.toml", "--json"][..], &SMALL].concat(), 0);
    let checked = json(&checked);
    for key in ["trained", "read", "written"] {
        assert!(checked["speed"][key].as_f64().expect("a speed") > 0.0, "{checked}");
    }
    let training = |stage: &&Value| stage["work"]["train"].is_object();
    let stages = checked["stages"].as_array().expect("stages");
    assert!(stages.iter().filter(training).all(|stage| stage["seconds"].as_f64().expect("seconds") > 0.0), "{checked}");
    // The example: what is not scaffolding is what the answer decides.
    let answer = checked["example"]["answer"].as_array().expect("tokens");
    let of = |role: &str| -> String {
        answer.iter().filter(|piece| piece["role"] == role).map(|piece| piece["text"].as_str().expect("text")).collect()
    };
    let whole: String = answer.iter().map(|piece| piece["text"].as_str().expect("text")).collect();
    assert!(whole.starts_with("{\"entities\":["), "{whole}");
    assert!(!of("span").is_empty() && !of("entity-label").is_empty() && of("span").len() < whole.len() / 2);
}

#[test]
fn what_makes_results_worse_is_a_problem() {
    let place = with_documents("120");
    place.run(&["init", "notes.jsonl"], 0);
    let checked = |more: &[&str], code| {
        let (stdout, stderr) = place.run(&[&["check", "tabpo.toml", "--quick"][..], &SMALL, more].concat(), code);
        format!("{stdout}{stderr}")
    };
    let text = checked(&["--set", "data.test=train.jsonl"], 1);
    assert!(
        text.contains("problem: 88 of 88 test sentences are word for word in the training documents too"),
        "{text}"
    );
    assert!(text.contains("error: 1 problem was found"), "{text}");
    let text = checked(&["--set", "sft.max_length=60"], 1);
    assert!(
        text.contains("problem: train: ")
            && text.contains("longer than 60 tokens (sft.max_length) and are not trained on"),
        "{text}"
    );
    let text = checked(&["--set", "predict.max_new_tokens=20"], 1);
    assert!(text.contains("gold answers are longer than 20 tokens (predict.max_new_tokens)"), "{text}");
    // A label that only the test documents have.
    let test = fs::read_to_string(place.path("data/test.jsonl")).expect("documents");
    place.write("data/test.jsonl", &test.replacen("\"type\":\"Task\"", "\"type\":\"New\"", 1));
    let ontology = fs::read_to_string(place.path("ontology.toml")).expect("the ontology");
    place.write(
        "ontology.toml",
        &format!("{ontology}\n[[entity]]\nname = \"New\"\n[[entity]]\nname = \"Unused\"\n").replacen(
            "[[entity]]",
            "[[entity]]",
            1,
        ),
    );
    let text = checked(&["--set", "predict.max_new_tokens=512"], 1);
    assert!(text.contains("problem: no training document has these labels, but validation or test do: New"), "{text}");
    assert!(text.contains("note: no document has these labels of the ontology: Unused"), "{text}");
}

#[test]
fn nothing_is_overwritten() {
    let place = with_documents("30");
    place.write("tabpo.toml", "mine");
    let refused = place.transcript(&["init", "notes.jsonl"]);
    assert_eq!(place.names(), ["notes.jsonl", "tabpo.toml"], "nothing is left behind");
    assert_eq!(fs::read_to_string(place.path("tabpo.toml")).expect("my file"), "mine");
    let elsewhere = place.transcript(&["init", "notes.jsonl", "--out", "project"]);
    assert_transcripts!("init", [refused, elsewhere, place.transcript(&["init", "--out", "first", "--json"])]);
    place.run(&["check", "first/tabpo.toml", "--quick", "--json"], 0);
}

#[test]
fn splits_labels_and_signatures_are_found() {
    let place = Place::new();
    for (split, note) in [("train", "Aspirin caused a nosebleed"), ("test", "Zonisamide caused a rash")] {
        let drug = note.split(' ').next().expect("a word");
        let (start, end) = (note.find(" a ").expect("an article") + 3, note.len());
        let effect = note[start..end].trim();
        for number in 0..6 {
            place.write(&format!("brat/{split}/{number}.txt"), &format!("{note} in case {number}."));
            let annotation = format!(
                "T1\tDrug 0 {}\t{drug}\nT2\tEffect {start} {}\t{effect}\nR1\tCauses Arg1:T1 Arg2:T2\n",
                drug.len(),
                start + effect.len()
            );
            place.write(&format!("brat/{split}/{number}.ann"), &annotation);
        }
    }
    let transcript = place.transcript(&["init", "brat"]);
    let files = ["ontology.toml", "tabpo.toml"].map(|name| fs::read_to_string(place.path(name)).expect("a file"));
    let [ontology, config] = files;
    assert!(!ontology.contains("arguments"));
    assert_transcripts!("init_brat", [transcript, ontology, config]);
    place.run(&["check", "tabpo.toml", "--quick"], 0);
    // A pretrained model copies texts instead of counting entities.
    place.small_model("model");
    place.run(&["init", "brat", "--model", "model", "--out", "pretrained"], 0);
    let ontology = fs::read_to_string(place.path("pretrained/ontology.toml")).expect("a file");
    assert!(ontology.contains("\narguments = \"texts\"\n"), "{ontology}");
}

#[test]
fn the_commands_explain_themselves() {
    let place = Place::new();
    let helps = ["init", "check", "config", "inspect", "try"].map(|command| place.transcript(&[command, "--help"]));
    assert_transcripts!("start_help", helps);
}

#[test]
fn what_cannot_be_started_from_is_refused_with_a_remedy() {
    let place = Place::new();
    place.write("several/a-train.jsonl", "{}");
    place.write("several/b-train.jsonl", "{}");
    place.write("empty/notes.md", "");
    place.write("plain.jsonl", "{\"doc_key\": \"a\", \"text\": \"Aspirin.\"}\n");
    place.write("two.jsonl", "{\"doc_key\": \"a\", \"text\": \"Aspirin.\", \"entities\": [{\"start\": 0, \"end\": 7, \"type\": \"Drug\"}]}\n");
    let odd = ["Aspirin.", "Zonisamide.", "Ibuprofen."].map(|text| {
        format!("{{\"doc_key\": \"{text}\", \"text\": \"{text}\", \"entities\": [{{\"start\": 0, \"end\": 7, \"type\": \"a\\\"b\"}}]}}\n")
    });
    place.write("odd.jsonl", &odd.concat());
    let commands: [&[&str]; 11] = [
        &["init", "nowhere"],
        &["init", "empty"],
        &["init", "several"],
        &["init", "plain.jsonl"],
        &["init", "two.jsonl"],
        &["init", "odd.jsonl"],
        &["init", "--model", "HuggingFaceTB/SmolLM2-135M"],
        &["check", "nowhere.toml"],
        &["inspect", "HuggingFaceTB/SmolLM2-135M"],
        &["inspect", "empty", "--json"],
        &["inspect"],
    ];
    let transcripts = commands.map(|arguments| place.transcript(arguments));
    assert_transcripts!("start_refusals", transcripts);
    assert_eq!(place.names(), ["empty", "odd.jsonl", "plain.jsonl", "several", "two.jsonl"], "nothing is left behind");
}

#[test]
fn inspect_says_what_a_model_is() {
    let place = Place::new();
    place.small_model("model");
    place.write("ontology.toml", "[[entity]]\nname = \"Drug\"\n[[relation]]\nname = \"Causes\"\n");
    let (text, _) = place.run(&["inspect", "model"], 0);
    for line in [
        "supported      yes",
        "architecture   Qwen2ForCausalLM, layers 1, width 32, heads 2 over 2",
        "chat template  its own",
    ] {
        assert!(text.contains(line), "{text}");
    }
    let described = json(&place.run(&["inspect", "model", "--json", "--rank", "8"], 0).0);
    let config: Value = json(&fs::read_to_string(place.path("model/config.json")).expect("the configuration"));
    assert_eq!(described["supported"], true);
    assert_eq!(described["vocabulary"], config["vocab_size"]);
    assert_eq!(described["adapter_training"]["rank"], 8);
    assert!(described["full_training"]["least"].as_u64() <= described["full_training"]["most"].as_u64());
    // Another architecture is refused by name.
    let other = fs::read_to_string(place.path("model/config.json")).expect("the configuration");
    place.write(
        "model/config.json",
        &other.replace("Qwen2ForCausalLM", "Gemma3ForCausalLM").replace("\"qwen2\"", "\"gemma3\""),
    );
    let (verdict, stderr) = place.run(&["inspect", "model", "--json"], 2);
    assert_eq!(json(&verdict)["supported"], false);
    assert!(stderr.contains("Gemma3ForCausalLM"), "{stderr}");
}

#[test]
fn try_annotates_a_text_with_what_the_model_says() {
    let place = Place::new();
    place.small_model("model");
    place.write("ontology.toml", "[[entity]]\nname = \"Drug\"\n[[relation]]\nname = \"Causes\"\n");
    let text = "Aspirin caused a nosebleed. It stopped.";
    let arguments = ["try", "model", "--ontology", "ontology.toml", "--constrained", "--max-new-tokens", "60"];
    let (shown, _) = place.run(&[&arguments[..], &[text]].concat(), 0);
    assert!(shown.lines().next().expect("the text").contains("caused"), "{shown}");
    // The same from standard input, as a document that other commands read.
    let output = place.tabpo().args(arguments).args(["--json", "-"]).write_stdin(text).output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    place.write("tried.jsonl", &String::from_utf8_lossy(&output.stdout));
    let counted = json(&place.run(&["corpus", "stats", "tried.jsonl", "--ontology", "ontology.toml", "--json"], 0).0);
    assert_eq!(counted["sentences"], 2);
    let mentions = counted["mentions"].as_u64().expect("a count") as usize;
    let relations = counted["relations"].as_u64().expect("a count") as usize;
    assert_eq!(shown.matches(" | Drug]").count(), mentions + 2 * relations, "{shown}");
    let (_, refused) = place.run(&[&arguments[..], &["  "]].concat(), 2);
    assert!(refused.contains("the text is empty"), "{refused}");
}

#[test]
fn the_configuration_explains_itself() {
    let place = Place::new();
    let (reference, _) = place.run(&["config", "reference"], 0);
    assert!(reference.starts_with("# Configuration\n") && reference.contains("## [sft] (required)"), "{reference}");
    let schema = json(&place.run(&["config", "schema"], 0).0);
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    place.write("quickstart.toml", &support::example("quickstart.toml"));
    let (shown, _) = place.run(&["config", "show", "quickstart.toml", "--set", "sft.epochs=9"], 0);
    assert!(shown.contains("epochs = 9.0") && shown.contains("max_length = 2048"), "{shown}");
    // What is shown is a configuration.
    place.write("shown.toml", &shown);
    assert_eq!(place.run(&["config", "show", "shown.toml"], 0).0, shown);
}
