//! One module for each command: its arguments and what it does with them.

mod completions;
mod objective;
mod run;

use clap::Subcommand;

use crate::{error::CliError, output::Context, run::Until};

/// The commands of tabpo.
#[derive(Subcommand)]
pub enum Command {
    /// Run a configuration: every stage from documents to report, skipping what is up to date
    Run(run::RunArgs),
    /// Run a configuration up to the fine-tuned model
    Sft(run::RunArgs),
    /// Run a configuration up to the trained systems
    Train(run::RunArgs),
    /// List the training objectives, or evaluate the published ones on given inputs
    Objective(objective::ObjectiveArgs),
    /// Write a shell completion script
    Completions(completions::CompletionsArgs),
}

impl Command {
    /// Runs the command.
    pub fn run(self, context: &Context) -> Result<(), CliError> {
        match self {
            Command::Run(arguments) => run::run(&arguments, Until::Report, context),
            Command::Sft(arguments) => run::run(&arguments, Until::Sft, context),
            Command::Train(arguments) => run::run(&arguments, Until::Train, context),
            Command::Objective(arguments) => objective::run(arguments, context),
            Command::Completions(arguments) => completions::run(&arguments, context),
        }
    }
}
