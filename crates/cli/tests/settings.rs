//! Settings that no run can use are refused with key, value and range before anything is made.

#[allow(dead_code, reason = "each test file uses a part of the support")]
mod support;

use support::{Place, example};

const CONFIGURATION: &str = "\
[run]\nname = \"small\"\n[data.synthetic]\nsft = 40\ncurated = 20\nvalidation = 10\ntest = 10\n\
[model]\nvocabulary = 400\nhidden = 32\nlayers = 2\nheads = 2\nkv_heads = 2\nintermediate = 64\n[sft]\n\
[preference]\nobjectives = [\"dpo\"]\n[preference.train]\nsteps = 1\n[adapter]\nrank = 4\n";

/// Runs the configuration with replacements, which are refused; nothing is made.
fn refused(replacements: &[&str]) -> String {
    let place = Place::new();
    place.write("config.toml", CONFIGURATION);
    let mut arguments = vec!["--quiet", "run", "config.toml"];
    for replacement in replacements {
        arguments.extend(["--set", replacement]);
    }
    let (stdout, stderr) = place.run(&arguments, 2);
    assert_eq!(place.names(), ["config.toml"], "nothing is left behind by {replacements:?}");
    assert!(stdout.is_empty() && stderr.starts_with("error: "), "{replacements:?}: {stderr}");
    stderr
}

#[test]
fn numbers_out_of_range_are_named_with_their_range() {
    for (replacement, range) in [
        ("adapter.rank=0", "a whole number from 1"),
        ("adapter.rank=33", "the model's width of 32"),
        ("adapter.rank=100000", "a whole number from 1"),
        ("adapter.alpha=0", "a number above 0"),
        ("adapter.dropout=1", "below 1"),
        ("adapter.dropout=nan", "below 1"),
        ("data.synthetic.label_bias=7", "a number from 0 to 1"),
        ("data.synthetic.label_bias=nan", "a number from 0 to 1"),
        ("data.synthetic.test=0", "a whole number from 1"),
        ("data.synthetic.sft=1000000000", "a whole number from 1"),
        ("model.hidden=0", "a whole number from 2"),
        ("model.heads=0", "a whole number from 1"),
        ("model.kv_heads=0", "a whole number from 1"),
        ("model.layers=0", "a whole number from 1"),
        ("model.layers=9223372036854775807", "a whole number from 1"),
        ("model.vocabulary=10", "a whole number from 261"),
        ("model.intermediate=0", "a whole number from 1"),
        ("sft.epochs=nan", "a number above 0"),
        ("sft.epochs=-1", "a number above 0"),
        ("sft.epochs=inf", "a number above 0"),
        ("sft.steps=0", "a whole number from 1"),
        ("sft.batch_size=0", "a whole number from 1"),
        ("sft.batch_size=9223372036854775807", "a whole number from 1"),
        ("sft.learning_rate=0", "a number above 0 and below 1"),
        ("sft.learning_rate=1e3", "a number above 0 and below 1"),
        ("sft.warmup=1.5", "a number from 0 to 1"),
        ("sft.weight_decay=-1", "a number from 0 to 1"),
        ("sft.clip=0", "a number above 0"),
        ("sft.clip=nan", "a number above 0"),
        ("sft.max_tokens=0", "a whole number from 1"),
        ("sft.max_length=0", "a whole number from 1"),
        ("sft.checkpoint_every=0", "a whole number from 1"),
        ("sft.memory_gb=nan", "a number above 0"),
        ("preference.train.steps=0", "a whole number from 1"),
        ("preference.learning_rates=[-1.0]", "a number above 0"),
        ("preference.system.dpo.learning_rate=2", "a number above 0"),
        ("preference.system.dpo.beta=-1", "a number greater than 0"),
        ("preference.system.dpo.beta=1e300", "at most 1000000"),
        ("preference.system.dpo.beta=nan", "finite"),
        ("pairs.per_example=0", "a whole number from 1"),
        ("pairs.folds=0", "a whole number from 1"),
        ("pairs.mix.label=inf", "a number from 0"),
        ("predict.max_new_tokens=0", "a whole number from 1"),
        ("predict.batch_size=0", "a whole number from 1"),
        ("evaluate.resamples=0", "a whole number from 10"),
        ("evaluate.resamples=1", "a whole number from 10"),
    ] {
        let stderr = refused(&[replacement]);
        let key = replacement.split('=').next().unwrap_or_default();
        assert!(stderr.contains(key) || stderr.contains("hyper-parameter `beta`"), "{replacement}: {stderr}");
        assert!(stderr.contains(range), "{replacement}: {stderr}");
    }
}

