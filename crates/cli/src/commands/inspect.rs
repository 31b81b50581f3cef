//! `tabpo inspect`: says what a model is, and shows what it computes.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;
use tabpo_engine::{Batch, Compute, Segment, Workspace, logits, write_logits};
use tabpo_model::Tokenizer;
use tabpo_pipeline::describe::{ModelDescription, TrainingMemory, describe};

use crate::{
    error::{CliError, ResultExt},
    memory::size,
    output::{self, Context, print_json},
    range,
    run::PolicyFolder,
};

/// Arguments of `tabpo inspect`.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct InspectArgs {
    #[command(subcommand)]
    what: Option<What>,
    /// Model folder, GGUF file, or a PEFT folder (its base model is found automatically)
    #[arg(value_name = "MODEL", required = true)]
    model: Option<PathBuf>,
    /// Rank of the adapter whose memory is estimated
    #[arg(long, value_name = "R", default_value = "16", value_parser = range::RANK.parser::<usize>(), allow_negative_numbers = true)]
    rank: usize,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Subcommand)]
enum What {
    /// Write the logits of given token sequences
    Logits(LogitsArgs),
    /// Print the token ids of given texts, as JSON
    Tokens(TokensArgs),
}

#[derive(clap::Args)]
struct TokensArgs {
    /// Model folder, GGUF file, or a PEFT folder (its base model is found automatically)
    #[arg(long, value_name = "MODEL")]
    model: PathBuf,
    /// Texts: a JSON list of strings
    #[arg(long, value_name = "FILE.json")]
    texts: PathBuf,
    /// Add what the tokenizer itself puts around a text, such as a beginning-of-sequence token
    #[arg(long)]
    add_special: bool,
}

#[derive(clap::Args)]
struct LogitsArgs {
    /// Model folder, GGUF file, or a PEFT folder (its base model is found automatically)
    #[arg(long, value_name = "MODEL")]
    model: PathBuf,
    /// PEFT folder with an adapter for the model
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// Token ids: {"input_ids": [[...], ...]}
    #[arg(long, value_name = "FILE.json")]
    tokens: PathBuf,
    /// File for the logits: tensors logits.0, logits.1, ... in f32, [length, vocabulary]
    #[arg(long, value_name = "FILE.safetensors")]
    out: PathBuf,
    /// Say what was written as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize, Serialize)]
struct Tokens {
    input_ids: Vec<Vec<u32>>,
}

/// Runs the chosen inspection.
pub(crate) fn run(arguments: &InspectArgs, context: &Context) -> Result<(), CliError> {
    match (&arguments.what, &arguments.model) {
        (Some(What::Logits(arguments)), _) => inspect_logits(arguments, context),
        (Some(What::Tokens(arguments)), _) => inspect_tokens(arguments, context),
        (None, Some(model)) => inspect_model(model, arguments, context),
        (None, None) => unreachable!("without a subcommand, a model is required"),
    }
}

/// Says what a model is, or why it cannot be used.
fn inspect_model(model: &Path, arguments: &InspectArgs, context: &Context) -> Result<(), CliError> {
    let described = describe(model, arguments.rank, context);
    match described {
        Ok(description) if arguments.json => {
            print_json(&Verdict { supported: true, reason: None, model: Some(description) })
        }
        Ok(description) => output::print(&as_text(&description)),
        Err(error) => {
            if arguments.json {
                let reason = Some(error.messages().join(": "));
                print_json(&Verdict { supported: false, reason, model: None })?;
            }
            Err(error)
        }
    }
}

#[derive(Serialize)]
struct Verdict {
    supported: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(flatten)]
    model: Option<ModelDescription>,
}

