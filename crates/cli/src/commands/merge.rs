//! `tabpo merge`: merges an adapter into the weights of its model.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use clap::ValueEnum;
use tabpo_engine::{Compute, Lora, Model, verify_export};
use tabpo_files::FolderReplacement;
use tabpo_model::{FolderError, SaveOptions, StoredType, is_adapter_folder};

use crate::{
    error::{CliError, ResultExt},
    output::Context,
    run::PolicyFolder,
    writing::check_folder,
};

/// Arguments of `tabpo merge`.
#[derive(clap::Args)]
pub(crate) struct MergeArgs {
    /// Model folder, or the adapter's PEFT folder (its base model is found automatically)
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// PEFT folder with the adapter, if --model is its base model
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// Folder to write; an existing model in it is replaced as a whole
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Type of the written weights
    #[arg(long, value_enum, default_value_t = Dtype::Bf16)]
    dtype: Dtype,
}

/// A type of weights.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Dtype {
    Bf16,
    F16,
    F32,
}

impl Dtype {
    /// The type in files.
    pub(super) fn stored(self) -> StoredType {
        match self {
            Dtype::Bf16 => StoredType::Bf16,
            Dtype::F16 => StoredType::F16,
            Dtype::F32 => StoredType::F32,
        }
    }
}

/// Writes the merged folder under a temporary name, reloads it, compares logits, and only then puts it in place.
pub(crate) fn run(arguments: &MergeArgs, context: &Context) -> Result<(), CliError> {
    check_folder(&arguments.out)?;
    if arguments.adapter.is_none() && !is_adapter_folder(&arguments.model) {
        return Err(CliError::input("--adapter is missing: there is nothing to merge")
            .with_hint("--adapter names the PEFT folder; --model may name it too, its base is found"));
    }
    let policy = PolicyFolder::resolve(&arguments.model, arguments.adapter.as_deref(), Compute::F32, context)?;
    let adapter = policy.adapter.as_deref().unwrap_or(&arguments.model);
    for folder in [policy.model.as_path(), adapter] {
        if same_folder(folder, &arguments.out) {
            return Err(CliError::input(format!("--out is {}, the folder that is merged", folder.display()))
                .with_hint("merge into a new folder; model and adapter stay as they are"));
        }
    }
    let others = others_in(&arguments.out)?;
    let (mut model, mut lora) = open(&policy.model, adapter)?;
    model.take_saved(&mut lora, adapter).or_input()?;
    let stored = arguments.dtype.stored();
    let new = new_folder(&arguments.out)?;
    let options = SaveOptions::new(stored);
    lora.merge(&model).save_merged(&policy.model, adapter, new.path(), &options).or_failed()?;
    let written = Model::<f32>::open(new.path()).or_failed()?;
    let difference = verify_export((&model, Some(&lora)), (&written, None), stored).or_failed()?;
    drop(written);
    put_in_place(new, &others, &arguments.out)?;
    context.say(format!(
        "wrote {}; reloaded, its logits differ from model and adapter by at most {:.1e} ({:.1e} standard deviations)",
        arguments.out.display(),
        difference.largest,
        difference.relative(),
    ));
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

fn open(model: &Path, adapter: &Path) -> Result<(Model<f32>, Lora<f32>), CliError> {
    let read = || {
        let model = Model::<f32>::open(model)?;
        let lora = Lora::open(adapter, &model.config)?;
        Ok((model, lora))
    };
    match read() {
        // The files can be read, but not merged.
        Err(error @ FolderError::NotFinite { .. }) => Err(error).or_failed(),
        result => result.or_input(),
    }
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
