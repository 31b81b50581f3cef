//! Answers of hosted models to documents, for `tabpo predict --endpoint` and for the hosted models of a run.

use std::{path::Path, time::Duration};

use serde::Serialize;
use tabpo_corpus::{Document, Level, Unit};
use tabpo_ontology::Ontology;
use tabpo_remote::{
    Demonstrations, Ending, Endpoint, Extraction, Job, ModelPrice, PriceTable, Prompt, PromptBuilder, RemoteError,
    ReplyField, ReplyOutcome, ResponseCache, Settings, Statistics, StoredAnswer, StructureKind, Usage, extract,
    in_words, unwrap_json, without_nulls,
};
use tabpo_report::RemoteSystem;

use super::notes::{notes, rows};
use crate::{
    error::{Error, ResultExt},
    observer::Observer,
    writing,
};

/// Documents to answer.
pub struct RemoteJob<'a> {
    /// A name for progress and messages.
    pub name: &'a str,
    /// What to extract.
    pub ontology: &'a Ontology,
    /// The documents.
    pub documents: &'a [Document],
    /// Documents to take demonstrations from; may be empty if there are to be none.
    pub demonstrations: &'a [Document],
    /// What a prompt shows.
    pub level: Level,
    /// The prediction file.
    pub out: &'a Path,
    /// The response cache.
    pub cache: &'a Path,
    /// The name in `[predict.remote.NAME]`, the section that the settings come from; `None` if they come from options.
    pub section: Option<&'a str>,
}

/// A line of the prediction file.
#[derive(Serialize)]
struct RemoteOutput<'a> {
    doc_key: &'a str,
    sent: Option<u32>,
    output: String,
    outcome: ReplyOutcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<&'a str>,
    model: &'a str,
    usage: Usage,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage_at_most: Option<Usage>,
    #[serde(skip_serializing_if = "ReplyField::is_content")]
    place: ReplyField,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unwrapped: bool,
    latency_ms: u64,
}

/// A pause shorter than this is not worth a line.
const SHORT_PAUSE: Duration = Duration::from_secs(5);

/// Why a job did not finish.
#[derive(Debug, thiserror::Error)]
enum Unfinished {
    #[error("the next request could pass the budget; {done} of {total} prompts have an answer")]
    Budget { done: usize, total: usize },
    #[error("{missing} of {total} prompts got no answer, the last because {last}")]
    Unanswered { missing: usize, total: usize, last: String },
}

/// Has all units of the documents answered, and writes the prediction file once every unit has an answer; until then,
/// answers are only in the cache. Prompts are the same as for local models: the ontology's instructions, the
/// demonstrations as earlier turns, the text.
pub fn answer_documents(job: &RemoteJob, settings: &Settings, observer: &dyn Observer) -> Result<Statistics, Error> {
    check(settings, job.section)?;
    let endpoint = Endpoint::of(settings).or_input()?;
    let prompts = prompts(job, settings)?;
    let price = price(settings)?;
    let mut cache = open_cache(job, observer)?;
    // Before anything is paid for, so that the answers can be written.
    let mut file = writing::create(job.out)?;
    let mut progress = observer.progress(job.name, prompts.len() as u64);
    let stop = observer.stop_flag();
    let request = Job { endpoint: &endpoint, prompts: &prompts, settings, price };
    let result = extract(&request, &mut cache, stop, &mut |state| {
        let cost = state.cost.map_or_else(String::new, |cost| format!("{cost:.2} spent"));
        // Identical prompts share a request, but progress counts prompts.
        let done = state.done * prompts.len() / state.total.max(1);
        progress.update(done as u64, &cost);
        if let Some(pause) = state.pause.filter(|pause| *pause >= SHORT_PAUSE) {
            observer.say(&format!("{}: the endpoint asks to wait {}", job.name, in_words(pause)));
        }
    });
    drop(progress);
    warn_of_damage(&cache, observer);
    let extraction = result.map_err(|error| explained(error, &endpoint, settings, job))?;
    finished(&extraction, job)?;
    let mut statistics = extraction.statistics.clone();
    let lines = lines(&prompts, &extraction, settings, job.ontology, &mut statistics);
    writing::add(&mut file, &lines, job.out)?;
    writing::finish(file, job.out)?;
    for note in notes(&statistics, &extraction.answers, settings, job.section) {
        observer.warn(&format!("{}: {note}", job.name));
    }
    Ok(statistics)
}

