//! `tabpo completions`: shell completion scripts.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::{
    error::CliError,
    output::{self, Context},
};

/// Arguments of `tabpo completions`.
#[derive(clap::Args)]
pub(crate) struct CompletionsArgs {
    /// The shell to write for
    shell: Shell,
}

/// Writes the script to stdout.
pub(crate) fn run(arguments: &CompletionsArgs, _context: &Context) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut crate::Arguments::command(), "tabpo", &mut script);
    output::print_exact(&String::from_utf8_lossy(&script))
}