#[test]
fn the_numbers_of_a_warm_up_are_checked_too() {
    let stderr = refused(&["warmup={copies=1,train={epochs=-2.0}}"]);
    assert!(stderr.contains("warmup.train.epochs is -2.0"), "{stderr}");
    let stderr = refused(&["warmup={copies=1,replaced=nan}"]);
    assert!(stderr.contains("warmup.replaced is NaN"), "{stderr}");
}

#[test]
fn whole_numbers_beyond_those_of_toml_are_refused() {
    for key in ["folds", "per_example"] {
        let place = Place::new();
        place.write("config.toml", &format!("{CONFIGURATION}[pairs]\n{key} = 18446744073709551615\n"));
        for arguments in [&["run", "config.toml"][..], &["run", "config.toml", "--set", "run.seed=2"]] {
            let (_, stderr) = place.run(arguments, 2);
            assert!(stderr.contains(&format!("pairs.{key} is 18446744073709551615")), "{stderr}");
        }
        assert_eq!(place.names(), ["config.toml"]);
    }
}

#[test]
fn a_replacement_beyond_the_numbers_of_toml_is_refused() {
    for value in ["18446744073709551615", "-99999999999999999999", "1e400"] {
        let stderr = refused(&[&format!("pairs.folds={value}")]);
        assert!(stderr.contains("beyond those of TOML") && stderr.contains(value), "{stderr}");
    }
}

#[test]
fn copies_are_bounded_by_what_they_are_copies_of() {
    let place = Place::new();
    place.write("config.toml", &CONFIGURATION.replace("sft = 40", "sft = 1000"));
    let (_, stderr) = place.run(&["run", "config.toml", "--set", "warmup={copies=9000}"], 2);
    assert!(stderr.contains("warmup.copies: 9000 copies of"), "{stderr}");
    assert_eq!(place.names(), ["config.toml"]);
}

#[test]
fn what_is_named_twice_is_refused() {
    for (replacement, value) in [
        ("preference.seeds=[1,2,1]", "`1`"),
        ("preference.objectives=[\"dpo\",\"dpo\"]", "`dpo`"),
        ("preference.learning_rates=[1e-3,0.001]", "`0.001`"),
        ("pairs.sources=[\"modes\",\"random\",\"mode\"]", "`mode`"),
        ("adapter.targets=[\"q_proj\",\"q_proj\"]", "`q_proj`"),
    ] {
        let stderr = refused(&[replacement]);
        assert!(stderr.contains("twice") && stderr.contains(value), "{replacement}: {stderr}");
    }
}

#[test]
fn names_never_lead_out_of_the_run_directory() {
    let systems = |name: &str| {
        let objectives = format!("preference.objectives=[{name:?}]");
        let table = format!("preference.system={{{name:?}={{objective=\"dpo\"}}}}");
        refused(&[&objectives, &table])
    };
    for name in ["../../escaped", "a/b", "/absolute/x", "a\\b", ".hidden", "..", "nul", "COM1", "c:x", "tab\there"] {
        assert!(systems(name).contains("file or a folder"), "{name}");
        let stderr = refused(&[&format!("run.name={name:?}")]);
        assert!(stderr.contains("run.name"), "{name}: {stderr}");
        let remote = format!("predict.remote={{{name:?}={{endpoint=\"http://localhost:1/v1\",model=\"m\"}}}}");
        let stderr = refused(&[&remote]);
        assert!(stderr.contains("[predict.remote]"), "{name}: {stderr}");
    }
    assert!(systems(&"n".repeat(300)).contains("300 bytes"));
}

#[test]
fn names_that_are_one_file_on_some_systems_are_refused() {
    let systems = "preference.system={DPO={objective=\"dpo\"}}";
    let stderr = refused(&["preference.objectives=[\"dpo\",\"DPO\"]", systems]);
    assert!(stderr.contains("differ only by case"), "{stderr}");
    let hosted = "predict.remote={dpo={endpoint=\"http://localhost:1/v1\",model=\"m\"}}";
    assert!(refused(&[hosted]).contains("same name"), "a hosted model has a row of its own");
    let stderr =
        refused(&["preference.objectives=[\"Gated-SFT\"]", "preference.system={\"Gated-SFT\"={objective=\"dpo\"}}"]);
    assert!(stderr.contains("differ only by case"), "a control is a system too: {stderr}");
}

#[test]
fn a_model_beyond_the_machines_memory_is_refused() {
    let shape = ["model.hidden=65536", "model.layers=1024", "model.intermediate=1048576"];
    let stderr = refused(&shape);
    assert!(stderr.contains("sft: weights, gradients and optimiser take"), "{stderr}");
    assert!(stderr.contains("of memory are free"), "{stderr}");
}

