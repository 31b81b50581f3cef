//! `tabpo serve-config`: the command lines that serve a model for `tabpo predict --endpoint`.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tabpo_model::find_base;
use tabpo_remote::{Served, serve_commands};

use crate::{
    error::{CliError, ResultExt},
    output, range,
    run::SEPARATOR,
};

/// Arguments of `tabpo serve-config`.
#[derive(clap::Args)]
pub(crate) struct ServeConfigArgs {
    /// A Hugging Face folder, or a PEFT folder with an adapter
    folder: PathBuf,
    /// The base model of an adapter; by default, the one that its configuration names
    #[arg(long, value_name = "FOLDER")]
    base: Option<String>,
    /// The name under which the model is served
    #[arg(long, default_value = "tabpo")]
    name: String,
    /// Longest prompt and answer in tokens
    #[arg(long, value_name = "TOKENS", default_value = "4096", value_parser = range::TOKENS.parser::<usize>(), allow_negative_numbers = true)]
    max_length: usize,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: &ServeConfigArgs) -> Result<(), CliError> {
    let served = served(arguments)?;
    let commands = serve_commands(&served);
    if arguments.json {
        return output::print_json(&commands);
    }
    for (index, command) in commands.iter().enumerate() {
        let gap = if index == 0 { "" } else { "\n" };
        output::print_line(format!("{gap}# {}\n{}", command.server, command.command.join(" \\\n  ")))?;
        output::print_line(format!("# then\n{}", command.predict.join(" \\\n  ")))?;
    }
    Ok(())
}

fn served(arguments: &ServeConfigArgs) -> Result<Served, CliError> {
    let folder = &arguments.folder;
    let adapter_config = folder.join("adapter_config.json");
    let (model, adapter) = if adapter_config.exists() {
        let config = read_json(&adapter_config)?;
        let wrong = |key: &str| CliError::input(format!("{}: `{key}` is missing", adapter_config.display()));
        // A local folder, or else a name that the server may be able to resolve.
        let found = find_base(folder).ok().map(|base| base.display().to_string());
        let named = found.or_else(|| config["base_model_name_or_path"].as_str().map(str::to_owned));
        let base = arguments.base.clone().or(named).ok_or_else(|| wrong("base_model_name_or_path"))?;
        let rank = config["r"].as_u64().ok_or_else(|| wrong("r"))?;
        (base, Some((folder.clone(), rank as usize)))
    } else if folder.join("config.json").exists() {
        (folder.display().to_string(), None)
    } else {
        return Err(CliError::input(format!("{} is neither a model folder nor an adapter", folder.display()))
            .with_hint("a model folder has a config.json, an adapter an adapter_config.json"));
    };
    let separator = plain_separator(Path::new(&model))?;
    Ok(Served { model, adapter, separator, name: arguments.name.clone(), max_length: arguments.max_length })
}

/// The separator of plain prompts, for a folder without a chat template whose tokenizer has it.
fn plain_separator(folder: &Path) -> Result<Option<String>, CliError> {
    let tokenizer = folder.join("tokenizer.json");
    let config = folder.join("tokenizer_config.json");
    let template = folder.join("chat_template.jinja").exists()
        || (config.exists() && !read_json(&config)?["chat_template"].is_null());
    if template || !tokenizer.exists() {
        return Ok(None);
    }
    let tokenizer = read_json(&tokenizer)?;
    let mut added = tokenizer["added_tokens"].as_array().into_iter().flatten();
    Ok(added.any(|token| token["content"] == SEPARATOR).then(|| SEPARATOR.to_owned()))
}

fn read_json(path: &Path) -> Result<Value, CliError> {
    let text = tabpo_files::read_text(path).or_input().map_err(|error| error.context(path.display().to_string()))?;
    serde_json::from_str(&text).or_input().map_err(|error| error.context(path.display().to_string()))
}
