//! `tabpo model`: model files in other forms.

use std::path::PathBuf;

use tabpo_engine::{Model, verify_export};
use tabpo_model::{SaveOptions, check_model_folder};

use super::merge::{Dtype, new_folder, others_in, put_in_place, same_folder};
use crate::{
    error::{CliError, ResultExt},
    output::Context,
    writing::check_folder,
};

/// Arguments of `tabpo model`.
#[derive(clap::Args)]
pub(crate) struct ModelArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Write a model, such as a GGUF file, as a Hugging Face folder
    Convert(ConvertArgs),
}

/// Arguments of `tabpo model convert`.
#[derive(clap::Args)]
struct ConvertArgs {
    /// Model folder, or a GGUF file
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Folder to write; an existing model in it is replaced as a whole
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Type of the written weights
    #[arg(long, value_enum, default_value_t = Dtype::Bf16)]
    dtype: Dtype,
}

/// Runs the chosen conversion.
pub(crate) fn run(arguments: &ModelArgs, context: &Context) -> Result<(), CliError> {
    match &arguments.what {
        What::Convert(arguments) => convert(arguments, context),
    }
}

/// Writes the folder under a temporary name, reloads it, compares logits, and only then puts it in place.
fn convert(arguments: &ConvertArgs, context: &Context) -> Result<(), CliError> {
    let ConvertArgs { model: path, out, dtype } = arguments;
    check_folder(out)?;
    check_model_folder(path).or_input()?;
    if same_folder(path, out) {
        return Err(CliError::input(format!("--out is {}, the model that is converted", path.display()))
            .with_hint("write to a new folder; the model stays as it is"));
    }
    let others = others_in(out)?;
    let model = Model::<f32>::open(path).or_input()?;
    let stored = dtype.stored();
    let new = new_folder(out)?;
    model.save_like(path, new.path(), &SaveOptions::new(stored)).or_failed()?;
    let written = Model::<f32>::open(new.path()).or_failed()?;
    let difference = verify_export((&model, None), (&written, None), stored).or_failed()?;
    drop(written);
    put_in_place(new, &others, out)?;
    context.say(format!(
        "wrote {}; reloaded, its logits differ from the model's by at most {:.1e} ({:.1e} standard deviations)",
        out.display(),
        difference.largest,
        difference.relative(),
    ));
    Ok(())
}
