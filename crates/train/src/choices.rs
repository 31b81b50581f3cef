//! The right tokens at the places of a model's own answer.

use std::collections::BTreeMap;

use tabpo_answer::Rendered;
use tabpo_pairs::Turn;

use crate::{ExampleFormat, FormatError, TokenisedAnswer};

/// The tokens that are right at one place of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The position in the answer of the token that they stand in place of.
    pub position: usize,
    /// The right tokens, without duplicates; not empty.
    pub tokens: Vec<u32>,
}

impl ExampleFormat<'_> {
    /// The right tokens at every token of an answer to `source` up to which some continuation in `turns` agrees with
    /// it. Places inside a record that is wrong already have none.
    pub fn choices(&self, source: &str, answer: &Rendered, turns: &[Turn]) -> Result<Vec<Choice>, FormatError> {
        let own = self.encode_answer(source, &answer.text)?;
        let mut choices: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
        for turn in turns {
            // Tokens of the answer and of each right text are compared from the first that begins in the window on.
            let first = own.ranges.partition_point(|range| range.start < turn.window);
            let Some(origin) = own.ranges.get(first).map(|range| range.start - turn.window) else { continue };
            let mut of_turn: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
            for right in &turn.right {
                let encoding = self.encode_alone(&right.text)?;
                let skipped = encoding.ranges.partition_point(|range| range.start < origin);
                // Cut otherwise than in the answer, where there is more before: nothing to be compared.
                if encoding.ranges.get(skipped).is_none_or(|range| range.start != origin) {
                    continue;
                }
                let tokens = encoding.ids.iter().zip(&encoding.ranges).skip(skipped);
                for (position, (token, range)) in (first..).zip(tokens) {
                    if range.start >= right.until {
                        break;
                    }
                    if range.start + turn.window >= turn.from {
                        let right = of_turn.entry(position).or_default();
                        if !right.contains(token) {
                            right.push(*token);
                        }
                    }
                    if own.ids.get(position) != Some(token) {
                        break;
                    }
                }
            }
            // Where the end of the entities and the first relation share their punctuation, the earlier turn decides.
            for (position, tokens) in of_turn {
                choices.entry(position).or_insert(tokens);
            }
        }
        Ok(choices.into_iter().map(|(position, tokens)| Choice { position, tokens }).collect())
    }
}

impl TokenisedAnswer {
    /// Keeps the choices after the first token in which the answer differs from `chosen`, and of the answer what leads
    /// up to the last of them; without any, the answer becomes `chosen`.
    pub(crate) fn keep_choices(&mut self, choices: Vec<Choice>, chosen: &TokenisedAnswer) {
        let shared = self.tokens.iter().zip(&chosen.tokens).take_while(|(own, gold)| own == gold).count();
        let after: Vec<Choice> = choices.into_iter().filter(|choice| choice.position > shared).collect();
        let Some(last) = after.last() else {
            self.clone_from(chosen);
            return;
        };
        self.truncate(last.position + 1);
        self.choices = after;
    }
}
