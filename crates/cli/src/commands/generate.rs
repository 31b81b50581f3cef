//! `tabpo generate`: completes a prompt or answers a conversation.

use std::path::PathBuf;

use serde::Serialize;
use tabpo_engine::{Compute, FinishReason, GenerateOptions, Request, Sampling, generate};
use tabpo_model::{Message, Tokenizer};

use super::chat_template::{Conversation, now};
use crate::{
    error::{CliError, ResultExt},
    output::{self, Context},
    range,
    run::PolicyFolder,
};

/// Arguments of `tabpo generate`.
#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("input").required(true))]
pub(crate) struct GenerateArgs {
    /// Model folder, GGUF file, or a PEFT folder (its base model is found automatically)
    #[arg(long, value_name = "MODEL")]
    model: PathBuf,
    /// PEFT folder with an adapter for the model
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// Chat template for --messages to use instead of the folder's: a Jinja file, or plain, alpaca or chatml
    #[arg(long, value_name = "FILE|NAME")]
    chat_template: Option<String>,
    /// Text to continue, without a chat template
    #[arg(long, value_name = "TEXT", group = "input")]
    prompt: Option<String>,
    /// Conversation to answer: a JSON list of messages with `role` and `content`, or {"messages": [...]}
    /// with "tools" and whatever other variables the chat template uses
    #[arg(long, value_name = "FILE", group = "input")]
    messages: Option<PathBuf>,
    /// Most new tokens
    #[arg(long, value_name = "N", default_value = "256", value_parser = range::ANSWER.parser::<usize>(), allow_negative_numbers = true)]
    max_new_tokens: usize,
    /// Sampling temperature; with 0, the most likely token is always taken
    #[arg(long, value_name = "T", default_value = "0", value_parser = range::TEMPERATURE.parser(), allow_negative_numbers = true)]
    temperature: f64,
    /// Sample only from the most likely tokens that together have this probability
    #[arg(long, value_name = "P", default_value = "1", value_parser = range::SHARE.parser(), allow_negative_numbers = true)]
    top_p: f64,
    /// Seed of the sampling
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// Return the log-probability of every new token (with --json)
    #[arg(long)]
    log_probs: bool,
    /// Print JSON: text, token_ids (with the stop token, if there is one) and finish_reason
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Output {
    text: String,
    token_ids: Vec<u32>,
    finish_reason: FinishReason,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    log_probs: Vec<f64>,
}

/// Prints the completion.
pub(crate) fn run(arguments: &GenerateArgs, context: &Context) -> Result<(), CliError> {
    let adapter = arguments.adapter.as_deref();
    let policy = PolicyFolder::resolve(&arguments.model, adapter, Compute::F32, context)?;
    let tokenizer = Tokenizer::open(policy.tokenizer_folder()).or_input()?;
    let mut stop = tokenizer.stop_ids().to_vec();
    let prompt = match (&arguments.prompt, &arguments.messages) {
        (Some(text), _) => tokenizer.encode_bare(text).or_input()?,
        (None, Some(path)) => {
            let conversation = Conversation::read(path)?;
            let named = arguments.chat_template.as_deref();
            let template = conversation.template(&policy, &tokenizer, named, None, context)?;
            // A template that is not suitable for training may still do for generation. Then only the tokens that
            // the folder names end the answer.
            if let Ok(ids) = template.stop_ids(&tokenizer, now()) {
                stop = ids;
            }
            let messages: Vec<Message> =
                conversation.messages.iter().map(|message| message.marked(&tokenizer)).collect();
            let text = template.render(&messages, true, now()).or_input()?;
            tokenizer.encode_marked(&text).or_input()?.ids
        }
        (None, None) => return Err(CliError::input("either --prompt or --messages is needed")),
    };
    let mut worker = policy.worker()?;
    let options = GenerateOptions {
        max_new_tokens: arguments.max_new_tokens,
        sampling: Sampling { temperature: arguments.temperature, top_p: arguments.top_p, seed: arguments.seed },
        stop,
        batch: 1,
        log_probs: arguments.log_probs,
    };
    let requests = [Request { prompt, constraint: None }];
    let completion = generate(&mut worker, None, &requests, &options, |_| {}, || false)
        .or_input()?
        .pop()
        .expect("one request, one completion");
    let text = tokenizer.decode(completion.text_tokens(), true).or_failed()?;
    if arguments.json {
        output::print_json(&Output {
            text,
            token_ids: completion.tokens,
            finish_reason: completion.finish,
            log_probs: completion.log_probs,
        })
    } else {
        output::print_exact(&format!("{text}\n"))
    }
}
