//! `tabpo merge`: merges an adapter into the weights of its model.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tabpo_engine::{Compute, Lora, Model};
use tabpo_model::{
    FolderError, GgufHead, GgufSource, Modelfile, SaveOptions, is_adapter_folder, is_gguf_file, write_atomically,
};

use super::export::{Folder, Weights, Written, check_file, name_of, policy_in, same_folder, write_model};
use crate::{
    error::{CliError, ResultExt},
    output::Context,
    run::{PROMPT_DATE, PolicyFolder},
    writing::check_folder,
};

/// Arguments of `tabpo merge`.
#[derive(clap::Args)]
pub(crate) struct MergeArgs {
    /// Model folder, GGUF file, the adapter's PEFT folder (its base model is found automatically), or a run's stage
    #[arg(long, value_name = "MODEL")]
    model: PathBuf,
    /// PEFT folder with the adapter, if --model is its base model
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// Folder to write, an existing model in it is replaced as a whole; or a file that ends in .gguf, which gets a Modelfile
    /// for Ollama beside it
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// Type of the written weights
    #[arg(long = "type", value_name = "TYPE", value_enum, default_value_t = Weights::Bf16)]
    weights: Weights,
    /// Say what was written as JSON
    #[arg(long)]
    json: bool,
}

/// Merges, and writes a folder or a GGUF file.
pub(crate) fn run(arguments: &MergeArgs, context: &Context) -> Result<(), CliError> {
    let out = &arguments.out;
    let model = policy_in(&arguments.model);
    let to_file = is_gguf_file(out);
    if to_file {
        check_file(out)?;
    } else {
        check_folder(out)?;
    }
    // As a file even a model without an adapter is something new.
    if arguments.adapter.is_none() && !is_adapter_folder(&model) && !to_file {
        return Err(CliError::input("--adapter is missing: there is nothing to merge")
            .with_hint("--adapter names the PEFT folder; --model may name it too, its base is found"));
    }
    let policy = PolicyFolder::resolve(&model, arguments.adapter.as_deref(), Compute::F32, context)?;
    for folder in [Some(policy.model.as_path()), policy.adapter.as_deref()].into_iter().flatten() {
        if same_folder(folder, out) {
            return Err(CliError::input(format!("--out is {}, the model or adapter that is merged", folder.display()))
                .with_hint("write to a new place; model and adapter stay as they are"));
        }
    }
    if to_file { merge_to_file(&policy, arguments, context) } else { merge_to_folder(&policy, arguments, context) }
}

/// Writes the merged model as a folder.
fn merge_to_folder(policy: &PolicyFolder, arguments: &MergeArgs, context: &Context) -> Result<(), CliError> {
    let out = &arguments.out;
    let adapter = policy.adapter.as_deref().unwrap_or(&arguments.model);
    let (folder, stored) = (Folder::at(out)?, arguments.weights.in_folder(out)?);
    let (model, lora) = open(&policy.model, adapter)?;
    let merged = lora.merge(&model);
    let save = |new: &Path| merged.save_merged(&policy.model, adapter, new, &SaveOptions::new(stored));
    let difference = folder.write(save, stored, (&model, Some(&lora)))?;
    Written { out, difference, modelfile: None }.report(arguments.json, context)
}

/// Writes the merged model as a GGUF file, and a `Modelfile` beside it.
fn merge_to_file(policy: &PolicyFolder, arguments: &MergeArgs, context: &Context) -> Result<(), CliError> {
    let MergeArgs { out, weights, json, .. } = arguments;
    let modelfile = out.with_file_name("Modelfile");
    if fs::read_to_string(&modelfile).is_ok_and(|text| !Modelfile::is_ours(&text)) {
        return Err(CliError::input(format!("{} exists and was not written by tabpo", modelfile.display()))
            .with_hint("move it away, or write to another folder"));
    }
    let (model, lora) = match &policy.adapter {
        Some(adapter) => open(&policy.model, adapter).map(|(model, lora)| (model, Some(lora)))?,
        None => (Model::<f32>::open(&policy.model).or_input()?, None),
    };
    let source =
        GgufSource { model: &policy.model, adapter: policy.adapter.as_deref(), name: &name_of(out), date: PROMPT_DATE };
    let head = GgufHead::new(&model.config, &source).or_input()?;
    let merged = lora.as_ref().map(|lora| lora.merge(&model));
    let difference = write_model(out, merged.as_ref().unwrap_or(&model), &head, *weights, (&model, lora.as_ref()))?;
    let file = out.file_name().unwrap_or_default().to_string_lossy();
    let described = Modelfile::new(&file, &head, model.config.longest(), PROMPT_DATE);
    write_atomically(&modelfile, |file| file.write_all(described.text.as_bytes())).or_failed()?;
    let modelfile = Some((modelfile, described.untranslated));
    Written { out, difference, modelfile }.report(*json, context)
}

/// Reads a model and its adapter; what the adapter has instead of the model's own matrices is in the model.
fn open(model: &Path, adapter: &Path) -> Result<(Model<f32>, Lora<f32>), CliError> {
    let read = || {
        let model = Model::<f32>::open(model)?;
        let lora = Lora::open(adapter, &model.config)?;
        Ok((model, lora))
    };
    let (mut model, mut lora) = match read() {
        // The files can be read, but not merged.
        Err(error @ FolderError::NotFinite { .. }) => Err(error).or_failed(),
        result => result.or_input(),
    }?;
    model.take_saved(&mut lora, adapter).or_input()?;
    Ok((model, lora))
}
