//! `tabpo init`: a configuration and an ontology for documents and a model that are there.

use std::path::PathBuf;

use serde::Serialize;
use tabpo_pipeline::starter::{CONFIGURATION, StartOptions, Starter};

use crate::{
    error::CliError,
    output::{self, Context},
};

/// Arguments of `tabpo init`.
#[derive(clap::Args)]
pub(crate) struct InitArgs {
    /// The documents, in any corpus format: a file, a folder of brat's files, or a folder with files (or folders) called
    /// train, dev, test and the like. Without any, the built-in corpus
    #[arg(value_name = "DATA")]
    data: Option<PathBuf>,
    /// The model to train: a model folder, a GGUF file, or a PEFT folder. Without one, a small model from scratch
    #[arg(long, value_name = "MODEL")]
    model: Option<PathBuf>,
    /// The folder to write tabpo.toml and ontology.toml into; existing files are never replaced
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Print what was found and written as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Outcome {
    found: Vec<String>,
    written: Vec<PathBuf>,
}

/// Writes the files.
pub(crate) fn run(arguments: &InitArgs, context: &Context) -> Result<(), CliError> {
    let options =
        StartOptions { data: arguments.data.clone(), model: arguments.model.clone(), out: arguments.out.clone() };
    let starter = Starter::look(&options, context)?;
    starter.write()?;
    let plain = |path: &PathBuf| path.strip_prefix(".").unwrap_or(path).to_owned();
    let written: Vec<PathBuf> = starter.files.iter().map(|file| plain(&file.path)).collect();
    if arguments.json {
        return output::print_json(&Outcome { found: starter.facts, written });
    }
    let mut lines = starter.facts;
    lines.extend(written.iter().map(|path| format!("wrote {}", path.display())));
    let config = plain(&arguments.out.join(CONFIGURATION));
    let fill = if arguments.data.is_some() { "fill in the descriptions in ontology.toml, then " } else { "" };
    let next = format!("next: {fill}`tabpo check {0}` and `tabpo run {0}`", config.display());
    lines.push(next);
    output::print_line(lines.join("\n"))
}
