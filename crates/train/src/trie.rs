//! Prompts with their chosen and rejected answers as one token trie, so that every shared prefix is
//! computed once.

use std::collections::HashMap;

use tabpo_engine::{Batch, Segment, Target};

use crate::{Choice, TokenisedAnswer, TokenisedExample};

/// Prompts of different examples share rows only if they have at least this many leading tokens in common: a
/// common system prompt is worth a branch, a common first word is not.
const MIN_SHARED_PROMPT: usize = 16;

/// The targets of one example's answers in its batch, as indices into [`TokenTrie::targets`].
///
/// Answers with a common prefix share its targets, to which their gradients add up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExampleTargets {
    /// The target of every token of the chosen answer.
    pub chosen: Vec<u32>,
    /// The target of every token of each rejected answer.
    pub rejected: Vec<Vec<u32>>,
    /// For each rejected answer, the targets of the right tokens at each of its choices.
    pub choices: Vec<Vec<Vec<u32>>>,
}

/// The log-probs of one answer, from those of a batch. `targets` are the answer's entries of [`ExampleTargets`].
pub fn gather<T: Copy + Into<f64>>(log_probs: &[T], targets: &[u32]) -> Vec<f64> {
    targets.iter().map(|&target| log_probs[target as usize].into()).collect()
}

/// Adds the gradient of one answer's log-probs to that of its batch, `batch_gradient`.
pub fn scatter_add(batch_gradient: &mut [f64], targets: &[u32], gradient: &[f64]) {
    for (&target, &value) in targets.iter().zip(gradient) {
        batch_gradient[target as usize] += value;
    }
}

/// The forest of token tries of one micro-batch, in the engine's layout.
///
/// The trunk of an example is its prompt followed by its chosen answer. A rejected answer shares rows with
/// the trunk or an earlier rejected answer as long as its tokens agree, and has a segment of its own for the
/// others. The last token of an answer predicts nothing, so that it has a target but no row.
#[derive(Clone, Debug, Default)]
pub struct TokenTrie {
    batch: Batch,
    targets: Vec<Target>,
    segment_of_row: Vec<u32>,
    /// From (row or `None` at the root, token) to the row of that token.
    child: HashMap<(Option<u32>, u32), u32>,
    /// From (row, token) to the target of that token.
    target_of: HashMap<(u32, u32), u32>,
    separate_rows: usize,
}

impl TokenTrie {
    /// An empty forest.
    pub fn new() -> Self {
        Self::default()
    }

    /// The packed rows.
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// The targets of all answers, without duplicates.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Number of rows to compute.
    pub fn rows(&self) -> usize {
        self.batch.tokens.len()
    }

    /// Number of rows with every prompt and answer as a separate sequence, without padding.
    pub fn separate_rows(&self) -> usize {
        self.separate_rows
    }

    /// Adds an example and returns its targets. Its prompt and answers must not be empty.
    pub fn insert(&mut self, example: &TokenisedExample) -> ExampleTargets {
        let prompt_rows = self.insert_prompt(&example.prompt);
        let stem = *prompt_rows.last().expect("a prompt has a token");
        let chosen = self.insert_answer(stem, &example.chosen.tokens);
        let rejected = example
            .rejected
            .iter()
            .map(|rejected| self.insert_answer(stem, &rejected.answer.tokens))
            .collect::<Vec<_>>();
        let answers = example.rejected.iter().zip(&rejected);
        let choices = answers.map(|(rejected, targets)| self.insert_choices(&rejected.answer, targets)).collect();
        self.separate_rows += std::iter::once(&example.chosen)
            .chain(example.rejected.iter().map(|rejected| &rejected.answer))
            .map(|answer| example.prompt.len() + answer.tokens.len() - 1)
            .sum::<usize>();
        ExampleTargets { chosen, rejected, choices }
    }

    /// The rows of a prompt, shared with an earlier example if the common prefix is long enough.
    fn insert_prompt(&mut self, prompt: &[u32]) -> Vec<u32> {
        if self.follow(None, prompt).len() >= MIN_SHARED_PROMPT.min(prompt.len()) {
            return self.insert_path(None, prompt);
        }
        // A root of its own. It may replace an earlier one in the map, which only prevents sharing with
        // that one.
        self.append(None, prompt)
    }

    /// The targets of an answer whose first token is predicted from the row `stem`.
    fn insert_answer(&mut self, stem: u32, tokens: &[u32]) -> Vec<u32> {
        let rows = self.insert_path(Some(stem), &tokens[..tokens.len() - 1]);
        std::iter::once(stem).chain(rows).zip(tokens).map(|(row, &token)| self.target(row, token)).collect()
    }

