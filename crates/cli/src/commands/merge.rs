//! `tabpo merge`: add an adapter into the weights of its model.

use std::path::PathBuf;

use clap::ValueEnum;
use tabpo_engine::{Lora, Model, SaveOptions, StoredType, verify_export};

use crate::{
    error::{CliError, ResultExt},
    output::Context,
    writing::check_folder,
};

/// Arguments of `tabpo merge`.
#[derive(clap::Args)]
pub struct MergeArgs {
    /// Model folder
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// PEFT folder with the adapter
    #[arg(long, value_name = "DIR")]
    adapter: PathBuf,
    /// Folder to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Type of the written weights
    #[arg(long, value_enum, default_value_t = Dtype::Bf16)]
    dtype: Dtype,
}

/// A type of weights.
#[derive(Clone, Copy, ValueEnum)]
enum Dtype {
    Bf16,
    F16,
    F32,
}

/// Writes the merged folder, reloads it and compares logits.
pub fn run(arguments: &MergeArgs, context: &Context) -> Result<(), CliError> {
    check_folder(&arguments.out)?;
    let model = Model::<f32>::open(&arguments.model).or_input()?;
    let lora = Lora::open(&arguments.adapter, &model.config).or_input()?;
    if same_folder(&arguments.model, &arguments.out) {
        return Err(CliError::input("--out is the model's own folder")
            .with_hint("merge into a new folder; the model under the adapter stays as it is"));
    }
    let stored = match arguments.dtype {
        Dtype::Bf16 => StoredType::Bf16,
        Dtype::F16 => StoredType::F16,
        Dtype::F32 => StoredType::F32,
    };
    lora.merge(&model).save_like(&arguments.model, &arguments.out, &SaveOptions::new(stored)).or_failed()?;
    let written = Model::<f32>::open(&arguments.out).or_failed()?;
    let difference = verify_export((&model, Some(&lora)), (&written, None), stored).or_failed()?;
    context.say(format!(
        "wrote {}; reloaded, its logits differ from model and adapter by at most {:.1e} ({:.1e} standard deviations)",
        arguments.out.display(),
        difference.largest,
        difference.relative(),
    ));
    Ok(())
}

fn same_folder(a: &std::path::Path, b: &std::path::Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}
