//! One module for each command: its arguments and what it does with them.

mod completions;

use clap::Subcommand;

use crate::{error::CliError, output::Context};

/// The commands of tabpo.
#[derive(Subcommand)]
pub enum Command {
    /// Write a shell completion script
    Completions(completions::CompletionsArgs),
}

impl Command {
    /// Runs the command.
    pub fn run(self, context: &Context) -> Result<(), CliError> {
        match self {
            Command::Completions(arguments) => completions::run(&arguments, context),
        }
    }
}