    /// The targets of the right tokens at each choice of an answer with these targets. They need no rows of their own.
    fn insert_choices(&mut self, answer: &TokenisedAnswer, targets: &[u32]) -> Vec<Vec<u32>> {
        let of_choice = |choice: &Choice| {
            let row = self.targets[targets[choice.position] as usize].row;
            choice.tokens.iter().map(|&token| self.target(row, token)).collect()
        };
        answer.choices.iter().map(of_choice).collect()
    }

    /// The target of a token after a row.
    fn target(&mut self, row: u32, token: u32) -> u32 {
        let next = self.targets.len() as u32;
        let index = *self.target_of.entry((row, token)).or_insert(next);
        if index == next {
            self.targets.push(Target { row, token });
        }
        index
    }

    /// The existing rows below `from` for the longest possible prefix of `tokens`.
    fn follow(&self, from: Option<u32>, tokens: &[u32]) -> Vec<u32> {
        let mut row = from;
        tokens
            .iter()
            .map_while(|&token| {
                row = Some(*self.child.get(&(row, token))?);
                row
            })
            .collect()
    }

    /// The rows of `tokens` below `from`, existing ones and then new ones.
    fn insert_path(&mut self, from: Option<u32>, tokens: &[u32]) -> Vec<u32> {
        let mut rows = self.follow(from, tokens);
        if rows.len() < tokens.len() {
            let parent = rows.last().copied().or(from);
            let rest = self.append(parent, &tokens[rows.len()..]);
            rows.extend(rest);
        }
        rows
    }

    /// New rows below `parent`: appended to its segment if that ends the batch with `parent`, otherwise as a
    /// new segment.
    fn append(&mut self, parent: Option<u32>, tokens: &[u32]) -> Vec<u32> {
        let start = self.rows();
        let end = start + tokens.len();
        let continues = parent.is_some_and(|row| row as usize + 1 == start);
        if continues {
            let segment = self.batch.segments.last_mut();
            segment.expect("the parent row has a segment").rows.end = end;
        } else {
            let context = parent.map_or_else(Vec::new, |row| {
                let segment = &self.batch.segments[self.segment_of_row[row as usize] as usize];
                let mut context = segment.context.clone();
                context.push(segment.rows.start..row as usize + 1);
                context
            });
            self.batch.segments.push(Segment { rows: start..end, context });
        }
        let segment = self.batch.segments.len() as u32 - 1;
        let depth = parent.map_or(0, |row| self.batch.positions[row as usize] + 1);
        let mut above = parent;
        for (offset, &token) in tokens.iter().enumerate() {
            let row = (start + offset) as u32;
            self.batch.tokens.push(token);
            self.batch.positions.push(depth + offset as u32);
            self.segment_of_row.push(segment);
            self.child.insert((above, token), row);
            above = Some(row);
        }
        (start as u32..end as u32).collect()
    }
}

/// The number of leading tokens that all prompts have in common and that their tries therefore share.
pub(crate) fn shared_prefix<'a>(mut prompts: impl Iterator<Item = &'a [u32]>) -> usize {
    let Some(first) = prompts.next() else { return 0 };
    let common = |other: &[u32]| first.iter().zip(other).take_while(|(a, b)| a == b).count();
    let shared = prompts.map(common).fold(first.len(), usize::min);
    if shared >= MIN_SHARED_PROMPT { shared } else { 0 }
}

