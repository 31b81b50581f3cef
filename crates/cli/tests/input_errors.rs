//! Wrong input: a clear message with place and nearest name, exit code 2, nothing left behind.

mod support;

use support::{Place, example};

/// One document of invented text: "New parsers help translation ."
const DOCUMENT: &str = r#"{"doc_key":"d1","sentences":[["New","parsers","help","translation","."]],"ner":[[[1,1,"Method"],[3,3,"Task"]]],"relations":[[[1,1,3,3,"USED-FOR"]]]}"#;

/// What `tabpo corpus stats` says of some data.
fn stats(data: &str) -> String {
    let place = Place::new();
    place.write("ontology.toml", &example("scierc/ontology.toml"));
    place.write("data.json", data);
    let transcript = place.transcript(&["corpus", "stats", "--ontology", "ontology.toml", "data.json"]);
    assert_eq!(place.names(), ["data.json", "ontology.toml"], "nothing is left behind");
    transcript
}

#[test]
fn a_missing_file_is_named() {
    let place = Place::new();
    let transcripts =
        [&["run", "nowhere.toml"][..], &["ontology", "check", "nowhere.toml"]].map(|command| place.transcript(command));
    assert!(place.names().is_empty());
    assert_transcripts!("missing_files", transcripts);
}

#[test]
fn a_fault_of_a_document_is_said_with_its_place() {
    let transcripts = [
        // A line that ends in the middle.
        stats(&format!("{DOCUMENT}\n{{\"doc_key\": \"d2\", \"sentences\": [[\n")),
        // A label that the ontology lacks.
        stats(&DOCUMENT.replace("\"Method\"", "\"Methd\"")),
        // An offset out of range.
        stats(&DOCUMENT.replace("[3,3,\"Task\"]", "[3,33,\"Task\"]")),
        // A relation to a span that is no entity.
        stats(&DOCUMENT.replace("[1,1,3,3,\"USED-FOR\"]", "[1,1,2,2,\"USED-FOR\"]")),
    ];
    assert_transcripts!("faults_of_documents", transcripts);
}

#[test]
fn labels_of_ones_own_need_an_ontology() {
    let place = Place::new();
    place.write("data.json", &DOCUMENT.replace("\"Method\"", "\"Drug\""));
    let commands = [&["corpus", "stats", "data.json"][..], &["corpus", "convert", "--to", "jsonl", "data.json", "out"]];
    let transcripts = commands.map(|command| place.transcript(command));
    assert_eq!(place.names(), ["data.json"]);
    assert_transcripts!("labels_without_ontology", transcripts);
}

#[test]
fn what_is_left_out_is_said_and_stops_whoever_wants_it() {
    let place = Place::new();
    place.write("ontology.toml", &example("scierc/ontology.toml"));
    place.write("data.json", &DOCUMENT.replace("[1,1,3,3,\"USED-FOR\"]", "[1,1,1,1,\"USED-FOR\"]"));
    place.write("pred.jsonl", "{\"doc_key\": \"d1\", \"sent\": 0, \"output\": \"\"}\n");
    let commands: [&[&str]; 3] = [
        &["corpus", "stats", "--ontology", "ontology.toml", "data.json"],
        &["eval", "--ontology", "ontology.toml", "--gold", "data.json", "--pred", "pred.jsonl", "--json"],
        &["errors", "--ontology", "ontology.toml", "--gold", "data.json", "--pred", "pred.jsonl", "--json"],
    ];
    for command in commands {
        let (_, stderr) = place.run(command, 0);
        assert!(stderr.contains("1 relations of a mention with itself left out"), "{stderr}");
    }
    let transcripts = commands.map(|command| place.transcript(&[command, &["--strict"]].concat()));
    assert_transcripts!("strict", transcripts);
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
    let transcript = place.transcript(&["run", "config.toml"]);
    assert_eq!(place.names(), ["config.toml", "empty.json", "ontology.toml", "train.json"]);
    assert_transcripts!("empty_split", [transcript]);
}
