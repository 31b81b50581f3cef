//! `tabpo predict --endpoint`: predictions from any OpenAI-compatible endpoint.

use std::path::PathBuf;

use serde_json::json;
use tabpo_corpus::Unit;
use tabpo_remote::{Endpoint, Job, PriceTable, Selection, Settings, Statistics, StructureKind, estimate};
use tabpo_report::{Alignment, Table};

use crate::{
    error::{CliError, ResultExt},
    output::{self, Context},
    remote::{RemoteJob, answer_documents, check, open_cache, price, prompts, rows, warn_of_damage},
    tables,
};

/// Options of `tabpo predict` for endpoints.
#[derive(clap::Args)]
#[command(next_help_heading = "Endpoints")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct RemoteArgs {
    /// Ask the model behind this OpenAI-compatible API, such as https://host/v1
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// The environment variable with the API key
    #[arg(long, value_name = "NAME", default_value = "OPENAI_API_KEY")]
    key_variable: String,
    /// How the endpoint enforces the form of answers: json-schema, grammar (vLLM), gbnf
    /// (llama.cpp), json-object or none
    #[arg(long, value_name = "KIND", default_value = "json-schema", value_parser = structure)]
    structure: StructureKind,
    /// Demonstrations before each text
    #[arg(long, value_name = "K", default_value_t = 0, requires = "demonstrations_from")]
    shots: usize,
    /// Documents to take demonstrations from
    #[arg(long, value_name = "FILE")]
    pub demonstrations_from: Option<PathBuf>,
    /// How demonstrations are chosen: fixed, random or nearest
    #[arg(long, value_name = "RULE", default_value = "fixed", value_parser = selection)]
    selection: Selection,
    /// Seed of random demonstrations
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    demonstration_seed: u64,
    /// Sampling temperature, for model folders too; `none` for endpoints that refuse it
    #[arg(long, value_name = "T", default_value = "0", value_parser = temperature)]
    pub temperature: Temperature,
    /// Most tokens of an answer
    #[arg(long, value_name = "N", default_value_t = 1024)]
    max_tokens: u32,
    /// The endpoint's name for that limit
    #[arg(long, value_name = "NAME", default_value = "max_tokens")]
    max_tokens_name: String,
    /// Put the instructions into the first user message, for models without a system role
    #[arg(long)]
    no_system_role: bool,
    /// Extract the JSON object from answers with other text around it, such as code fences, remarks or thinking
    #[arg(long)]
    unwrap: bool,
    /// Additional fields of the request, as a JSON object
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = fields)]
    extra: Fields,
    /// Concurrent requests
    #[arg(long, value_name = "N", default_value_t = 8)]
    concurrency: usize,
    /// Most requests per minute
    #[arg(long, value_name = "N")]
    requests_per_minute: Option<f64>,
    /// Most tokens per minute
    #[arg(long, value_name = "N")]
    tokens_per_minute: Option<f64>,
    /// Seconds after which a request is given up and repeated
    #[arg(long, value_name = "SECONDS", default_value_t = 120.0)]
    timeout: f64,
    /// Most attempts for each prompt
    #[arg(long, value_name = "N", default_value_t = 6)]
    attempts: u32,
    /// Use the batch API
    #[arg(long)]
    batch: bool,
    /// A price table (TOML)
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
    /// Stop before the answers cost more than this
    #[arg(long, value_name = "AMOUNT", requires = "prices")]
    budget: Option<f64>,
    /// Estimate what the job would cost, without sending requests
    #[arg(long)]
    dry_run: bool,
    /// The directory in which answers are kept, so that none is paid for twice
    #[arg(long, value_name = "DIRECTORY", default_value = ".tabpo-answers")]
    pub cache: PathBuf,
}

/// A temperature or none. It is a separate type because clap treats `Option` specially.
#[derive(Clone, Copy)]
pub(crate) struct Temperature(pub Option<f64>);

#[derive(Clone)]
struct Fields(serde_json::Map<String, serde_json::Value>);

impl RemoteArgs {
    /// The settings from these options, for a model at an endpoint.
    fn settings(&self, endpoint: &str, model: &str) -> Settings {
        Settings {
            endpoint: endpoint.to_owned(),
            model: model.to_owned(),
            key_variable: self.key_variable.clone(),
            structure: self.structure,
            shots: self.shots,
            selection: self.selection,
            seed: self.demonstration_seed,
            temperature: self.temperature.0,
            max_tokens: self.max_tokens,
            max_tokens_name: self.max_tokens_name.clone(),
            no_system_role: self.no_system_role,
            unwrap: self.unwrap,
            extra: self.extra.0.clone(),
            concurrency: self.concurrency,
            requests_per_minute: self.requests_per_minute,
            tokens_per_minute: self.tokens_per_minute,
            timeout_seconds: self.timeout,
            attempts: self.attempts,
            prices: self.prices.clone(),
            budget: self.budget,
            batch: self.batch,
            ..Settings::default()
        }
    }
}

/// Runs `tabpo predict --endpoint URL --model NAME`: has the documents answered and prints what it cost, or only estimates
/// the cost. The job's demonstrations are the documents of `--demonstrations-from`, its cache is the directory of
/// `--cache`.
pub(crate) fn run_remote(
    arguments: &RemoteArgs,
    endpoint: &str,
    model: &str,
    job: &RemoteJob,
    json: bool,
    context: &Context,
) -> Result<(), CliError> {
    let settings = arguments.settings(endpoint, model);
    check(&settings, job.section)?;
    if arguments.dry_run {
        return dry_run(job, &settings, json, context);
    }
    let statistics = answer_documents(job, &settings, context)?;
    context.say(format!("{}: {} answers", job.out.display(), statistics.prompts));
    if json {
        output::print_json_beside(job.out, &statistics)
    } else {
        output::print_beside(job.out, &tables::shown(&table(&statistics, &settings)?))
    }
}

