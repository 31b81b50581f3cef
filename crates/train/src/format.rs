//! Converts texts to tokens, in the same way for training and generation.

use jiff::civil::DateTime;
use tabpo_answer::{Item, Part, Rendered, Taken, decisions, token_roles};
use tabpo_model::{ChatError, ChatTemplate, Encoding, FolderError, Message, Tokenizer};
use tabpo_objective::ItemErrors;
use tabpo_ontology::Ontology;
use tabpo_roles::{ListDecision, Role};

use crate::{ExampleError, RejectedAnswer, TokenisedAnswer, TokenisedExample};

/// How the source text and the answer are combined.
#[derive(Clone)]
pub enum PromptFormat {
    /// The source text, a special token as separator, and the answer, which ends with the tokenizer's end
    /// token. The shortest format, for models trained from scratch.
    Plain {
        /// The special token.
        separator: String,
    },
    /// The model's chat template.
    Chat {
        /// The template.
        template: Box<ChatTemplate>,
        /// Text of the system turn, if there is one.
        system: Option<String>,
        /// The date for templates that print one; fixed, so that prompts are reproducible.
        date: DateTime,
    },
}

/// Converts texts to tokens, in the same way for training and generation: the prompt's tokens do
/// not depend on the answer, and every answer ends with the token that ends the turn.
pub struct ExampleFormat<'a> {
    tokenizer: &'a Tokenizer,
    prompt: PromptFormat,
    end: u32,
    stop: Vec<u32>,
}

