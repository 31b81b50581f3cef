//! Wrong command lines and configurations: what is said to those who come from other tools.

mod support;

use support::{Place, example};

/// A command line that is wrong, in a folder with a configuration, and what it comes to.
fn refused(arguments: &[&str]) -> String {
    let place = Place::new();
    place.write("quickstart.toml", &example("quickstart.toml"));
    place.write("notes.yaml", "run:\n  name: x\n");
    let transcript = place.transcript(arguments);
    assert_eq!(place.names(), ["notes.yaml", "quickstart.toml"], "nothing is left behind");
    transcript
}

/// What is said of the quick start's configuration after one replacement in its text.
fn configured((from, to): (&str, &str)) -> String {
    let text = example("quickstart.toml");
    assert!(text.contains(from), "the quick start still has `{from}`");
    let place = Place::new();
    place.write("config.toml", &text.replacen(from, to, 1));
    let transcript = place.transcript(&["run", "config.toml"]);
    assert_eq!(place.names(), ["config.toml"], "nothing is left behind");
    // Words of the programming language help nobody.
    for word in ["usize", "u64", "u32", "f64", "sequence", "struct", "zero type", "invalid type"] {
        assert!(!transcript.contains(word), "{word}: {transcript}");
    }
    format!("# {from:?} is {to:?}\n{transcript}")
}

#[test]
fn options_of_other_trainers_are_answered_with_ours() {
    let commands: [&[&str]; 18] = [
        &["run", "quickstart.toml", "--epochs", "3"],
        &["sft", "--num-train-epochs=2", "quickstart.toml"],
        &["train", "quickstart.toml", "--learning_rate", "1e-5"],
        &["run", "quickstart.toml", "--lora-r", "8"],
        &["run", "quickstart.toml", "--output_dir", "x"],
        &["run", "quickstart.toml", "--objective", "dpo"],
        &["run", "--config", "quickstart.toml"],
        &["run", "-c", "quickstart.toml"],
        &["--config", "quickstart.toml", "run"],
        &["run", "quickstart.toml", "-q"],
        &["run", "quickstart.toml", "-v"],
        &["run", "quickstart.toml", "--resume"],
        &["run", "quickstart.toml", "--resume_from_checkpoint", "x"],
        &["run", "quickstart.toml", "--dry-run"],
        &["eval", "-o", "x"],
        &["setup"],
        &["finetune"],
        &["evaluate"],
    ];
    assert_transcripts!("options_of_other_trainers", commands.map(refused));
}

#[test]
fn options_that_are_nearly_right_are_answered_with_the_nearest() {
    let commands: [&[&str]; 4] = [
        &["run", "quickstart.toml", "--sett", "a=1"],
        &["evl"],
        &["eval", "--profile", "strict"],
        &["eval", "--format", "html"],
    ];
    assert_transcripts!("nearly_right_options", commands.map(refused));
}

#[test]
fn a_configuration_that_is_not_there_is_answered_with_the_nearest() {
    let names = ["quickstrat.toml", "quickstart.tml", "quickstart.yaml", "Quickstart", "./quickstart.toml.txt"];
    let commands = names.into_iter().chain(["zzz.toml", "."]);
    assert_transcripts!("missing_configuration", commands.map(|name| refused(&["run", name])).collect::<Vec<_>>());
}

#[test]
fn other_formats_are_named() {
    let mut transcripts = vec![refused(&["run", "notes.yaml"])];
    let place = Place::new();
    for text in ["{\"run\": {}}", "---\nrun:\n", "# a run\nname: x\n"] {
        place.write("config.toml", text);
        transcripts.push(format!("# {text:?}\n{}", place.transcript(&["run", "config.toml"])));
    }
    assert_transcripts!("other_formats", transcripts);
}

#[test]
fn wrong_values_are_named_in_plain_words_with_their_line() {
    let edits = [
        // Text without quotes.
        ("name = \"quickstart\"", "name = tiny"),
        ("name = \"quickstart\"", "name = quickstart-2 # mine"),
        ("level = \"sentence\"", "level = sentence"),
        ("vocabulary = 1024", "folder = ./models/small"),
        // Other kinds of values.
        ("epochs = 6", "steps = \"150\""),
        ("epochs = 6", "steps = 1.5"),
        ("epochs = 6", "steps = 1979-05-27"),
        ("batch_size = 16", "batch_size = -1"),
        ("learning_rate = 2e-3", "learning_rate = \"2e-3\""),
        ("per_example = 2", "per_example = [2]"),
        ("name = \"quickstart\"", "name = 3"),
        ("level = \"sentence\"", "level = true"),
        ("[pairs]\n", "[pairs]\nsources = \"modes\"\n"),
        ("[pairs]\n", "[pairs]\nsources = [1]\n"),
        ("[pairs]\n", "[pairs]\nmix = 3\n"),
        ("[predict]\n", "[predict]\nconstrained = \"true\"\n"),
        ("beta = 0.5", "equal_flops = 1"),
        ("[sft]\n", "[[sft]]\n"),
        // Names that do not exist.
        ("per_example = 2", "per_exmaple = 2"),
        ("[sft]\n", "[sfft]\n"),
        ("level = \"sentence\"", "level = \"sentense\""),
        ("[sft]\n", "[adapter]\ntargets = [\"q_prj\"]\n[sft]\n"),
        ("[pairs]\n", "[pairs]\nsources = [\"mods\"]\n"),
        ("[pairs]\n", "[pairs]\nsources = [\"modes=x\"]\n"),
        ("[pairs]\n", "[pairs]\nmix = {labl = 1.0}\n"),
        ("\"tab-po\"]", "\"tab-pro\"]"),
        ("beta = 0.5", "betta = 0.5"),
        // What is no TOML.
        ("[sft]\n", "[sft\n"),
        ("[sft]\n", "[sft]\nepochs = 2\n"),
        // Settings that are nothing.
        ("[sft]\n", "[warmup]\nsentences = 0\n\n[sft]\n"),
        ("[pairs]\n", "[pairs]\nsources = []\n"),
        ("[sft]\n", "[adapter]\ntargets = []\n[sft]\n"),
    ];
    assert_transcripts!("wrong_values", edits.map(configured));
}

#[test]
fn replacements_are_answered_in_plain_words() {
    let replacements = [
        "sft.epochs=many",
        "sft.steps=\"3\"",
        "preference.seeds=1",
        "run.name=7",
        "sft.epoch=2",
        "model.compute=3",
        "sft=[1.0]",
        "run.name.x=3",
        "sft.epochs",
        "sft.memory_gb=0",
        "warmup={sentences=1,train={memory_gb=-1.0}}",
    ];
    let mut transcripts: Vec<String> =
        replacements.iter().map(|replacement| refused(&["run", "quickstart.toml", "--set", replacement])).collect();
    transcripts.push(refused(&["run", "quickstart.toml", "--memory-gb", "0"]));
    assert_transcripts!("replacements", transcripts);
}

#[test]
fn everything_that_is_missing_is_said_at_once_and_not_of_a_line() {
    let place = Place::new();
    let texts = [
        "[run]\nname = \"x\"\n[data]\n[model]\n",
        "[run]\n[data]\n[model]\n[sft]\n[preference]\nobjectives = [\"dpo\"]\n",
        "",
        // A wrong spelling is said with its line.
        "[run]\nname = \"x\"\n[data]\n[model]\n[sfft]\n",
    ];
    let transcripts = texts.map(|text| {
        place.write("config.toml", text);
        format!("# {text:?}\n{}", place.transcript(&["sft", "config.toml"]))
    });
    assert_transcripts!("missing_sections", transcripts);
}
