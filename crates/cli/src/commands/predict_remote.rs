//! Predictions from any OpenAI-compatible endpoint: the part of `tabpo predict` behind `--endpoint`.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::json;
use tabpo_corpus::{Document, Level, Unit};
use tabpo_ontology::Ontology;
use tabpo_remote::{
    Demonstrations, Ending, Endpoint, Extraction, ModelPrice, Outcome, PriceTable, Prompt, PromptBuilder,
    ResponseCache, Selection, Settings, Statistics, StoredAnswer, StructureKind, Usage, estimate, extract,
    extract_in_batches, without_nulls,
};
use tabpo_report::{Alignment, RemoteSystem, Table};

use crate::{
    error::{CliError, ResultExt},
    output::{self, Context},
    writing,
};

/// Options of `tabpo predict` for endpoints.
#[derive(clap::Args)]
#[command(next_help_heading = "Endpoints")]
pub struct RemoteArgs {
    /// Ask the model behind this OpenAI-compatible API, such as https://host/v1
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// The environment variable that holds the key
    #[arg(long, value_name = "NAME", default_value = "OPENAI_API_KEY")]
    key_variable: String,
    /// How the endpoint enforces the form of answers: json-schema, grammar (vLLM), json-object or none
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
    /// The name under which the endpoint wants that limit
    #[arg(long, value_name = "NAME", default_value = "max_tokens")]
    max_tokens_name: String,
    /// Further fields of the request, a JSON object
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = fields)]
    extra: Fields,
    /// Requests in flight at the same time
    #[arg(long, value_name = "N", default_value_t = 8)]
    concurrency: usize,
    /// Most requests a minute
    #[arg(long, value_name = "N")]
    requests_per_minute: Option<f64>,
    /// Most tokens a minute
    #[arg(long, value_name = "N")]
    tokens_per_minute: Option<f64>,
    /// Seconds after which a request is repeated
    #[arg(long, value_name = "SECONDS", default_value_t = 120.0)]
    timeout: f64,
    /// Attempts for each prompt
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
    /// Say what the job would take, and ask for nothing
    #[arg(long)]
    dry_run: bool,
    /// The directory in which answers are kept, so that none is paid for twice
    #[arg(long, value_name = "DIRECTORY", default_value = ".tabpo-answers")]
    pub cache: PathBuf,
}

/// A temperature or none; a type of its own because clap gives `Option` a meaning.
#[derive(Clone, Copy)]
pub struct Temperature(pub Option<f64>);

#[derive(Clone)]
struct Fields(serde_json::Map<String, serde_json::Value>);

/// Documents to answer.
pub struct RemoteJob<'a> {
    /// Shown with the progress.
    pub name: &'a str,
    /// What is extracted.
    pub ontology: &'a Ontology,
    /// The documents.
    pub documents: &'a [Document],
    /// Documents to take demonstrations from; may be empty where none are asked for.
    pub demonstrations: &'a [Document],
    /// What a prompt shows.
    pub level: Level,
    /// The prediction file.
    pub out: &'a Path,
    /// The response cache.
    pub cache: &'a Path,
}

/// A line of the prediction file.
#[derive(Serialize)]
struct RemoteOutput<'a> {
    doc_key: &'a str,
    sent: Option<u32>,
    output: String,
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<&'a str>,
    model: &'a str,
    usage: Usage,
    latency_ms: u64,
}

/// Why a job did not end, in words.
#[derive(Debug, thiserror::Error)]
enum Unfinished {
    #[error("the next request could pass the budget; {done} of {total} prompts have an answer")]
    Budget { done: usize, total: usize },
    #[error("{missing} of {total} prompts got no answer, the last because {last}")]
    Unanswered { missing: usize, total: usize, last: String },
}

