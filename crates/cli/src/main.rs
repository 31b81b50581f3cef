//! The command line of tabpo: reads arguments, calls the libraries, prints results.
#![deny(unsafe_code)]

mod allocator;
mod commands;
mod corpora;
mod error;
mod live;
mod output;
mod remaining;
mod tables;
mod usage;
mod version;

use std::process::ExitCode;

use clap::Parser;
use tabpo_pipeline::{ErrorKind, config, device, memory, range, remote, run, writing};

use crate::{commands::Command, output::Context};

/// Scoring allocates and frees many small lists, at which the system's allocator is slow.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Train open language models to extract ontology-typed JSON from text.
#[derive(Parser)]
#[command(name = "tabpo", version, long_version = version::long(), max_term_width = 100, propagate_version = true)]
struct Arguments {
    #[command(flatten)]
    global: output::GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let given: Vec<String> = std::env::args_os().map(|one| one.to_string_lossy().into_owned()).collect();
            return usage::show(error, &given);
        }
    };
    let result = Context::new(&arguments.global).and_then(|context| arguments.command.run(&context));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::render_error(&error);
            match error.kind() {
                ErrorKind::Input => ExitCode::from(2),
                ErrorKind::Failed => ExitCode::from(1),
                // The code that shells use for an interrupt.
                ErrorKind::Interrupted => ExitCode::from(130),
                ErrorKind::ClosedPipe => ExitCode::SUCCESS,
            }
        }
    }
}
