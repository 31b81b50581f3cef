//! Errors in command lines: clap's messages, with hints for people who know other trainers.

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::output;

/// Shows what is wrong with a command line, or the help or version that it asks for.
pub(crate) fn show(mut error: clap::Error, arguments: &[String]) -> ExitCode {
    let code = ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
    if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // If this fails, no message would get through either.
        let _ = error.print();
        return code;
    }
    let own = hint(&error, arguments);
    let tips = tips(&mut error);
    let usage = error.remove(ContextKind::Usage).map_or_else(String::new, |usage| usage.to_string());
    // What is left is "error:", the message, and after an empty line how to get help.
    let text = error.render().to_string();
    let (message, help) = text.trim_end().rsplit_once("\n\n").unwrap_or((text.trim_end(), ""));
    let (_, message) = message.split_once(' ').unwrap_or(("", message));
    let hints = own.map_or(tips, |own| vec![own]);
    let usage: Vec<&str> = [usage.trim_end(), help].into_iter().filter(|part| !part.is_empty()).collect();
    output::render_usage_error(message, &hints, &usage.join("\n\n"));
    code
}

/// Takes clap's suggestions out of an error.
fn tips(error: &mut clap::Error) -> Vec<String> {
    let similar = [
        (ContextKind::SuggestedSubcommand, "subcommand"),
        (ContextKind::SuggestedArg, "argument"),
        (ContextKind::SuggestedValue, "value"),
    ];
    let mut tips = Vec::new();
    for (kind, thing) in similar {
        let names = match error.remove(kind) {
            Some(ContextValue::String(name)) => vec![name],
            Some(ContextValue::Strings(names)) => names,
            _ => continue,
        };
        let quoted: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
        tips.push(match quoted.as_slice() {
            [] => continue,
            [one] => format!("a similar {thing} exists: {one}"),
            several => format!("some similar {thing}s exist: {}", several.join(", ")),
        });
    }
    if let Some(ContextValue::StyledStrs(others)) = error.remove(ContextKind::Suggested) {
        // Few people mean an unknown option as a value, which is what the tips with `--` suggest.
        tips.extend(others.iter().map(ToString::to_string).filter(|tip| !tip.contains("-- ")));
    }
    tips
}

/// Commands that run a configuration.
const RUNS: [&str; 5] = ["run", "sft", "train", "report", "check"];

/// Keys of the configuration, with the names of other trainers for them.
const KEYS: [(&str, &[&str]); 21] = [
    ("sft.epochs", &["epochs", "epoch", "num_train_epochs", "num_epochs", "n_epochs"]),
    ("sft.steps", &["steps", "max_steps", "num_steps", "iters"]),
    ("sft.learning_rate", &["learning_rate", "lr"]),
    ("sft.batch_size", &["batch_size", "per_device_train_batch_size", "micro_batch_size", "train_batch_size"]),
    ("sft.max_length", &["max_length", "max_seq_length", "cutoff_len", "sequence_len", "model_max_length"]),
    ("sft.warmup", &["warmup", "warmup_ratio"]),
    ("sft.weight_decay", &["weight_decay"]),
    ("sft.clip", &["max_grad_norm", "grad_clip", "clip"]),
    ("sft.schedule", &["lr_scheduler_type", "lr_scheduler", "schedule"]),
    ("sft.checkpoint_every", &["save_steps", "checkpoint_every", "save_every"]),
    ("run.seed", &["seed"]),
    ("run.name", &["name", "run_name"]),
    ("run.directory", &["output_dir", "output", "out", "o", "save_dir", "run_dir", "directory"]),
    ("model.folder", &["model", "model_name_or_path", "base_model", "model_name", "model_path", "m"]),
    ("model.compute", &["bf16", "fp16", "dtype", "torch_dtype", "precision"]),
    ("adapter.rank", &["lora_r", "lora_rank", "rank", "r"]),
    ("adapter.alpha", &["lora_alpha", "alpha"]),
    ("adapter.dropout", &["lora_dropout"]),
    ("data.train", &["data", "dataset", "dataset_name", "train_file", "train_data", "data_path"]),
    ("preference.objectives", &["objective", "objectives", "loss_type", "loss", "pref_loss"]),
    ("preference.seeds", &["seeds"]),
];

/// A hint about an unknown option or command.
fn hint(error: &clap::Error, arguments: &[String]) -> Option<String> {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    match error.kind() {
        ErrorKind::UnknownArgument => {
            let option = context(ContextKind::InvalidArg)?;
            let command = arguments.iter().skip(1).find(|argument| !argument.starts_with('-'));
            option_hint(option, command.map_or("", String::as_str), arguments)
        }
        ErrorKind::InvalidSubcommand => command_hint(context(ContextKind::InvalidSubcommand)?),
        _ => None,
    }
}

