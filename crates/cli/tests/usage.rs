//! Wrong command lines and configurations: what is said to those who come from other tools.

#[allow(dead_code, reason = "each test file uses a part of the support")]
mod support;

use support::{Place, example};

/// Standard error of a command line that is wrong, in a folder with a configuration.
fn refused(arguments: &[&str]) -> String {
    let place = Place::new();
    place.write("quickstart.toml", &example("quickstart.toml"));
    place.write("notes.yaml", "run:\n  name: x\n");
    let (stdout, stderr) = place.run(arguments, 2);
    assert!(stdout.is_empty() && stderr.starts_with("error: "), "{stdout}{stderr}");
    assert_eq!(place.names(), ["notes.yaml", "quickstart.toml"], "nothing is left behind");
    stderr
}

/// What is said of the quick start's configuration after one replacement in its text.
fn configured(from: &str, to: &str) -> String {
    let text = example("quickstart.toml");
    assert!(text.contains(from), "the quick start still has `{from}`");
    let place = Place::new();
    place.write("config.toml", &text.replacen(from, to, 1));
    let (_, stderr) = place.run(&["run", "config.toml"], 2);
    // Words of the programming language help nobody.
    for word in ["usize", "u64", "u32", "f64", "sequence", "struct", "zero type", "invalid type"] {
        assert!(!stderr.contains(word), "{word}: {stderr}");
    }
    stderr
}

#[test]
fn options_of_other_trainers_are_answered_with_ours() {
    for (arguments, hint) in [
        (&["run", "quickstart.toml", "--epochs", "3"][..], "--set sft.epochs=3"),
        (&["sft", "--num-train-epochs=2", "quickstart.toml"], "--set sft.epochs=2"),
        (&["train", "quickstart.toml", "--learning_rate", "1e-5"], "--set sft.learning_rate=1e-5"),
        (&["run", "quickstart.toml", "--lora-r", "8"], "--set adapter.rank=8"),
        (&["run", "quickstart.toml", "--output_dir", "x"], "--set run.directory=x"),
        (&["run", "quickstart.toml", "--objective", "dpo"], "'preference.objectives=[dpo]'"),
        (&["run", "--config", "quickstart.toml"], "tabpo run FILE.toml"),
        (&["run", "-c", "quickstart.toml"], "tabpo run FILE.toml"),
        (&["--config", "quickstart.toml", "run"], "tabpo run FILE.toml"),
        (&["run", "quickstart.toml", "-q"], "--quiet"),
        (&["run", "quickstart.toml", "-v"], "no verbose mode"),
        (&["run", "quickstart.toml", "--resume"], "resumes by itself"),
        (&["run", "quickstart.toml", "--resume_from_checkpoint", "x"], "resumes by itself"),
        (&["run", "quickstart.toml", "--dry-run"], "no dry run"),
        (&["eval", "-o", "x"], "> FILE"),
        (&["init"], "examples/quickstart.toml"),
        (&["finetune"], "tabpo train"),
        (&["evaluate"], "tabpo eval"),
    ] {
        let stderr = refused(arguments);
        assert!(stderr.contains("hint: ") && stderr.contains(hint), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("tip:") && !stderr.contains("-- --"), "{arguments:?}: {stderr}");
    }
}

#[test]
fn options_that_are_nearly_right_are_answered_with_the_nearest() {
    let stderr = refused(&["run", "quickstart.toml", "--sett", "a=1"]);
    assert!(stderr.contains("hint: ") && stderr.contains("--set"), "{stderr}");
    let stderr = refused(&["evl"]);
    assert!(stderr.contains("hint: ") && stderr.contains("eval"), "{stderr}");
}

#[test]
fn profiles_and_formats_are_listed() {
    let stderr = refused(&["eval", "--profile", "strict"]);
    for profile in ["default", "pure", "spert", "plmarker", "tabpo"] {
        assert!(stderr.contains(&format!("`{profile}`")), "{stderr}");
    }
    let stderr = refused(&["eval", "--format", "html"]);
    assert!(stderr.contains("table, markdown, latex, csv"), "{stderr}");
}

#[test]
fn a_configuration_that_is_not_there_is_answered_with_the_nearest() {
    for name in ["quickstrat.toml", "quickstart.tml", "quickstart.yaml", "Quickstart", "./quickstart.toml.txt"] {
        let stderr = refused(&["run", name]);
        assert!(stderr.contains("did you mean quickstart.toml?"), "{name}: {stderr}");
    }
    assert!(refused(&["run", "zzz.toml"]).contains("holds quickstart.toml"));
    assert!(refused(&["run", "."]).contains("quickstart.toml"));
}

