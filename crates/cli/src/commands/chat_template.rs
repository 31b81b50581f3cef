//! `tabpo chat-template`: the text that a conversation becomes.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};
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
    /// Conversation: a JSON list of messages with `role` and `content`, or {"messages": [...]} with
    /// "tools" and whatever else the template looks at
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
    let conversation = Conversation::read(&arguments.messages)?;
    let template = conversation.template(&arguments.model, &tokenizer, arguments.template.as_deref())?;
    let text = template.render(&conversation.messages, arguments.add_generation_prompt, now()).or_input()?;
    output::print_exact(&text)
}

/// A conversation with what its template is told beside the messages: tools, documents, variables.
#[derive(Deserialize)]
pub struct Conversation {
    /// The messages.
    pub messages: Vec<Message>,
    #[serde(flatten)]
    variables: Map<String, Value>,
}

impl Conversation {
    /// Reads a list of messages, or an object with such a list.
    pub fn read(path: &Path) -> Result<Self, CliError> {
        let text = tabpo_files::read_text(path)
            .map_err(|error| CliError::input(format!("cannot read {}: {error}", path.display())))?;
        let read = if text.trim_start().starts_with('{') {
            serde_json::from_str(&text)
        } else {
            serde_json::from_str(&text).map(|messages| Self { messages, variables: Map::new() })
        };
        let conversation: Self = read.map_err(|error| {
            CliError::input(format!("{}:{}: {error}", path.display(), error.line()))
                .with_hint(r#"a conversation is a list: [{"role": "user", "content": "..."}]"#)
        })?;
        if conversation.messages.is_empty() {
            return Err(CliError::input(format!("{}: the conversation has no message", path.display())));
        }
        Ok(conversation)
    }

    /// The folder's template for this conversation, told the variables.
    pub fn template(&self, model: &Path, tokenizer: &Tokenizer, name: Option<&str>) -> Result<ChatTemplate, CliError> {
        let tools = self.variables.get("tools").is_some_and(|tools| !tools.is_null());
        let template = ChatTemplate::open_named(model, tokenizer, name, tools).or_input()?;
        Ok(self.variables.iter().fold(template, |template, (name, value)| template.with_variable(name, value.clone())))
    }
}

/// What templates that print the date see.
pub fn now() -> jiff::civil::DateTime {
    jiff::Zoned::now().datetime()
}
