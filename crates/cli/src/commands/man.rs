//! `tabpo man`: the manual pages, for those who package the program.

use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory, builder::Resettable};
use clap_mangen::Man;
use tabpo_model::write_atomically;

use crate::{
    error::{CliError, ResultExt},
    output::Context,
    writing,
};

/// Arguments of `tabpo man`.
#[derive(clap::Args)]
pub(crate) struct ManArgs {
    /// The folder to write into: tabpo.1, and a page for each command
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Writes the pages.
pub(crate) fn run(arguments: &ManArgs, context: &Context) -> Result<(), CliError> {
    writing::check_folder(&arguments.folder)?;
    let mut command = crate::Arguments::command().disable_help_subcommand(true);
    command.build();
    let mut pages = 0;
    write(&command, &arguments.folder, &mut pages)?;
    context.say(format!("wrote {pages} pages to {}", arguments.folder.display()));
    Ok(())
}

/// Writes the page of a command and those of its subcommands.
fn write(command: &Command, folder: &Path, pages: &mut usize) -> Result<(), CliError> {
    if command.is_hide_set() {
        return Ok(());
    }
    for subcommand in command.get_subcommands() {
        write(subcommand, folder, pages)?;
    }
    // The long version says what machine this is, which is nobody's business but its user's.
    let page = Man::new(command.clone().long_version(Resettable::Reset));
    let mut text = Vec::new();
    page.render(&mut text).or_failed()?;
    write_atomically(&folder.join(page.get_filename()), |file| file.write_all(&text)).or_failed()?;
    *pages += 1;
    Ok(())
}