/// Number of rows of an example on its own.
pub(crate) fn example_rows(example: &TokenisedExample) -> usize {
    let mut trie = TokenTrie::new();
    trie.insert(example);
    trie.rows()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::RejectedAnswer;

    fn example(prompt: &[u32], chosen: &[u32], rejected: &[&[u32]]) -> TokenisedExample {
        TokenisedExample {
            id: "x".into(),
            prompt: prompt.to_vec(),
            chosen: TokenisedAnswer::unlabelled(chosen.to_vec()),
            rejected: rejected
                .iter()
                .map(|tokens| RejectedAnswer { answer: TokenisedAnswer::unlabelled(tokens.to_vec()), weight: 1.0 })
                .collect(),
        }
    }

    /// The tokens that a row attends to, in order of depth, including itself.
    fn visible(batch: &Batch, row: usize) -> Vec<u32> {
        let segment =
            batch.segments.iter().find(|segment| segment.rows.contains(&row)).expect("segments partition the rows");
        segment
            .context
            .iter()
            .cloned()
            .chain(std::iter::once(segment.rows.start..row + 1))
            .flatten()
            .map(|ancestor| batch.tokens[ancestor])
            .collect()
    }

    #[test]
    fn rejected_answers_share_with_the_trunk_and_with_each_other() {
        let mut trie = TokenTrie::new();
        let targets = trie.insert(&example(
            &[1, 2, 3],
            &[10, 11, 12, 13],
            &[&[10, 20, 21, 13], &[10, 20, 22, 13], &[10, 11, 12, 13]],
        ));
        // The trunk has 3 + 3 rows; the first rejected answer adds 20 and 21, the second only 22, the third nothing.
        assert_eq!(trie.batch().tokens, [1, 2, 3, 10, 11, 12, 20, 21, 22]);
        assert_eq!(trie.batch().positions, [0, 1, 2, 3, 4, 5, 4, 5, 5]);
        assert_eq!(trie.batch().segments.len(), 3);
        assert_eq!(trie.batch().segments[1].context, vec![0..4]);
        assert_eq!(trie.batch().segments[2].context, vec![0..4, 6..7]);
        assert_eq!(targets.rejected[2], targets.chosen);
        assert_eq!(targets.rejected[0][..1], targets.chosen[..1]);
        assert_eq!(targets.rejected[0][..2], targets.rejected[1][..2]);
        assert_eq!(trie.separate_rows(), 4 * 6);
    }

    #[test]
    fn a_longer_answer_continues_the_trunk_in_place() {
        let mut trie = TokenTrie::new();
        trie.insert(&example(&[1], &[5, 9], &[&[5, 6, 7, 9]]));
        assert_eq!(trie.batch().tokens, [1, 5, 6, 7]);
        assert_eq!(trie.batch().segments.len(), 1);
    }

    #[test]
    fn examples_share_a_system_prompt_but_not_a_first_word() {
        let system: Vec<u32> = (100..140).collect();
        let with = |tail: u32| [system.as_slice(), &[tail]].concat();
        let mut trie = TokenTrie::new();
        trie.insert(&example(&with(1), &[7, 9], &[]));
        trie.insert(&example(&with(2), &[7, 9], &[]));
        assert_eq!(trie.rows(), 42 + 2);
        assert_eq!(trie.batch().segments[1].context, vec![0..40]);

        let mut trie = TokenTrie::new();
        let short: Vec<u32> = (100..120).collect();
        trie.insert(&example(&short, &[7, 9], &[]));
        let mut other = short.clone();
        other[1] = 1;
        trie.insert(&example(&other, &[7, 9], &[]));
        assert_eq!(trie.rows(), 42);
        assert!(trie.batch().segments.iter().all(|s| s.context.is_empty()));
    }

    proptest! {
    /// Whatever is shared, every target sees exactly the prefix of its separate sequence.
            #[test]
            fn every_target_sees_its_own_sequence(
                examples in prop::collection::vec(
                    (
                        prop::collection::vec(0u32..2, 1..24),
                        prop::collection::vec(prop::collection::vec(0u32..3, 1..7), 1..5),
                    ),
                    1..4,
                )
            ) {
                let mut trie = TokenTrie::new();
                let mut wanted = Vec::new();
                for (prompt, answers) in &examples {
                    let rejected: Vec<&[u32]> = answers[1..].iter().map(Vec::as_slice).collect();
                    let targets = trie.insert(&example(prompt, &answers[0], &rejected));
                    let lists = std::iter::once(targets.chosen).chain(targets.rejected);
                    wanted.extend(lists.zip(answers).map(|(list, answer)| (prompt, list, answer)));
                }
                let batch = trie.batch();
                for (prompt, list, answer) in wanted {
                    prop_assert_eq!(list.len(), answer.len());
                    for (position, &target) in list.iter().enumerate() {
                        let target = trie.targets()[target as usize];
                        prop_assert_eq!(target.token, answer[position]);
                        let prefix = [prompt.as_slice(), &answer[..position]].concat();
                        prop_assert_eq!(visible(batch, target.row as usize), prefix.clone());
                        prop_assert_eq!(batch.positions[target.row as usize] as usize, prefix.len() - 1);
                    }
                }
                let mut next = 0;
                for segment in &batch.segments {
                    prop_assert_eq!(segment.rows.start, next);
                    prop_assert!(segment.context.iter().all(|range| range.end <= next));
                    next = segment.rows.end;
                }
                prop_assert_eq!(next, batch.tokens.len());
                prop_assert!(trie.rows() <= trie.separate_rows());
            }
        }
}
