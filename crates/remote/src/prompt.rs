//! Prompts.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tabpo_corpus::Unit;
use tabpo_ontology::{AnswerGrammar, GrammarForm, Ontology};

use crate::{Demonstrations, StructureKind};

/// The author of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChatRole {
    /// The instructions.
    System,
    /// The text to extract from.
    User,
    /// An answer.
    Assistant,
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its author.
    pub role: ChatRole,
    /// The text.
    pub content: String,
}

/// The form of the answer that the endpoint enforces.
#[derive(Clone, Debug, PartialEq)]
pub enum Structure {
    /// None.
    None,
    /// Any JSON object.
    JsonObject,
    /// This JSON Schema, strictly.
    JsonSchema(Value),
    /// This Lark grammar.
    Grammar(String),
    /// This GBNF grammar.
    Gbnf(String),
}

/// One prompt of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// The document it shows.
    pub doc_key: String,
    /// The sentence, or `None` for the whole document.
    pub sentence: Option<u32>,
    /// The conversation so far; the last message is the user's.
    pub messages: Vec<Message>,
    /// The form of the answer.
    pub structure: Structure,
}

/// Builds prompts: instructions, demonstrations as earlier turns, and the source text.
#[derive(Clone, Debug)]
pub struct PromptBuilder<'a> {
    ontology: &'a Ontology,
    instructions: String,
    demonstrations: Option<&'a Demonstrations>,
    kind: StructureKind,
    system_role: bool,
}

impl Structure {
    /// Its kind.
    pub fn kind(&self) -> StructureKind {
        match self {
            Self::None => StructureKind::None,
            Self::JsonObject => StructureKind::JsonObject,
            Self::JsonSchema(_) => StructureKind::JsonSchema,
            Self::Grammar(_) => StructureKind::Grammar,
            Self::Gbnf(_) => StructureKind::Gbnf,
        }
    }
}

impl Message {
    /// A message.
    pub fn new(role: ChatRole, content: impl Into<String>) -> Self {
        Self { role, content: content.into() }
    }
}

impl<'a> PromptBuilder<'a> {
    /// A builder of prompts with the instructions of an ontology as system message.
    pub fn new(ontology: &'a Ontology, kind: StructureKind) -> Self {
        Self { ontology, instructions: ontology.prompt(), demonstrations: None, kind, system_role: true }
    }

    /// Adds demonstrations before the source text.
    #[must_use]
    pub fn with_demonstrations(mut self, demonstrations: &'a Demonstrations) -> Self {
        self.demonstrations = Some(demonstrations);
        self
    }

    /// Puts the instructions into the first user message instead of a system message, for models whose
    /// chat template has no system role.
    #[must_use]
    pub fn without_system_role(mut self) -> Self {
        self.system_role = false;
        self
    }

    /// The grammar of the answers to a unit.
    fn grammar(&self, form: GrammarForm, unit: &Unit) -> String {
        AnswerGrammar::whole(form, self.ontology, unit.text(), &unit.words())
    }

    /// The prompt for a unit.
    pub fn build(&self, unit: &Unit) -> Prompt {
        let mut messages = vec![Message::new(ChatRole::System, self.instructions.as_str())];
        for demonstration in self.demonstrations.iter().flat_map(|all| all.choose(unit)) {
            messages.push(Message::new(ChatRole::User, demonstration.text.as_str()));
            messages.push(Message::new(ChatRole::Assistant, demonstration.answer.as_str()));
        }
        messages.push(Message::new(ChatRole::User, unit.text()));
        if !self.system_role {
            let instructions = messages.remove(0).content;
            messages[0].content = format!("{instructions}\n\n{}", messages[0].content);
        }
        let structure = match self.kind {
            StructureKind::None => Structure::None,
            StructureKind::JsonObject => Structure::JsonObject,
            StructureKind::JsonSchema => Structure::JsonSchema(self.ontology.json_schema_strict()),
            StructureKind::Grammar => Structure::Grammar(self.grammar(GrammarForm::Lark, unit)),
            StructureKind::Gbnf => Structure::Gbnf(self.grammar(GrammarForm::Gbnf, unit)),
        };
        Prompt { doc_key: unit.document.key.clone(), sentence: unit.sentence, messages, structure }
    }
}
