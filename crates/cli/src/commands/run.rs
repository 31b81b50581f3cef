//! `tabpo run`, `tabpo sft`, `tabpo train`, `tabpo report`: run the stages of a configuration, all of them or up to one.

use std::{path::PathBuf, sync::Arc};

use serde::Serialize;
use tabpo_metrics::Comparison;
use tabpo_pipeline::device::Device;

use super::{
    ranks,
    serving::{show, start},
};
use crate::{
    config::{Configuration, Overrides},
    error::{CliError, ErrorKind},
    live::{Both, End, LiveRun},
    output::{self, Context},
    range,
    run::{Pipeline, Program, RunResult, Until},
    tables, version,
};

/// Arguments of the commands that run a configuration.
#[derive(clap::Args)]
pub(crate) struct RunArgs {
    /// The configuration file
    config: PathBuf,
    /// Override a key of the configuration, for example --set sft.epochs=2
    #[arg(long = "set", value_name = "KEY=VALUE")]
    replacements: Vec<String>,
    /// Memory for training to stay below if possible, in GB: `memory_gb` of every stage
    #[arg(long, value_name = "GB", value_parser = range::MEMORY.parser(), allow_negative_numbers = true)]
    memory_gb: Option<f64>,
    /// Where models are trained and answer: auto, cpu, cuda, or cuda:1 for the second card (`model.device`)
    #[arg(long, value_name = "DEVICE")]
    device: Option<Device>,
    /// Print what was made as JSON: its path, and the comparison of the systems if the run got that far
    #[arg(long)]
    json: bool,
    /// Show the page of the run in the browser while it fills; it is served to this machine only, until Ctrl-C
    #[arg(long)]
    open: bool,
    /// The port of 127.0.0.1 to serve the page on [default: any free one]
    #[arg(long, value_name = "PORT", requires = "open", value_parser = clap::value_parser!(u16).range(1..), allow_negative_numbers = true)]
    port: Option<u16>,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Outcome {
    /// A folder, the pair file, or the report page.
    output: PathBuf,
    comparison: Option<Comparison>,
}

/// This program, with the commit that it was built from.
fn program() -> Program {
    Program { version: env!("CARGO_PKG_VERSION").to_owned(), commit: version::commit().map(str::to_owned) }
}

/// Runs the stages up to `until`; those that are up to date are skipped.
pub(crate) fn run(arguments: &RunArgs, until: Until, context: &Context) -> Result<(), CliError> {
    let overrides =
        Overrides { set: arguments.replacements.clone(), memory_gb: arguments.memory_gb, device: arguments.device };
    let place = ranks::place()?;
    if let Some(place) = place.filter(|place| place.rank > 0) {
        return ranks::follow(place, &arguments.config, &overrides, context);
    }
    let config = Configuration::read(&arguments.config, &overrides)?;
    let name = config.run.name.clone();
    // Before anything else takes time, so that the other ranks don't wait for nothing if it fails.
    let lead = place.map(|place| ranks::lead(place, &config, context)).transpose()?;
    let pipeline = Pipeline::new(config, context)?.made_by(program());
    let pipeline = match lead {
        Some(lead) => pipeline.on_ranks(lead),
        None => pipeline,
    };
    if !arguments.open {
        return print(pipeline.run(until, context)?, arguments.json);
    }
    let live = LiveRun::new(&name, &pipeline.directory());
    let server = start(arguments.port, Arc::clone(&live) as _)?;
    show(&server, context);
    let result = pipeline.run(until, &Both { context, live: Arc::clone(&live) });
    match &result {
        Ok(_) => live.ended(End::Done, None),
        Err(error) if error.kind() == ErrorKind::Interrupted => live.ended(End::Stopped, None),
        Err(error) => live.ended(End::Failed, Some(error.to_string())),
    }
    print(result?, arguments.json)?;
    context.say(format!("the page stays at {} until Ctrl-C", server.url()));
    context.wait_for_interrupt();
    server.stop();
    Ok(())
}

/// Prints the result of a run.
fn print(result: RunResult, json: bool) -> Result<(), CliError> {
    if json {
        let comparison = result.scores.map(|scores| scores.comparison);
        return output::print_json(&Outcome { output: result.output, comparison });
    }
    match result.scores {
        None => output::print_line(result.output.display().to_string()),
        Some(scores) => {
            output::print(&tables::shown(&tables::headline(&scores.comparison)))?;
            if let Some(rates) = tables::precision_and_recall(&scores.comparison) {
                output::print(&format!("\n{}\n", tables::shown(&rates)))?;
            }
            output::print_line(format!("report: {}", result.output.display()))
        }
    }
}
