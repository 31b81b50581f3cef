//! Renders a prompt and its answer, with the end of the turn.

use jiff::civil::DateTime;
use serde_json::Value as Json;

use super::{ChatError, ChatTemplate, Message};
use crate::tokenizer::{Encoding, Tokenizer};

/// A rendered conversation, split where the model starts and stops writing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// What the model sees: the conversation and the header of its own turn.
    pub prompt: String,
    /// What the template writes after the answer, with the token that ends the turn if it writes one.
    pub end: String,
}

/// An [`Exchange`] as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedExchange {
    /// Tokens of the prompt.
    pub prompt: Vec<u32>,
    /// Tokens of the answer with their byte ranges in it.
    pub answer: Encoding,
    /// The token that ends the turn: it is always supervised and always stops generation.
    pub end: u32,
}

/// How the thinking of models that think before they answer is suppressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thinking {
    /// Not at all: the template is rendered as it is.
    AsItIs,
    /// Variables of the template switch it off.
    Off,
    /// The header opens a thought, which is closed at once.
    Closed,
}

/// How a template is adapted to conversations of a system text, a question and an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Adaptation {
    /// The system text goes at the start of the user's message instead of in a turn of its own.
    system_in_user: bool,
    thinking: Thinking,
    /// What the template writes between header and answer; it belongs to the prompt.
    lead: String,
}

/// A conversation that shows what a template does. No template would write this answer itself.
const PROBE: [(&str, &str); 2] = [("system", "Name the tools of the text."), ("user", "A drill by the lathe.")];
const PROBE_ANSWER: &str = r#"{"probe":["drill","lathe"]}"#;
/// The variables with which templates switch thinking off.
const THINKING_SWITCHES: [&str; 2] = ["enable_thinking", "thinking"];

impl ChatTemplate {
    /// Renders `messages` and the assistant's `answer` to them.
    ///
    /// The rendered prompt must be a prefix of the rendered conversation, which must contain the answer
    /// unchanged. A template that violates this is adapted, which is determined once: a system text that the
    /// template does not support (or moves when the answer is added) goes at the start of the first user
    /// message; thinking before the answer is switched off, and a thought that the header opens is closed at
    /// once. If no adaptation helps, the template is refused.
    pub fn exchange(&self, messages: &[Message], answer: &str, date: DateTime) -> Result<Exchange, ChatError> {
        let has_system = messages.first().is_some_and(|message| message.has_role("system"));
        self.split(self.adaptation(has_system, date)?, messages, answer, date)
    }

    /// The prompt of [`ChatTemplate::exchange`], for generation after training.
    pub fn prompt(&self, messages: &[Message], date: DateTime) -> Result<String, ChatError> {
        Ok(self.exchange(messages, "{}", date)?.prompt)
    }

    /// Tokens of an exchange. Messages and answer are plain text: nothing in them becomes a control token. The
    /// messages must not be marked yet.
    pub fn encode_exchange(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        answer: &str,
        date: DateTime,
    ) -> Result<EncodedExchange, ChatError> {
        let messages: Vec<Message> = messages.iter().map(|message| message.marked(tokenizer)).collect();
        let exchange = self.exchange(&messages, &tokenizer.mark(answer), date)?;
        Ok(EncodedExchange {
            prompt: tokenizer.encode_marked(&exchange.prompt)?.ids,
            answer: tokenizer.encode_continuation(&exchange.prompt, answer)?,
            end: self.end_token(tokenizer, &exchange.end, &messages, date)?,
        })
    }

    /// All tokens that stop generation: those that the folder names, and the one with which the template
    /// ends an answer.
    pub fn stop_ids(&self, tokenizer: &Tokenizer, date: DateTime) -> Result<Vec<u32>, ChatError> {
        let messages = [Message::new("user", "?")];
        let exchange = self.exchange(&messages, "{}", date)?;
        let end = self.end_token(tokenizer, &exchange.end, &messages, date)?;
        let mut ids = tokenizer.stop_ids().to_vec();
        if !ids.contains(&end) {
            ids.push(end);
        }
        Ok(ids)
    }

