//! `tabpo plan`: what training takes of a card, before there is one.

use std::path::{Path, PathBuf};

use serde::Serialize;
use tabpo_engine::Compute;
use tabpo_model::{LoraConfig, ModelConfig};
use tabpo_pipeline::{
    device::Device,
    outlook::{Base, CARDS, Card, Cost, Memory, SHAPES, SUSTAINED, Setting, shape},
    run::{Load, SectionPlan},
};
use tabpo_report::{Alignment, Table};

use super::plan_table;
use crate::{
    config::{AdapterSection, Configuration, Overrides},
    error::{CliError, ResultExt},
    memory,
    output::{self, Context},
    range,
    remaining::duration,
    run::Pipeline,
    tables,
};

/// Arguments of `tabpo plan`.
#[derive(clap::Args)]
pub(crate) struct PlanArgs {
    /// The configuration file
    #[arg(required_unless_present_any = ["shape", "table"], conflicts_with_all = ["shape", "table"])]
    config: Option<PathBuf>,
    /// Override a key of the configuration, for example --set sft.max_tokens=2048
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "config")]
    replacements: Vec<String>,
    /// The card: h200, h100, a100-80, a100-40, l40s, 4090, 3090 or l4; without it, a configuration is planned for the CPU
    #[arg(long, value_name = "CARD", value_parser = card)]
    card: Option<Card>,
    /// Plan for a model without its weights: a built-in shape, such as llama-8b, or a folder with a config.json
    #[arg(long, value_name = "SHAPE", requires = "card")]
    shape: Option<String>,
    /// How the frozen weights lie on the card: bf16, or nf4 (4 bits)
    #[arg(long, value_name = "TYPE", default_value = "bf16", value_parser = base)]
    base: Base,
    /// Tokens of a pass, with --shape
    #[arg(long, value_name = "N", default_value = "8192", value_parser = range::TOKENS.parser::<usize>(), allow_negative_numbers = true)]
    max_tokens: usize,
    /// Rank of the adapter on all seven projections, with --shape or --table; 0 trains all parameters
    #[arg(long, value_name = "R", default_value = "16", value_parser = range::RANK.or_none().parser::<usize>(), allow_negative_numbers = true)]
    lora_rank: usize,
    /// Print a table of models and cards as Markdown
    #[arg(long)]
    table: bool,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

fn card(text: &str) -> Result<Card, String> {
    Card::named(text).ok_or_else(|| format!("known: {}", CARDS.map(|card| card.key).join(", ")))
}

fn base(text: &str) -> Result<Base, String> {
    match text {
        "bf16" => Ok(Base::Bf16),
        "nf4" => Ok(Base::Nf4),
        _ => Err("known: bf16, nf4".to_owned()),
    }
}

/// What a training section takes of a card.
#[derive(Serialize)]
struct CardSection {
    section: String,
    /// Tokens of its largest pass.
    max_tokens: usize,
    fits: bool,
    /// The most tokens of a pass that fit.
    most_tokens: usize,
    total: u64,
    #[serde(flatten)]
    memory: Memory,
}

/// The time of a training stage.
#[derive(Serialize)]
struct Stage {
    #[serde(flatten)]
    load: Load,
    seconds: f64,
}

/// A plan for a card.
#[derive(Serialize)]
struct Plan {
    model: String,
    parameters: usize,
    base: Base,
    /// Whether it computes in single precision.
    single: bool,
    card: &'static str,
    /// Bytes of its memory that can be used.
    usable: u64,
    sections: Vec<CardSection>,
    stages: Vec<Stage>,
    /// What would make it fit.
    changes: Vec<String>,
}

impl Plan {
    /// How the weights lie on the card, in words.
    fn weights(&self) -> &'static str {
        match (self.base, self.single) {
            (Base::Nf4, _) => "frozen weights in 4 bits",
            (Base::Bf16, true) => "weights in single precision",
            (Base::Bf16, false) => "weights in bf16",
        }
    }
}

/// Runs the command.
pub(crate) fn run(arguments: &PlanArgs, context: &Context) -> Result<(), CliError> {
    if arguments.table {
        return plan_table::print(arguments.lora_rank, arguments.json);
    }
    let plan = match (&arguments.shape, &arguments.config, arguments.card) {
        (Some(name), _, Some(card)) => of_shape(name, card, arguments)?,
        (None, Some(path), Some(card)) => of_run(path, card, arguments, context)?,
        (None, Some(path), None) => return on_the_cpu(path, arguments, context),
        _ => unreachable!("the parser asks for a configuration, or a shape with a card"),
    };
    if arguments.json { output::print_json(&plan) } else { print(&plan) }
}

