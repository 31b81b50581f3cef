//! `tabpo bench`: measurements on this machine.

use super::{bench_decode, bench_preference, bench_prepare, bench_step};
use crate::{error::CliError, output::Context};

/// Arguments of `tabpo bench`.
#[derive(clap::Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Time one training step of a fixed shape beside the machine's GEMM peak
    Step(bench_step::StepArgs),
    /// Time preference training on a model folder and a pair file
    Preference(bench_preference::PreferenceArgs),
    /// Write the model folder and the pairs that preference trainers are compared on
    Prepare(bench_prepare::PrepareArgs),
    /// Time generation, free and under a grammar
    Decode(bench_decode::DecodeArgs),
}

/// Runs a benchmark.
pub(crate) fn run(arguments: &BenchArgs, context: &Context) -> Result<(), CliError> {
    match &arguments.action {
        Action::Step(arguments) => bench_step::run(arguments, context),
        Action::Preference(arguments) => bench_preference::run(arguments, context),
        Action::Prepare(arguments) => bench_prepare::run(arguments, context),
        Action::Decode(arguments) => bench_decode::run(arguments, context),
    }
}
