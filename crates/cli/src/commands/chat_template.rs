//! `tabpo chat-template`: the text that a conversation becomes.

use std::path::{Path, PathBuf};

use tabpo_engine::{ChatTemplate, Message, Tokenizer};

use crate::{
    error::{CliError, ResultExt},
    output::{self, Context},
};

/// Arguments of `tabpo chat-template`.
#[derive(clap::Args)]
pub struct ChatTemplateArgs {
    /// Model folder with tokenizer and chat template
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Conversation: a JSON list of messages with `role` and `content`
    #[arg(long, value_name = "FILE")]
    messages: PathBuf,
    /// End with the header of the assistant's turn
    #[arg(long)]
    add_generation_prompt: bool,
    /// Name of the template, where the folder has several
    #[arg(long, value_name = "NAME")]
    template: Option<String>,
}

/// Prints the rendered text and nothing else.
pub fn run(arguments: &ChatTemplateArgs, _context: &Context) -> Result<(), CliError> {
    let tokenizer = Tokenizer::open(&arguments.model).or_input()?;
    let template = ChatTemplate::open_named(&arguments.model, &tokenizer, arguments.template.as_deref()).or_input()?;
    let messages = read_messages(&arguments.messages)?;
    let text = template.render(&messages, arguments.add_generation_prompt, now()).or_input()?;
    output::print(&text)
}

/// Reads a conversation.
pub fn read_messages(path: &Path) -> Result<Vec<Message>, CliError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| CliError::input(format!("cannot read {}: {error}", path.display())))?;
    serde_json::from_str(&text).map_err(|error| {
        CliError::input(format!("{}:{}: {error}", path.display(), error.line()))
            .with_hint(r#"a conversation is a list: [{"role": "user", "content": "..."}]"#)
    })
}

/// What templates that print the date see.
pub fn now() -> jiff::civil::DateTime {
    jiff::Zoned::now().datetime()
}