#[test]
fn other_formats_are_named() {
    let stderr = refused(&["run", "notes.yaml"]);
    assert!(stderr.contains("not TOML") && stderr.contains("YAML"), "{stderr}");
    let place = Place::new();
    for (text, format) in [("{\"run\": {}}", "JSON"), ("---\nrun:\n", "YAML"), ("# a run\nname: x\n", "YAML")] {
        place.write("config.toml", text);
        let (_, stderr) = place.run(&["run", "config.toml"], 2);
        assert!(stderr.contains("not TOML") && stderr.contains(format), "{text}: {stderr}");
    }
}

#[test]
fn text_without_quotes_is_answered_with_quotes() {
    for (from, to, hint) in [
        ("name = \"quickstart\"", "name = tiny", "name = \"tiny\""),
        ("name = \"quickstart\"", "name = quickstart-2 # mine", "name = \"quickstart-2\""),
        ("level = \"sentence\"", "level = sentence", "level = \"sentence\""),
        ("vocabulary = 1024", "folder = ./models/small", "folder = \"./models/small\""),
    ] {
        let stderr = configured(from, to);
        assert!(stderr.contains("text needs quotes") && stderr.contains(hint), "{to}: {stderr}");
        assert!(stderr.contains("config.toml:"), "{stderr}");
    }
}

#[test]
fn wrong_kinds_of_values_are_named_in_plain_words() {
    for (from, to, told, hint) in [
        ("epochs = 6", "steps = \"150\"", "a whole number", "steps = 150"),
        ("epochs = 6", "steps = 1.5", "1.5 is given, expected a whole number", ""),
        ("batch_size = 16", "batch_size = -1", "-1 is given", ""),
        ("learning_rate = 2e-3", "learning_rate = \"2e-3\"", "a number", "learning_rate = 2e-3"),
        ("per_example = 2", "per_example = [2]", "a list is given, expected a whole number", ""),
        ("name = \"quickstart\"", "name = 3", "text in quotes", "name = \"3\""),
        ("level = \"sentence\"", "level = true", "expected", ""),
        ("[pairs]\n", "[pairs]\nsources = \"modes\"\n", "a list in square brackets", "sources = [\"modes\"]"),
        ("[predict]\n", "[predict]\nconstrained = \"true\"\n", "true or false", "constrained = true"),
    ] {
        let stderr = configured(from, to);
        assert!(stderr.contains(told) && stderr.contains(hint), "{to}: {stderr}");
    }
}

#[test]
fn replacements_are_answered_in_plain_words() {
    let place = Place::new();
    place.write("config.toml", &example("quickstart.toml"));
    for (replacement, told) in [
        ("sft.epochs=many", "expected a number"),
        ("sft.steps=\"3\"", "without quotes: 3"),
        ("preference.seeds=1", "a list in square brackets"),
        ("run.name=7", "text in quotes"),
    ] {
        let (_, stderr) = place.run(&["run", "config.toml", "--set", replacement], 2);
        assert!(stderr.contains(told) && stderr.contains(replacement), "{replacement}: {stderr}");
    }
}

#[test]
fn everything_that_is_missing_is_said_at_once_and_not_of_a_line() {
    let place = Place::new();
    let missing = |text: &str| {
        place.write("config.toml", text);
        place.run(&["sft", "config.toml"], 2).1
    };
    let stderr = missing("[run]\nname = \"x\"\n[data]\n[model]\n");
    assert!(stderr.contains("config.toml: the sections [sft], [preference] are missing"), "{stderr}");
    assert!(stderr.contains("objectives = ["), "{stderr}");
    let stderr = missing("[run]\n[data]\n[model]\n[sft]\n[preference]\nobjectives = [\"dpo\"]\n");
    assert!(stderr.contains("[run] has no `name`") && !stderr.contains("config.toml:1"), "{stderr}");
    let stderr = missing("");
    for section in ["[run]", "[data]", "[model]", "[sft]", "[preference]"] {
        assert!(stderr.contains(section), "{stderr}");
    }
    // A wrong spelling is said with its line.
    let stderr = missing("[run]\nname = \"x\"\n[data]\n[model]\n[sfft]\n");
    assert!(stderr.contains("config.toml:5") && stderr.contains("`sft`"), "{stderr}");
}
