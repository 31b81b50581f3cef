//! `tabpo pairs export`: pairs for other trainers.

use std::{io::Write, path::PathBuf};

use serde_json::{Value, json};
use tabpo_answer::form_of;
use tabpo_ontology::{AnswerForm, Ontology};
use tabpo_pairs::{ExportFormat, PairRecord, add_roles, export};

use super::read_pairs;
use crate::{
    error::{CliError, ResultExt},
    output::{self, Context},
    writing::{create, finish},
};

/// Arguments of `tabpo pairs export`.
#[derive(clap::Args)]
pub(crate) struct ExportArgs {
    /// The pair file
    file: PathBuf,
    /// The format: trl (text) or trl-chat (messages)
    #[arg(long, value_name = "FORM", value_parser = parse_export)]
    format: ExportFormat,
    /// The ontology whose instructions are put before every source
    #[arg(long, value_name = "FILE")]
    ontology: Option<PathBuf>,
    /// Add the weight of each pair and the roles of its answers' characters, for the TabPOTrainer of tabpo's Python package
    #[arg(long, requires = "ontology")]
    roles: bool,
    /// The file to write; by default, standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Say what was written as JSON
    #[arg(long, requires = "out")]
    json: bool,
}

fn parse_export(text: &str) -> Result<ExportFormat, String> {
    match text {
        "trl" => Ok(ExportFormat::Trl),
        "trl-chat" => Ok(ExportFormat::TrlChat),
        _ => Err("give `trl` or `trl-chat`".to_owned()),
    }
}

/// Runs the command.
pub(crate) fn run(arguments: &ExportArgs, context: &Context) -> Result<(), CliError> {
    let ontology = arguments.ontology.as_deref().map(Ontology::read).transpose().or_input()?;
    let instructions = ontology.as_ref().map(|ontology| AnswerForm::ALL.map(|form| (form, ontology.prompt_for(form))));
    let instruction = |record: &PairRecord| {
        let wanted = form_of(&record.chosen);
        let (_, text) = instructions.as_ref()?.iter().find(|(form, _)| *form == wanted)?;
        Some(text.as_str())
    };
    let exported = |record: Result<PairRecord, CliError>| -> Result<Value, CliError> {
        let record = record?;
        let mut line = export(&record, arguments.format, instruction(&record));
        if let Some(ontology) = ontology.as_ref().filter(|_| arguments.roles) {
            add_roles(&mut line, &record, ontology).map_err(|error| {
                CliError::input(format!("{}: {error}", arguments.file.display())).with_hint(error.hint())
            })?;
        }
        Ok(line)
    };
    let lines = read_pairs(&arguments.file)?.map(exported);
    let Some(path) = &arguments.out else {
        for line in lines {
            output::print_json_line(&line?)?;
        }
        return Ok(());
    };
    let mut out = create(path)?;
    let mut pairs = 0_u64;
    for line in lines {
        writeln!(out, "{}", line?).or_failed()?;
        pairs += 1;
    }
    finish(out, path)?;
    if arguments.json {
        return output::print_json_beside(path, &json!({ "pairs": pairs, "out": path }));
    }
    context.say(format!("wrote {pairs} pairs to {}", path.display()));
    Ok(())
}
