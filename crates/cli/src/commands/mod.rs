//! The commands, each in its own module.

mod attempt;
mod bench;
mod bench_decode;
mod bench_operations;
mod bench_preference;
mod bench_prepare;
mod bench_step;
mod chat_template;
mod check;
mod compare;
mod completions;
mod config;
mod corpus;
mod errors;
mod eval;
mod example;
mod export;
mod generate;
#[cfg(feature = "cuda")]
mod gpu;
mod init;
mod inspect;
mod man;
mod merge;
mod model;
mod objective;
mod ontology;
mod pairs;
#[cfg(feature = "cuda")]
mod plan;
#[cfg(feature = "cuda")]
mod plan_table;
mod predict;
mod predict_remote;
mod ranks;
mod review;
mod run;
mod scoring;
mod serve_config;
mod serving;
mod thresholds;

use std::path::Path;

use clap::Subcommand;
use tabpo_corpus::Level;
use tabpo_engine::Compute;
use tabpo_ontology::{AnswerForm, Ontology};

use crate::{
    error::CliError,
    output::Context,
    run::{PolicyFolder, Renderer, Until},
};

/// The choices of `--compute`.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum Products {
    /// bf16 if the weights are stored in bf16 and a short measurement shows that this machine is faster with it
    Auto,
    F32,
    Bf16,
}

impl From<Products> for Compute {
    fn from(products: Products) -> Self {
        match products {
            Products::Auto => Compute::Auto,
            Products::F32 => Compute::F32,
            Products::Bf16 => Compute::Bf16,
        }
    }
}

/// What the exit codes of `tabpo check` mean.
const CHECK_CODES: &str = "Exit codes: 0 if nothing stands in the way of good results, 1 if something does, 2 if the \
                           configuration or what it names is not valid.";

/// The commands of tabpo.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Write a configuration and an ontology for your documents and model
    Init(init::InitArgs),
    /// Check a configuration and everything it names: documents, labels, lengths, memory and time
    #[command(after_help = CHECK_CODES)]
    Check(check::CheckArgs),
    /// Say what training takes of a card that need not be there: memory by part, tokens a pass, time, and what would fit
    #[cfg(feature = "cuda")]
    Plan(Box<plan::PlanArgs>),
    /// Explain the keys of a configuration, or show one with its defaults
    Config(config::ConfigArgs),
    /// Run a configuration: all stages from documents to report, skipping those that are up to date
    Run(run::RunArgs),
    /// Check an ontology file and show what is generated from it
    Ontology(ontology::OntologyArgs),
    /// Count, convert or generate documents
    Corpus(corpus::CorpusArgs),
    /// Run a configuration up to the fine-tuned model and its scores on the validation documents
    Sft(run::RunArgs),
    /// Write a model's answers to documents
    Predict(Box<predict::PredictArgs>),
    /// Find from which probability on a model should write another entity or relation
    Thresholds(Box<thresholds::ThresholdsArgs>),
    /// Show what a model finds in a text
    Try(Box<attempt::TryArgs>),
    /// Accept and correct predictions in the browser; what is confirmed becomes curated documents
    #[command(after_help = review::FILES)]
    Review(Box<review::ReviewArgs>),
    /// Find the ways in which predictions are wrong
    Errors(errors::ErrorsArgs),
    /// Build, select, summarise and export preference pairs
    Pairs(pairs::PairsArgs),
    /// Run a configuration up to the trained systems
    Train(run::RunArgs),
    /// Score predictions against gold
    Eval(eval::EvalArgs),
    /// Compare systems on the same documents, with intervals and p-values
    Compare(compare::CompareArgs),
    /// Run a configuration and write its report page
    Report(run::RunArgs),
    /// Merge an adapter into the weights of its model, as a folder or as a GGUF file for llama.cpp and Ollama
    Merge(merge::MergeArgs),
    /// Convert models between folders and GGUF files
    Model(model::ModelArgs),
    /// Complete a prompt or answer a conversation
    Generate(generate::GenerateArgs),
    /// Render a conversation with a model's chat template
    ChatTemplate(chat_template::ChatTemplateArgs),
    /// Say what a model is and whether it is supported, or show what it computes
    Inspect(inspect::InspectArgs),
    /// List the training objectives, or evaluate the published ones on given inputs
    Objective(objective::ObjectiveArgs),
    /// Show how to serve a model for `tabpo predict --endpoint`
    ServeConfig(serve_config::ServeConfigArgs),
    /// Measure speed and memory on this machine
    Bench(bench::BenchArgs),
    /// Show, prepare and check NVIDIA cards
    #[cfg(feature = "cuda")]
    Gpu(gpu::GpuArgs),
    /// Write a shell completion script
    Completions(completions::CompletionsArgs),
    /// Write the manual pages
    #[command(hide = true)]
    Man(man::ManArgs),
}

