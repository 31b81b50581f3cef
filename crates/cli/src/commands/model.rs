//! `tabpo model`: model files in other forms.

use std::path::{Path, PathBuf};

use tabpo_engine::{Compute, Lora, Model, Tolerance, verify_export};
use tabpo_model::{GgufHead, GgufSource, Nf4Options, SaveOptions, check_model_folder, is_adapter_folder, is_gguf_file};

use super::export::{Folder, Weights, Written, check_file, name_of, same_folder, write_file, write_model};
use crate::{
    error::{CliError, ResultExt},
    output::Context,
    run::{PROMPT_DATE, PolicyFolder},
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
    /// Write a model folder as a GGUF file, a GGUF file as a folder, or an adapter for llama.cpp's --lora
    Convert(ConvertArgs),
    /// Write a model as a folder with 4-bit weights (NF4), as transformers and bitsandbytes read it
    Quantise(QuantiseArgs),
}

/// Arguments of `tabpo model convert`.
#[derive(clap::Args)]
struct ConvertArgs {
    /// Model folder, GGUF file (of a split one any part), or the PEFT folder of an adapter
    #[arg(value_name = "FROM")]
    from: PathBuf,
    /// File to write, ending in .gguf, or a folder; an existing model in that is replaced as a whole
    #[arg(value_name = "TO")]
    to: PathBuf,
    /// Type of the written weights [default: bf16, for an adapter f32]
    #[arg(long = "type", value_name = "TYPE", value_enum)]
    weights: Option<Weights>,
    /// Base model of an adapter, if it is not where the adapter says
    #[arg(long, value_name = "MODEL")]
    base: Option<PathBuf>,
    /// Say what was written as JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `tabpo model quantise`.
#[derive(clap::Args)]
struct QuantiseArgs {
    /// Model folder or GGUF file (of a split one any part)
    #[arg(value_name = "FROM")]
    from: PathBuf,
    /// Folder to write; an existing model in it is replaced as a whole
    #[arg(value_name = "TO")]
    to: PathBuf,
    /// Keep scales in single precision instead of 8 bits: 0.563 instead of 0.516 bytes a weight
    #[arg(long)]
    plain_scales: bool,
    /// Say what was written as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the chosen conversion.
pub(crate) fn run(arguments: &ModelArgs, context: &Context) -> Result<(), CliError> {
    match &arguments.what {
        What::Convert(arguments) => convert(arguments, context),
        What::Quantise(arguments) => quantise(arguments, context),
    }
}

/// Quantises matrix by matrix, so that only the comparison afterwards reads the whole model.
fn quantise(arguments: &QuantiseArgs, context: &Context) -> Result<(), CliError> {
    let QuantiseArgs { from, to, plain_scales, json } = arguments;
    different_places(from, to)?;
    if is_adapter_folder(from) {
        return Err(CliError::input(format!("{} is an adapter, not a model", from.display()))
            .with_hint("name its base model; the adapter works on the quantised one as well"));
    }
    check_model_folder(from).or_input()?;
    if is_gguf_file(to) {
        return Err(CliError::input(format!("{} is to be a file, but NF4 weights lie in a folder", to.display()))
            .with_hint("name a folder, or write a file with `tabpo model convert FROM TO --type q4_k_m`"));
    }
    check_folder(to)?;
    let folder = Folder::at(to)?;
    let options = Nf4Options { nested: !plain_scales, ..Nf4Options::default() };
    let save = |new: &Path| {
        let mut progress = None;
        let done = |done: usize, all: usize| {
            let progress = progress.get_or_insert_with(|| context.progress("tensors", all as u64));
            progress.update(done as u64, "");
        };
        tabpo_engine::quantise(from, new, &options, done).or_input()
    };
    let compare = |written: &Model<f32>| {
        let original = Model::<f32>::open(from).or_input()?;
        verify_export((&original, None), (written, None), Tolerance::NF4).or_failed()
    };
    let difference = folder.write_and_compare(save, compare)?;
    Written { out: to, difference, modelfile: None }.report(*json, context)
}

/// Refuses to write a model over the one that it is made from.
fn different_places(from: &Path, to: &Path) -> Result<(), CliError> {
    if same_folder(from, to) {
        return Err(CliError::input(format!("FROM and TO are the same: {}", from.display()))
            .with_hint("write to another place; the original stays as it is"));
    }
    Ok(())
}

fn convert(arguments: &ConvertArgs, context: &Context) -> Result<(), CliError> {
    let ConvertArgs { from, to, .. } = arguments;
    different_places(from, to)?;
    if is_adapter_folder(from) {
        return convert_adapter(arguments, context);
    }
    if let Some(base) = &arguments.base {
        return Err(CliError::input(format!("--base is {}, but {} is not an adapter", base.display(), from.display()))
            .with_hint("leave it out: a model has no base"));
    }
    check_model_folder(from).or_input()?;
    let weights = arguments.weights.unwrap_or(Weights::Bf16);
    if is_gguf_file(to) {
        model_to_file(from, to, weights, arguments.json, context)
    } else {
        model_to_folder(from, to, weights, arguments.json, context)
    }
}

fn model_to_file(from: &Path, to: &Path, weights: Weights, json: bool, context: &Context) -> Result<(), CliError> {
    check_file(to)?;
    let model = Model::<f32>::open(from).or_input()?;
    let source = GgufSource { model: from, adapter: None, name: &name_of(to), date: PROMPT_DATE };
    let head = GgufHead::new(&model.config, &source).or_input()?;
    let difference = write_model(to, &model, &head, weights, (&model, None))?;
    Written { out: to, difference, modelfile: None }.report(json, context)
}

fn model_to_folder(from: &Path, to: &Path, weights: Weights, json: bool, context: &Context) -> Result<(), CliError> {
    check_folder(to)?;
    let (folder, stored) = (Folder::at(to)?, weights.in_folder(to)?);
    let model = Model::<f32>::open(from).or_input()?;
    let save = |new: &Path| model.save_like(from, new, &SaveOptions::new(stored));
    let difference = folder.write(save, stored, (&model, None))?;
    Written { out: to, difference, modelfile: None }.report(json, context)
}

fn convert_adapter(arguments: &ConvertArgs, context: &Context) -> Result<(), CliError> {
    let ConvertArgs { from, to, base, .. } = arguments;
    if !is_gguf_file(to) {
        return Err(CliError::input(format!("{} is an adapter, which becomes a file", from.display()))
            .with_hint("let TO end in .gguf; `tabpo merge` makes a model of an adapter and its base"));
    }
    check_file(to)?;
    let weights = arguments.weights.unwrap_or(Weights::F32);
    if matches!(weights, Weights::Q8_0 | Weights::Q4KM) {
        return Err(CliError::input("the matrices of an adapter are too small to be quantised")
            .with_hint("choose f32, f16 or bf16; the base model may be quantised"));
    }
    let policy = match base {
        Some(base) => PolicyFolder::resolve(base, Some(from), Compute::F32, context)?,
        None => PolicyFolder::resolve(from, None, Compute::F32, context)?,
    };
    let mut model = Model::<f32>::open(&policy.model).or_input()?;
    let mut lora = Lora::open(from, &model.config).or_input()?;
    model.take_saved(&mut lora, from).or_input()?;
    let difference = write_file(to, |new| {
        lora.save_gguf(new, (&model.config, &policy.model), from, &name_of(to), weights.in_gguf()).or_input()?;
        let written = Lora::open(new, &model.config).or_failed()?;
        verify_export((&model, Some(&lora)), (&model, Some(&written)), weights.in_gguf()).or_failed()
    })?;
    Written { out: to, difference, modelfile: None }.report(arguments.json, context)
}
