//! `tabpo bench preference`: preference training timed on a model folder and a pair file.

use std::{fs::File, io::BufReader, path::PathBuf, sync::Arc, time::Instant};

use serde::Serialize;
use tabpo_answer::form_of;
use tabpo_engine::{Compute, ForwardOptions, Lora, MemoryRequest, Model, PeakBench, Policy, PolicyShape, Recompute};
use tabpo_model::LoraConfig;
use tabpo_objective::Objective;
use tabpo_ontology::Ontology;
use tabpo_pairs::PairRecord;
use tabpo_train::{
    BatchPlan, Decay, ExampleRecord, Observer, ReferenceCache, Schedule, Session, StepProgress, StepRecord, TextSource,
    TrainBudget, TrainSettings, TrainSummary, group_pairs, train,
};

use tabpo_pipeline::{
    device::{Computer, Device, KernelTime},
    run::CARD_LOGIT_BYTES,
};

use super::{
    Products,
    bench_operations::{Operations, Work},
};
use crate::{
    config::rank_within,
    error::{CliError, ResultExt},
    memory::{self, megabytes, peak_resident_bytes},
    output::{self, Context, Progress},
    range,
    run::{PolicyFolder, Renderer},
};

/// Arguments of `tabpo bench preference`.
#[derive(clap::Args)]
pub(crate) struct PreferenceArgs {
    /// Model folder or GGUF file, prompted as in a run: with its chat template and the ontology's instructions
    #[arg(long, value_name = "MODEL")]
    model: PathBuf,
    /// The pairs
    #[arg(long, value_name = "FILE")]
    pairs: PathBuf,
    /// The ontology of the pairs and of the prompt; that of the built-in corpus if not given
    #[arg(long, value_name = "FILE")]
    ontology: Option<PathBuf>,
    /// A chat template instead of the model's own: a Jinja file, or a built-in format (plain, alpaca, chatml)
    #[arg(long, value_name = "TEMPLATE")]
    chat_template: Option<String>,
    /// The objective; one that compares no answers, such as continued-sft, trains on the chosen ones
    #[arg(long, value_name = "NAME", default_value = "tab-po")]
    objective: String,
    /// Rank of the adapters on all seven projections
    #[arg(long, value_name = "R", default_value = "16", value_parser = range::RANK.parser::<usize>(), allow_negative_numbers = true)]
    lora_rank: usize,
    /// Passes over the pairs
    #[arg(long, value_name = "E", default_value = "1", value_parser = range::COUNT.parser::<u64>(), allow_negative_numbers = true)]
    epochs: u64,
    /// Examples to use; all if not given
    #[arg(long, value_name = "N", value_parser = range::COUNT.parser::<usize>(), allow_negative_numbers = true)]
    examples: Option<usize>,
    /// Negatives to use of each example; all if not given
    #[arg(long, value_name = "K", value_parser = range::FEW.parser::<usize>(), allow_negative_numbers = true)]
    negatives: Option<usize>,
    /// Examples in a step
    #[arg(long, value_name = "N", default_value = "4", value_parser = range::BATCH.parser::<usize>(), allow_negative_numbers = true)]
    batch_size: usize,
    /// Tokens in a micro-batch
    #[arg(long, value_name = "N", default_value = "1024", value_parser = range::TOKENS.parser::<usize>(), allow_negative_numbers = true)]
    max_tokens: usize,
    /// How products with the frozen weights are computed
    #[arg(long, value_enum, default_value_t = Products::Auto)]
    compute: Products,
    /// Where to compute: cpu, cuda, or cuda:1 for the second card
    #[arg(long, value_name = "DEVICE", default_value_t = Device::Cpu)]
    device: Device,
    /// Memory to stay below where possible, in GB: decides what the backward pass computes again
    #[arg(long, value_name = "GB", value_parser = range::MEMORY.parser(), allow_negative_numbers = true)]
    memory_gb: Option<f64>,
    /// Train on a quarter, half and all of the examples, and with fewer negatives, and plot the cost
    #[arg(long)]
    sweep: bool,
    /// Add up the time of every kernel in a shorter run of its own (cards only)
    #[arg(long)]
    by_kernel: bool,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Outcome {
    objective: String,
    threads: usize,
    rank: usize,
    recompute: String,
    /// Where it was computed.
    device: String,
    /// How products with the frozen weights were computed.
    compute: &'static str,
    #[serde(flatten)]
    main: Measurement,
    peak_gflops: f64,
    share_of_peak: f64,
    estimated_bytes: usize,
    peak_rss_bytes: Option<u64>,
    /// Bytes of the card's memory that were taken in the training.
    #[serde(skip_serializing_if = "Option::is_none")]
    card_bytes: Option<u64>,
    /// What the plan has for what was taken of the card's memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    planned_bytes: Option<u64>,
    /// The time of every kernel in a shorter run, the longest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kernels: Vec<KernelTime>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sweep: Vec<Measurement>,
}

/// One training run.
#[derive(Clone, Serialize)]
struct Measurement {
    examples: usize,
    negatives: usize,
    /// Pairs trained on, all epochs together; examples for an objective that compares no answers.
    pairs: u64,
    /// Wall time from the first token to the last step, reference included.
    seconds: f64,
    pairs_per_second: f64,
    tokens_computed: u64,
    tokens_separate: u64,
    tokens_reference: u64,
    gflops: f64,
    reference_seconds: f64,
    forward_seconds: f64,
    backward_seconds: f64,
    optimiser_seconds: f64,
    objective_seconds: f64,
    waiting_seconds: f64,
    /// Bytes of the card's memory in use at the end of the training.
    #[serde(skip)]
    card_bytes: Option<u64>,
    /// What the plan has for them.
    #[serde(skip)]
    planned_bytes: Option<u64>,
    /// The least that training takes of the card's memory.
    #[serde(skip)]
    least_bytes: Option<usize>,
}

/// Runs the command.
pub(crate) fn run(arguments: &PreferenceArgs, context: &Context) -> Result<(), CliError> {
    let bench = Bench::open(arguments, context)?;
    if bench.computer.is_card() {
        return run_on_card(&bench, arguments, context);
    }
    if arguments.by_kernel {
        return Err(CliError::input("--by-kernel is for cards only").with_hint("choose one with --device cuda"));
    }
    let shape = PolicyShape::of(&bench.model, Some(&bench.adapter));
    let request = request(&bench.objective, arguments.max_tokens, bench.held);
    let plan = shape.plan(&request, memory::limit(arguments.memory_gb, bench.held, 1));
    memory::say("training", &plan, &shape.plan(&request, Some(0)), arguments.memory_gb, context);
    let recompute = memory::name(plan.recompute);
    let all = (bench.records.len(), bench.most_negatives());
    let mut peak = PeakBench::new(bench.compute);
    let before = peak.gflops();
    let main = bench.measure(&bench.computer, all.0, all.1, plan.recompute, context)?;
    // On both sides of the run, so that a busy machine shows in both.
    let peak_gflops = f64::midpoint(before, peak.gflops());
    let mut sweep = Vec::new();
    if arguments.sweep {
        let fewer = [4, 2].map(|part| (all.0 / part, all.1));
        let shallower = (0..).map(|power| 1 << power).take_while(|&negatives| negatives < all.1);
        for (examples, negatives) in fewer.into_iter().chain(shallower.map(|negatives| (all.0, negatives))) {
            if examples > 0 {
                sweep.push(bench.measure(&bench.computer, examples, negatives, plan.recompute, context)?);
            }
        }
        sweep.push(main.clone());
    }
    let outcome = Outcome {
        objective: arguments.objective.clone(),
        threads: rayon::current_num_threads(),
        rank: arguments.lora_rank,
        recompute,
        device: bench.device.clone(),
        compute: bench.compute.name(),
        share_of_peak: main.gflops / peak_gflops,
        main,
        peak_gflops,
        estimated_bytes: plan.total(),
        peak_rss_bytes: peak_resident_bytes(),
        card_bytes: None,
        planned_bytes: None,
        kernels: Vec::new(),
        sweep,
    };
    if arguments.json { output::print_json(&outcome) } else { output::print(&text(&outcome)) }
}

/// The same on a card, which chooses by itself what is computed again; without a sweep.
fn run_on_card(bench: &Bench, arguments: &PreferenceArgs, context: &Context) -> Result<(), CliError> {
    if arguments.sweep {
        return Err(CliError::input("--sweep runs on the CPU only"));
    }
    let gflops = || Ok::<f64, CliError>(bench.computer.product_gflops()?.unwrap_or(f64::NAN));
    let before = gflops()?;
    // Kernels are loaded and products chosen in a first, small run.
    let (first, all) = (bench.plan.batch_size.min(bench.records.len()), bench.records.len());
    let recompute = Recompute::default();
    bench.measure(&bench.computer, first, 1, recompute, context)?;
    let main = bench.measure(&bench.computer, all, bench.most_negatives(), recompute, context)?;
    let peak_gflops = f64::midpoint(before, gflops()?);
    let mut kernels = Vec::new();
    if let Some((computer, profile)) = bench.computer.profiled().filter(|_| arguments.by_kernel) {
        bench.measure(&computer, (2 * first).min(all), bench.most_negatives(), recompute, context)?;
        kernels = profile.times();
    }
    let outcome = Outcome {
        objective: arguments.objective.clone(),
        threads: rayon::current_num_threads(),
        rank: arguments.lora_rank,
        recompute: "what the card's memory doesn't hold".to_owned(),
        device: bench.device.clone(),
        compute: bench.computer.compute().unwrap_or_default(),
        share_of_peak: main.gflops / peak_gflops,
        card_bytes: main.card_bytes,
        planned_bytes: main.planned_bytes,
        kernels,
        peak_gflops,
        estimated_bytes: main.least_bytes.unwrap_or_default(),
        main,
        peak_rss_bytes: peak_resident_bytes(),
        sweep: Vec::new(),
    };
    if arguments.json { output::print_json(&outcome) } else { output::print(&text(&outcome)) }
}

/// What is measured on.
struct Bench {
    model: Arc<Model<f32>>,
    adapter: Lora<f32>,
    renderer: Renderer,
    ontology: Ontology,
    records: Vec<ExampleRecord>,
    objective: Objective,
    plan: BatchPlan,
    compute: Compute,
    computer: Computer,
    /// The device in words.
    device: String,
    /// What the process held before the model was read.
    held: usize,
}

/// What the memory of the benchmark depends on.
fn request(objective: &Objective, max_tokens: usize, held: usize) -> MemoryRequest {
    memory::request(max_tokens, ForwardOptions::default().logit_bytes, objective.needs().kl, 0, held)
}

impl Bench {
    fn open(arguments: &PreferenceArgs, context: &Context) -> Result<Self, CliError> {
        let held = memory::held(context);
        let objective = Objective::new(&arguments.objective).or_input()?;
        let given = arguments.ontology.as_deref().map(Ontology::read).transpose().or_input()?;
        let ontology = given.unwrap_or_else(|| tabpo_synthetic::ontology().clone());
        let path = &arguments.pairs;
        let file =
            File::open(path).map_err(|error| CliError::input(format!("cannot read {}: {error}", path.display())))?;
        let pairs: Vec<PairRecord> =
            PairRecord::read(BufReader::new(file), path).collect::<Result<_, _>>().or_input()?;
        let mut records = group_pairs(pairs, &ontology).or_input()?;
        records.truncate(arguments.examples.unwrap_or(usize::MAX));
        for record in &mut records {
            let wanted = if objective.needs().pairs() { arguments.negatives.unwrap_or(usize::MAX) } else { 0 };
            record.rejected.truncate(wanted);
        }
        if records.is_empty() {
            return Err(CliError::input(format!("{} holds no pairs", path.display())));
        }
        let form = form_of(&records[0].chosen.text);
        let policy = PolicyFolder::resolve(&arguments.model, None, arguments.compute.into(), context)?;
        let policy = if arguments.device == Device::Cpu { policy.measured(context)? } else { policy };
        if policy.adapter.is_some() {
            return Err(CliError::input(format!("{} is an adapter", arguments.model.display()))
                .with_hint("name its base model: a new adapter is trained"));
        }
        let renderer = Renderer::open(&policy, &ontology, form, arguments.chat_template.as_deref(), context)?;
        let chosen = arguments.device.choose()?;
        let computer = chosen.open(arguments.compute.into(), context)?;
        let (mut model, _) = policy.open_trainable()?;
        // A card rounds weights itself.
        let compute = if computer.is_card() { policy.compute } else { model.freeze(policy.compute) };
        let rank = arguments.lora_rank;
        rank_within("--lora-rank", rank, model.config.hidden)?;
        let config = LoraConfig::new(rank, 2.0 * rank as f64);
        let request = request(&objective, arguments.max_tokens, held);
        let shape = PolicyShape::planned(&model.config, Some(model.bytes()), Some(&config));
        if !computer.is_card() {
            let plan = shape.plan(&request, memory::limit(arguments.memory_gb, held, 1));
            memory::compare_with_free("training", &plan, context)?;
        }
        let adapter = Lora::initialise(&model.config, config, 1);
        let plan = BatchPlan {
            batch_size: arguments.batch_size,
            max_tokens: arguments.max_tokens,
            seed: 1,
            budget: TrainBudget::Epochs(arguments.epochs),
        };
        let device = chosen.words();
        Ok(Self {
            model: model.into(),
            adapter,
            renderer,
            ontology,
            records,
            objective,
            plan,
            compute,
            computer,
            device,
            held,
        })
    }