impl RemoteArgs {
    /// The settings that the options make up, for a model at the endpoint.
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

/// Runs `tabpo predict --endpoint URL --model NAME`: answers the documents, or says what that would
/// take, and prints what it took. The job's demonstrations are the documents of
/// `--demonstrations-from`, its cache the directory of `--cache`.
pub fn run_remote(
    arguments: &RemoteArgs,
    endpoint: &str,
    model: &str,
    job: &RemoteJob,
    json: bool,
    context: &Context,
) -> Result<(), CliError> {
    let settings = arguments.settings(endpoint, model);
    if arguments.dry_run {
        return dry_run(job, &settings, json);
    }
    let statistics = answer_documents(job, &settings, context)?;
    context.say(format!("{}: {} answers", job.out.display(), statistics.prompts));
    if json {
        output::print_json_beside(job.out, &statistics)
    } else {
        output::print_beside(job.out, &table(&statistics, &settings)?.plain(None))
    }
}

/// Answers all units of the documents and writes the prediction file once every unit has an answer;
/// until then the answers are in the cache alone. The prompts are those of local models: the
/// ontology's instructions, the demonstrations as earlier turns, the text.
pub fn answer_documents(job: &RemoteJob, settings: &Settings, context: &Context) -> Result<Statistics, CliError> {
    let endpoint = Endpoint::of(settings).or_input()?;
    let prompts = prompts(job, settings)?;
    let price = price(settings)?;
    let mut cache = open_cache(job)?;
    // Before anything is paid for: whether the answers can be written at all.
    let mut file = writing::create(job.out)?;
    let mut progress = context.progress(job.name, prompts.len() as u64);
    let stop = context.interrupt_flag();
    let ask = if settings.batch { extract_in_batches } else { extract };
    let result = ask(&endpoint, &prompts, settings, price, &mut cache, &stop, &mut |state| {
        let cost = state.cost.map_or_else(String::new, |cost| format!("{cost:.2} spent"));
        // Equal prompts share a request; the bar counts prompts.
        let done = state.done * prompts.len() / state.total.max(1);
        progress.update(done as u64, &cost);
    });
    progress.finish();
    let extraction = result.map_err(|error| {
        let input = error.is_input();
        let missing_key = matches!(error, tabpo_remote::RemoteError::Unauthorised { .. }) && endpoint.key.is_none();
        let error = if input { Err::<(), _>(error).or_input() } else { Err(error).or_failed() }.unwrap_err();
        if missing_key {
            return error.with_hint(format!("put the key into the environment variable {}", settings.key_variable));
        }
        error
    })?;
    finished(&extraction, job)?;
    writing::add(&mut file, &lines(&prompts, &extraction, settings), job.out)?;
    writing::finish(file, job.out)?;
    Ok(extraction.statistics)
}

/// What a job took, as the report shows it.
pub fn remote_system(name: &str, statistics: &Statistics, settings: &Settings) -> Result<RemoteSystem, CliError> {
    let prices = settings.prices.as_deref().map(PriceTable::read).transpose().or_input()?;
    Ok(RemoteSystem {
        name: name.to_owned(),
        model: settings.model.clone(),
        calls: statistics.calls as u64,
        reused: statistics.reused as u64,
        prompt_tokens: statistics.usage.prompt,
        cached_tokens: statistics.usage.cached,
        completion_tokens: statistics.usage.completion,
        cost: statistics.cost,
        currency: prices.as_ref().map_or_else(String::new, |prices| prices.currency.clone()),
        prices_of: prices.map_or_else(String::new, |prices| format!("prices of {}", prices.date)),
        latency_median_ms: statistics.latency_median_ms,
        latency_p95_ms: statistics.latency_p95_ms,
        outcomes: statistics.outcomes.iter().map(|(outcome, &count)| (outcome.name().to_owned(), count)).collect(),
    })
}

fn prompts(job: &RemoteJob, settings: &Settings) -> Result<Vec<Prompt>, CliError> {
    let builder = PromptBuilder::new(job.ontology, settings.structure);
    let pool: Vec<Unit> = job.demonstrations.iter().flat_map(|document| Unit::all(document, job.level)).collect();
    if settings.shots > 0 && pool.is_empty() {
        return Err(CliError::input("there are no documents to take demonstrations from"));
    }
    let demonstrations = Demonstrations::new(&pool, job.ontology, settings.shots, settings.selection, settings.seed);
    let builder = if settings.shots > 0 { builder.with_demonstrations(&demonstrations) } else { builder };
    let units = job.documents.iter().flat_map(|document| Unit::all(document, job.level));
    Ok(units.map(|unit| builder.build(&unit)).collect())
}

fn price(settings: &Settings) -> Result<Option<ModelPrice>, CliError> {
    let Some(path) = &settings.prices else { return Ok(None) };
    PriceTable::read(path).and_then(|prices| prices.price(&settings.model)).map(Some).or_input()
}

fn open_cache(job: &RemoteJob) -> Result<ResponseCache, CliError> {
    ResponseCache::open(job.cache).or_input()
}

fn dry_run(job: &RemoteJob, settings: &Settings, json: bool) -> Result<(), CliError> {
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
    let job_estimate = estimate(&endpoint, &prompts, settings, price, answer_bytes, &open_cache(job)?);
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
    output::print(&table.plain(None))
}

fn currency(settings: &Settings) -> Result<String, CliError> {
    let prices = settings.prices.as_deref().map(PriceTable::read).transpose().or_input()?;
    Ok(prices.map_or_else(String::new, |prices| format!("{} of {}", prices.currency, prices.date)))
}

fn finished(extraction: &Extraction, job: &RemoteJob) -> Result<(), CliError> {
    let total = extraction.answers.len();
    let done = extraction.answers.iter().flatten().count();
    let again = format!("answers are kept in {}; the same command asks only for the missing ones", job.cache.display());
    match &extraction.ending {
        Ending::Complete => Ok(()),
        Ending::Interrupted => Err(CliError::interrupted(format!("stopped after {done} of {total} prompts"))),
        Ending::BudgetReached => Err(Unfinished::Budget { done, total }).or_failed(),
        Ending::Unanswered { prompts, last } => {
            Err(Unfinished::Unanswered { missing: *prompts, total, last: last.clone() }).or_failed()
        }
    }
    .map_err(|error| error.with_hint(again))
}

fn lines(prompts: &[Prompt], extraction: &Extraction, settings: &Settings) -> Vec<u8> {
    let mut text = Vec::new();
    for (prompt, answer) in prompts.iter().zip(&extraction.answers) {
        let answer = answer.as_ref().expect("a complete extraction has an answer for every prompt");
        serde_json::to_writer(&mut text, &line(prompt, answer, settings)).expect("a prediction is plain data");
        text.push(b'\n');
    }
    text
}

fn line<'a>(prompt: &'a Prompt, answer: &'a StoredAnswer, settings: &Settings) -> RemoteOutput<'a> {
    let strict = settings.structure == StructureKind::JsonSchema;
    RemoteOutput {
        doc_key: &prompt.doc_key,
        sent: prompt.sentence,
        output: if strict { without_nulls(&answer.text) } else { answer.text.clone() },
        outcome: answer.outcome,
        refusal: answer.refusal.as_deref(),
        model: answer.served_model.as_deref().unwrap_or(&answer.model),
        usage: answer.usage,
        latency_ms: answer.latency_ms,
    }
}

fn table(statistics: &Statistics, settings: &Settings) -> Result<Table, CliError> {
    let mut table = Table::new([("", Alignment::Left), ("", Alignment::Right)]);
    let mut row = |name: &str, value: String| table.push([name.to_owned(), value]);
    row("prompts", statistics.prompts.to_string());
    for (outcome, count) in &statistics.outcomes {
        row(&format!("  {}", outcome.name()), count.to_string());
    }
    row("calls", statistics.calls.to_string());
    row("answers from the cache", statistics.reused.to_string());
    row("attempts repeated", statistics.retries.to_string());
    row("prompt tokens", statistics.usage.prompt.to_string());
    row("  of them cached by the provider", statistics.usage.cached.to_string());
    row("completion tokens", statistics.usage.completion.to_string());
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
