//! `tabpo merge`: merges an adapter into the weights of its model.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use tabpo_engine::{Compute, Lora, Model, verify_export};
use tabpo_files::FolderReplacement;
use tabpo_model::{
    FolderError, GgufHead, GgufSource, Modelfile, SaveOptions, StoredType, is_adapter_folder, write_atomically,
};

use super::export::{Weights, check_file, is_file, name_of, policy_in, report, write_model};
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
}

/// Merges, and writes a folder or a GGUF file.
pub(crate) fn run(arguments: &MergeArgs, context: &Context) -> Result<(), CliError> {
    let out = &arguments.out;
    let model = policy_in(&arguments.model);
    let to_file = is_file(out);
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

/// Writes the merged folder under a temporary name, reads it again, compares logits, and only then puts it in place.
fn merge_to_folder(policy: &PolicyFolder, arguments: &MergeArgs, context: &Context) -> Result<(), CliError> {
    let out = &arguments.out;
    let adapter = policy.adapter.as_deref().unwrap_or(&arguments.model);
    let stored: StoredType = arguments.weights.in_folder(out)?;
    let others = others_in(out)?;
    let (model, lora) = open(&policy.model, adapter)?;
    let new = new_folder(out)?;
    let options = SaveOptions::new(stored);
    lora.merge(&model).save_merged(&policy.model, adapter, new.path(), &options).or_failed()?;
    let written = Model::<f32>::open(new.path()).or_failed()?;
    let difference = verify_export((&model, Some(&lora)), (&written, None), stored).or_failed()?;
    drop(written);
    put_in_place(new, &others, out)?;
    report(out, &difference, context);
    Ok(())
}

/// Writes the merged model as a GGUF file, and a `Modelfile` beside it.
fn merge_to_file(policy: &PolicyFolder, arguments: &MergeArgs, context: &Context) -> Result<(), CliError> {
    let MergeArgs { out, weights, .. } = arguments;
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
    report(out, &difference, context);
    context.say(format!("wrote {} for `ollama create NAME -f`", modelfile.display()));
    if let Some(problem) = described.untranslated {
        context
            .say(format!("it has no TEMPLATE: {problem}; write one, or serve the file with llama.cpp's llama-server"));
    }
    Ok(())
}

/// A folder under a temporary name that will replace `out`.
pub(super) fn new_folder(out: &Path) -> Result<FolderReplacement, CliError> {
    FolderReplacement::create(out).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => CliError::input(format!("another command is writing to {}", out.display()))
            .with_hint("wait for it, or name another folder"),
        _ => CliError::failed(format!("cannot write {}: {error}", out.display())),
    })
}

/// Puts a folder in the place of `out`, with the files of that which do not belong to a model ([`others_in`]).
pub(super) fn put_in_place(new: FolderReplacement, others: &[PathBuf], out: &Path) -> Result<(), CliError> {
    for file in others {
        let name = file.file_name().unwrap_or_default();
        if !new.path().join(name).exists() {
            fs::copy(file, new.path().join(name)).or_failed()?;
        }
    }
    new.finish().map_err(|error| CliError::failed(format!("cannot write {}: {error}", out.display())))
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

/// The files in the folder that do not belong to a model, which are kept when it is replaced.
///
/// It is an error if the folder has files but no model.
pub(super) fn others_in(out: &Path) -> Result<Vec<PathBuf>, CliError> {
    const OF_MODELS: [&str; 8] = ["safetensors", "json", "jinja", "bin", "model", "gguf", "pt", "pth"];
    let entries = match fs::read_dir(out) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(CliError::input(format!("--out {}: {error}", out.display()))),
    };
    let mut others = Vec::new();
    let mut is_empty = true;
    for entry in entries {
        is_empty = false;
        let path = entry.or_failed()?.path();
        let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !path.ends_with("additional_chat_templates") {
            return Err(CliError::input(format!("--out {} holds the folder {}", out.display(), path.display()))
                .with_hint("a folder is replaced as a whole: name a new one"));
        }
        let of_model = OF_MODELS.contains(&extension.as_str()) || path.ends_with("merges.txt");
        if path.is_file() && !of_model {
            others.push(path);
        }
    }
    if !is_empty && !out.join("config.json").exists() {
        return Err(CliError::input(format!("--out {} holds files, but no model", out.display()))
            .with_hint("a folder is replaced as a whole: name a new one, or one with an older model"));
    }
    Ok(others)
}

pub(super) fn same_folder(a: &Path, b: &Path) -> bool {
    // A path may lead through a folder that does not exist yet: `new/../model` is `model`.
    matches!((without_detours(a).canonicalize(), without_detours(b).canonicalize()), (Ok(a), Ok(b)) if a == b)
        || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// The path with every `..` resolved by its text: each removes the component before it.
fn without_detours(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir if matches!(clean.components().next_back(), Some(Component::Normal(_))) => {
                clean.pop();
            }
            Component::CurDir => {}
            other => clean.push(other),
        }
    }
    if clean.as_os_str().is_empty() { PathBuf::from(".") } else { clean }
}