/// Warns about damaged records of a cache, which were set aside.
pub fn warn_of_damage(cache: &ResponseCache, observer: &dyn Observer) {
    for damage in cache.damage() {
        observer.warn(&format!(
            "{}:{}: {}; {} set aside in {}, and what it answered is asked for again",
            damage.path.display(),
            damage.first,
            damage.found,
            if damage.lines == 1 { "the line was".to_owned() } else { format!("{} such lines were", damage.lines) },
            damage.aside.display()
        ));
    }
}

/// Checks the numbers and names in settings. The error names the option or the key, and its range; for `section`, see
/// [`RemoteJob::section`].
pub fn check(settings: &Settings, section: Option<&str>) -> Result<(), Error> {
    settings.check().map_err(|error| match (&error, section) {
        (RemoteError::Setting { key, value, expected }, Some(name)) => {
            Error::input(format!("predict.remote.{name}.{key} is {value}: expected {expected}"))
        }
        (RemoteError::Setting { key, value, expected }, None) => {
            let option = key.trim_end_matches("_seconds").replace('_', "-");
            Error::input(format!("--{option} is {value}: expected {expected}"))
        }
        _ => Err::<(), _>(error).or_input().expect_err("it is an error"),
    })
}

/// Checks the settings of a hosted model before a run starts: numbers and names, the address, the API key, the price
/// table.
pub(crate) fn check_remote_system(name: &str, settings: &Settings) -> Result<(), Error> {
    let named = |error: Error| error.context(format!("predict.remote.{name}"));
    check(settings, Some(name))?;
    Endpoint::of(settings).or_input().map_err(named)?;
    price(settings).map_err(named)?;
    Ok(())
}

/// Converts the error of a job, with a hint.
fn explained(error: RemoteError, endpoint: &Endpoint, settings: &Settings, job: &RemoteJob) -> Error {
    let hint = match &error {
        RemoteError::Unauthorised { .. } if endpoint.key.is_none() => {
            Some(format!("put the key into the environment variable {}", settings.key_variable))
        }
        RemoteError::Refused { fix, .. } => Some(match job.section {
            Some(name) => format!("try {} in [predict.remote.{name}]", fix.setting()),
            None => format!("try {}", fix.option()),
        }),
        RemoteError::LongWait { .. } | RemoteError::Quota { .. } | RemoteError::EndpointDown { .. } => {
            Some(asks_again(job))
        }
        _ => None,
    };
    let error = if error.is_input() { Err::<(), _>(error).or_input() } else { Err(error).or_failed() };
    let error = error.expect_err("it is an error");
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

fn asks_again(job: &RemoteJob) -> String {
    format!("answers are kept in {}; the same command asks only for the missing ones", job.cache.display())
}

/// What a job cost, for the report.
pub(crate) fn remote_system(name: &str, statistics: &Statistics, settings: &Settings) -> Result<RemoteSystem, Error> {
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
        outcomes: statistics
            .outcomes
            .iter()
            .map(|(outcome, &count)| (outcome.name().to_owned(), count))
            .chain(rows(statistics))
            .collect(),
    })
}

