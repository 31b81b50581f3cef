//! A training example as tokens.

use tabpo_roles::Role;

use crate::ExampleError;

/// An answer as tokens, ending with the token that ends the turn.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenisedAnswer {
    /// Token ids; never empty. The last one ends the turn and is supervised like the others.
    pub tokens: Vec<u32>,
    /// Role of every token.
    pub roles: Vec<Role>,
    /// Weight of every token for the objectives that take weights from the data (token importance,
    /// masks); `None` leaves them to the objective.
    pub weights: Option<Vec<f64>>,
}

impl TokenisedAnswer {
    /// An answer of which only the end is known to have a role.
    pub fn unlabelled(tokens: Vec<u32>) -> Self {
        let mut roles = vec![Role::Scaffold; tokens.len()];
        if let Some(last) = roles.last_mut() {
            *last = Role::End;
        }
        Self { tokens, roles, weights: None }
    }

    /// Keeps the tokens shared with the start of `chosen` and the one that follows them.
    pub(crate) fn cut_after_divergence(&mut self, chosen: &[u32]) {
        let shared = self.tokens.iter().zip(chosen).take_while(|(own, other)| own == other).count();
        self.tokens.truncate(shared + 1);
        self.roles.truncate(shared + 1);
        if let Some(weights) = &mut self.weights {
            weights.truncate(shared + 1);
        }
    }
}

/// A rejected answer.
#[derive(Clone, Debug, PartialEq)]
pub struct RejectedAnswer {
    /// Its tokens.
    pub answer: TokenisedAnswer,
    /// Weight of the pair that it makes with the chosen answer, 1 unless the pair's source says
    /// otherwise.
    pub weight: f64,
}

/// A prompt with its chosen answer and any number of rejected answers; none for supervised training.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenisedExample {
    /// Name of the record that it was made from.
    pub id: String,
    /// Prompt; never empty, for its last token predicts the first of the answer.
    pub prompt: Vec<u32>,
    /// The answer to prefer.
    pub chosen: TokenisedAnswer,
    /// The answers to prefer it to.
    pub rejected: Vec<RejectedAnswer>,
}

impl TokenisedExample {
    /// The chosen and the rejected answers.
    pub fn answers(&self) -> impl Iterator<Item = &TokenisedAnswer> {
        std::iter::once(&self.chosen).chain(self.rejected.iter().map(|rejected| &rejected.answer))
    }

    /// Checks that nothing is empty and that every token is below `vocabulary`.
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
        let mut tokens = self.prompt.iter().chain(self.answers().flat_map(|answer| &answer.tokens));
        match tokens.find(|&&token| token as usize >= vocabulary) {
            Some(&token) => Err(ExampleError::Token { id: self.id.clone(), token, vocabulary }),
            None => Ok(()),
        }
    }

    /// The examples of reversed preferences, one for each rejected answer: the rejected answer is
    /// preferred to the chosen one. They train the second scorer of token importance sampling.
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
