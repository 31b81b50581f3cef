//! Finding and rendering a folder's chat template.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::civil::DateTime;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use thiserror::Error;

use super::python;
use crate::folder::{FolderError, read_json_if_present};
use crate::tokenizer::{SpecialTokens, Tokenizer};

/// What can be wrong with a chat template or with a conversation.
#[derive(Debug, Error)]
pub enum ChatError {
    /// A file of the folder is wrong.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The folder has no chat template.
    #[error("{}: no chat template: neither chat_template.jinja nor `chat_template` in tokenizer_config.json", path.display())]
    None {
        /// The folder.
        path: PathBuf,
    },
    /// There are several templates and none of the asked-for name.
    #[error("{}: no chat template named `{name}`; there are {}", path.display(), names.join(", "))]
    NoSuchName {
        /// The folder.
        path: PathBuf,
        /// The name asked for.
        name: String,
        /// The names there are.
        names: Vec<String>,
    },
    /// The template does not compile, or refuses the conversation.
    #[error("{}: {}", path.display(), explain(source))]
    Template {
        /// The folder or file of the template.
        path: PathBuf,
        /// What the template engine says.
        source: Error,
    },
    /// The prompt is not how the whole conversation begins, so that training and generation would
    /// see different texts.
    #[error(
        "{}: the chat template is not prefix-preserving: with the answer the conversation reads `…{with_answer}`, \
         without it the prompt reads `…{prompt}`; a model trained on the one would be asked the other (templates \
         that move the system message need its text in the user's message instead)",
        path.display()
    )]
    NotPrefixPreserving {
        /// The folder or file of the template.
        path: PathBuf,
        /// The rendering with the answer, from a little before the difference.
        with_answer: String,
        /// The prompt, from a little before the difference.
        prompt: String,
    },
    /// The template changes the answer or writes something between prompt and answer.
    #[error("{}: the chat template writes `{found}` where the answer `{answer}` should stand", path.display())]
    AnswerChanged {
        /// The folder or file of the template.
        path: PathBuf,
        /// What stands after the prompt.
        found: String,
        /// The answer.
        answer: String,
    },
    /// Nothing ends the answer's turn.
    #[error("{}: the chat template ends an answer with `{found}`, which is not a special token of the tokenizer", path.display())]
    NoEnd {
        /// The folder or file of the template.
        path: PathBuf,
        /// What follows the answer.
        found: String,
    },
}

/// The message of a template's own `raise_exception`, or what is wrong with the template and where.
fn explain(error: &Error) -> String {
    let place = error.line().map_or_else(String::new, |line| format!(" (line {line} of the chat template)"));
    format!("{}{place}", error.detail().map_or_else(|| error.kind().to_string(), str::to_owned))
}

/// One message of a conversation: a role, a content, and whatever else a template looks at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Message(pub Map<String, Json>);

impl Message {
    /// A message with a role (`system`, `user` or `assistant`) and a text.
    pub fn new(role: &str, content: &str) -> Self {
        Self(Map::from_iter([("role".to_owned(), Json::from(role)), ("content".to_owned(), Json::from(content))]))
    }

    /// What a template sees of the message: transformers leaves out keys whose value is null, and shows
    /// reasoning under the name that templates read whatever name it was given under.
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

/// The names under which messages carry reasoning, the one that templates read first.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// A chat template that renders what transformers' `apply_chat_template` renders.
#[derive(Clone)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    special: Map<String, Json>,
    pub(super) variables: BTreeMap<String, Json>,
    pub(super) path: PathBuf,
    pub(super) source: String,
}

const TEMPLATE: &str = "chat_template";
/// The template that transformers takes where there are tools and several templates.
const TOOL_USE: &str = "tool_use";

impl ChatTemplate {
    /// The template of small models trained from scratch: a special token for every role, one that
    /// ends the assistant's turn, and the texts as they are.
    pub const PLAIN: &str = "{%- for message in messages %}\
        {{- '<|' + message.role + '|>' + message.content }}\
        {%- if message.role == 'assistant' %}{{- eos_token }}{%- endif %}\
        {%- endfor %}\
        {%- if add_generation_prompt %}{{- '<|assistant|>' }}{%- endif %}";

