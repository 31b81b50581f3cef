//! No configuration makes the program panic: the whole way from the file to the last check before a run, with
//! random keys, values and types.

use std::fs;

use proptest::{prelude::*, sample::select, test_runner::Config};

use super::pipeline::check;
use crate::{
    config::{Configuration, Overrides},
    error::{Error, ErrorKind},
};

/// A configuration that passes every check.
const SOUND: &str = r#"
[run]
name = "sound"
[data.synthetic]
sft = 40
curated = 20
validation = 10
test = 10
[model]
vocabulary = 400
hidden = 32
layers = 2
heads = 2
kv_heads = 2
[adapter]
rank = 4
[warmup]
copies = 1
[sft]
[pairs.mix]
label = 0.5
[preference]
objectives = ["dpo", "mine"]
[preference.system.mine]
objective = "tab-po"
[predict.remote.hosted]
endpoint = "http://localhost:1/v1"
model = "m"
[evaluate]
"#;

/// Every key that holds a number or a list, and some that hold names.
const KEYS: [&str; 77] = [
    "run.name",
    "run.seed",
    "run.directory",
    "data.level",
    "data.hold_out",
    "data.set_aside",
    "data.synthetic.sft",
    "data.synthetic.curated",
    "data.synthetic.validation",
    "data.synthetic.test",
    "data.synthetic.label_bias",
    "model.vocabulary",
    "model.hidden",
    "model.layers",
    "model.heads",
    "model.kv_heads",
    "model.intermediate",
    "model.compute",
    "model.device",
    "adapter.rank",
    "adapter.alpha",
    "adapter.dropout",
    "adapter.rslora",
    "adapter.targets",
    "warmup.sentences",
    "warmup.copies",
    "warmup.replaced",
    "warmup.own_words",
    "warmup.train.epochs",
    "warmup.train.max_tokens",
    "warmup.train.memory_gb",
    "sft.epochs",
    "sft.steps",
    "sft.batch_size",
    "sft.learning_rate",
    "sft.schedule",
    "sft.warmup",
    "sft.weight_decay",
    "sft.clip",
    "sft.max_tokens",
    "sft.max_length",
    "sft.checkpoint_every",
    "sft.memory_gb",
    "pairs.per_example",
    "pairs.sources",
    "pairs.mix.label",
    "pairs.mix.direction",
    "pairs.mix",
    "pairs.folds",
    "pairs.samples",
    "preference.objectives",
    "preference.seeds",
    "preference.learning_rates",
    "preference.train.steps",
    "preference.train.batch_size",
    "preference.train.learning_rate",
    "preference.train.max_tokens",
    "preference.system.mine.objective",
    "preference.system.mine.learning_rate",
    "preference.system.mine.equal_flops",
    "preference.system.mine.threshold",
    "preference.system.mine.beta",
    "preference.system.mine.tau",
    "preference.system.mine.target",
    "preference.system.mine.decision_target",
    "preference.system.mine.role_weights.span",
    "preference.system.other.beta",
    "predict.max_new_tokens",
    "predict.batch_size",
    "predict.memory_gb",
    "predict.constrained",
    "predict.remote.hosted.concurrency",
    "predict.remote.hosted.timeout_seconds",
    "predict.remote.hosted.extra.n",
    "predict.remote.dpo.model",
    "evaluate.resamples",
    "nowhere.to.be.found",
];

const VALUES: [&str; 54] = [
    "0",
    "1",
    "2",
    "3",
    "64",
    "-1",
    "4096",
    "65536",
    "100000",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "99999999999999999999",
    "0.0",
    "-0.0",
    "0.5",
    "1.0",
    "1.5",
    "1e-300",
    "1e300",
    "1e400",
    "nan",
    "-nan",
    "inf",
    "-inf",
    "true",
    "\"\"",
    "\"dpo\"",
    "\"../up\"",
    "\"a/b\"",
    "\"nul\"",
    "\"q_proj\"",
    "\"tdpo2\"",
    "\"sft\"",
    "\"\\u0000\"",
    "\"\\u001b[2J\"",
    "[]",
    "[0]",
    "[1, 1]",
    "[1, 9223372036854775807]",
    "[0.1, 0.1]",
    "[nan]",
    "[1e-3, -1.0]",
    "[\"dpo\", \"dpo\"]",
    "[\"dpo\", \"DPO\"]",
    "[\"modes\", \"mode=0.1\"]",
    "[\"q_proj\", \"q_proj\"]",
    "[\"simpo\", \"mine\"]",
    "[\"on-policy\"]",
    "{}",
    "{ label = 1e308, direction = 1e308 }",
    "{ x = 18446744073709551615 }",
    "1979-05-27",
    "[[[]]]",
];

/// The checks of a run up to the point where it would read documents.
fn checked(file: &str, replacements: &[String], memory_gb: Option<f64>) -> Result<(), Error> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.toml");
    fs::write(&path, file).expect("writable");
    let config = Configuration::read(&path, &Overrides { set: replacements.to_vec(), memory_gb, device: None })?;
    check(&config, &())?;
    config.to_toml();
    Ok(())
}

fn assert_input(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::Input, "{error:?}");
}

#[test]
fn the_sound_configuration_passes() {
    checked(SOUND, &[], Some(4.0)).expect("sound");
}

proptest! {
    #![proptest_config(Config { cases: 600, failure_persistence: None, ..Config::default() })]

    #[test]
    fn replacements_are_taken_or_refused(
        settings in prop::collection::vec((select(&KEYS[..]), select(&VALUES[..])), 1..4),
        memory_gb in select(vec![None, Some(1.0), Some(-1.0), Some(f64::NAN), Some(1e300)]),
    ) {
        let replacements: Vec<String> = settings.iter().map(|(key, value)| format!("{key}={value}")).collect();
        if let Err(error) = checked(SOUND, &replacements, memory_gb) {
            assert_input(&error);
        }
    }

    #[test]
    fn files_are_taken_or_refused(
        settings in prop::collection::vec((select(&KEYS[..]), select(&VALUES[..])), 1..3),
        replaced in any::<bool>(),
    ) {
        // Dotted keys before the first section stand for the same values as in their sections.
        let lines: Vec<String> = SOUND.lines().map(str::to_owned).collect();
        let mut file = String::new();
        for (key, value) in &settings {
            let (section, name) = key.rsplit_once('.').expect("a key is in a section");
            let header = format!("[{section}]");
            if !lines.contains(&header) {
                file += &format!("{header}\n{name} = {value}\n");
            }
        }
        for line in &lines {
            let overridden = settings.iter().any(|(key, _)| {
                let name = key.rsplit('.').next().unwrap_or_default();
                line.starts_with(&format!("{name} = "))
            });
            if !overridden {
                file += &format!("{line}\n");
            }
            for (key, value) in &settings {
                let (section, name) = key.rsplit_once('.').expect("a key is in a section");
                if *line == format!("[{section}]") {
                    file += &format!("{name} = {value}\n");
                }
            }
        }
        let replacements = if replaced { vec!["run.seed=5".to_owned()] } else { Vec::new() };
        if let Err(error) = checked(&file, &replacements, None) {
            assert_input(&error);
        }
    }

    #[test]
    fn any_text_is_taken_or_refused(key in "\\PC{0,12}", value in "\\PC{0,12}") {
        if let Err(error) = checked(SOUND, &[format!("{key}={value}")], None) {
            prop_assert_eq!(error.kind(), ErrorKind::Input);
        }
    }
}
