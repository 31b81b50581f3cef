//! A run that is killed anywhere and started again comes to the same numbers as one that was not.

mod support;

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use support::{Place, example};

/// The quick start with a budget of seconds, checkpoints at every other step.
const SMALL: [&str; 13] = [
    "data.synthetic.sft=48",
    "data.synthetic.curated=16",
    "data.synthetic.validation=8",
    "data.synthetic.test=8",
    "model.vocabulary=400",
    "model.hidden=32",
    "model.layers=1",
    "model.intermediate=64",
    "sft.epochs=4",
    "sft.checkpoint_every=2",
    "preference.train.steps=4",
    "preference.train.checkpoint_every=2",
    "predict.max_new_tokens=24",
];

fn arguments(directory: &Path, config: &Path) -> Vec<String> {
    let mut arguments = vec!["run".to_owned(), config.display().to_string()];
    let directory = format!("run.directory={}", directory.display());
    let rates = "preference.learning_rates=[3e-4]";
    for setting in SMALL.iter().copied().chain([directory.as_str(), "evaluate.resamples=50", rates]) {
        arguments.extend(["--set".to_owned(), setting.to_owned()]);
    }
    arguments
}

fn tabpo() -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("tabpo"));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// What a run came to, byte for byte.
fn results(directory: &Path) -> Vec<Vec<u8>> {
    let systems = directory.join("systems/tab-po/lr-3e-4/seed-1");
    let files = [
        directory.join("comparison.json"),
        directory.join("pairs/pairs.jsonl"),
        directory.join("sft/policy/model.safetensors"),
        systems.join("policy/model.safetensors"),
        systems.join("test.jsonl"),
    ];
    files.iter().map(|file| fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))).collect()
}

/// Whether the run has come as far as `place` (a file or folder of the run directory).
fn wait_for(place: &Path, run: &mut std::process::Child) {
    let limit = Instant::now() + Duration::from_secs(120);
    while !place.exists() && run.try_wait().expect("the child can be asked").is_none() {
        assert!(Instant::now() < limit, "{} did not appear", place.display());
        thread::sleep(Duration::from_millis(2));
    }
}

/// Every stage once, by what appears in the run directory while it works.
const MOMENTS: [&str; 11] = [
    "base",
    "sft",
    "sft/checkpoint",
    "errors",
    "pairs",
    "reference/log-probs.bin",
    "systems/continued-sft/lr-3e-4/seed-1",
    "systems/tab-po/lr-3e-4/seed-1/checkpoint",
    "systems/tab-po/lr-3e-4/seed-1/policy",
    "sft/test.jsonl",
    "comparison.json",
];

/// Stops a run at each of the moments, lets it finish, and compares it with one that was left alone.
fn stopping_changes_nothing(stop: impl Fn(&mut std::process::Child)) {
    let place = Place::new();
    let config = place.write("config.toml", &example("quickstart.toml"));
    let whole = place.path("whole");
    assert!(tabpo().args(arguments(&whole, &config)).status().expect("the program starts").success());

    let killed = place.path("stopped");
    for moment in MOMENTS {
        let mut run = tabpo().args(arguments(&killed, &config)).spawn().expect("the program starts");
        wait_for(&killed.join(moment), &mut run);
        stop(&mut run);
        run.wait().expect("the child ends");
    }
    assert!(tabpo().args(arguments(&killed, &config)).status().expect("the program starts").success());
    for (index, (killed, whole)) in results(&killed).iter().zip(results(&whole)).enumerate() {
        assert!(*killed == whole, "result {index} differs");
    }
}

#[test]
fn a_killed_run_comes_to_the_same_numbers() {
    stopping_changes_nothing(|run| {
        // It may have ended by itself in between.
        let _ = run.kill();
    });
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_comes_to_the_same_numbers() {
    stopping_changes_nothing(|run| {
        let interrupt = Command::new("kill").args(["-INT", &run.id().to_string()]).status();
        interrupt.expect("every Unix has kill");
    });
}

#[test]
fn a_finished_run_does_nothing_again() {
    let place = Place::new();
    let config = place.write("config.toml", &example("quickstart.toml"));
    let directory = place.path("run");
    assert!(tabpo().args(arguments(&directory, &config)).status().expect("the program starts").success());
    let model = directory.join("sft/policy/model.safetensors");
    let written = fs::metadata(&model).and_then(|data| data.modified()).expect("the model is there");
    let again =
        tabpo().args(arguments(&directory, &config)).stderr(Stdio::piped()).output().expect("the program starts");
    let talk = String::from_utf8_lossy(&again.stderr).into_owned();
    // What was read and how fine-tuning went is said every time.
    let always = ["prompts: ", "sft: on validation, ", "warning: sft: "];
    let about = |line: &str| always.iter().any(|start| line.starts_with(start));
    assert!(again.status.success() && talk.lines().all(|line| line.ends_with("up to date") || about(line)), "{talk}");
    assert_eq!(fs::metadata(&model).and_then(|data| data.modified()).expect("the model is there"), written);

    // A file that was changed by hand is made again.
    fs::write(directory.join("pairs/pairs.jsonl"), "").expect("the file can be written");
    let repaired =
        tabpo().args(arguments(&directory, &config)).stderr(Stdio::piped()).output().expect("the program starts");
    let talk = String::from_utf8_lossy(&repaired.stderr).into_owned();
    assert!(repaired.status.success() && talk.contains("pairs: ") && !talk.contains("pairs: up to date"), "{talk}");
}