    /// How the template is adapted to conversations with or without a system text: determined with a fixed
    /// conversation, so that it never depends on a document.
    fn adaptation(&self, has_system: bool, date: DateTime) -> Result<&Adaptation, ChatError> {
        let known = &self.adaptations[usize::from(has_system)];
        if let Some(adaptation) = known.get() {
            return Ok(adaptation);
        }
        let probe = &PROBE[usize::from(!has_system)..];
        let messages: Vec<Message> = probe.iter().map(|(role, content)| Message::new(role, content)).collect();
        let mut first = None;
        for system_in_user in [false, true] {
            if system_in_user && !has_system {
                continue;
            }
            for thinking in [Thinking::AsItIs, Thinking::Off, Thinking::Closed] {
                let can_switch_off = THINKING_SWITCHES
                    .iter()
                    .any(|name| self.source.contains(name) && !self.variables.contains_key(*name));
                if thinking == Thinking::Off && !can_switch_off {
                    continue;
                }
                let mut adaptation = Adaptation { system_in_user, thinking, lead: String::new() };
                match self.lead(&adaptation, &messages, date) {
                    Ok(lead) => {
                        adaptation.lead = lead;
                        return Ok(known.get_or_init(|| adaptation));
                    }
                    Err(error) => first = first.or(Some(error)),
                }
            }
        }
        Err(first.expect("at least one way was tried"))
    }

    /// What the template writes between header and answer; an error if this adaptation does not work.
    fn lead(&self, adaptation: &Adaptation, messages: &[Message], date: DateTime) -> Result<String, ChatError> {
        let (prompt, rest) = self.halves(adaptation, messages, PROBE_ANSWER, date)?;
        let Some(at) = rest.find(PROBE_ANSWER) else {
            return Err(self.answer_changed(&rest, PROBE_ANSWER));
        };
        for message in messages {
            let content = message.0.get("content").and_then(Json::as_str).unwrap_or_default();
            if !prompt.contains(content) {
                let role = message.0.get("role").and_then(Json::as_str).unwrap_or_default();
                return Err(ChatError::Dropped { path: self.path.clone(), role: role.to_owned() });
            }
        }
        Ok(rest[..at].to_owned())
    }

    fn split(
        &self,
        adaptation: &Adaptation,
        messages: &[Message],
        answer: &str,
        date: DateTime,
    ) -> Result<Exchange, ChatError> {
        let (prompt, rest) = self.halves(adaptation, messages, answer, date)?;
        let end = rest.strip_prefix(adaptation.lead.as_str()).and_then(|rest| rest.strip_prefix(answer));
        let end = end.ok_or_else(|| self.answer_changed(&rest, answer))?.to_owned();
        // A thought that is closed replaces what the template writes there itself.
        let lead = if adaptation.thinking == Thinking::Closed { "" } else { &adaptation.lead };
        Ok(Exchange { prompt: prompt + lead, end })
    }

    /// The prompt, and what follows it in the conversation with the answer.
    fn halves(
        &self,
        adaptation: &Adaptation,
        messages: &[Message],
        answer: &str,
        date: DateTime,
    ) -> Result<(String, String), ChatError> {
        let mut messages = messages.to_vec();
        if adaptation.system_in_user {
            move_system_text(&mut messages);
        }
        let off: &[&str] = if adaptation.thinking == Thinking::Off { &THINKING_SWITCHES } else { &[] };
        let prompt = self.render_without(&messages, true, date, off)?;
        messages.push(Message::new("assistant", answer));
        let whole = self.render_without(&messages, false, date, off)?;
        if let Some(rest) = whole.strip_prefix(prompt.as_str()) {
            if adaptation.thinking != Thinking::Closed {
                return Ok((prompt, rest.to_owned()));
            }
        } else if adaptation.thinking == Thinking::Closed {
            let common = common_start(&whole, &prompt);
            if let Some(closing) = closing_of_thinking(&prompt[common..]) {
                return Ok((prompt + &closing, whole[common..].to_owned()));
            }
        }
        let common = whole.chars().zip(prompt.chars()).take_while(|(a, b)| a == b).count();
        let around = |text: &str| Tokenizer::unmark(text).chars().skip(common.saturating_sub(20)).take(60).collect();
        Err(ChatError::NotPrefixPreserving {
            path: self.path.clone(),
            with_answer: around(&whole),
            prompt: around(&prompt),
        })
    }