impl Command {
    /// Runs the command.
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        match self {
            Command::Init(arguments) => init::run(&arguments, context),
            Command::Check(arguments) => check::run(&arguments, context),
            #[cfg(feature = "cuda")]
            Command::Plan(arguments) => plan::run(&arguments, context),
            Command::Config(arguments) => config::run(&arguments),
            Command::Run(arguments) | Command::Report(arguments) => run::run(&arguments, Until::Report, context),
            Command::Ontology(arguments) => ontology::run(arguments, context),
            Command::Corpus(arguments) => corpus::run(arguments, context),
            Command::Sft(arguments) => run::run(&arguments, Until::Sft, context),
            Command::Predict(arguments) => predict::run(&arguments, context),
            Command::Thresholds(arguments) => thresholds::run(&arguments, context),
            Command::Try(arguments) => attempt::run(&arguments, context),
            Command::Review(arguments) => review::run(&arguments, context),
            Command::Errors(arguments) => errors::run(&arguments, context),
            Command::Pairs(arguments) => pairs::run(arguments, context),
            Command::Train(arguments) => run::run(&arguments, Until::Train, context),
            Command::Eval(arguments) => eval::run(&arguments, context),
            Command::Compare(arguments) => compare::run(&arguments, context),
            Command::Merge(arguments) => merge::run(&arguments, context),
            Command::Model(arguments) => model::run(&arguments, context),
            Command::Generate(arguments) => generate::run(&arguments, context),
            Command::ChatTemplate(arguments) => chat_template::run(&arguments, context),
            Command::Inspect(arguments) => inspect::run(&arguments, context),
            Command::Objective(arguments) => objective::run(arguments, context),
            Command::ServeConfig(arguments) => serve_config::run(&arguments),
            Command::Bench(arguments) => bench::run(&arguments, context),
            #[cfg(feature = "cuda")]
            Command::Gpu(arguments) => gpu::run(&arguments, context),
            Command::Completions(arguments) => completions::run(&arguments, context),
            Command::Man(arguments) => man::run(&arguments, context),
        }
    }
}

/// A model and its adapter as they will compute, and how they are prompted.
fn open_model(
    model: &Path,
    adapter: Option<&Path>,
    template: Option<&str>,
    compute: Products,
    ontology: &Ontology,
    form: AnswerForm,
    context: &Context,
) -> Result<(PolicyFolder, Renderer), CliError> {
    let policy = PolicyFolder::resolve(model, adapter, compute.into(), context)?.measured(context)?;
    let renderer = Renderer::open(&policy, ontology, form, template, context)?;
    Ok((policy, renderer))
}

/// Parses how answers are written.
fn parse_form(name: &str) -> Result<AnswerForm, String> {
    AnswerForm::named(name).ok_or_else(|| format!("valid: {}", AnswerForm::ALL.map(AnswerForm::name).join(", ")))
}

/// Parses what one prompt shows.
fn parse_level(name: &str) -> Result<Level, String> {
    match name {
        "sentence" => Ok(Level::Sentence),
        "document" => Ok(Level::Document),
        _ => Err("valid: sentence, document".to_owned()),
    }
}
