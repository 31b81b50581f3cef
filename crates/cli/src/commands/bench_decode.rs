//! `tabpo bench decode`: speed of generation, and the cost of a grammar.

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Serialize;
use tabpo_answer::{gold, render};
use tabpo_corpus::{Level, Unit};
use tabpo_engine::{Compute, Event, GenerateOptions, Policy, PromptTree, Sampling, Steering, generate_each};
use tabpo_model::{Constraint, GrammarCompiler, Tokenizer, is_gguf_file};
use tabpo_ontology::{AnswerGrammar, AnswerLimits};
use tabpo_pipeline::device::Device;

use crate::{
    error::{CliError, ResultExt},
    output::{self, Context},
    range,
    run::PolicyFolder,
};

/// Arguments of `tabpo bench decode`.
#[derive(clap::Args)]
pub(crate) struct DecodeArgs {
    /// Model folder or GGUF file
    #[arg(long, value_name = "MODEL")]
    model: PathBuf,
    /// PEFT folder with an adapter for the model
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// Sequences decoded together
    #[arg(long, value_name = "N", default_value = "8", value_parser = range::BATCH.parser::<usize>(), allow_negative_numbers = true)]
    batch: usize,
    /// Prompts of random tokens
    #[arg(long, value_name = "N", default_value = "32", value_parser = range::BATCH.parser::<usize>(), allow_negative_numbers = true)]
    prompts: usize,
    /// Tokens that all prompts begin with, before those of their own
    #[arg(long, value_name = "N", default_value = "0", value_parser = range::ANSWER.or_none().parser::<usize>(), allow_negative_numbers = true)]
    shared_tokens: usize,
    /// Tokens of a prompt of its own
    #[arg(long, value_name = "N", default_value = "128", value_parser = range::ANSWER.parser::<usize>(), allow_negative_numbers = true)]
    prompt_tokens: usize,
    /// New tokens of a sequence
    #[arg(long, value_name = "N", default_value = "128", value_parser = range::ANSWER.parser::<usize>(), allow_negative_numbers = true)]
    new_tokens: usize,
    /// Where to compute: cpu, cuda, or cuda:1 for the second card
    #[arg(long, value_name = "DEVICE", default_value_t = Device::Cpu)]
    device: Device,
    /// Runs; the best one counts
    #[arg(long, value_name = "N", default_value = "3", value_parser = range::COUNT.parser::<usize>(), allow_negative_numbers = true)]
    repeats: usize,
    /// Sentences whose answers are walked through to time a grammar
    #[arg(long, value_name = "N", default_value = "100", value_parser = range::COUNT.or_none().parser::<usize>(), allow_negative_numbers = true)]
    sentences: usize,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Outcome {
    threads: usize,
    batch: usize,
    /// New tokens per second, the time for the prompts included.
    tokens_per_second: f64,
    /// New tokens per second from the first tokens of the first batch on.
    decode_tokens_per_second: f64,
    vocabulary: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    grammar: Option<GrammarOutcome>,
}

/// Microseconds for the gold answers of synthetic sentences; absent for a folder without tokenizer.
#[derive(Serialize)]
struct GrammarOutcome {
    sentences: usize,
    tokens: usize,
    /// Sorting the vocabulary, once a run.
    vocabulary_ms: f64,
    /// Compiling the first grammar of a sentence.
    compile_us: f64,
    mask_us_mean: f64,
    mask_us_median: f64,
    mask_us_99th: f64,
    /// Taking a token, the compilation of later stages included.
    take_us_mean: f64,
}

/// Times generation without stop tokens, and masks for gold answers.
pub(crate) fn run(arguments: &DecodeArgs, context: &Context) -> Result<(), CliError> {
    let adapter = arguments.adapter.as_deref();
    let policy = PolicyFolder::resolve(&arguments.model, adapter, Compute::F32, context)?;
    let (model, lora) = policy.open_trainable()?;
    let policy_of = |model: tabpo_engine::Model<f32>| match lora {
        Some(lora) => Policy::adapter(model.into(), lora),
        None => Policy::Frozen(model.into()),
    };
    let mut worker = arguments.device.choose()?.open(Compute::Auto, context)?.worker(policy_of(model))?;
    let worker = worker.worker();
    let vocabulary = worker.config().vocabulary;
    let random =
        |prompt: usize, count: usize| (0..count).map(move |i| ((prompt * 7919 + i * 104_729) % vocabulary) as u32);
    let mut prompts = PromptTree::new();
    for prompt in 0..arguments.prompts {
        let tokens = random(0, arguments.shared_tokens).chain(random(prompt + 1, arguments.prompt_tokens));
        prompts.push(&tokens.collect::<Vec<u32>>());
    }
    let all: Vec<usize> = (0..arguments.prompts).collect();
    let options = GenerateOptions {
        max_new_tokens: arguments.new_tokens,
        sampling: Sampling::GREEDY,
        stop: Vec::new(),
        batch: arguments.batch,
        log_probs: false,
    };
    let (mut best, mut best_decoding) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..arguments.repeats {
        let start = Instant::now();
        // The time of the first new tokens, and their number.
        let mut first = None;
        let mut report = |event| {
            if let Event::Worked(work) = event
                && work.new_tokens > 0
            {
                first.get_or_insert_with(|| (Instant::now(), work.new_tokens));
            }
            ControlFlow::Continue(())
        };
        generate_each(worker, None, &prompts, &all, Steering::NONE, &options, &mut report).or_input()?;
        best = best.min(start.elapsed().as_secs_f64());
        if let Some((first, tokens)) = first {
            let rest = (arguments.prompts * arguments.new_tokens) as u64 - tokens;
            best_decoding = best_decoding.min(first.elapsed().as_secs_f64() / rest.max(1) as f64);
        }
    }
    let tokens = arguments.prompts * arguments.new_tokens;
    let grammar = if (is_gguf_file(policy.tokenizer_folder())
        || policy.tokenizer_folder().join("tokenizer.json").exists())
        && arguments.sentences > 0
    {
        Some(time_grammar(arguments, policy.tokenizer_folder(), vocabulary)?)
    } else {
        None
    };
    let outcome = Outcome {
        threads: rayon::current_num_threads(),
        batch: arguments.batch,
        tokens_per_second: tokens as f64 / best,
        decode_tokens_per_second: 1.0 / best_decoding,
        vocabulary,
        grammar,
    };
    if arguments.json {
        return output::print_json(&outcome);
    }
    context.say(format!("greedy, batch {}, {} threads", outcome.batch, outcome.threads));
    output::print_line(format!(
        "{:.0} tokens/s ({:.0} after the first prompts)",
        outcome.tokens_per_second, outcome.decode_tokens_per_second
    ))?;
    if let Some(grammar) = &outcome.grammar {
        output::print_line(format!(
            "masks over {} tokens of {} answers: median {:.0} us, mean {:.0} us, 99th percentile {:.0} us; \
             taking a token {:.0} us, a grammar {:.0} us",
            grammar.tokens,
            grammar.sentences,
            grammar.mask_us_median,
            grammar.mask_us_mean,
            grammar.mask_us_99th,
            grammar.take_us_mean,
            grammar.compile_us,
        ))?;
    }
    Ok(())
}

fn time_grammar(arguments: &DecodeArgs, folder: &Path, vocabulary: usize) -> Result<GrammarOutcome, CliError> {
    let tokenizer = Tokenizer::open(folder).or_input()?;
    let start = Instant::now();
    let compiler = GrammarCompiler::new(&tokenizer, vocabulary, tokenizer.stop_ids()).or_input()?;
    let vocabulary_time = start.elapsed();
    let ontology = Arc::new(tabpo_synthetic::ontology().clone());
    let config = tabpo_synthetic::SyntheticConfig {
        sft: 0,
        gold: 0,
        validation: 0,
        test: arguments.sentences,
        ..Default::default()
    };
    let documents = tabpo_synthetic::generate(&config).test;
    let (mut compile, mut take, mut masks) = (Duration::ZERO, Duration::ZERO, Vec::new());
    let mut sentences = 0;
    for unit in documents.iter().flat_map(|document| Unit::all(document, Level::Sentence)) {
        sentences += 1;
        let words = unit.words();
        let grammar =
            AnswerGrammar::new(Arc::clone(&ontology), unit.text(), &words, AnswerLimits::for_words(words.len()));
        let start = Instant::now();
        let constraint =
            Constraint { grammar: grammar.first(), next: Some(Arc::new(move |text, stage| grammar.next(text, stage))) };
        let mut guide = compiler.guide(&constraint).or_failed()?;
        compile += start.elapsed();
        for token in tokenizer.encode(&render(&gold(&unit), &ontology).text).or_failed()? {
            let start = Instant::now();
            guide.allowed().or_failed()?;
            masks.push(start.elapsed());
            let start = Instant::now();
            guide.take(token).or_failed()?;
            take += start.elapsed();
        }
    }
    masks.sort();
    let microseconds = |time: Duration| time.as_secs_f64() * 1e6;
    let percentile = |share: f64| masks.get((share * masks.len() as f64) as usize).copied().map_or(0.0, microseconds);
    let count = masks.len().max(1) as f64;
    Ok(GrammarOutcome {
        sentences,
        tokens: masks.len(),
        vocabulary_ms: vocabulary_time.as_secs_f64() * 1e3,
        compile_us: microseconds(compile) / f64::from(sentences.max(1) as u32),
        mask_us_mean: microseconds(masks.iter().sum()) / count,
        mask_us_median: percentile(0.5),
        mask_us_99th: percentile(0.99),
        take_us_mean: microseconds(take) / count,
    })
}