fn dry_run(job: &RemoteJob, settings: &Settings, json: bool, context: &Context) -> Result<(), CliError> {
    let endpoint = Endpoint::of(settings).or_input()?;
    let prompts = prompts(job, settings)?;
    let reference = if job.demonstrations.is_empty() { job.documents } else { job.demonstrations };
    let lengths: Vec<usize> = reference
        .iter()
        .flat_map(|document| Unit::all(document, job.level))
        .map(|unit| tabpo_answer::render(&tabpo_answer::gold(&unit), job.ontology).text.len())
        .collect();
    let answer_bytes = lengths.iter().sum::<usize>() as f64 / lengths.len().max(1) as f64;
    let price = price(settings)?;
    let cache = open_cache(job, context)?;
    warn_of_damage(&cache, context);
    let request = Job { endpoint: &endpoint, prompts: &prompts, settings, price };
    let job_estimate = estimate(&request, answer_bytes, &cache);
    if json {
        return output::print_json(&job_estimate);
    }
    let mut table = Table::new([("", Alignment::Left), ("about", Alignment::Right), ("at most", Alignment::Right)]);
    let count = |name: &str, count: usize| [name.to_owned(), count.to_string(), String::new()];
    table.push(count("prompts", job_estimate.prompts));
    table.push(count("different requests", job_estimate.requests));
    table.push(count("answered by the cache", job_estimate.cached));
    table.push(count("prompt tokens", job_estimate.prompt_tokens as usize));
    let completion = (job_estimate.completion_tokens, job_estimate.completion_tokens_most);
    table.push(["completion tokens".to_owned(), completion.0.to_string(), completion.1.to_string()]);
    if let (Some(about), Some(most)) = (job_estimate.cost, job_estimate.cost_most) {
        let currency = currency(settings)?;
        table.push([format!("cost, {currency}"), format!("{about:.4}"), format!("{most:.4}")]);
    }
    output::print(&tables::shown(&table))
}

fn currency(settings: &Settings) -> Result<String, CliError> {
    let prices = settings.prices.as_deref().map(PriceTable::read).transpose().or_input()?;
    Ok(prices.map_or_else(String::new, |prices| format!("{} of {}", prices.currency, prices.date)))
}

fn table(statistics: &Statistics, settings: &Settings) -> Result<Table, CliError> {
    let mut table = Table::new([("", Alignment::Left), ("", Alignment::Right)]);
    let mut row = |name: &str, value: String| table.push([name.to_owned(), value]);
    row("prompts", statistics.prompts.to_string());
    for (outcome, count) in &statistics.outcomes {
        row(&format!("  {}", outcome.name()), count.to_string());
    }
    for (name, count) in rows(statistics) {
        row(&format!("  {name}"), count.to_string());
    }
    row("calls", statistics.calls.to_string());
    row("answers from the cache", statistics.reused.to_string());
    row("attempts repeated", statistics.retries.to_string());
    row("prompt tokens", statistics.usage.prompt.to_string());
    row("  of them cached by the provider", statistics.usage.cached.to_string());
    row("completion tokens", statistics.usage.completion.to_string());
    if statistics.without_usage > 0 {
        row("answers that do not say what they used", statistics.without_usage.to_string());
    }
    if let Some(cost) = statistics.cost {
        row(&format!("cost, {}", currency(settings)?), format!("{cost:.4}"));
    }
    if let (Some(median), Some(high)) = (statistics.latency_median_ms, statistics.latency_p95_ms) {
        row("latency, median", format!("{median:.0} ms"));
        row("latency, 95 %", format!("{high:.0} ms"));
    }
    row("time", format!("{:.1} s", statistics.seconds));
    Ok(table)
}

fn structure(name: &str) -> Result<StructureKind, String> {
    named(name, &StructureKind::ALL.map(|kind| (kind.name(), kind)))
}

fn selection(name: &str) -> Result<Selection, String> {
    named(name, &[("fixed", Selection::Fixed), ("random", Selection::Random), ("nearest", Selection::Nearest)])
}

fn named<T: Copy>(name: &str, all: &[(&str, T)]) -> Result<T, String> {
    let found = all.iter().find(|(own, _)| *own == name);
    let names = || all.iter().map(|(own, _)| *own).collect::<Vec<_>>().join(", ");
    found.map(|(_, value)| *value).ok_or_else(|| format!("expected one of {}", names()))
}

fn temperature(text: &str) -> Result<Temperature, String> {
    if text == "none" {
        return Ok(Temperature(None));
    }
    let value: f64 = text.parse().map_err(|_| "expected a number or `none`".to_owned())?;
    if (0.0..=2.0).contains(&value) { Ok(Temperature(Some(value))) } else { Err("expected 0 to 2".to_owned()) }
}

fn fields(text: &str) -> Result<Fields, String> {
    match serde_json::from_str(text) {
        Ok(serde_json::Value::Object(fields)) => Ok(Fields(fields)),
        Ok(other) => Err(format!("expected a JSON object such as {}, found {other}", json!({"seed": 1}))),
        Err(error) => Err(error.to_string()),
    }
}
