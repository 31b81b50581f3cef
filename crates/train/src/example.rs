//! Training examples as tokens.

use tabpo_objective::{ItemErrors, JudgedItem};
use tabpo_roles::{ListDecision, Role};

use crate::{Choice, ExampleError};

/// An answer as tokens; the last one ends the turn.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenisedAnswer {
    /// Token ids; not empty. The last one ends the turn and is supervised like the others.
    pub tokens: Vec<u32>,
    /// Role of every token.
    pub roles: Vec<Role>,
    /// Weight of every token, for objectives that take weights from the data (token importance, masks);
    /// `None` means 1.
    pub weights: Option<Vec<f64>>,
    /// The tokens, by position, that decide whether a list goes on or ends; `None` where that is not known. Only chosen
    /// answers need it.
    pub decisions: Option<Vec<(usize, ListDecision)>>,
    /// The items of a rejected answer compared with those of the chosen one.
    pub errors: ItemErrors,
    /// Where it is the model's own answer: the right tokens after its mistakes, in order of position.
    pub choices: Vec<Choice>,
    /// Where it was sampled from the model: its items, with gold's verdict on each.
    pub items: Vec<JudgedItem>,
}

impl TokenisedAnswer {
    /// An answer whose tokens are all [`Role::Scaffold`], except the last, which is [`Role::End`].
    pub fn unlabelled(tokens: Vec<u32>) -> Self {
        let mut roles = vec![Role::Scaffold; tokens.len()];
        if let Some(last) = roles.last_mut() {
            *last = Role::End;
        }
        Self {
            tokens,
            roles,
            weights: None,
            decisions: None,
            errors: ItemErrors::default(),
            choices: Vec::new(),
            items: Vec::new(),
        }
    }

    /// Keeps the prefix shared with `chosen` and the token after it.
    pub(crate) fn cut_after_divergence(&mut self, chosen: &[u32]) {
        let shared = self.tokens.iter().zip(chosen).take_while(|(own, other)| own == other).count();
        self.truncate(shared + 1);
    }

    /// Keeps the first tokens.
    pub(crate) fn truncate(&mut self, count: usize) {
        self.tokens.truncate(count);
        self.roles.truncate(count);
        if let Some(weights) = &mut self.weights {
            weights.truncate(count);
        }
        if let Some(decisions) = &mut self.decisions {
            decisions.retain(|(token, _)| *token < count);
        }
        self.choices.retain(|choice| choice.position < count);
        self.items.iter_mut().for_each(|item| item.tokens.retain(|token| *token < count));
    }
}

/// A rejected answer.
#[derive(Clone, Debug, PartialEq)]
pub struct RejectedAnswer {
    /// Its tokens.
    pub answer: TokenisedAnswer,
    /// Weight of its pair with the chosen answer; usually 1.
    pub weight: f64,
}

/// A prompt with its chosen answer and any number of rejected answers; none for supervised training.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenisedExample {
    /// Id of the record that it was made from.
    pub id: String,
    /// Prompt; not empty, because its last token predicts the first of the answer.
    pub prompt: Vec<u32>,
    /// The preferred answer.
    pub chosen: TokenisedAnswer,
    /// The answers it is preferred to.
    pub rejected: Vec<RejectedAnswer>,
}

impl TokenisedExample {
    /// The chosen answer, then the rejected ones.
    pub fn answers(&self) -> impl Iterator<Item = &TokenisedAnswer> {
        std::iter::once(&self.chosen).chain(self.rejected.iter().map(|rejected| &rejected.answer))
    }

    /// Checks that nothing is empty, that every choice and every item is inside its answer and that every token is below
    /// `vocabulary`.
    pub fn check(&self, vocabulary: usize) -> Result<(), ExampleError> {
        let empty = |part| ExampleError::Empty { id: self.id.clone(), part };
        if self.prompt.is_empty() {
            return Err(empty("prompt"));
        }
        if self.chosen.tokens.is_empty() {
            return Err(empty("chosen answer"));
        }
        if self.rejected.iter().any(|rejected| rejected.answer.tokens.is_empty()) {
            return Err(empty("rejected answer"));
        }
        let places = |answer: &TokenisedAnswer| {
            answer.choices.iter().all(|choice| choice.position < answer.tokens.len() && !choice.tokens.is_empty())
        };
        if !self.answers().all(places) {
            return Err(ExampleError::Choice { id: self.id.clone() });
        }
        let inside = |answer: &TokenisedAnswer| {
            answer.items.iter().flat_map(|item| &item.tokens).all(|token| *token < answer.tokens.len())
        };
        if !self.answers().all(inside) {
            return Err(ExampleError::ItemBeyond { id: self.id.clone() });
        }
        let choices = self.answers().flat_map(|answer| &answer.choices);
        let answers = self.answers().flat_map(|answer| &answer.tokens);
        let mut tokens = self.prompt.iter().chain(answers).chain(choices.flat_map(|choice| &choice.tokens));
        match tokens.find(|&&token| token as usize >= vocabulary) {
            Some(&token) => Err(ExampleError::Token { id: self.id.clone(), token, vocabulary }),
            None => Ok(()),
        }
    }

    /// Examples with reversed preferences, one for each rejected answer, which is preferred to the chosen
    /// one. They train the second scorer of token importance sampling.
    pub fn reversed(&self) -> Vec<TokenisedExample> {
        let reverse = |rejected: &RejectedAnswer| TokenisedExample {
            id: self.id.clone(),
            prompt: self.prompt.clone(),
            chosen: rejected.answer.clone(),
            rejected: vec![RejectedAnswer { answer: self.chosen.clone(), weight: rejected.weight }],
        };
        self.rejected.iter().map(reverse).collect()
    }
}