#[test]
fn options_of_commands_have_ranges() {
    let place = Place::new();
    place.write("ontology.toml", &example("scierc/ontology.toml"));
    let common = ["--ontology", "ontology.toml", "--data", "d", "--out", "o"];
    let predict = ["predict", "--model", "m"];
    let generate = ["generate", "--model", "m", "--prompt", "p"];
    let build = ["pairs", "build", "--errors", "e", "--seed", "1", "--per-example"];
    let cases: [(&[&str], &[&str]); 24] = [
        (&predict, &["--max-new-tokens", "0"]),
        (&predict, &["--batch-size", "0"]),
        (&predict, &["--batch-size", "18446744073709551615"]),
        (&predict, &["--samples", "0"]),
        (&generate, &["--temperature", "nan"]),
        (&generate, &["--temperature", "-1"]),
        (&generate, &["--top-p", "2"]),
        (&generate, &["--top-p", "nan"]),
        (&generate, &["--max-new-tokens", "9999999999999999999999"]),
        (&build, &["0"]),
        (&build, &["4000000000"]),
        (&["eval", "--gold", "g", "--pred", "p"], &["--resamples", "4000000000"]),
        (&["compare", "--gold", "g", "--pred", "a=p"], &["--resamples", "-5"]),
        (&["errors", "--gold", "g", "--pred", "p"], &["--examples", "18446744073709551615"]),
        (&["corpus", "generate", "out"], &["--sft", "10000000000"]),
        (&["corpus", "generate", "out"], &["--bias", "nan"]),
        (&["corpus", "generate", "out"], &["--bias", "-0.5"]),
        (&["bench", "step"], &["--steps", "18446744073709551615"]),
        (&["bench", "decode", "--model", "m"], &["--prompts", "18446744073709551615"]),
        (&["bench", "decode", "--model", "m"], &["--new-tokens", "0"]),
        (&["bench", "preference", "--model", "m", "--pairs", "p"], &["--lora-rank", "0"]),
        (&["bench", "preference", "--model", "m", "--pairs", "p"], &["--memory-gb", "inf"]),
        (&["bench", "prepare", "--out", "o"], &["--prompt-tokens", "18446744073709551615"]),
        (&["serve-config", "m"], &["--max-length", "0"]),
    ];
    for (command, option) in cases {
        let mut arguments: Vec<&str> = command.iter().chain(option).copied().collect();
        if matches!(command[0], "predict" | "pairs") {
            arguments.extend(common);
        } else if matches!(command[0], "eval" | "compare" | "errors") {
            arguments.extend(&common[..2]);
        }
        let (_, stderr) = place.run(&arguments, 2);
        assert!(
            stderr.contains("must be ") && stderr.contains(" from ") || stderr.contains(" above "),
            "{arguments:?}: {stderr}"
        );
    }
    let (_, stderr) =
        place.run(&["bench", "prepare", "--out", "o", "--examples", "10000", "--prompt-tokens", "10000"], 2);
    assert!(stderr.contains("--prompt-tokens"), "{stderr}");
    let (_, stderr) = place.run(&["--threads", "1000000", "corpus", "generate", "out"], 2);
    assert!(stderr.contains("from 1 to 4096"), "{stderr}");
    assert_eq!(place.names(), ["ontology.toml"], "nothing is left behind");
}

#[test]
fn one_prediction_file_is_one_seed() {
    const GOLD: &str =
        r#"{"doc_key":"d1","sentences":[["New","parsers","help"]],"ner":[[[1,1,"Method"]]],"relations":[[]]}"#;
    const ANSWER: &str = r#"{"doc_key":"d1","sent":0,"output":"{\"entities\":[],\"relations\":[]}"}"#;
    let place = Place::new();
    place.write("ontology.toml", &example("scierc/ontology.toml"));
    place.write("gold.json", &format!("{GOLD}\n"));
    place.write("p.jsonl", &format!("{ANSWER}\n"));
    place.write("copy.jsonl", &format!("{ANSWER}\n"));
    let common = ["compare", "--ontology", "ontology.toml", "--gold", "gold.json", "--resamples", "10"];
    let run = |predictions: &[&str], code| place.run(&[&common[..], &["--pred"], predictions].concat(), code);
    for twice in [["a=p.jsonl", "a=p.jsonl"], ["a=p.jsonl", "a=./p.jsonl"]] {
        let (_, stderr) = run(&twice, 2);
        assert!(stderr.contains("twice for `a`"), "{stderr}");
    }
    let (stdout, stderr) = run(&["a=p.jsonl", "a=copy.jsonl"], 0);
    assert!(stderr.contains("copy.jsonl: the same predictions as"), "{stderr}");
    assert!(!stdout.contains("2 seeds"), "{stdout}");
    let (_, stderr) = run(&["a=p.jsonl", "b=p.jsonl"], 0);
    assert!(!stderr.contains("same predictions"), "two systems may answer alike: {stderr}");
}