/// Why texts cannot be tokenised.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The tokenizer failed.
    #[error(transparent)]
    Tokenizer(#[from] FolderError),
    /// The chat template cannot be used for training.
    #[error(transparent)]
    Template(#[from] ChatError),
    /// The tokenizer has no token that ends an answer.
    #[error("the tokenizer has no end-of-sequence token, so that an answer would never end")]
    NoEnd,
    /// The separator is not a single token of the tokenizer.
    #[error("the separator {separator:?} is not a token of the tokenizer")]
    NoSeparator {
        /// The separator.
        separator: String,
    },
}

impl<'a> ExampleFormat<'a> {
    /// Checks that the format can be used with the tokenizer.
    pub fn new(tokenizer: &'a Tokenizer, prompt: PromptFormat) -> Result<Self, FormatError> {
        let (end, stop) = match &prompt {
            PromptFormat::Plain { separator } => {
                if tokenizer.token_id(separator).is_none() {
                    return Err(FormatError::NoSeparator { separator: separator.clone() });
                }
                let special = tokenizer.special().eos.as_deref();
                let end = special.and_then(|eos| tokenizer.token_id(eos)).ok_or(FormatError::NoEnd)?;
                (end, tokenizer.stop_ids().to_vec())
            }
            PromptFormat::Chat { template, system, date } => {
                let system = system.as_deref().map(|text| Message::new("system", text));
                let messages: Vec<Message> = system.into_iter().chain([Message::new("user", "?")]).collect();
                let end = template.encode_exchange(tokenizer, &messages, "{}", *date)?.end;
                (end, template.stop_ids(tokenizer, *date)?)
            }
        };
        Ok(Self { tokenizer, prompt, end, stop })
    }

    /// The tokens at which generation stops: the one that ends every answer, and others that the model's
    /// folder names.
    pub fn stop(&self) -> &[u32] {
        &self.stop
    }

    /// The prompt for a source text, as a model sees it in training and generation. The source is plain text:
    /// nothing in it becomes a control token.
    pub fn prompt(&self, source: &str) -> Result<Vec<u32>, FormatError> {
        Ok(self.tokenizer.encode_marked(&self.marked_prompt(source)?)?.ids)
    }

    /// The prompt as text, with marks in spellings of control tokens; see [`Tokenizer::mark`].
    fn marked_prompt(&self, source: &str) -> Result<String, FormatError> {
        match &self.prompt {
            PromptFormat::Plain { separator } => Ok(format!("{}{separator}", self.tokenizer.mark(source))),
            PromptFormat::Chat { template, system, date } => {
                Ok(template.prompt(&messages(self.tokenizer, system.as_deref(), source), *date)?)
            }
        }
    }

    /// The tokens of an answer and the end token, with the role of each.
    fn answer(&self, prompt: &str, source: &str, answer: &AnswerText<'_>) -> Result<TokenisedAnswer, FormatError> {
        if let PromptFormat::Chat { template, system, date } = &self.prompt {
            // Refuses a template that would change the answer.
            let messages = messages(self.tokenizer, system.as_deref(), source);
            template.exchange(&messages, &self.tokenizer.mark(answer.text), *date)?;
        }
        let Encoding { ids: mut tokens, ranges } = self.tokenizer.encode_continuation(prompt, answer.text)?;
        let mut roles = token_roles(answer.parts, &ranges);
        tokens.push(self.end);
        roles.push(Role::End);
        Ok(TokenisedAnswer {
            tokens,
            roles,
            weights: None,
            decisions: None,
            errors: ItemErrors::default(),
            choices: Vec::new(),
            items: Vec::new(),
        })
    }

    /// Marks the tokens of an answer to `source` that decide whether a list goes on or ends: for each such place the
    /// first token that the other decision would not have.
    pub fn mark_decisions(
        &self,
        source: &str,
        answer: &Rendered,
        ontology: &Ontology,
        tokenised: &mut TokenisedAnswer,
    ) -> Result<(), FormatError> {
        tokenised.decisions = Some(self.decisions(source, answer, ontology)?);
        Ok(())
    }

    /// The tokens of an answer to `source` that decide whether a list goes on or ends, by position.
    pub(crate) fn decisions(
        &self,
        source: &str,
        answer: &Rendered,
        ontology: &Ontology,
    ) -> Result<Vec<(usize, ListDecision)>, FormatError> {
        let ranges = self.encode_answer(source, &answer.text)?.ranges;
        let mut marked = Vec::new();
        for taken in decisions(&answer.text, ontology) {
            let byte = self.parting(answer, &taken)?;
            marked.push((ranges.partition_point(|range| range.end <= byte), taken.decision()));
        }
        Ok(marked)
    }

    /// What each token of an answer to `source` decides: its role, and the item that it belongs to; `None` for tokens
    /// that decide nothing of an item. The end token is left out.
    pub fn token_items(&self, source: &str, answer: &Rendered) -> Result<Vec<Option<(Role, Item)>>, FormatError> {
        let ranges = self.encode_answer(source, &answer.text)?.ranges;
        let roles = token_roles(&answer.parts, &ranges);
        let item = |(range, role): (std::ops::Range<usize>, Role)| {
            let first = answer.parts.partition_point(|part| part.range.end <= range.start);
            let mut inside = answer.parts[first..].iter().take_while(|part| part.range.start < range.end);
            let part = inside.find(|part| part.role == role && role != Role::Scaffold)?;
            (part.item != Item::Frame).then_some((role, part.item))
        };
        Ok(ranges.into_iter().zip(roles).map(item).collect())
    }

    /// The tokens of an answer to `source`, without the end token.
    pub(crate) fn encode_answer(&self, source: &str, answer: &str) -> Result<Encoding, FormatError> {
        Ok(self.tokenizer.encode_continuation(&self.marked_prompt(source)?, answer)?)
    }

    /// The tokens of a part of an answer by itself.
    pub(crate) fn encode_alone(&self, text: &str) -> Result<Encoding, FormatError> {
        Ok(self.tokenizer.encode_marked(&self.tokenizer.mark(text))?)
    }

    /// The byte of an answer at which the first token begins that the other decision would not have. Tokens may begin
    /// before the byte that decides: `}` and `,{` against `}]`.
    fn parting(&self, answer: &Rendered, taken: &Taken) -> Result<usize, FormatError> {
        let (start, byte) = (taken.place.start, taken.place.at);
        // Up to the value after the decision: what lies beyond it doesn't change how the punctuation before it is cut.
        let mut values = answer.parts.iter().filter(|part| part.role != Role::Scaffold);
        let end = values.find(|part| part.range.start >= byte).map_or(answer.text.len(), |part| part.range.end);
        let (own, other) = (self.encode_alone(&answer.text[start..end])?, self.encode_alone(taken.other())?);
        let shared = own.ids.iter().zip(&other.ids).take_while(|(a, b)| a == b).count();
        Ok(own.ranges.get(shared).map_or(byte, |range| (start + range.start).min(byte)))
    }

    /// An example of a source text with its answers, each rejected one with the weight of its pair.
    ///
    /// Nothing is truncated: if the prompt and the longest answer together exceed `max_tokens`, the result
    /// is [`ExampleError::TooLong`].
    pub fn example(
        &self,
        id: &str,
        source: &str,
        chosen: AnswerText<'_>,
        rejected: &[(AnswerText<'_>, f64)],
        max_tokens: usize,
    ) -> Result<TokenisedExample, ExampleError> {
        let failed = |source| ExampleError::Format { id: id.to_owned(), source: Box::new(source) };
        let prompt_text = self.marked_prompt(source).map_err(failed)?;
        let answer = |text: &AnswerText<'_>| self.answer(&prompt_text, source, text).map_err(failed);
        let example = TokenisedExample {
            id: id.to_owned(),
            prompt: self.tokenizer.encode_marked(&prompt_text).map_err(|error| failed(error.into()))?.ids,
            chosen: answer(&chosen)?,
            rejected: rejected
                .iter()
                .map(|(text, weight)| Ok(RejectedAnswer { answer: answer(text)?, weight: *weight }))
                .collect::<Result<_, ExampleError>>()?,
        };
        let longest = example.answers().map(|answer| answer.tokens.len()).max().unwrap_or(0);
        let tokens = example.prompt.len() + longest;
        if tokens > max_tokens {
            return Err(ExampleError::TooLong { id: id.to_owned(), tokens, limit: max_tokens });
        }
        Ok(example)
    }
}

/// An answer as text with the roles of its bytes; without parts, every token is scaffolding.
#[derive(Clone, Copy, Debug)]
pub struct AnswerText<'a> {
    /// The text.
    pub text: &'a str,
    /// The roles of its bytes.
    pub parts: &'a [Part],
}

impl<'a> From<&'a tabpo_answer::Rendered> for AnswerText<'a> {
    fn from(rendered: &'a tabpo_answer::Rendered) -> Self {
        Self { text: &rendered.text, parts: &rendered.parts }
    }
}

/// The marked messages before the answer.
fn messages(tokenizer: &Tokenizer, system: Option<&str>, source: &str) -> Vec<Message> {
    let turn = |role, text: &str| Message::new(role, &tokenizer.mark(text));
    let system = system.map(|text| turn("system", text));
    system.into_iter().chain([turn("user", source)]).collect()
}
