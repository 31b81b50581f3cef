//! What is common to commands that write models: the types of weights, and GGUF files that are checked before they get
//! their name.

use std::{
    io,
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use tabpo_engine::{LogitDifference, Lora, Model, verify_export};
use tabpo_files::{Target, replace_by_path};
use tabpo_model::{FileType, GgufHead, StoredType, is_gguf_file};

use crate::{
    error::{CliError, ResultExt},
    output::Context,
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

/// Whether a path names a GGUF file to be written, by its ending.
pub(super) fn is_file(out: &Path) -> bool {
    is_gguf_file(out)
}

/// The name that a file gives what is in it: its own, without the ending.
pub(super) fn name_of(out: &Path) -> String {
    out.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Says what was written and how far it is from the original.
pub(super) fn report(out: &Path, difference: &LogitDifference, context: &Context) {
    context.say(format!("wrote {}; read again and compared with the original: {difference}", out.display()));
}

/// The policy inside the folder of a run's stage, or the path itself.
pub(super) fn policy_in(path: &Path) -> PathBuf {
    let inside = path.join("policy");
    let is_policy =
        |folder: &Path| ["config.json", "adapter_config.json"].iter().any(|file| folder.join(file).exists());
    if !is_policy(path) && is_policy(&inside) { inside } else { path.to_owned() }
}
