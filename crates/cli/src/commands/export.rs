//! What is common to commands that write models: the types of weights, and files and folders that are checked before
//! they get their name.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use clap::ValueEnum;
use serde_json::json;
use tabpo_engine::{LogitDifference, Lora, Model, Tolerance, verify_export};
use tabpo_files::{FolderReplacement, Target, replace_by_path};
use tabpo_model::{FileType, FolderError, GgufHead, StoredType};

use crate::{
    error::{CliError, ResultExt},
    output::{self, Context},
    writing::cannot_write,
};

/// A type of weights.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Weights {
    F32,
    F16,
    Bf16,
    /// 8 bits (GGUF only)
    #[value(name = "q8_0")]
    Q8_0,
    /// 4 bits, some matrices 6, in llama.cpp's mixture (GGUF only)
    #[value(name = "q4_k_m")]
    Q4KM,
}

impl Weights {
    /// The type in GGUF files.
    pub(super) fn in_gguf(self) -> FileType {
        match self {
            Self::F32 => FileType::F32,
            Self::F16 => FileType::F16,
            Self::Bf16 => FileType::BF16,
            Self::Q8_0 => FileType::Q8_0,
            Self::Q4KM => FileType::Q4_K_M,
        }
    }

    /// The type in the files of folders. `out` is the folder, for messages.
    pub(super) fn in_folder(self, out: &Path) -> Result<StoredType, CliError> {
        match self {
            Self::F32 => Ok(StoredType::F32),
            Self::F16 => Ok(StoredType::F16),
            Self::Bf16 => Ok(StoredType::Bf16),
            Self::Q8_0 | Self::Q4KM => Err(CliError::input(format!(
                "{} is to be a folder, which has no weights of type {}",
                out.display(),
                self.in_gguf().name().to_lowercase()
            ))
            .with_hint("name a file that ends in .gguf, or choose f32, f16 or bf16")),
        }
    }
}

/// Checks that a GGUF file can be written at a path, before any work is done for it.
pub(super) fn check_file(out: &Path) -> Result<(), CliError> {
    match Target::of(out).or_input().map_err(|error| error.context(cannot_write(out)))? {
        Target::File(_) => Ok(()),
        _ => Err(CliError::input(format!("{} is not a file: a model is read again after writing", out.display()))
            .with_hint("name a file")),
    }
}

/// Writes a file under another name; it gets its own, all of it or nothing, when `write` has also checked it.
pub(super) fn write_file<T>(out: &Path, write: impl FnOnce(&Path) -> Result<T, CliError>) -> Result<T, CliError> {
    let mut result = None;
    let replaced = replace_by_path(out, |new| match result.insert(write(new)) {
        Ok(_) => Ok(()),
        Err(_) => Err(io::Error::other("not written")),
    });
    match (result, replaced) {
        (Some(Err(error)), _) => Err(error),
        (Some(Ok(value)), Ok(())) => Ok(value),
        (_, Err(error)) => Err(error).or_failed().map_err(|error| error.context(cannot_write(out))),
        (None, Ok(())) => unreachable!("a file is replaced by what was written"),
    }
}

/// Writes a model as a GGUF file, reads it again and compares its logits with those of `original`.
pub(super) fn write_model(
    out: &Path,
    model: &Model<f32>,
    head: &GgufHead,
    weights: Weights,
    original: (&Model<f32>, Option<&Lora<f32>>),
) -> Result<LogitDifference, CliError> {
    write_file(out, |new| {
        model.save_gguf(new, head, weights.in_gguf()).or_failed()?;
        let written = Model::<f32>::open(new).or_failed()?;
        verify_export(original, (&written, None), weights.in_gguf()).or_failed()
    })
}

/// The folder of a model that is to be written; one that is there is replaced as a whole.
pub(super) struct Folder<'o> {
    out: &'o Path,
    /// Files in it that do not belong to a model, which are kept.
    others: Vec<PathBuf>,
}

impl<'o> Folder<'o> {
    /// Checks that a model can be written as a folder, before any work is done for it.
    pub(super) fn at(out: &'o Path) -> Result<Self, CliError> {
        Ok(Self { out, others: others_in(out)? })
    }

    /// Writes the folder under a temporary name, reads it again, compares its logits with those of `original`, and only
    /// then puts it in place.
    pub(super) fn write(
        &self,
        save: impl FnOnce(&Path) -> Result<(), FolderError>,
        tolerance: impl Into<Tolerance>,
        original: (&Model<f32>, Option<&Lora<f32>>),
    ) -> Result<LogitDifference, CliError> {
        self.write_and_compare(
            |new| save(new).or_failed(),
            |written| verify_export(original, (written, None), tolerance).or_failed(),
        )
    }