    /// The template of a folder: `chat_template.jinja`, or `chat_template` of
    /// `tokenizer_config.json`. Where there are several, the one named `default`.
    pub fn open(folder: &Path, tokenizer: &Tokenizer) -> Result<Self, ChatError> {
        Self::open_named(folder, tokenizer, None, false)
    }

    /// As [`ChatTemplate::open`], with the name of a template. Without one, conversations with tools
    /// (`tools`) are rendered with the template named `tool_use`, if there is one.
    pub fn open_named(
        folder: &Path,
        tokenizer: &Tokenizer,
        name: Option<&str>,
        tools: bool,
    ) -> Result<Self, ChatError> {
        let mut templates = find(folder)?;
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
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_formatter(|out, _, value| out.write_str(&python::display(value)?).map_err(Error::from));
        environment.add_filter("tojson", |value: Value, options: Kwargs| python::to_json(&value, &options));
        // Whatever has a length and can be indexed, as in Jinja: texts and objects too.
        environment.add_test("sequence", |value: &Value| {
            matches!(value.kind(), ValueKind::String | ValueKind::Seq | ValueKind::Map)
        });
        // Python iterates over nothing but what holds something: a null does not.
        environment.add_test("iterable", |value: &Value| !value.is_none() && value.try_iter().is_ok());
        environment.add_filter("string", |value: Value| python::display(&value));
        environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment
            .add_template_owned(TEMPLATE, generation_blocks_as_scopes(&source))
            .map_err(|source| ChatError::Template { path: path.into(), source })?;
        let special = special.named().into_iter();
        let special = special.filter_map(|(key, token)| Some((key.to_owned(), Json::from(token.clone()?)))).collect();
        Ok(Self { environment, special, variables: BTreeMap::new(), path: path.into(), source })
    }

    /// Sets a variable that the template may look at (`tools`, `enable_thinking`, `date_string`).
    #[must_use]
    pub fn with_variable(mut self, name: &str, value: Json) -> Self {
        self.variables.insert(name.into(), value);
        self
    }

    /// The template's own text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text of a conversation; with `add_generation_prompt` up to and including the header of
    /// the assistant's next turn. `date` is what `strftime_now` sees.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        date: DateTime,
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
        context.extend(self.special.iter().map(|(name, value)| (name.as_str(), value_of(value))));
        context.extend(self.variables.iter().map(|(name, value)| (name.as_str(), value_of(value))));
        self.environment
            .get_template(TEMPLATE)
            .and_then(|template| template.render(Value::from_pairs(context)))
            .map_err(|source| ChatError::Template { path: self.path.clone(), source })
    }
}

impl std::fmt::Debug for ChatTemplate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ChatTemplate").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The templates of a folder by name; an unnamed one is `default`.
fn find(folder: &Path) -> Result<BTreeMap<String, String>, ChatError> {
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
                    let source = source.as_str().ok_or_else(|| wrong("has a template that is no string"))?;
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
    // Files of templates replace what the configuration says, all of it.
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

/// transformers' `{% generation %}` blocks mark what the assistant wrote. Here the end of the prompt
/// says that, so that they only have to be scopes, which `{% with %}` blocks are.
fn generation_blocks_as_scopes(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        out.push_str(before);
        let Some(end) = tag.find("%}") else {
            rest = tag;
            break;
        };
        let (tag, after) = tag.split_at(end + 2);
        let name = tag[2..end].trim_matches(|c: char| c.is_whitespace() || matches!(c, '-' | '+'));
        out.push_str(&match name {
            "generation" => tag.replace("generation", "with"),
            "endgeneration" => tag.replace("endgeneration", "endwith"),
            _ => tag.to_owned(),
        });
        rest = after;
    }
    out.push_str(rest);
    out
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
