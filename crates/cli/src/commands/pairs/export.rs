//! `tabpo pairs export`: pairs for other trainers.

use std::{io::Write, path::PathBuf};

use tabpo_answer::form_of;
use tabpo_ontology::{AnswerForm, Ontology};
use tabpo_pairs::{ExportFormat, PairRecord, export};

use super::read_pairs;
use crate::{
    error::{CliError, ResultExt},
    output,
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
    /// The file to write; by default, standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

fn parse_export(text: &str) -> Result<ExportFormat, String> {
    match text {
        "trl" => Ok(ExportFormat::Trl),
        "trl-chat" => Ok(ExportFormat::TrlChat),
        _ => Err("give `trl` or `trl-chat`".to_owned()),
    }
}

/// Runs the command.
pub(crate) fn run(arguments: &ExportArgs) -> Result<(), CliError> {
    let ontology = arguments.ontology.as_deref().map(Ontology::read).transpose().or_input()?;
    let instructions = ontology.map(|ontology| AnswerForm::ALL.map(|form| (form, ontology.prompt_for(form))));
    let instruction = |record: &PairRecord| {
        let wanted = form_of(&record.chosen);
        let (_, text) = instructions.as_ref()?.iter().find(|(form, _)| *form == wanted)?;
        Some(text.as_str())
    };
    let lines = read_pairs(&arguments.file)?.map(|record| {
        let record = record?;
        Ok(export(&record, arguments.format, instruction(&record)))
    });
    match &arguments.out {
        None => {
            for line in lines {
                output::print_json_line(&line?)?;
            }
            Ok(())
        }
        Some(path) => {
            let mut out = create(path)?;
            for line in lines {
                writeln!(out, "{}", line?).or_failed()?;
            }
            finish(out, path)
        }
    }
}