    /// As [`Folder::write`], with a comparison that begins when the folder is written.
    pub(super) fn write_and_compare(
        &self,
        save: impl FnOnce(&Path) -> Result<(), CliError>,
        compare: impl FnOnce(&Model<f32>) -> Result<LogitDifference, CliError>,
    ) -> Result<LogitDifference, CliError> {
        let new = new_folder(self.out)?;
        save(new.path())?;
        let written = Model::<f32>::open(new.path()).or_failed()?;
        let difference = compare(&written)?;
        drop(written);
        put_in_place(new, &self.others, self.out)?;
        Ok(difference)
    }
}

/// A folder under a temporary name that will replace `out`.
fn new_folder(out: &Path) -> Result<FolderReplacement, CliError> {
    FolderReplacement::create(out).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => CliError::input(format!("another command is writing to {}", out.display()))
            .with_hint("wait for it, or name another folder"),
        _ => CliError::failed(format!("cannot write {}: {error}", out.display())),
    })
}

/// Puts a folder in the place of `out`, with the files of that which do not belong to a model ([`others_in`]).
fn put_in_place(new: FolderReplacement, others: &[PathBuf], out: &Path) -> Result<(), CliError> {
    for file in others {
        let name = file.file_name().unwrap_or_default();
        if !new.path().join(name).exists() {
            fs::copy(file, new.path().join(name)).or_failed()?;
        }
    }
    new.finish().map_err(|error| CliError::failed(format!("cannot write {}: {error}", out.display())))
}

/// The files in the folder that do not belong to a model, which are kept when it is replaced.
///
/// It is an error if the folder has files but no model.
fn others_in(out: &Path) -> Result<Vec<PathBuf>, CliError> {
    const OF_MODELS: [&str; 8] = ["safetensors", "json", "jinja", "bin", "model", "gguf", "pt", "pth"];
    let entries = match fs::read_dir(out) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(CliError::input(format!("{}: {error}", out.display()))),
    };
    let mut others = Vec::new();
    let mut is_empty = true;
    for entry in entries {
        is_empty = false;
        let path = entry.or_failed()?.path();
        let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !path.ends_with("additional_chat_templates") {
            return Err(CliError::input(format!("{} holds the folder {}", out.display(), path.display()))
                .with_hint("a folder is replaced as a whole: name a new one"));
        }
        let of_model = OF_MODELS.contains(&extension.as_str()) || path.ends_with("merges.txt");
        if path.is_file() && !of_model {
            others.push(path);
        }
    }
    if !is_empty && !out.join("config.json").exists() {
        return Err(CliError::input(format!("{} holds files, but no model", out.display()))
            .with_hint("a folder is replaced as a whole: name a new one, or one with an older model"));
    }
    Ok(others)
}

/// Whether two paths lead to the same place.
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

/// The name that a file gives what is in it: its own, without the ending.
pub(super) fn name_of(out: &Path) -> String {
    out.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// A model that was written, read again and compared.
pub(super) struct Written<'o> {
    /// The file or folder.
    pub(super) out: &'o Path,
    /// How far it is from the original.
    pub(super) difference: LogitDifference,
    /// A `Modelfile` beside it, and why it has no template if it has none.
    pub(super) modelfile: Option<(PathBuf, Option<String>)>,
}

impl Written<'_> {
    /// Says what was written and how far it is from the original, or prints it as JSON.
    pub(super) fn report(&self, json: bool, context: &Context) -> Result<(), CliError> {
        let Self { out, difference, modelfile } = self;
        if json {
            let LogitDifference { largest, deviation, divergence } = difference;
            let (modelfile, no_template) =
                modelfile.as_ref().map_or((None, None), |(path, no)| (Some(path), no.as_ref()));
            return output::print_json(&json!({
                "out": out,
                "logits": {"largest_difference": largest, "standard_deviation": deviation, "kl_divergence": divergence},
                "modelfile": modelfile,
                "no_template": no_template,
            }));
        }
        context.say(format!("wrote {}; read again and compared with the original: {difference}", out.display()));
        if let Some((path, no_template)) = modelfile {
            context.say(format!("wrote {} for `ollama create NAME -f`", path.display()));
            if let Some(problem) = no_template {
                context.say(format!(
                    "it has no TEMPLATE: {problem}; write one, or serve the file with llama.cpp's llama-server"
                ));
            }
        }
        Ok(())
    }
}

/// The policy inside the folder of a run's stage, or the path itself.
pub(super) fn policy_in(path: &Path) -> PathBuf {
    let inside = path.join("policy");
    let is_policy =
        |folder: &Path| ["config.json", "adapter_config.json"].iter().any(|file| folder.join(file).exists());
    if !is_policy(path) && is_policy(&inside) { inside } else { path.to_owned() }
}
