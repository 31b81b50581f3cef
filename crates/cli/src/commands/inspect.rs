//! `tabpo inspect`: shows what a model computes.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tabpo_engine::{Batch, Compute, Segment, Workspace, logits, write_logits};
use tabpo_model::Tokenizer;

use crate::{
    error::{CliError, ResultExt},
    output::{Context, print_json},
    run::PolicyFolder,
};

/// Arguments of `tabpo inspect`.
#[derive(clap::Args)]
pub(crate) struct InspectArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Write the logits of given token sequences
    Logits(LogitsArgs),
    /// Print the token ids of given texts
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
}

#[derive(Deserialize, Serialize)]
struct Tokens {
    input_ids: Vec<Vec<u32>>,
}

/// Runs the chosen inspection.
pub(crate) fn run(arguments: &InspectArgs, context: &Context) -> Result<(), CliError> {
    match &arguments.what {
        What::Logits(arguments) => inspect_logits(arguments, context),
        What::Tokens(arguments) => inspect_tokens(arguments, context),
    }
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
    context.say(format!("wrote the logits of {} sequences to {}", all.len(), arguments.out.display()));
    Ok(())
}