    fn most_negatives(&self) -> usize {
        self.records.iter().map(|record| record.rejected.len()).max().unwrap_or(0)
    }

    /// Trains on the first examples with the first negatives of each, from a fresh adapter and with
    /// an empty reference cache.
    fn measure(
        &self,
        computer: &Computer,
        examples: usize,
        negatives: usize,
        recompute: Recompute,
        context: &Context,
    ) -> Result<Measurement, CliError> {
        let format = self.renderer.format()?;
        let mut records = self.records[..examples].to_vec();
        for record in &mut records {
            record.rejected.truncate(negatives);
        }
        let source = TextSource::new(&format, &records, &self.ontology, self.model.config.longest());
        let source = if self.objective.needs().credit { source.with_decisions() } else { source };
        let pairs = if self.objective.needs().pairs() {
            records.iter().map(|record| record.rejected.len() as u64).sum::<u64>()
        } else {
            records.len() as u64
        };
        let TrainBudget::Epochs(epochs) = self.plan.budget else { unreachable!("the command counts epochs") };
        let schedule = Schedule { peak: 1e-4, warmup: 0.1, decay: Decay::Linear, floor: 0.0 };
        let mut settings = TrainSettings::new(self.objective.clone(), self.plan, schedule);
        settings.recompute = recompute;
        // Without a reference in the objective there is nothing to compare with here.
        settings.track_reference = false;
        let operations = Operations::new(&self.model.config, self.adapter.config.rank);
        let epoch = Work::of_epoch(&source, self.plan)?;

        let before = computer.used()?;
        let mut worker = computer.worker(Policy::adapter(Arc::clone(&self.model), self.adapter.clone()))?;
        let mut least_bytes = None;
        if computer.is_card() {
            settings.logit_bytes = CARD_LOGIT_BYTES;
            let request = request(&self.objective, self.plan.max_tokens, 0);
            least_bytes = Some(worker.worker().memory(&request, Some(0)).total());
        }
        let mut cache = ReferenceCache::in_memory();
        let tokenizer = self.renderer.tokenizer.digest();
        let session = Session::new("bench", &mut cache, tokenizer);
        let progress = context.progress("training", 1000);
        let mut watch = Watch { progress, done: 0, context };
        let started = Instant::now();
        let outcome = train(worker.worker(), &source, &settings, session, &mut watch).or_failed()?;
        let seconds = started.elapsed().as_secs_f64();
        watch.progress.finish();
        let card_bytes = computer.used()?.zip(before).map(|(used, before)| used.saturating_sub(before));
        if !outcome.finished {
            return Err(CliError::interrupted("stopped before the run was timed"));
        }
        let TrainSummary { tokens, timing, .. } = outcome.summary;
        let busy = timing.reference + timing.forward + timing.backward;
        let mut total = epochs as f64 * operations.training(&epoch);
        if tokens.reference > 0 {
            total += operations.inference(&epoch);
        }
        Ok(Measurement {
            examples,
            negatives,
            pairs: pairs * epochs,
            seconds,
            pairs_per_second: (pairs * epochs) as f64 / seconds,
            tokens_computed: tokens.trained,
            tokens_separate: tokens.separate,
            tokens_reference: tokens.reference,
            gflops: total / busy / 1e9,
            reference_seconds: timing.reference,
            forward_seconds: timing.forward,
            backward_seconds: timing.backward,
            optimiser_seconds: timing.optimiser,
            objective_seconds: timing.objective,
            waiting_seconds: timing.waiting,
            card_bytes,
            planned_bytes: worker.planned_bytes(),
            least_bytes,
        })
    }
}

/// Shows the progress of a run.
struct Watch<'a> {
    progress: Progress,
    /// Thousandths of the run.
    done: u64,
    context: &'a Context,
}

