//! Settings that no run can use are refused with key, value and range before anything is made.

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
    let mut arguments = vec!["run", "config.toml"];
    for replacement in replacements {
        arguments.extend(["--set", replacement]);
    }
    let transcript = place.transcript(&arguments);
    assert_eq!(place.names(), ["config.toml"], "nothing is left behind by {replacements:?}");
    transcript
}

/// As [`refused`], for each of several replacements.
fn each_refused(replacements: &[&str]) -> Vec<String> {
    replacements.iter().map(|replacement| refused(&[replacement])).collect()
}

#[test]
fn numbers_out_of_range_are_named_with_their_range() {
    let mut transcripts = each_refused(&[
        "adapter.rank=0",
        "adapter.rank=33",
        "adapter.rank=100000",
        "adapter.alpha=0",
        "adapter.dropout=1",
        "adapter.dropout=nan",
        "data.synthetic.label_bias=7",
        "data.synthetic.label_bias=nan",
        "data.synthetic.test=0",
        "data.synthetic.sft=1000000000",
        "model.hidden=0",
        "model.heads=0",
        "model.kv_heads=0",
        "model.layers=0",
        "model.layers=9223372036854775807",
        "model.vocabulary=10",
        "model.intermediate=0",
        "sft.epochs=nan",
        "sft.epochs=-1",
        "sft.epochs=inf",
        "sft.steps=0",
        "sft.batch_size=0",
        "sft.batch_size=9223372036854775807",
        "sft.learning_rate=0",
        "sft.learning_rate=1e3",
        "sft.warmup=1.5",
        "sft.weight_decay=-1",
        "sft.clip=0",
        "sft.clip=nan",
        "sft.max_tokens=0",
        "sft.max_length=0",
        "sft.checkpoint_every=0",
        "sft.memory_gb=nan",
        "preference.train.steps=0",
        "preference.learning_rates=[-1.0]",
        "preference.system.dpo.learning_rate=2",
        "preference.system.dpo.beta=-1",
        "preference.system.dpo.beta=1e300",
        "preference.system.dpo.beta=nan",
        "pairs.per_example=0",
        "pairs.folds=0",
        "pairs.mix.label=inf",
        "predict.max_new_tokens=0",
        "predict.batch_size=0",
        "evaluate.resamples=0",
        "evaluate.resamples=1",
        "warmup={copies=1,train={epochs=-2.0}}",
        "warmup={copies=1,replaced=nan}",
        "pairs.folds=18446744073709551615",
        "pairs.folds=-99999999999999999999",
        "pairs.folds=1e400",
    ]);
    // More sentences, of which there are fewer documents.
    let place = Place::new();
    place.write("config.toml", &CONFIGURATION.replace("sft = 40", "sft = 1000"));
    transcripts.push(place.transcript(&["run", "config.toml", "--set", "warmup={copies=9000}"]));
    assert_eq!(place.names(), ["config.toml"]);
    assert_transcripts!("numbers_out_of_range", transcripts);
}

#[test]
fn whole_numbers_beyond_those_of_toml_are_refused() {
    let mut transcripts = Vec::new();
    for key in ["folds", "per_example"] {
        let place = Place::new();
        place.write("config.toml", &format!("{CONFIGURATION}[pairs]\n{key} = 18446744073709551615\n"));
        for arguments in [&["run", "config.toml"][..], &["run", "config.toml", "--set", "run.seed=2"]] {
            transcripts.push(place.transcript(arguments));
        }
        assert_eq!(place.names(), ["config.toml"]);
    }
    assert_transcripts!("numbers_beyond_toml", transcripts);
}

#[test]
fn what_is_named_twice_is_refused() {
    let transcripts = each_refused(&[
        "preference.seeds=[1,2,1]",
        "preference.objectives=[\"dpo\",\"dpo\"]",
        "preference.learning_rates=[1e-3,0.001]",
        "pairs.sources=[\"modes\",\"random\",\"mode\"]",
        "adapter.targets=[\"q_proj\",\"q_proj\"]",
    ]);
    assert_transcripts!("named_twice", transcripts);
}