/// The prompts of all units of a job's documents.
pub fn prompts(job: &RemoteJob, settings: &Settings) -> Result<Vec<Prompt>, Error> {
    let builder = PromptBuilder::new(job.ontology, settings.structure);
    let pool: Vec<Unit> = job.demonstrations.iter().flat_map(|document| Unit::all(document, job.level)).collect();
    if settings.shots > 0 && pool.is_empty() {
        return Err(Error::input("there are no documents to take demonstrations from"));
    }
    let demonstrations = Demonstrations::new(&pool, job.ontology, settings.shots, settings.selection, settings.seed);
    let builder = if settings.shots > 0 { builder.with_demonstrations(&demonstrations) } else { builder };
    let builder = if settings.no_system_role { builder.without_system_role() } else { builder };
    let units = job.documents.iter().flat_map(|document| Unit::all(document, job.level));
    Ok(units.map(|unit| builder.build(&unit)).collect())
}

/// The price of the settings' model; `None` where there is no price table.
pub fn price(settings: &Settings) -> Result<Option<ModelPrice>, Error> {
    let Some(path) = &settings.prices else { return Ok(None) };
    PriceTable::read(path).and_then(|prices| prices.price(&settings.model)).map(Some).or_input()
}

/// Opens the cache of a job, and reports where it is if it is new.
pub fn open_cache(job: &RemoteJob, observer: &dyn Observer) -> Result<ResponseCache, Error> {
    if job.section.is_none() && !job.cache.exists() {
        observer.say(&format!("answers are kept in {}, so that none is paid for twice", job.cache.display()));
    }
    ResponseCache::open(job.cache).or_input()
}

fn finished(extraction: &Extraction, job: &RemoteJob) -> Result<(), Error> {
    let total = extraction.answers.len();
    let done = extraction.answers.iter().flatten().count();
    match &extraction.ending {
        Ending::Complete => Ok(()),
        Ending::Interrupted => Err(Error::interrupted(format!("stopped after {done} of {total} prompts"))),
        Ending::BudgetReached => Err(Unfinished::Budget { done, total }).or_failed(),
        Ending::Unanswered { prompts, last } => {
            Err(Unfinished::Unanswered { missing: *prompts, total, last: last.clone() }).or_failed()
        }
    }
    .map_err(|error| error.with_hint(asks_again(job)))
}

/// The lines of the prediction file. JSON inside other text is counted, and extracted if the settings ask for it.
fn lines(
    prompts: &[Prompt],
    extraction: &Extraction,
    settings: &Settings,
    ontology: &Ontology,
    statistics: &mut Statistics,
) -> Vec<u8> {
    let mut text = Vec::new();
    for (prompt, answer) in prompts.iter().zip(&extraction.answers) {
        let answer = answer.as_ref().expect("a complete extraction has an answer for every prompt");
        let inside = unwrap_json(&answer.text, &ontology.keys.entities);
        let found = u64::from(inside.is_some());
        let inside = inside.filter(|_| settings.unwrap);
        *if settings.unwrap { &mut statistics.unwrapped } else { &mut statistics.wrapped } += found;
        serde_json::to_writer(&mut text, &line(prompt, answer, inside, settings)).expect("a prediction is plain data");
        text.push(b'\n');
    }
    text
}

fn line<'a>(
    prompt: &'a Prompt,
    answer: &'a StoredAnswer,
    inside: Option<String>,
    settings: &Settings,
) -> RemoteOutput<'a> {
    let strict = settings.structure == StructureKind::JsonSchema;
    let unwrapped = inside.is_some();
    let output = inside.unwrap_or_else(|| answer.text.clone());
    RemoteOutput {
        doc_key: &prompt.doc_key,
        sent: prompt.sentence,
        output: if strict { without_nulls(&output) } else { output },
        outcome: answer.outcome,
        refusal: answer.refusal.as_deref(),
        model: answer.served_model.as_deref().unwrap_or(&answer.model),
        usage: answer.usage,
        usage_at_most: answer.usage_at_most,
        place: answer.place,
        unwrapped,
        latency_ms: answer.latency_ms,
    }
}
