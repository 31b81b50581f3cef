//! A prompt and its answer, with the end of the turn.

use jiff::civil::DateTime;
use serde_json::Value as Json;

use super::{ChatError, ChatTemplate, Message};
use crate::tokenizer::{Encoding, Tokenizer};

/// A rendered conversation, cut where the model starts and stops writing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// What the model sees: the conversation and the header of its own turn.
    pub prompt: String,
    /// What the template writes after the answer; begins with the token that ends the turn.
    pub end: String,
}

/// An [`Exchange`] as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedExchange {
    /// Tokens of the prompt.
    pub prompt: Vec<u32>,
    /// Tokens of the answer with their bytes in it.
    pub answer: Encoding,
    /// The token that ends the turn: always supervised, always stops generation.
    pub end: u32,
}

impl ChatTemplate {
    /// Renders `messages` and the assistant's `answer` to them.
    ///
    /// The rendering of the prompt has to be how the whole conversation begins, the answer has to
    /// follow it unchanged; a template for which that is not so cannot be trained with and is an
    /// error. Templates of models that think before they answer are told not to.
    pub fn exchange(&self, messages: &[Message], answer: &str, date: DateTime) -> Result<Exchange, ChatError> {
        match self.split(messages, answer, date) {
            Err(ChatError::AnswerChanged { .. } | ChatError::NotPrefixPreserving { .. })
                if self.source.contains("enable_thinking") && !self.variables.contains_key("enable_thinking") =>
            {
                self.clone().with_variable("enable_thinking", Json::Bool(false)).split(messages, answer, date)
            }
            result => result,
        }
    }

    /// The prompt of [`ChatTemplate::exchange`], for generation after training.
    pub fn prompt(&self, messages: &[Message], date: DateTime) -> Result<String, ChatError> {
        Ok(self.exchange(messages, "{}", date)?.prompt)
    }

    /// Tokens of an exchange.
    pub fn encode_exchange(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        answer: &str,
        date: DateTime,
    ) -> Result<EncodedExchange, ChatError> {
        let exchange = self.exchange(messages, answer, date)?;
        Ok(EncodedExchange {
            prompt: tokenizer.encode(&exchange.prompt)?,
            answer: tokenizer.encode_continuation(&exchange.prompt, answer)?,
            end: self.end_token(tokenizer, &exchange.end)?,
        })
    }

    /// Everything that stops generation: what the folder names, and the token with which the
    /// template ends an answer.
    pub fn stop_ids(&self, tokenizer: &Tokenizer, date: DateTime) -> Result<Vec<u32>, ChatError> {
        let exchange = self.exchange(&[Message::new("user", "?")], "{}", date)?;
        let end = self.end_token(tokenizer, &exchange.end)?;
        let mut ids = tokenizer.stop_ids().to_vec();
        if !ids.contains(&end) {
            ids.push(end);
        }
        Ok(ids)
    }

    fn split(&self, messages: &[Message], answer: &str, date: DateTime) -> Result<Exchange, ChatError> {
        let prompt = self.render(messages, true, date)?;
        let mut with_answer = messages.to_vec();
        with_answer.push(Message::new("assistant", answer));
        let whole = self.render(&with_answer, false, date)?;
        let Some(rest) = whole.strip_prefix(prompt.as_str()) else {
            let common = whole.chars().zip(prompt.chars()).take_while(|(a, b)| a == b).count();
            let around = |text: &str| text.chars().skip(common.saturating_sub(20)).take(60).collect();
            return Err(ChatError::NotPrefixPreserving {
                path: self.path.clone(),
                with_answer: around(&whole),
                prompt: around(&prompt),
            });
        };
        // Some templates (Mistral's) have no header of the assistant's turn but write a blank before
        // the answer; it belongs to the prompt's side.
        let blanks = rest.len() - rest.trim_start_matches(' ').len();
        let (blank, rest) = if rest.starts_with(answer) { ("", rest) } else { rest.split_at(blanks) };
        match rest.strip_prefix(answer) {
            Some(end) => Ok(Exchange { prompt: prompt + blank, end: end.to_owned() }),
            None => Err(ChatError::AnswerChanged {
                path: self.path.clone(),
                found: rest.chars().take(80).collect(),
                answer: answer.chars().take(80).collect(),
            }),
        }
    }

    fn end_token(&self, tokenizer: &Tokenizer, end: &str) -> Result<u32, ChatError> {
        let first = tokenizer.encode(end)?.first().copied();
        let added = tokenizer.inner().get_added_tokens_decoder();
        match first {
            Some(id) if added.contains_key(&id) => Ok(id),
            _ => Err(ChatError::NoEnd { path: self.path.clone(), found: end.into() }),
        }
    }
}
