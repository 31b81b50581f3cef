//! `tabpo pairs`: builds preference pairs, selects, summarises and exports them, and tries ambiguity patterns.

mod build;
mod export;
mod patterns;
mod select;
mod stats;

use std::{
    fs::File,
    io::{BufReader, Read},
    path::Path,
};

use tabpo_metrics::ErrorModes;
use tabpo_pairs::PairRecord;

use crate::{
    error::{CliError, ResultExt},
    output::Context,
};

/// Arguments of `tabpo pairs`.
#[derive(clap::Args)]
pub(crate) struct PairsArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Make rejected answers for annotated documents
    Build(build::BuildArgs),
    /// Keep the pairs that a model finds hardest
    Select(select::SelectArgs),
    /// Count kinds, sources, label changes and edit distances of a pair file
    Stats(stats::StatsArgs),
    /// Write a pair file in the format of another trainer
    Export(export::ExportArgs),
    /// Check ambiguity patterns, or show where they match
    #[command(subcommand, after_long_help = patterns::FORM)]
    Patterns(patterns::PatternAction),
}

/// Runs the command.
pub(crate) fn run(arguments: PairsArgs, context: &Context) -> Result<(), CliError> {
    match arguments.action {
        Action::Build(arguments) => build::run(&arguments, context),
        Action::Select(arguments) => select::run(&arguments, context),
        Action::Stats(arguments) => stats::run(&arguments),
        Action::Export(arguments) => export::run(&arguments, context),
        Action::Patterns(action) => patterns::run(&action, context),
    }
}

fn open(path: &Path) -> Result<BufReader<File>, CliError> {
    let file = File::open(path).map_err(|error| CliError::input(format!("cannot read {}: {error}", path.display())))?;
    Ok(BufReader::new(file))
}

fn read_pairs(path: &Path) -> Result<impl Iterator<Item = Result<PairRecord, CliError>>, CliError> {
    Ok(PairRecord::read(open(path)?, path).map(ResultExt::or_input))
}

fn read_errors(path: &Path) -> Result<ErrorModes, CliError> {
    let wrong = |message: String| {
        CliError::input(format!("{}: {message}", path.display())).with_hint("make the file with `tabpo errors`")
    };
    let mut text = String::new();
    open(path)?.read_to_string(&mut text).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let errors: ErrorModes = serde_json::from_str(&text)
        .map_err(|error| wrong(format!("not a file of error modes: {}", tabpo_corpus::json_message(&text, &error))))?;
    if errors.version != ErrorModes::VERSION {
        return Err(wrong(format!("version {} of the form, expected {}", errors.version, ErrorModes::VERSION)));
    }
    Ok(errors)
}
