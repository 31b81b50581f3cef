//! `tabpo inspect`: shows what a model computes.

use std::path::PathBuf;

use serde::Deserialize;
use tabpo_engine::{Batch, Compute, Segment, Workspace, logits, write_logits};

use crate::{
    error::{CliError, ResultExt},
    output::Context,
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
}

#[derive(clap::Args)]
struct LogitsArgs {
    /// Model folder, or a PEFT folder (its base model is found automatically)
    #[arg(long, value_name = "DIR")]
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

#[derive(Deserialize)]
struct Tokens {
    input_ids: Vec<Vec<u32>>,
}

/// Runs the chosen inspection.
pub(crate) fn run(arguments: &InspectArgs, context: &Context) -> Result<(), CliError> {
    match &arguments.what {
        What::Logits(arguments) => inspect_logits(arguments, context),
    }
}

fn inspect_logits(arguments: &LogitsArgs, context: &Context) -> Result<(), CliError> {
    let path = &arguments.tokens;
    let text = tabpo_files::read_text(path)
        .map_err(|error| CliError::input(format!("cannot read {}: {error}", path.display())))?;
    let tokens: Tokens = serde_json::from_str(&text).map_err(|error| {
        CliError::input(format!("{}:{}: {error}", path.display(), error.line()))
            .with_hint(r#"token ids are written as {"input_ids": [[1, 2, 3]]}"#)
    })?;
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