impl Observer for Watch<'_> {
    fn micro_batches(&mut self, progress: &StepProgress) {
        if let Some(speed) = progress.tokens_per_second {
            self.progress.update(self.done, &format!("{speed:.0} tokens/s"));
        }
    }

    fn step(&mut self, record: &StepRecord) {
        self.done = (record.progress * 1000.0) as u64;
        self.progress.update(self.done, &format!("{:.0} tokens/s", record.tokens_per_second));
    }

    fn should_stop(&self) -> bool {
        self.context.interrupted()
    }
}

fn text(outcome: &Outcome) -> String {
    let main = &outcome.main;
    let unit = if main.negatives > 0 { "pairs" } else { "examples" };
    let mut text = format!(
        "{}, rank {}, on {}, products in {}, {} threads: {:.2} {unit}/s ({} {unit} in {:.1} s)\n\
         tokens: {} computed, {} as separate sequences, {} for the reference\n\
         seconds: reference {:.1}, forward {:.1}, backward {:.1}, optimiser {:.1}, objective {:.1}, waiting {:.2}\n\
         {:.0} GFLOP/s, {:.0} % of the peak of {:.0}{}\n",
        outcome.objective,
        outcome.rank,
        outcome.device,
        outcome.compute,
        outcome.threads,
        main.pairs_per_second,
        main.pairs,
        main.seconds,
        main.tokens_computed,
        main.tokens_separate,
        main.tokens_reference,
        main.reference_seconds,
        main.forward_seconds,
        main.backward_seconds,
        main.optimiser_seconds,
        main.objective_seconds,
        main.waiting_seconds,
        main.gflops,
        100.0 * outcome.share_of_peak,
        outcome.peak_gflops,
        outcome
            .peak_rss_bytes
            .map_or(String::new(), |bytes| format!(", peak memory {:.0} MB", megabytes(bytes as usize))),
    );
    let longest = outcome.sweep.iter().map(|point| point.seconds).fold(0.0, f64::max);
    for point in &outcome.sweep {
        let bar = "#".repeat((50.0 * point.seconds / longest).round() as usize);
        text += &format!(
            "{:>5} examples x {:>2} negatives {:>8} tokens {:>7.1} s, {:>6.2} ms a token {bar}\n",
            point.examples,
            point.negatives,
            point.tokens_computed,
            point.seconds,
            1e3 * point.seconds / point.tokens_computed as f64,
        );
    }
    text
}