fn option_hint(option: &str, command: &str, arguments: &[String]) -> Option<String> {
    let name = option.split(['=', ' ']).next()?;
    if !name.starts_with('-') {
        return None;
    }
    let plain = name.trim_start_matches('-').to_lowercase().replace('-', "_");
    let runs = RUNS.contains(&command);
    if runs && let Some((key, _)) = KEYS.iter().find(|(_, names)| names.contains(&plain.as_str())) {
        let value = value_of(name, arguments).unwrap_or("VALUE");
        let value = match *key {
            "preference.objectives" | "preference.seeds" if value != "VALUE" => format!("'{key}=[{value}]'"),
            _ => format!("{key}={value}"),
        };
        let others = if key.starts_with("sft.") { " (preference.train. has the same keys)" } else { "" };
        return Some(format!("options of a run are keys of its configuration: --set {value}{others}"));
    }
    let text = match plain.as_str() {
        "config" | "c" | "config_file" => "the configuration is given without an option: tabpo run FILE.toml",
        "resume" | "resume_from_checkpoint" | "auto_resume" | "continue" if runs => {
            "a run resumes automatically: run the same command again"
        }
        "resume" | "continue" => "interrupted work resumes automatically: run the same command again",
        "dry_run" | "n" if runs => "`tabpo check FILE.toml` looks at everything that a run will do",
        "dry_run" => "only `tabpo predict --endpoint URL` has a dry run",
        "force" | "overwrite" | "overwrite_output_dir" | "f" if runs => {
            "stages whose inputs have changed run again automatically; for a fresh start, name another directory with \
             --set run.directory=DIR"
        }
        "force" | "overwrite" | "f" | "y" | "yes" => {
            "existing files are replaced without a question, once the new one is complete"
        }
        "host" | "bind" | "listen" if runs || command == "review" => {
            "the page is served to this machine only; from another one, forward the port: ssh -L PORT:127.0.0.1:PORT HOST"
        }
        "q" | "silent" | "s" => "the option is --quiet",
        "v" | "vv" | "verbose" | "debug" | "log_level" => {
            "there is no verbose mode: progress is shown unless --quiet is given; -V shows the version"
        }
        "gpu" | "gpus" | "cuda" | "device_map" if runs => "the option is --device: cuda, or cuda:1 for the second card",
        "device" | "gpu" | "gpus" | "cuda" | "device_map" => {
            "only training runs on cards; --threads sets the number of threads of the CPU"
        }
        "workers" | "num_workers" | "jobs" | "j" | "t" | "num_proc" | "nproc" => "the option is --threads",
        "output" | "out" | "o" | "output_file" => match command {
            "corpus" => "the output is given without an option, after the input: tabpo corpus convert INPUT OUTPUT",
            "eval" | "compare" | "ontology" | "generate" | "chat-template" => {
                "the result goes to standard output: append `> FILE` to the command"
            }
            _ => "the option is --out",
        },
        "predictions" | "prediction" | "preds" | "p" => "the option is --pred",
        "references" | "reference" | "labels" | "g" => "the option is --gold",
        "checkpoint" | "lora" | "peft" | "lora_path" | "adapter_path" => "the option is --adapter",
        "base_url" | "api_base" | "url" => "the option is --endpoint",
        "api_key" => {
            "keys are not given on the command line: put yours into the environment variable OPENAI_API_KEY, or name \
             another variable with --key-variable"
        }
        "max_tokens" | "max_length" | "max_new_token" => "the option is --max-new-tokens",
        "set" => "only the commands that read a configuration have --set: run, sft, train, report, check",
        _ => return None,
    };
    Some(text.to_owned())
}

/// The value of an option, given as `--name value` or `--name=value`.
fn value_of<'a>(name: &str, arguments: &'a [String]) -> Option<&'a str> {
    arguments.iter().enumerate().find_map(|(index, argument)| match argument.strip_prefix(name)? {
        "" => arguments.get(index + 1).map(String::as_str).filter(|value| !value.starts_with('-')),
        rest => rest.strip_prefix('='),
    })
}

fn command_hint(command: &str) -> Option<String> {
    let text = match command.to_lowercase().as_str() {
        "new" | "quickstart" | "setup" | "start" => "the command is `tabpo init`",
        "configuration" | "options" | "keys" => "`tabpo config reference` explains every key of a configuration",
        "finetune" | "fine-tune" | "dpo" | "preference" | "align" | "orpo" | "rlhf" => {
            "`tabpo train FILE.toml` trains the systems of a configuration, `tabpo sft FILE.toml` the fine-tuned model \
             alone"
        }
        "evaluate" | "score" | "test" | "metrics" => "the command is `tabpo eval`",
        "infer" | "inference" | "extract" | "annotate" => "the command is `tabpo predict`",
        "chat" | "cli" | "complete" => "the command is `tabpo generate`",
        "correct" | "label" | "curate" | "ui" | "web" => "the command is `tabpo review`",
        "demo" | "playground" | "show" | "highlight" => "the command is `tabpo try`",
        "serve" | "api" | "deploy" | "vllm" => "`tabpo serve-config` shows how to serve a model",
        "convert" => "`tabpo corpus convert` converts documents, `tabpo model convert` models",
        "stats" | "count" | "preprocess" | "data" => "the command is `tabpo corpus stats`",
        "validate" | "debug" | "lint" | "doctor" | "verify" => "the command is `tabpo check`",
        "export" => "`tabpo pairs export` writes pairs for other trainers, `tabpo merge` a whole model",
        "resume" | "continue" => "a run resumes by itself: `tabpo run FILE.toml` again",
        "version" => "the version is `tabpo --version`",
        "completion" | "autocomplete" => "the command is `tabpo completions`",
        _ => return None,
    };
    Some(text.to_owned())
}