fn as_text(model: &ModelDescription) -> String {
    let ModelDescription { heads: (heads, shared), layers, hidden, .. } = model;
    let memory = |training: &TrainingMemory| {
        format!(
            "at most {}, at least {}, for steps of {} tokens",
            size(training.most),
            size(training.least),
            training.tokens
        )
    };
    let template = match model.chat_template {
        "adapter" => "the adapter's own",
        "model" => "its own",
        _ => "none; the built-in format `plain` is used unless model.chat_template names another",
    };
    let mut rows = vec![
        ("model", format!("{} ({})", model.model.display(), model.form)),
        ("supported", "yes".to_owned()),
        (
            "architecture",
            format!("{}, layers {layers}, width {hidden}, heads {heads} over {shared}", model.architecture),
        ),
        (
            "parameters",
            format!(
                "{:.1} million, {} of weights in {}",
                model.parameters as f64 / 1e6,
                size(model.weights),
                model.formats.join(", ")
            ),
        ),
        ("vocabulary", format!("{} tokens", model.vocabulary)),
        ("window", format!("{} tokens", model.window)),
        ("chat template", template.to_owned()),
    ];
    if let Some(adapter) = &model.adapter {
        let targets = adapter.targets.join(", ");
        rows.push(("adapter", format!("rank {}, alpha {}, on {targets}", adapter.rank, adapter.alpha)));
    }
    rows.push((
        "answering",
        format!("{} and {} kB for each token of a sequence", size(model.weights), model.bytes_per_token / 1000),
    ));
    rows.push(("LoRA", format!("rank {}: {}", model.adapter_training.rank, memory(&model.adapter_training))));
    rows.push(("full training", memory(&model.full_training)));
    rows.extend(model.free_memory.map(|free| ("free memory", size(free))));
    let lines: Vec<String> = rows.into_iter().map(|(name, value)| format!("{name:14} {value}")).collect();
    lines.join("\n") + "\n"
}

/// The value in a JSON file; `form` says how it is written.
fn read_json<T: DeserializeOwned>(path: &Path, form: &str) -> Result<T, CliError> {
    let text = tabpo_files::read_text(path)
        .map_err(|error| CliError::input(format!("cannot read {}: {error}", path.display())))?;
    serde_json::from_str(&text)
        .map_err(|error| CliError::input(format!("{}:{}: {error}", path.display(), error.line())).with_hint(form))
}

/// Prints the ids in the form that `inspect logits` reads.
fn inspect_tokens(arguments: &TokensArgs, context: &Context) -> Result<(), CliError> {
    let texts: Vec<String> = read_json(&arguments.texts, r#"texts are written as ["one", "another"]"#)?;
    let policy = PolicyFolder::resolve(&arguments.model, None, Compute::F32, context)?;
    let tokenizer = Tokenizer::open(policy.tokenizer_folder()).or_input()?;
    let encode = |text: &String| {
        if arguments.add_special { tokenizer.encode_bare(text) } else { tokenizer.encode(text) }
    };
    let input_ids = texts.iter().map(encode).collect::<Result<_, _>>().or_failed()?;
    print_json(&Tokens { input_ids })
}

fn inspect_logits(arguments: &LogitsArgs, context: &Context) -> Result<(), CliError> {
    let path = &arguments.tokens;
    let tokens: Tokens = read_json(path, r#"token ids are written as {"input_ids": [[1, 2, 3]]}"#)?;
    let adapter = arguments.adapter.as_deref();
    let policy = PolicyFolder::resolve(&arguments.model, adapter, Compute::F32, context)?;
    let (model, lora) = policy.open()?;
    let vocabulary = model.config.vocabulary;
    let mut all = Vec::with_capacity(tokens.input_ids.len());
    let mut workspace = Workspace::new();
    for (index, ids) in tokens.input_ids.iter().enumerate() {
        if let Some(id) = ids.iter().find(|&&id| id as usize >= vocabulary) {
            let message = format!("{}: sequence {index} has token {id}", path.display());
            return Err(CliError::input(message).with_hint(format!("the model's tokens are 0 to {}", vocabulary - 1)));
        }
        let length = ids.len();
        let batch = Batch {
            tokens: ids.clone(),
            positions: (0..length as u32).collect(),
            segments: vec![Segment { rows: 0..length, context: Vec::new() }],
        };
        let rows: Vec<u32> = (0..length as u32).collect();
        all.push(if length == 0 { Vec::new() } else { logits(&model, lora.as_ref(), &batch, &rows, &mut workspace) });
    }
    if let Some(index) = all.iter().position(|logits| !logits.iter().all(|logit| logit.is_finite())) {
        return Err(CliError::failed(format!("the logits of sequence {index} are not finite"))
            .with_hint("the weights or the settings of the model are wrong"));
    }
    write_logits(&arguments.out, &all, vocabulary).or_failed()?;
    if arguments.json {
        return print_json(&json!({"out": arguments.out, "sequences": all.len(), "vocabulary": vocabulary}));
    }
    context.say(format!("wrote the logits of {} sequences to {}", all.len(), arguments.out.display()));
    Ok(())
}
