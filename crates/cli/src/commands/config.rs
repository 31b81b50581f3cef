//! `tabpo config`: explains the configuration, to people and to editors, and shows one as it is resolved.

use std::path::PathBuf;

use serde_json::Value;

use crate::{
    config::{Configuration, Overrides, reference, schema},
    error::CliError,
    output,
};

/// Arguments of `tabpo config`.
#[derive(clap::Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Explain every key, as Markdown: its type, default and range, and what it is for
    Reference,
    /// Write the JSON Schema of a configuration, with which editors complete and check it
    Schema,
    /// Show a configuration with its defaults and overrides
    Show(ShowArgs),
}

#[derive(clap::Args)]
struct ShowArgs {
    /// The configuration file
    config: PathBuf,
    /// Override a key of the configuration, for example --set sft.epochs=2
    #[arg(long = "set", value_name = "KEY=VALUE")]
    replacements: Vec<String>,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: &ConfigArgs) -> Result<(), CliError> {
    match &arguments.action {
        Action::Reference => output::print_exact(&reference()),
        Action::Schema => output::print_json(&schema()),
        Action::Show(arguments) => {
            let overrides = Overrides { set: arguments.replacements.clone(), ..Overrides::default() };
            let text = Configuration::read(&arguments.config, &overrides)?.to_toml();
            if arguments.json {
                let value: Value = toml::from_str(&text).expect("a written configuration is valid TOML");
                output::print_json(&value)
            } else {
                output::print_exact(&text)
            }
        }
    }
}
