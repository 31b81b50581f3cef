//! Finding and rendering a folder's chat template.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use jiff::civil::DateTime;
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::exchange::Adaptation;
use super::{ChatError, filters, methods, python, source};
use crate::folder::{FolderError, read_json_if_present};
use crate::gguf::{self, is_gguf_file};
use crate::tokenizer::{SpecialTokens, Tokenizer};

/// The steps that a template may take for one conversation; producing [`BYTES_PER_STEP`] bytes of text also counts
/// as one. Usual templates take hundreds to thousands.
pub(super) const FUEL: u64 = 2_000_000;
/// The bytes of text that cost as much as a step.
pub(super) const BYTES_PER_STEP: u64 = 64;
/// The time limit of compiling or rendering, because fuel does not cover the work inside one step, such as comparing
/// deeply nested lists that share their items.
const DEADLINE: Duration = Duration::from_secs(5);
/// The stack of the thread that compiles or renders a template: the compiler recurses over long chains (of signs,
/// attributes, sums), and so does dropping deeply nested values.
const STACK: usize = 256 << 20;
/// The largest template that is accepted; usual ones have up to some tens of thousands of bytes. [`STACK`] suffices
/// for one recursive call of the compiler per byte.
pub(super) const MOST_BYTES: usize = 1 << 18;

/// One message of a conversation: a role, a content, and any other keys that a template reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Message(pub Map<String, Json>);

impl Message {
    /// A message with a role (`system`, `user` or `assistant`) and a text.
    pub fn new(role: &str, content: &str) -> Self {
        Self(Map::from_iter([("role".to_owned(), Json::from(role)), ("content".to_owned(), Json::from(content))]))
    }

    /// Whether it is a message of this role.
    pub(super) fn has_role(&self, role: &str) -> bool {
        self.0.get("role").and_then(Json::as_str) == Some(role)
    }

    /// The message with marks in its texts, so that nothing in them becomes a control token; see
    /// [`Tokenizer::mark`].
    #[must_use]
    pub fn marked(&self, tokenizer: &Tokenizer) -> Self {
        let marked = self.0.iter().map(|(key, value)| {
            let value = if key == "role" { value.clone() } else { marked_value(value, tokenizer) };
            (key.clone(), value)
        });
        Self(marked.collect())
    }

    /// What a template sees of the message. As in transformers, keys whose value is null are left out, and
    /// reasoning is shown under the name that templates read, whatever its key.
    fn as_seen(&self) -> Value {
        let mut seen: Map<String, Json> = self
            .0
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        if let Some(reasoning) = REASONING.iter().find_map(|key| seen.get(*key)).cloned() {
            if !seen.contains_key("thinking") {
                seen.shift_insert(0, "thinking".into(), reasoning.clone());
            }
            seen.insert(REASONING[0].into(), reasoning);
        }
        value_of_map(&seen)
    }
}

fn marked_value(value: &Json, tokenizer: &Tokenizer) -> Json {
    match value {
        Json::String(text) => Json::String(tokenizer.mark(text).into_owned()),
        Json::Array(items) => items.iter().map(|item| marked_value(item, tokenizer)).collect(),
        Json::Object(map) => {
            map.iter().map(|(key, value)| (key.clone(), marked_value(value, tokenizer))).collect::<Map<_, _>>().into()
        }
        other => other.clone(),
    }
}

/// The keys under which messages carry reasoning; templates read the first.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// A chat template that renders what transformers' `apply_chat_template` renders.
#[derive(Clone)]
pub struct ChatTemplate {
    environment: Arc<Environment<'static>>,
    deadline: Duration,
    /// Set once a rendering has timed out, so that no other is started.
    hung: Arc<AtomicBool>,
    special: Map<String, Json>,
    pub(super) variables: BTreeMap<String, Json>,
    pub(super) path: PathBuf,
    pub(super) source: String,
    /// The adaptations for conversations without and with a system text, once they are determined.
    pub(super) adaptations: [OnceLock<Adaptation>; 2],
}

const TEMPLATE: &str = "chat_template";
/// The template that transformers selects for tools if there are several templates.
const TOOL_USE: &str = "tool_use";

impl ChatTemplate {
    /// The template of small models trained from scratch: a special token for every role, one that ends
    /// the assistant's turn, and unchanged texts.
    pub const PLAIN: &str = "{%- for message in messages %}\
        {{- '<|' + message.role + '|>' + message.content }}\
        {%- if message.role == 'assistant' %}{{- eos_token }}{%- endif %}\
        {%- endfor %}\
        {%- if add_generation_prompt %}{{- '<|assistant|>' }}{%- endif %}";

    /// Whether a folder or GGUF file has a template, be it one that cannot be read.
    pub fn is_in(folder: &Path) -> bool {
        templates(folder).map_or(true, |templates| !templates.is_empty())
    }

