//! `tabpo chat-template`: renders a conversation as text.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tabpo_engine::Compute;
use tabpo_model::{ChatTemplate, Message, Tokenizer};

use crate::{
    error::{CliError, ResultExt},
    output::{self, Context},
    run::{PolicyFolder, TemplateChoice},
};

/// Arguments of `tabpo chat-template`.
#[derive(clap::Args)]
pub(crate) struct ChatTemplateArgs {
    /// Model folder with tokenizer and chat template, GGUF file, or a PEFT folder (its base model is found automatically)
    #[arg(long, value_name = "MODEL")]
    model: PathBuf,
    /// Conversation: a JSON list of messages with `role` and `content`, or {"messages": [...]} with
    /// "tools" and whatever other variables the template uses
    #[arg(long, value_name = "FILE")]
    messages: PathBuf,
    /// End with the header of the assistant's turn
    #[arg(long)]
    add_generation_prompt: bool,
    /// Name of the template, if the folder has several
    #[arg(long, value_name = "NAME")]
    template: Option<String>,
    /// A template to use instead of the folder's: a Jinja file, or plain, alpaca or chatml
    #[arg(long, value_name = "FILE|NAME", conflicts_with = "template")]
    chat_template: Option<String>,
    /// Write JSON: an object with the text
    #[arg(long)]
    json: bool,
}

/// Prints the rendered text.
pub(crate) fn run(arguments: &ChatTemplateArgs, context: &Context) -> Result<(), CliError> {
    let policy = PolicyFolder::resolve(&arguments.model, None, Compute::F32, context)?;
    let tokenizer = Tokenizer::open(policy.tokenizer_folder()).or_input()?;
    let conversation = Conversation::read(&arguments.messages)?;
    let (file, name) = (arguments.chat_template.as_deref(), arguments.template.as_deref());
    let template = conversation.template(&policy, &tokenizer, file, name, context)?;
    let text = template.render(&conversation.messages, arguments.add_generation_prompt, now()).or_input()?;
    if arguments.json { output::print_json(&json!({ "text": text })) } else { output::print_exact(&text) }
}

/// A conversation, with other variables for its template: tools, documents and so on.
#[derive(Deserialize)]
pub(crate) struct Conversation {
    /// The messages.
    pub messages: Vec<Message>,
    #[serde(flatten)]
    variables: Map<String, Value>,
}

impl Conversation {
    /// Reads a list of messages, or an object with such a list.
    pub(crate) fn read(path: &Path) -> Result<Self, CliError> {
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

    /// The template for this conversation, with its variables set: `file` (a file or a built-in format), or the policy's
    /// own with this name, or its default. A policy without a template gets a built-in format, which is reported.
    pub(crate) fn template(
        &self,
        policy: &PolicyFolder,
        tokenizer: &Tokenizer,
        file: Option<&str>,
        name: Option<&str>,
        context: &Context,
    ) -> Result<ChatTemplate, CliError> {
        let tools = self.variables.get("tools").is_some_and(|tools| !tools.is_null());
        let template = policy.template(tokenizer, TemplateChoice { named: file, name, tools }, context)?;
        Ok(self.variables.iter().fold(template, |template, (name, value)| template.with_variable(name, value.clone())))
    }
}

/// The date and time for templates that print them.
pub(crate) fn now() -> jiff::civil::DateTime {
    jiff::Zoned::now().datetime()
}