/// The adapter of this rank on all projections; none for 0.
pub(super) fn adapter(rank: usize) -> Option<LoraConfig> {
    (rank > 0).then(|| LoraConfig::new(rank, 2.0 * rank as f64))
}

fn section(name: &str, setting: &Setting<'_>, card: &Card) -> CardSection {
    let memory = setting.within(card.usable());
    CardSection {
        section: name.to_owned(),
        max_tokens: setting.max_tokens,
        fits: memory.total() <= card.usable(),
        most_tokens: setting.most_tokens(card.usable()),
        total: memory.total(),
        memory,
    }
}

fn of_shape(name: &str, card: Card, arguments: &PlanArgs) -> Result<Plan, CliError> {
    let (model, config) = named_shape(name)?;
    let adapter = adapter(arguments.lora_rank);
    let setting = Setting {
        shape: &config,
        single: false,
        base: arguments.base,
        adapter: adapter.as_ref(),
        max_tokens: arguments.max_tokens,
        divergence: false,
    };
    let sections = vec![section("training", &setting, &card)];
    let changes = changes(&sections, &setting, &card, "--max-tokens");
    let parameters = config.parameters();
    Ok(Plan {
        model,
        parameters,
        base: arguments.base,
        single: false,
        card: card.key,
        usable: card.usable(),
        sections,
        stages: Vec::new(),
        changes,
    })
}

/// A built-in shape, or that of a folder.
fn named_shape(name: &str) -> Result<(String, ModelConfig), CliError> {
    if let Some((full, config)) = shape(name) {
        return Ok((full.to_owned(), config));
    }
    let path = Path::new(name);
    let folder = if path.ends_with("config.json") { path.parent().unwrap_or(Path::new("")) } else { path };
    if !folder.join("config.json").exists() && !path.is_file() {
        return Err(CliError::input(format!(
            "there is no built-in shape `{name}`, and no folder of that name with a config.json"
        ))
        .with_hint(format!("built in: {}", SHAPES.join(", "))));
    }
    Ok((name.to_owned(), ModelConfig::open(if path.ends_with("config.json") { folder } else { path }).or_input()?))
}

fn pipeline(path: &Path, arguments: &PlanArgs, device: Device, context: &Context) -> Result<Pipeline, CliError> {
    let overrides = Overrides { set: arguments.replacements.clone(), memory_gb: None, device: Some(device) };
    Pipeline::new(Configuration::read(path, &overrides)?, context)
}