    /// The template of a folder: `chat_template.jinja`, or `chat_template` of
    /// `tokenizer_config.json`. If there are several, the one named `default`.
    pub fn open(folder: &Path, tokenizer: &Tokenizer) -> Result<Self, ChatError> {
        Self::open_named(folder, tokenizer, None, false)
    }

    /// As [`ChatTemplate::open`], for a template with a given name. Without a name, conversations with tools
    /// (`tools`) use the template named `tool_use`, if there is one.
    pub fn open_named(
        folder: &Path,
        tokenizer: &Tokenizer,
        name: Option<&str>,
        tools: bool,
    ) -> Result<Self, ChatError> {
        let mut templates = templates(folder)?;
        if templates.is_empty() {
            return Err(ChatError::None { path: folder.into() });
        }
        let wanted = match name {
            Some(name) => name,
            None if tools && templates.contains_key(TOOL_USE) => TOOL_USE,
            None => "default",
        };
        let source = templates.remove(wanted).ok_or_else(|| ChatError::NoSuchName {
            path: folder.into(),
            name: wanted.into(),
            names: templates.keys().cloned().collect(),
        })?;
        Self::new(source, tokenizer.special(), folder)
    }

    /// Compiles a template. `path` is for error messages.
    pub fn new(source: String, special: &SpecialTokens, path: &Path) -> Result<Self, ChatError> {
        if source.len() > MOST_BYTES {
            return Err(ChatError::TooLarge { path: path.into(), bytes: source.len() });
        }
        let text = source.clone();
        let environment = within(DEADLINE, move || compile(&text))
            .ok_or_else(|| ChatError::TooSlow { path: path.into(), seconds: DEADLINE.as_secs_f64() })?
            .map_err(|source| ChatError::Template { path: path.into(), source })?;
        let special = special.named().into_iter();
        let special = special.filter_map(|(key, token)| Some((key.to_owned(), Json::from(token.clone()?)))).collect();
        let (variables, adaptations) = (BTreeMap::new(), Default::default());
        Ok(Self {
            environment: Arc::new(environment),
            deadline: DEADLINE,
            hung: Arc::default(),
            special,
            variables,
            path: path.into(),
            source,
            adaptations,
        })
    }

    /// Sets a variable that the template may read (`tools`, `enable_thinking`, `date_string`).
    #[must_use]
    pub fn with_variable(mut self, name: &str, value: Json) -> Self {
        self.variables.insert(name.into(), value);
        self.adaptations = Default::default();
        self
    }

    /// The source of the template.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text of a conversation, with `add_generation_prompt` followed by the header of the assistant's
    /// next turn. `strftime_now` formats `date`.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        date: DateTime,
    ) -> Result<String, ChatError> {
        self.render_without(messages, add_generation_prompt, date, &[])
    }

    /// As [`ChatTemplate::render`], with the variables `off` false unless they have been set otherwise.
    pub(super) fn render_without(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        date: DateTime,
        off: &[&str],
    ) -> Result<String, ChatError> {
        let messages: Value = messages.iter().map(Message::as_seen).collect();
        let clock = Value::from_function(move |format: String| {
            jiff::fmt::strtime::format(&format, date)
                .map_err(|error| Error::new(ErrorKind::InvalidOperation, format!("strftime_now: {error}")))
        });
        let mut context = vec![
            ("messages", messages),
            ("add_generation_prompt", Value::from(add_generation_prompt)),
            ("tools", Value::from(())),
            ("documents", Value::from(())),
            ("strftime_now", clock),
        ];
        context.extend(off.iter().map(|name| (*name, Value::from(false))));
        context.extend(self.special.iter().map(|(name, value)| (name.as_str(), value_of(value))));
        context.extend(self.variables.iter().map(|(name, value)| (name.as_str(), value_of(value))));
        let (environment, context) = (Arc::clone(&self.environment), Value::from_pairs(context));
        let too_slow = || ChatError::TooSlow { path: self.path.clone(), seconds: self.deadline.as_secs_f64() };
        if self.hung.load(Ordering::Relaxed) {
            return Err(too_slow());
        }
        let render = move || environment.get_template(TEMPLATE).and_then(|template| template.render(&context));
        let Some(rendered) = within(self.deadline, render) else {
            self.hung.store(true, Ordering::Relaxed);
            return Err(too_slow());
        };
        rendered.map_err(|source| ChatError::Template { path: self.path.clone(), source })
    }
}

/// An environment that holds the template as [`TEMPLATE`].
fn compile(source: &str) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(
        SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()
            .expect("the default delimiters with trimmed blocks are a valid syntax"),
    );
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_unknown_method_callback(methods::call);
    environment.set_formatter(|out, state, value| {
        let text = python::display(state, value)?;
        out.write_str(&text).map_err(Error::from)
    });
    environment.set_fuel(Some(FUEL));
    // Debug errors would hold the template's variables, however large.
    environment.set_debug(false);
    filters::add(&mut environment);
    environment.add_template_owned(TEMPLATE, source::for_engine(source))?;
    Ok(environment)
}

