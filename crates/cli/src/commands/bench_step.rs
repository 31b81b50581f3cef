//! `tabpo bench step`: one training step of a fixed shape, timed beside the machine's GEMM peak.

use std::time::Duration;

use serde::Serialize;
use tabpo_engine::{PeakBench, Recompute, StepBench, StepShape};

use super::Products;
use crate::{
    error::CliError,
    memory::{megabytes, peak_resident_bytes},
    output::{self, Context},
    range,
};

/// Arguments of `tabpo bench step`.
#[derive(clap::Args)]
pub(crate) struct StepArgs {
    /// The shape: m1 is an adapter step of a 0.1B model, m2 a full step of a small model
    #[arg(long, value_enum, default_value_t = Shape::M1)]
    shape: Shape,
    /// What the backward pass computes again
    #[arg(long, value_enum, default_value_t = Again::Cheap)]
    recompute: Again,
    /// How products with frozen weights are computed
    #[arg(long, value_enum, default_value_t = Products::F32)]
    compute: Products,
    /// Timed steps; the median counts
    #[arg(long, value_name = "N", default_value = "7", value_parser = range::COUNT.parser::<usize>(), allow_negative_numbers = true)]
    steps: usize,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Shape {
    M1,
    M2,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Again {
    Nothing,
    Cheap,
    Blocks,
}

#[derive(Serialize)]
struct Outcome {
    shape: &'static str,
    compute: &'static str,
    threads: usize,
    steps: usize,
    /// Median milliseconds of a step and of its parts.
    ms: f64,
    forward_ms: f64,
    backward_ms: f64,
    optimiser_ms: f64,
    tokens_per_second: f64,
    gflops: f64,
    peak_gflops: f64,
    /// Median over the steps of the step's GFLOP/s over the peak measured just before it.
    share_of_peak: f64,
    peak_rss_bytes: Option<u64>,
}

/// Runs the command.
pub(crate) fn run(arguments: &StepArgs, context: &Context) -> Result<(), CliError> {
    let (name, shape) = match arguments.shape {
        Shape::M1 => ("m1", StepShape::m1()),
        Shape::M2 => ("m2", StepShape::m2()),
    };
    let recompute = match arguments.recompute {
        Again::Nothing => Recompute::Nothing,
        Again::Cheap => Recompute::Cheap,
        Again::Blocks => Recompute::Blocks,
    };
    let steps = arguments.steps;
    let compute = arguments.compute.into();
    let mut bench = StepBench::new(&shape, recompute, compute);
    let compute = bench.compute();
    // The first step allocates.
    bench.step();
    // Read before the peak's own operands are there.
    let peak_rss_bytes = peak_resident_bytes();
    let mut peak_bench = PeakBench::new(compute);
    let operations = shape.operations();
    let mut progress = context.progress("timing a step", steps as u64);
    let (mut times, mut peaks) = (Vec::new(), Vec::new());
    for done in 0..steps {
        if context.interrupted() {
            return Err(CliError::interrupted("stopped before all steps were timed"));
        }
        // Measured side by side, so that a busy machine slows both.
        peaks.push(peak_bench.gflops());
        times.push(bench.step());
        progress.update(done as u64 + 1, "");
    }
    progress.finish();
    let gflops = |time: Duration| operations / time.as_secs_f64() / 1e9;
    let milliseconds = |part: fn(&tabpo_engine::StepTime) -> Duration| {
        median(times.iter().map(|time| part(time).as_secs_f64() * 1e3).collect())
    };
    let ms = milliseconds(tabpo_engine::StepTime::total);
    let outcome = Outcome {
        shape: name,
        compute: compute.name(),
        threads: rayon::current_num_threads(),
        steps,
        ms,
        forward_ms: milliseconds(|time| time.forward),
        backward_ms: milliseconds(|time| time.backward),
        optimiser_ms: milliseconds(|time| time.optimiser),
        tokens_per_second: shape.tokens() as f64 / ms * 1e3,
        gflops: operations / ms / 1e6,
        peak_gflops: median(peaks.clone()),
        share_of_peak: median(times.iter().zip(&peaks).map(|(time, peak)| gflops(time.total()) / peak).collect()),
        peak_rss_bytes,
    };
    if arguments.json {
        return output::print_json(&outcome);
    }
    output::print_line(format!(
        "{} in {} on {} threads: {:.0} ms a step (forward {:.0}, backward {:.0}, optimiser {:.0}), {:.0} tokens/s, \
         {:.1} GFLOP/s, {:.0} % of the peak of {:.1}{}",
        outcome.shape,
        outcome.compute,
        outcome.threads,
        outcome.ms,
        outcome.forward_ms,
        outcome.backward_ms,
        outcome.optimiser_ms,
        outcome.tokens_per_second,
        outcome.gflops,
        100.0 * outcome.share_of_peak,
        outcome.peak_gflops,
        peak_rss_bytes.map_or(String::new(), |bytes| format!(", peak memory {:.0} MB", megabytes(bytes as usize))),
    ))
}

/// The middle value, or the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let half = values.len() / 2;
    if values.len() % 2 == 1 { values[half] } else { f64::midpoint(values[half - 1], values[half]) }
}
