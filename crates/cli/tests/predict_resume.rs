//! Prediction that is interrupted keeps every answer that is finished, and goes on to the same file.
#![cfg(unix)]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use support::Place;
use tabpo_engine::Model;
use tabpo_model::{ChatTemplate, GenerationTokens, ModelConfig, SaveOptions, StoredType, Tokenizer};

/// A random model, whose answers end only at the limit of tokens.
fn model(place: &Place) -> PathBuf {
    let folder = place.path("model");
    let tokenizer = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures/tokenizer");
    let tokenizer = Tokenizer::open(&tokenizer).expect("the tokenizer can be read");
    let model = Model::<f32>::initialise(ModelConfig::small(tokenizer.vocabulary_size(), 32, 1, 2), 3);
    let tokens = GenerationTokens { bos: None, stop: Vec::new(), pad: None };
    model.save(&folder, &SaveOptions::new(StoredType::F32), &tokens).expect("the model can be written");
    tokenizer.save(&folder).expect("the tokenizer can be written");
    place.write("model/chat_template.jinja", ChatTemplate::PLAIN);
    folder
}

/// The file of answers that are kept until all are there, if there is one.
fn kept(folder: &Path) -> Option<PathBuf> {
    let mut entries = fs::read_dir(folder).expect("the folder can be read").flatten().map(|entry| entry.path());
    entries.find(|path| path.extension().is_some_and(|extension| extension == "partial"))
}

#[test]
fn an_interrupted_prediction_keeps_its_answers_and_goes_on() {
    let place = Place::new();
    let model = model(&place);
    let corpus = place.path("corpus").display().to_string();
    place.run(&["corpus", "generate", &corpus, "--sft", "4", "--gold", "4", "--validation", "4", "--test", "120"], 0);
    let command = |out: &str| {
        fs::create_dir_all(place.path(out)).expect("the folder can be made");
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("tabpo"));
        command
            .args(["predict", "--max-new-tokens", "64", "--batch-size", "4", "--threads", "1", "--model"])
            .arg(&model);
        command.arg("--ontology").arg(place.path("corpus/ontology.toml"));
        command.arg("--data").arg(place.path("corpus/test.jsonl"));
        command.arg("--out").arg(place.path(out).join("answers.jsonl"));
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command
    };
    let whole = command("whole").output().expect("the program starts");
    assert!(whole.status.success(), "{}", String::from_utf8_lossy(&whole.stderr));

    let folder = place.path("stopped");
    let child = command("stopped").spawn().expect("the program starts");
    let limit = Instant::now() + Duration::from_secs(120);
    while kept(&folder).and_then(|path| fs::metadata(path).ok()).is_none_or(|file| file.len() == 0) {
        assert!(Instant::now() < limit, "no answer was kept");
        thread::sleep(Duration::from_millis(2));
    }
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupt.expect("every Unix has kill").success());
    let stopped = child.wait_with_output().expect("the child ends");
    let talk = String::from_utf8_lossy(&stopped.stderr);
    assert_eq!(stopped.status.code(), Some(130), "{talk}");
    assert!(talk.contains("units, which are saved") && talk.contains("run the same command again"), "{talk}");
    assert!(!folder.join("answers.jsonl").exists(), "half a file has the final name");
    let lines = fs::read_to_string(kept(&folder).expect("the answers are kept")).expect("it is text").lines().count();
    assert!((1..120).contains(&lines), "{lines} answers");

    let again = command("stopped").output().expect("the program starts");
    let talk = String::from_utf8_lossy(&again.stderr);
    assert!(again.status.success() && talk.contains(&format!("goes on after {lines} of 120 units")), "{talk}");
    let answers = |out: &str| fs::read(place.path(out).join("answers.jsonl")).expect("the file was written");
    assert!(answers("stopped") == answers("whole"), "the answers differ");
    assert!(kept(&folder).is_none(), "the partial file is left over");
}
