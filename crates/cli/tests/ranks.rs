//! Runs on two processes.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use support::{Place, tiny_run};
use tabpo_engine::{HostWorker, Model, Policy};

/// The configuration: enough steps that a run can be met in the middle of them.
fn configuration(place: &Place) -> PathBuf {
    let text = tiny_run(60, 6).replace("steps = 60", "steps = 60, checkpoint_every = 2, max_tokens = 400");
    place.write("config.toml", &text)
}

/// Starts a rank of a run.
fn start(place: &Place, config: &Path, directory: &str, rank: usize, ranks: usize) -> Child {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("tabpo"));
    command.arg("run").arg(config).args(["--threads", "1", "--set"]);
    command.arg(format!("run.directory={}", place.path(directory).display()));
    if ranks > 1 {
        command.env("TABPO_RANK", rank.to_string()).env("TABPO_RANKS", ranks.to_string());
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts")
}

fn both(place: &Place, config: &Path, directory: &str) -> [Output; 2] {
    // The other way around than they are numbered.
    let [one, zero] = [1, 0].map(|rank| start(place, config, directory, rank, 2));
    [zero, one].map(|child| child.wait_with_output().expect("it ends"))
}

fn alone(place: &Place, config: &Path, directory: &str) -> Output {
    start(place, config, directory, 0, 1).wait_with_output().expect("it ends")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn wait_for(file: &Path, run: &mut Child) {
    let limit = Instant::now() + Duration::from_secs(120);
    while !file.exists() && run.try_wait().expect("the child can be asked").is_none() {
        assert!(Instant::now() < limit, "{} did not appear", file.display());
        thread::sleep(Duration::from_millis(2));
    }
}

const POLICIES: [&str; 2] = ["sft/policy", "systems/dpo/lr-2e-4/seed-1/policy"];

/// The weights of a run's policies, as they are stored.
fn weights(place: &Place, directory: &str) -> Vec<Vec<u8>> {
    let read = |policy: &str| {
        let file = place.path(directory).join(policy).join("model.safetensors");
        fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    };
    POLICIES.map(read).into()
}

/// The largest difference between the weights of two runs.
fn distance(place: &Place, [a, b]: [&str; 2]) -> f32 {
    let open = |directory: &str, policy: &str| {
        let model = Model::<f32>::open(&place.path(directory).join(policy)).expect("a model");
        HostWorker::new(Policy::full(model)).into_policy()
    };
    let of_policy = |policy: &str| {
        let (a, b) = (open(a, policy), open(b, policy));
        let (a, b) = (a.parameters().concat(), b.parameters().concat());
        a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    POLICIES.map(of_policy).into_iter().fold(0.0, f32::max)
}

/// Two processes come to what one comes to: weights to rounding and the same table. Only the first writes and speaks.
#[test]
fn two_processes_train_as_one() {
    let place = Place::new();
    let config = configuration(&place);
    let one = alone(&place, &config, "one");
    assert!(one.status.success(), "{}", text(&one.stderr));
    let [zero, follower] = both(&place, &config, "two");
    let said = text(&zero.stderr);
    assert!(zero.status.success() && follower.status.success(), "{said}{}", text(&follower.stderr));
    assert!(said.starts_with("training on 2 ranks: "), "{said}");
    assert_eq!((text(&follower.stdout), text(&follower.stderr)), (String::new(), String::new()));
    let difference = distance(&place, ["one", "two"]);
    assert!(difference > 0.0, "sums in another order differ in their last bits");
    assert!(difference < 1e-4, "{difference:e}");
    let table = |output: &Output| text(&output.stdout).split("report: ").next().map(str::to_owned);
    assert_eq!(table(&zero), table(&one));
    assert!(!place.path("two/ranks.json").exists());

    // A run can be looked at, and gone on with, by any number of processes: nothing is trained again.
    let again = alone(&place, &config, "two");
    assert!(again.status.success() && text(&again.stderr).contains("sft: up to date"), "{}", text(&again.stderr));
}

/// A process that is killed ends the run with its number; the next run goes on from the last checkpoint, to the bytes of a
/// run that was left alone.
#[cfg(unix)]
#[test]
fn a_killed_or_interrupted_run_goes_on() {
    let place = Place::new();
    let config = configuration(&place);
    let [whole, _] = both(&place, &config, "whole");
    assert!(whole.status.success(), "{}", text(&whole.stderr));

    for (killed, signal) in [(1, "-KILL"), (0, "-KILL"), (0, "-INT")] {
        let directory = format!("stopped-by{signal}-{killed}");
        let mut ranks = [0, 1].map(|rank| start(&place, &config, &directory, rank, 2));
        wait_for(&place.path(&directory).join("sft/checkpoint"), &mut ranks[0]);
        // A terminal interrupts all processes; a machine's kernel kills one.
        let numbers: Vec<String> = if signal == "-INT" {
            ranks.iter().map(|child| child.id().to_string()).collect()
        } else {
            vec![ranks[killed].id().to_string()]
        };
        let sent = Command::new("kill").arg(signal).args(&numbers).stderr(Stdio::null()).status();
        sent.expect("every Unix has kill");
        let [zero, one] = ranks.map(|child| child.wait_with_output().expect("it ends"));
        let (said, other) = (text(&zero.stderr), text(&one.stderr));
        assert!(!zero.status.success(), "it was met in the middle: {said}");
        match (killed, signal) {
            (1, _) => {
                assert!(said.contains("because: rank 1: the process on "), "{said}");
                assert_eq!(said.matches("error: ").count(), 1, "{said}");
            }
            (_, "-INT") => {
                assert_eq!(zero.status.code(), Some(130), "{said}");
                assert_eq!(said.matches("stopped after step").count(), 1, "{said}");
                assert_eq!(other, "");
            }
            _ => assert!(other.contains("error: rank 0: the process on ") && !one.status.success(), "{other}"),
        }
        let [zero, one] = both(&place, &config, &directory);
        assert!(zero.status.success() && one.status.success(), "{}{}", text(&zero.stderr), text(&one.stderr));
        assert!(text(&zero.stderr).contains("sft: goes on after step "), "{}", text(&zero.stderr));
        assert!(weights(&place, &directory) == weights(&place, "whole"), "{directory}");
    }
}

/// What is wrong with a configuration is said once.
#[test]
fn a_faulty_configuration_is_reported_once() {
    let place = Place::new();
    let config = place.write("config.toml", &tiny_run(2, 2).replace("hidden = 16", "hidden = 17"));
    let [zero, one] = both(&place, &config, "run");
    assert_eq!(zero.status.code(), Some(2), "{}", text(&zero.stderr));
    assert_eq!(text(&zero.stderr).matches("error: ").count(), 1, "{}", text(&zero.stderr));
    assert_eq!((text(&one.stdout), text(&one.stderr)), (String::new(), String::new()));
}