    fn answer_changed(&self, found: &str, answer: &str) -> ChatError {
        let start = |text: &str| Tokenizer::unmark(text).chars().take(80).collect();
        ChatError::AnswerChanged { path: self.path.clone(), found: start(found), answer: start(answer) }
    }

    /// The token that ends an answer: the first control token that the template writes after it, possibly after
    /// white space or only if another turn follows; otherwise the tokenizer's end of sequence.
    fn end_token(
        &self,
        tokenizer: &Tokenizer,
        end: &str,
        messages: &[Message],
        date: DateTime,
    ) -> Result<u32, ChatError> {
        let id_of = |token: &Option<String>| token.as_deref().and_then(|token| tokenizer.token_id(token));
        let special = tokenizer.special();
        let (begin, unknown) = (id_of(&special.bos), id_of(&special.unknown));
        let eos = id_of(&special.eos);
        let first_control = |text: &str| -> Result<Option<u32>, ChatError> {
            let mut ids = tokenizer.encode_marked(text)?.ids.into_iter();
            let found = ids.find(|&id| tokenizer.is_control(id) && Some(id) != unknown);
            // The beginning of the next sequence does not end this one.
            Ok(found.filter(|&id| Some(id) != begin || Some(id) == eos))
        };
        if let Some(id) = first_control(end)? {
            return Ok(id);
        }
        let mut turns = messages.to_vec();
        move_system_text(&mut turns);
        turns.extend([Message::new("assistant", PROBE_ANSWER), Message::new("user", PROBE[1].1)]);
        // A template that rejects another turn does not show what separates turns.
        let after = self.render(&turns, false, date).ok().and_then(|text| {
            let (_, after) = text.split_once(PROBE_ANSWER)?;
            Some(after.split_once(PROBE[1].1)?.0.to_owned())
        });
        if let Some(id) = after.map(|text| first_control(&text)).transpose()?.flatten() {
            return Ok(id);
        }
        eos.or_else(|| tokenizer.stop_ids().first().copied())
            .ok_or_else(|| ChatError::NoEnd { path: self.path.clone(), found: Tokenizer::unmark(end).into_owned() })
    }
}

/// Moves the text of a leading system message to the start of the next message.
fn move_system_text(messages: &mut Vec<Message>) {
    if messages.len() < 2 || !messages[0].has_role("system") {
        return;
    }
    let system = messages.remove(0);
    let text = |message: &Message| message.0.get("content").and_then(Json::as_str).unwrap_or_default().to_owned();
    let content = format!("{}\n\n{}", text(&system), text(&messages[0]));
    messages[0].0.insert("content".into(), content.into());
}

/// Length in bytes of the common prefix of two texts.
fn common_start(a: &str, b: &str) -> usize {
    a.char_indices().zip(b.chars()).find(|((_, a), b)| a != b).map_or(a.len().min(b.len()), |((at, _), _)| at)
}

/// What closes a thought that a header opens (`<think>`, `<thought>`, `[THINK]`, then white space): an empty
/// thought, in the form used by models whose thinking can be switched off.
fn closing_of_thinking(opened: &str) -> Option<String> {
    let tag = opened.trim();
    let closing = if let Some(name) = tag.strip_prefix('<').and_then(|tag| tag.strip_suffix('>')) {
        format!("</{name}>")
    } else if let Some(name) = tag.strip_prefix('[').and_then(|tag| tag.strip_suffix(']')) {
        format!("[/{name}]")
    } else {
        return None;
    };
    let name = closing.trim_matches(['<', '>', '[', ']', '/']);
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '|'));
    is_name.then(|| format!("{}{closing}\n\n", if opened.ends_with('\n') { "\n" } else { "\n\n" }))
}
