//! The commands, each in its own module.

mod bench;
mod bench_decode;
mod bench_operations;
mod bench_preference;
mod bench_prepare;
mod bench_step;
mod chat_template;
mod compare;
mod completions;
mod corpus;
mod errors;
mod eval;
mod export;
mod generate;
#[cfg(feature = "cuda")]
mod gpu;
mod inspect;
mod merge;
mod model;
mod objective;
mod ontology;
mod pairs;
mod predict;
mod predict_remote;
mod run;
mod scoring;
mod serve_config;

use clap::Subcommand;
use tabpo_engine::Compute;

use tabpo_corpus::Level;

use crate::{error::CliError, output::Context, run::Until};

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

/// The commands of tabpo.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run a configuration: all stages from documents to report, skipping those that are up to date
    Run(run::RunArgs),
    /// Check an ontology file and show what is generated from it
    Ontology(ontology::OntologyArgs),
    /// Count, convert or generate documents
    Corpus(corpus::CorpusArgs),
    /// Run a configuration up to the fine-tuned model
    Sft(run::RunArgs),
    /// Write a model's answers to documents
    Predict(Box<predict::PredictArgs>),
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
    /// Show what a model computes
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
}

impl Command {
    /// Runs the command.
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        match self {
            Command::Run(arguments) | Command::Report(arguments) => run::run(&arguments, Until::Report, context),
            Command::Ontology(arguments) => ontology::run(arguments, context),
            Command::Corpus(arguments) => corpus::run(arguments, context),
            Command::Sft(arguments) => run::run(&arguments, Until::Sft, context),
            Command::Predict(arguments) => predict::run(&arguments, context),
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
        }
    }
}

/// Parses what one prompt shows.
fn parse_level(name: &str) -> Result<Level, String> {
    match name {
        "sentence" => Ok(Level::Sentence),
        "document" => Ok(Level::Document),
        _ => Err("valid: sentence, document".to_owned()),
    }
}