#[test]
fn what_the_marked_form_cannot_do_is_refused() {
    let mut transcripts = each_refused(&["answer.form=brackets"]);
    for replacement in [
        "predict.threshold=tuned",
        "pairs.mix={label=0.9,grounding=0.1}",
        "preference.objectives=[\"dpo\",\"dynamic-oracle\"]",
    ] {
        transcripts.push(refused(&["answer.form=marked", replacement]));
    }
    let place = Place::new();
    place.write("ontology.toml", &example("scierc/ontology.toml"));
    let predict = ["predict", "--model", "m", "--ontology", "ontology.toml", "--data", "d", "--out", "o"];
    for options in [&["--form", "xml"][..], &["--form", "marked", "--threshold-relations", "0.3"]] {
        transcripts.push(place.transcript(&[&predict[..], options].concat()));
    }
    assert_transcripts!("marked_form", transcripts);
}

#[test]
fn names_never_lead_out_of_the_run_directory() {
    let systems = |name: &str| {
        let objectives = format!("preference.objectives=[{name:?}]");
        let table = format!("preference.system={{{name:?}={{objective=\"dpo\"}}}}");
        refused(&[&objectives, &table])
    };
    let mut transcripts = Vec::new();
    for name in ["../../escaped", "a/b", "/absolute/x", "a\\b", ".hidden", "..", "nul", "COM1", "c:x", "tab\there"] {
        transcripts.push(systems(name));
        transcripts.push(refused(&[&format!("run.name={name:?}")]));
        let remote = format!("predict.remote={{{name:?}={{endpoint=\"http://localhost:1/v1\",model=\"m\"}}}}");
        transcripts.push(refused(&[&remote]));
    }
    transcripts.push(systems(&"n".repeat(300)));
    assert_transcripts!("names", transcripts);
}

#[test]
fn names_that_are_one_file_on_some_systems_are_refused() {
    let objectives = "preference.objectives=[\"dpo\",\"DPO\"]";
    let transcripts = [
        refused(&[objectives, "preference.system={DPO={objective=\"dpo\"}}"]),
        // A hosted model has a row and a folder of its own, and so has a control.
        refused(&["predict.remote={dpo={endpoint=\"http://localhost:1/v1\",model=\"m\"}}"]),
        refused(&["preference.objectives=[\"Gated-SFT\"]", "preference.system={\"Gated-SFT\"={objective=\"dpo\"}}"]),
    ];
    assert_transcripts!("names_that_fall_together", transcripts);
}

#[test]
fn a_model_beyond_the_machines_memory_is_refused() {
    let shape = ["model.hidden=65536", "model.layers=1024", "model.intermediate=1048576"];
    // No snapshot: how much memory is free depends on the machine.
    let transcript = refused(&shape);
    assert!(transcript.contains("exit code: 2"), "{transcript}");
    assert!(transcript.contains("sft: weights, gradients and optimiser take"), "{transcript}");
    assert!(transcript.contains("of memory are free"), "{transcript}");
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
    let mut transcripts = Vec::new();
    for (command, option) in cases {
        let mut arguments: Vec<&str> = command.iter().chain(option).copied().collect();
        if matches!(command[0], "predict" | "pairs") {
            arguments.extend(common);
        } else if matches!(command[0], "eval" | "compare" | "errors") {
            arguments.extend(&common[..2]);
        }
        transcripts.push(place.transcript(&arguments));
    }
    let sizes = ["bench", "prepare", "--out", "o", "--examples", "10000", "--prompt-tokens", "10000"];
    transcripts.push(place.transcript(&sizes));
    transcripts.push(place.transcript(&["--threads", "1000000", "corpus", "generate", "out"]));
    assert_eq!(place.names(), ["ontology.toml"], "nothing is left behind");
    assert_transcripts!("options", transcripts);
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
    let run = |predictions: &[&str]| place.transcript(&[&common[..], &["--pred"], predictions].concat());
    let transcripts = [
        run(&["a=p.jsonl", "a=p.jsonl"]),
        run(&["a=p.jsonl", "a=./p.jsonl"]),
        run(&["a=p.jsonl", "a=copy.jsonl"]),
        // Two systems may answer alike.
        run(&["a=p.jsonl", "b=p.jsonl"]),
    ];
    assert_transcripts!("seeds", transcripts);
}