/// Runs `work` on a thread of its own with a large stack; `None` if that takes longer than `limit`. The thread cannot
/// be stopped and is left running. If no thread can be started, the work is done here, without a limit.
fn within<T: Send + 'static>(limit: Duration, work: impl Fn() -> T + Send + Sync + 'static) -> Option<T> {
    let work = Arc::new(work);
    let (sender, receiver) = mpsc::sync_channel(1);
    let shared = Arc::clone(&work);
    // Sending fails if the work took too long and the receiver is gone.
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(move || drop(sender.send(shared())));
    let Ok(thread) = thread else { return Some(work()) };
    match receiver.recv_timeout(limit) {
        Ok(result) => Some(result),
        Err(mpsc::RecvTimeoutError::Timeout) => None,
        Err(mpsc::RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => unreachable!("a thread that ends without a panic has sent its result"),
        },
    }
}

impl std::fmt::Debug for ChatTemplate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ChatTemplate").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The templates of a folder by name; an unnamed one is `default`.
pub(crate) fn templates(folder: &Path) -> Result<BTreeMap<String, String>, ChatError> {
    if is_gguf_file(folder) {
        return Ok(gguf::chat_templates(folder)?);
    }
    let mut templates = BTreeMap::new();
    for name in ["chat_template.json", "tokenizer_config.json"] {
        let path = folder.join(name);
        let Some(config) = read_json_if_present(&path)? else { continue };
        let wrong = |problem: &str| ChatError::Folder(FolderError::setting(&path, "chat_template", problem));
        match config.get("chat_template") {
            None | Some(Json::Null) => {}
            Some(Json::String(source)) => {
                templates.insert("default".into(), source.clone());
            }
            Some(Json::Object(named)) => {
                for (name, source) in named {
                    let source = source.as_str().ok_or_else(|| wrong("has a template that is not a string"))?;
                    templates.insert(name.clone(), source.into());
                }
            }
            Some(Json::Array(named)) => {
                for entry in named {
                    let text = |key| entry.get(key).and_then(Json::as_str);
                    let (Some(name), Some(source)) = (text("name"), text("template")) else {
                        return Err(wrong("has an entry without `name` and `template`"));
                    };
                    templates.insert(name.into(), source.into());
                }
            }
            Some(_) => return Err(wrong("is neither a template nor named templates")),
        }
    }
    let read =
        |path: &Path| std::fs::read_to_string(path).map_err(|source| FolderError::Read { path: path.into(), source });
    // Template files replace all templates of the configuration.
    let mut files = BTreeMap::new();
    let path = folder.join("chat_template.jinja");
    if path.exists() {
        files.insert("default".into(), read(&path)?);
    }
    let additional = folder.join("additional_chat_templates");
    if additional.is_dir() {
        let entries =
            std::fs::read_dir(&additional).map_err(|source| FolderError::Read { path: additional.clone(), source })?;
        for path in entries.flatten().map(|entry| entry.path()) {
            if let (Some(stem), Some("jinja")) =
                (path.file_stem().and_then(|s| s.to_str()), path.extension().and_then(|e| e.to_str()))
            {
                files.insert(stem.into(), read(&path)?);
            }
        }
    }
    Ok(if files.is_empty() { templates } else { files })
}

fn value_of_map(map: &Map<String, Json>) -> Value {
    Value::from_pairs(map.iter().map(|(key, value)| (key.clone(), value_of(value))))
}

fn value_of(value: &Json) -> Value {
    match value {
        Json::Null => Value::from(()),
        Json::Bool(flag) => Value::from(*flag),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(whole), _) => Value::from(whole),
            (None, Some(whole)) => Value::from(whole),
            (None, None) => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => items.iter().map(value_of).collect(),
        Json::Object(map) => value_of_map(map),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_that_hangs_inside_one_step_times_out_once() {
        let grown = |by: &str| {
            format!(
                "{{% set ns = namespace(a=[1], b=[1]) %}}{{% for _ in range(60) %}}\
                 {{% set ns.a = {} %}}{{% set ns.b = {} %}}{{% endfor %}}",
                by.replace('x', "ns.a"),
                by.replace('x', "ns.b")
            )
        };
        for source in [
            grown("[x, x]") + "{{ ns.a == ns.b }}",
            grown("[x, x]") + "{{ [ns.a, ns.b]|sort|length }}",
            grown("x + x") + "{{ 3 in ns.a }}",
        ] {
            let mut template =
                ChatTemplate::new(source.clone(), &SpecialTokens::default(), Path::new("t")).expect("it compiles");
            template.deadline = Duration::from_millis(200);
            let date = DateTime::constant(2025, 1, 2, 3, 4, 5, 0);
            assert!(matches!(template.render(&[], true, date), Err(ChatError::TooSlow { .. })), "{source}");
            // Without a limit, a second try would never return.
            template.deadline = Duration::MAX;
            assert!(matches!(template.render(&[], true, date), Err(ChatError::TooSlow { .. })), "{source}");
        }
    }
}
