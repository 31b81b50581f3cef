//! `tabpo bench step`: one training step of a fixed shape, timed beside the machine's GEMM peak.

use std::{path::PathBuf, time::Duration};

use serde::Serialize;
use tabpo_engine::{Model, PeakBench, Recompute, StepBench, StepShape};

use super::Products;
use crate::{
    config::rank_within,
    error::{CliError, ResultExt},
    memory::{megabytes, peak_resident_bytes},
    output::{self, Context},
    range,
};

/// Arguments of `tabpo bench step`.
#[derive(clap::Args)]
pub(crate) struct StepArgs {
    /// The shape: m1 is an adapter step of a 0.1B model, m2 a full step of a small model, both with random weights
    #[arg(long, value_enum, default_value_t = Shape::M1)]
    shape: Shape,
    /// Model folder or GGUF file to time instead, by default on 16 sentences of 156 tokens that share a prompt of 900
    /// tokens, with adapters of rank 32
    #[arg(long, value_name = "MODEL", conflicts_with = "shape")]
    model: Option<PathBuf>,
    /// Tokens of the prompt that all sequences share
    #[arg(long, value_name = "N", value_parser = range::TOKENS.or_none().parser::<usize>(), allow_negative_numbers = true)]
    prefix: Option<usize>,
    /// Sequences in the step
    #[arg(long, value_name = "N", value_parser = range::BATCH.parser::<usize>(), allow_negative_numbers = true)]
    sequences: Option<usize>,
    /// Tokens of a sequence after the shared prompt
    #[arg(long, value_name = "N", value_parser = range::TOKENS.parser::<usize>(), allow_negative_numbers = true)]
    length: Option<usize>,
    /// Tokens at the end of a sequence that are trained on; fewer than its length
    #[arg(long, value_name = "N", value_parser = range::TOKENS.parser::<usize>(), allow_negative_numbers = true)]
    supervised: Option<usize>,
    /// Rank of the adapters on all seven projections; 0 trains all parameters
    #[arg(long, value_name = "R", value_parser = range::RANK.or_none().parser::<usize>(), allow_negative_numbers = true)]
    lora_rank: Option<usize>,
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
    shape: String,
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

impl StepArgs {
    /// The name of what is timed, its shape, and its model.
    fn shape(&self) -> Result<(String, StepShape, Model<f32>), CliError> {
        let (name, mut shape, model) = match (&self.model, self.shape) {
            (Some(path), _) => {
                let model = Model::open(path).or_input()?;
                let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
                (name, StepShape::shared_prompt(model.config.clone()), Some(model))
            }
            (None, Shape::M1) => ("m1".to_owned(), StepShape::m1(), None),
            (None, Shape::M2) => ("m2".to_owned(), StepShape::m2(), None),
        };
        shape.prefix = self.prefix.unwrap_or(shape.prefix);
        shape.sequences = self.sequences.unwrap_or(shape.sequences);
        shape.length = self.length.unwrap_or(shape.length);
        shape.supervised = self.supervised.unwrap_or(shape.supervised.min(shape.length - 1));
        match self.lora_rank {
            Some(0) => shape.rank = None,
            Some(rank) => shape.rank = Some(rank),
            None => {}
        }
        if let Some(rank) = shape.rank {
            rank_within("--lora-rank", rank, shape.model.hidden)?;
        }
        if shape.supervised >= shape.length {
            let StepShape { supervised, length, .. } = shape;
            return Err(CliError::input(format!(
                "--supervised {supervised}: the first of {length} tokens of a sequence is not predicted, so at most {} \
                 can be trained on",
                length - 1
            )));
        }
        let model = model.unwrap_or_else(|| Model::initialise(shape.model.clone(), 1));
        Ok((name, shape, model))
    }
}

/// Runs the command.
pub(crate) fn run(arguments: &StepArgs, context: &Context) -> Result<(), CliError> {
    let (name, shape, model) = arguments.shape()?;
    let recompute = match arguments.recompute {
        Again::Nothing => Recompute::Nothing,
        Again::Cheap => Recompute::Cheap,
        Again::Blocks => Recompute::ALL_BLOCKS,
    };
    let steps = arguments.steps;
    let compute = arguments.compute.into();
    let mut bench = StepBench::new(&shape, model, recompute, compute);
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