fn of_run(path: &Path, card: Card, arguments: &PlanArgs, context: &Context) -> Result<Plan, CliError> {
    // The machine on which a plan is made need not have the card.
    let pipeline = pipeline(path, arguments, Device::Cpu, context)?;
    let config = pipeline.configuration();
    let (shape, adapter) = (pipeline.shape()?, config.adapter.as_ref().map(AdapterSection::lora));
    let setting = |max_tokens, divergence| Setting {
        shape: &shape,
        single: config.model.compute == Compute::F32,
        base: arguments.base,
        adapter: adapter.as_ref(),
        max_tokens,
        divergence,
    };
    let settings: Vec<(&str, Setting<'_>)> = pipeline
        .trained_sections()
        .into_iter()
        .map(|(name, max_tokens, divergence)| (name, setting(max_tokens, divergence)))
        .collect();
    let sections: Vec<CardSection> = settings.iter().map(|(name, setting)| section(name, setting, &card)).collect();
    let mut stages: Vec<Stage> = Vec::new();
    for load in pipeline.loads(context)? {
        let at = settings.iter().position(|(name, _)| *name == load.section);
        let (setting, section) = at.map(|at| (&settings[at].1, &sections[at])).expect("every training has a section");
        let cost = Cost::new(setting, &section.memory, load.context, load.target_rows / load.rows);
        let of_step = cost.seconds(setting, &card, load.rows, load.reference);
        let seconds = load.steps.map_or(f64::NAN, |steps| steps as f64 * of_step);
        stages.push(Stage { load, seconds });
    }
    // Systems at equal FLOPs take as long as the dearest of the others.
    let dearest = |stage: &&Stage| stage.load.section == "preference.train" && stage.load.steps.is_some();
    let longest = stages.iter().filter(dearest).map(|stage| stage.seconds).fold(0.0, f64::max);
    stages.iter_mut().filter(|stage| stage.load.steps.is_none()).for_each(|stage| stage.seconds = longest);
    let largest = settings.iter().max_by_key(|(_, setting)| setting.max_tokens).expect("there is a section to train");
    let changes = changes(&sections, &largest.1, &card, "max_tokens");
    let model = config
        .model
        .folder
        .as_ref()
        .map_or_else(|| "a model from scratch".to_owned(), |folder| folder.display().to_string());
    Ok(Plan {
        model,
        parameters: shape.parameters(),
        base: arguments.base,
        single: config.model.compute == Compute::F32,
        card: card.key,
        usable: card.usable(),
        sections,
        stages,
        changes,
    })
}

/// What would make a plan fit, if it doesn't.
fn changes(sections: &[CardSection], setting: &Setting<'_>, card: &Card, key: &str) -> Vec<String> {
    if sections.iter().all(|section| section.fits) {
        return Vec::new();
    }
    let mut changes = Vec::new();
    for section in sections.iter().filter(|section| !section.fits && section.most_tokens > 0) {
        changes.push(format!(
            "{}: lower {key} from {} to at most {}",
            section.section, section.max_tokens, section.most_tokens
        ));
    }
    if setting.adapter.is_none() {
        changes.push("train an adapter ([adapter], --lora-rank) instead of all parameters".to_owned());
    } else if setting.base == Base::Bf16 {
        let quantised = Setting { base: Base::Nf4, ..*setting };
        let most = quantised.most_tokens(card.usable());
        if most > 0 {
            changes.push(format!(
                "keep the frozen weights in 4 bits (--base nf4): passes of up to {most} tokens fit then"
            ));
        }
    }
    let larger = CARDS.iter().filter(|other| other.usable() > card.usable());
    let fitting = larger.filter(|other| setting.within(other.usable()).total() <= other.usable());
    let fitting: Vec<&str> = fitting.map(|card| card.key).collect();
    if !fitting.is_empty() {
        changes.push(format!("as it is, it fits on: {}", fitting.join(", ")));
    }
    if changes.is_empty() {
        changes.push("take a smaller model".to_owned());
    }
    changes
}

/// A number of parameters in words.
fn count(parameters: usize) -> String {
    let parameters = parameters as f64;
    if parameters >= 1e9 {
        format!("{:.2} billion", parameters / 1e9)
    } else {
        format!("{:.1} million", parameters / 1e6)
    }
}

/// A time that is only computed: a number of seconds, minutes or hours.
pub(super) fn about(seconds: f64) -> String {
    match seconds {
        ..9.95 => format!("{seconds:.1} s"),
        ..90.0 => format!("{seconds:.0} s"),
        ..5400.0 => format!("{:.0} min", seconds / 60.0),
        ..36_000.0 => format!("{:.1} h", seconds / 3600.0),
        _ => format!("{:.0} h", seconds / 3600.0),
    }
}

fn size(bytes: u64) -> String {
    memory::size(bytes as usize)
}

fn print(plan: &Plan) -> Result<(), CliError> {
    let card = Card::named(plan.card).expect("the plan is for a known card");
    let mut table = Table::new(
        [("Memory".to_owned(), Alignment::Left)]
            .into_iter()
            .chain(plan.sections.iter().map(|section| (section.section.clone(), Alignment::Right))),
    );
    let mut row = |name: &str, value: &dyn Fn(&CardSection) -> String| {
        table.push([name.to_owned()].into_iter().chain(plan.sections.iter().map(value)));
    };
    row("weights", &|section| size(section.memory.weights));
    row("trained, with gradient and moments", &|section| size(section.memory.trained));
    if plan.sections.iter().any(|section| section.memory.reference > 0) {
        row("reference", &|section| size(section.memory.reference));
    }
    row("between the passes, logits", &|section| size(section.memory.buffers));
    row("tables and workspace", &|section| size(section.memory.other));
    row("in all", &|section| size(section.total));
    row("of", &|_| size(plan.usable));
    row("tokens a pass", &|section| section.max_tokens.to_string());
    row("most tokens a pass", &|section| section.most_tokens.to_string());
    row("blocks kept whole", &|section| section.memory.blocks[0].to_string());
    row("without the outputs of norms", &|section| section.memory.blocks[1].to_string());
    row("also without gate and up", &|section| section.memory.blocks[2].to_string());
    row("computed again whole", &|section| section.memory.blocks[3].to_string());
    let mut lines = vec![
        format!("{} ({} parameters, {}) on an {}", plan.model, count(plan.parameters), plan.weights(), card.name),
        String::new(),
        tables::shown(&table).trim_end().to_owned(),
    ];
    if !plan.stages.is_empty() {
        let columns = [("Steps", Alignment::Right), ("Tokens a step", Alignment::Right), ("Time", Alignment::Right)];
        let mut table = Table::new([("Training", Alignment::Left)].into_iter().chain(columns));
        for Stage { load, seconds } in &plan.stages {
            let steps = load.steps.map_or_else(|| "equal FLOPs".to_owned(), |steps| steps.to_string());
            table.push([load.stage.clone(), steps, format!("{:.0}", load.rows), about(*seconds)]);
        }
        let all: f64 = plan.stages.iter().map(|stage| stage.seconds).sum();
        table.push(["in all".to_owned(), String::new(), String::new(), about(all)]);
        lines.extend([String::new(), tables::shown(&table).trim_end().to_owned()]);
    }
    lines.push(String::new());
    let mut basis = "computed, not measured: memory as the planner of the card divides it up".to_owned();
    if !plan.stages.is_empty() {
        let ceiling = if plan.single { card.single } else { card.bf16 };
        basis += &format!(
            "; time from {:.0} % of the {ceiling} TFLOP/s of the card's data sheet; answers are not counted",
            SUSTAINED * 100.0
        );
    }
    lines.push(basis);
    if !plan.changes.is_empty() {
        lines.push("it does not fit:".to_owned());
        lines.extend(plan.changes.iter().map(|change| format!("  {change}")));
    }
    output::print_line(lines.join("\n"))
}

/// A plan for the CPU of this machine.
#[derive(Serialize)]
struct HostPlan {
    device: &'static str,
    free: Option<usize>,
    sections: Vec<HostSection>,
    /// Seconds of the whole run, from a short measurement.
    seconds: Option<f64>,
}

#[derive(Serialize)]
struct HostSection {
    section: &'static str,
    weights: usize,
    gradients: usize,
    optimiser: usize,
    activations: usize,
    logits: usize,
    other: usize,
    total: usize,
    least: usize,
    recomputed: String,
}

impl From<SectionPlan> for HostSection {
    fn from(plan: SectionPlan) -> Self {
        let SectionPlan { section, within, smallest } = plan;
        Self {
            section,
            weights: within.weights + within.reference,
            gradients: within.gradients,
            optimiser: within.optimiser,
            activations: within.activations,
            logits: within.logits,
            other: within.held + within.working,
            total: within.total(),
            least: smallest.total(),
            recomputed: memory::name(within.recompute),
        }
    }
}

fn on_the_cpu(path: &Path, arguments: &PlanArgs, context: &Context) -> Result<(), CliError> {
    let pipeline = pipeline(path, arguments, Device::Cpu, context)?;
    let sections: Vec<HostSection> = pipeline.memory_plans(context)?.into_iter().map(HostSection::from).collect();
    let seconds = pipeline.check(true, context)?.seconds();
    let plan = HostPlan { device: "cpu", free: memory::free_bytes(), sections, seconds };
    if arguments.json {
        return output::print_json(&plan);
    }
    let mut table = Table::new(
        [("Memory".to_owned(), Alignment::Left)]
            .into_iter()
            .chain(plan.sections.iter().map(|section| (section.section.to_owned(), Alignment::Right))),
    );
    let mut row = |name: &str, value: &dyn Fn(&HostSection) -> String| {
        table.push([name.to_owned()].into_iter().chain(plan.sections.iter().map(value)));
    };
    row("weights and reference", &|section| memory::size(section.weights));
    row("gradients", &|section| memory::size(section.gradients));
    row("optimiser", &|section| memory::size(section.optimiser));
    row("between the passes", &|section| memory::size(section.activations));
    row("logits", &|section| memory::size(section.logits));
    row("the program and its buffers", &|section| memory::size(section.other));
    row("in all", &|section| memory::size(section.total));
    row("with all computed again", &|section| memory::size(section.least));
    row("computed again", &|section| section.recomputed.clone());
    let free = plan.free.map_or_else(|| "unknown".to_owned(), memory::size);
    let time = plan.seconds.map_or_else(|| "unknown".to_owned(), duration);
    output::print_line(format!(
        "{}\n\nfree memory: {free}; the whole run on this machine, from a short measurement: about {time}",
        tables::shown(&table).trim_end()
    ))
}
