//! The steps of a run as a stream: ordered, tokenised and packed ahead of time on another thread.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::Scope;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::packing::{MicroBatch, epoch_order, pack};
use tabpo_objective::{Needs, OwnAnswers, Reach};

use crate::trie::{example_rows, shared_prefix};
use crate::{Differences, ExampleError, TokenisedExample, TrainBudget, TrainError};

/// Number of steps that are prepared ahead.
const STEPS_AHEAD: usize = 2;

/// A source of examples, which loads and tokenises records by number.
pub trait ExampleSource: Sync {
    /// Number of records.
    fn len(&self) -> usize;

    /// Whether there are no records.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The record at `index` as tokens. [`ExampleError::TooLong`] skips the record; any other error ends the
    /// run.
    fn load(&self, index: usize) -> Result<TokenisedExample, ExampleError>;
}

impl ExampleSource for [TokenisedExample] {
    fn len(&self) -> usize {
        <[TokenisedExample]>::len(self)
    }

    fn load(&self, index: usize) -> Result<TokenisedExample, ExampleError> {
        Ok(self[index].clone())
    }
}

impl ExampleSource for Vec<TokenisedExample> {
    fn len(&self) -> usize {
        self.as_slice().len()
    }

    fn load(&self, index: usize) -> Result<TokenisedExample, ExampleError> {
        self.as_slice().load(index)
    }
}

/// The most rows that a micro-batch of a run can have: those of its longest example, or those of a step of the
/// longest examples up to [`BatchPlan::max_tokens`], with a prefix that all prompts have in common only once.
/// `needs` is what the objective reads, `vocabulary` the model's number of tokens.
/// Examples that cannot be loaded are ignored; the run itself reports them.
pub fn largest_micro_batch<S: ExampleSource + ?Sized>(
    source: &S,
    plan: &BatchPlan,
    needs: Needs,
    vocabulary: usize,
) -> usize {
    let source = checked(source, needs, vocabulary);
    let loaded = (0..source.len()).into_par_iter().filter_map(|index| source.load(index).ok());
    let loaded: Vec<(usize, Vec<u32>)> = loaded.map(|example| (example_rows(&example), example.prompt)).collect();
    let shared = shared_prefix(loaded.iter().map(|(_, prompt)| prompt.as_slice()));
    let mut rows: Vec<usize> = loaded.iter().map(|&(rows, _)| rows).collect();
    rows.sort_unstable_by_key(|&rows| std::cmp::Reverse(rows));
    let mut together = shared;
    let with_more = rows.iter().take(plan.batch_size).enumerate().map(|(others, &rows)| {
        together += rows - shared;
        // An example that is longer than the limit is alone.
        if others == 0 { together } else { together.min(plan.max_tokens) }
    });
    with_more.max().unwrap_or(0)
}

/// A source whose examples are checked and cut for one run.
pub(crate) struct Checked<'a, S: ?Sized> {
    source: &'a S,
    needs: Needs,
    vocabulary: usize,
}

/// A source for an objective, whose rejected answers are cut to what the objective reads, so that nothing is
/// computed without need.
pub(crate) fn checked<S: ExampleSource + ?Sized>(source: &S, needs: Needs, vocabulary: usize) -> Checked<'_, S> {
    Checked { source, needs, vocabulary }
}

impl<S: ExampleSource + ?Sized> ExampleSource for Checked<'_, S> {
    fn len(&self) -> usize {
        self.source.len()
    }

    fn load(&self, index: usize) -> Result<TokenisedExample, ExampleError> {
        let mut example = self.source.load(index)?;
        let reach = self.needs.rejected;
        if reach == Reach::Nothing {
            example.rejected.clear();
        } else if example.rejected.is_empty() {
            return Err(ExampleError::NothingRejected { id: example.id });
        }
        if reach == Reach::Divergence {
            let chosen = &example.chosen.tokens;
            example.rejected.iter_mut().for_each(|rejected| rejected.answer.cut_after_divergence(chosen));
        }
        for rejected in &mut example.rejected {
            if self.needs.own != OwnAnswers::Greedy {
                rejected.answer.choices.clear();
            }
            if self.needs.own != OwnAnswers::Sampled {
                rejected.answer.items.clear();
            }
        }
        if self.needs.credit && example.chosen.decisions.is_none() {
            return Err(ExampleError::NoDecisions { id: example.id });
        }
        example.check(self.vocabulary)?;
        Ok(example)
    }
}

/// How records are grouped into steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchPlan {
    /// Examples per step.
    pub batch_size: usize,
    /// Most rows of a micro-batch; larger steps are accumulated over several.
    pub max_tokens: usize,
    /// Seed of the order of the records.
    pub seed: u64,
    /// How long the run lasts.
    pub budget: TrainBudget,
}

/// The position of a run in its data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Steps taken.
    pub step: u64,
    /// Epoch of the next record.
    pub epoch: u64,
    /// Position of the next record in its epoch's order.
    pub position: u64,
    /// Rows that went through forward and backward passes.
    pub tokens: u64,
    /// Records that were skipped as too long.
    pub skipped: u64,
}

/// The input of one optimiser step.
#[derive(Debug)]
pub struct PreparedStep {
    /// The position of the run after the step.
    pub after: Cursor,
    /// Epoch that its examples belong to, from 0.
    pub epoch: u64,
    /// Share of the budget that is spent at its middle.
    pub progress: f64,
    /// Its examples in the order of the epoch.
    pub examples: Vec<TokenisedExample>,
    /// What differs between the answers of each example.
    pub differences: Vec<Differences>,
    /// The layout of the examples.
    pub micro_batches: Vec<MicroBatch>,
    /// Records that were skipped as too long: their ids, lengths in tokens, and numbers from 1.
    pub skipped: Vec<(String, usize, usize)>,
}

/// Prepares the steps of a run in order: a pure function of the source, the plan and the position.
pub struct StepPlanner<'a, S: ?Sized> {
    source: &'a S,
    plan: BatchPlan,
    cursor: Cursor,
    order: Vec<u32>,
}

impl<'a, S: ExampleSource + ?Sized> StepPlanner<'a, S> {
    /// A planner that continues from `cursor`; the default cursor is the beginning.
    pub fn new(source: &'a S, plan: BatchPlan, cursor: Cursor) -> Self {
        Self { source, plan, cursor, order: epoch_order(plan.seed, cursor.epoch, source.len()) }
    }

    /// Share of the budget that is spent at `cursor`.
    fn spent(&self, cursor: &Cursor) -> f64 {
        let ratio = |done: u64, whole: u64| done as f64 / (whole.max(1)) as f64;
        match self.plan.budget {
            TrainBudget::Steps(steps) => ratio(cursor.step, steps),
            TrainBudget::Tokens(tokens) => ratio(cursor.tokens, tokens),
            TrainBudget::Epochs(epochs) => {
                let records = self.source.len() as u64;
                ratio(cursor.epoch * records + cursor.position, epochs * records)
            }
        }
    }

    fn prepare(&mut self) -> Result<PreparedStep, TrainError> {
        let before = self.cursor;
        let mut examples = Vec::with_capacity(self.plan.batch_size);
        let mut skipped = Vec::new();
        let epoch = loop {
            let epoch = self.cursor.epoch;
            while examples.len() < self.plan.batch_size && (self.cursor.position as usize) < self.order.len() {
                let record = self.order[self.cursor.position as usize] as usize;
                self.cursor.position += 1;
                match self.source.load(record) {
                    Ok(example) => examples.push(example),
                    Err(ExampleError::TooLong { id, tokens, .. }) => skipped.push((id, tokens, record + 1)),
                    Err(error) => return Err(error.into()),
                }
            }
            if self.cursor.position as usize == self.order.len() {
                if skipped.len() == self.order.len() {
                    return Err(TrainError::NoExamples { records: self.order.len() });
                }
                self.cursor.epoch += 1;
                self.cursor.position = 0;
                self.order = epoch_order(self.plan.seed, self.cursor.epoch, self.source.len());
            }
            if !examples.is_empty() {
                break epoch;
            }
        };
        let micro_batches = pack(&examples, self.plan.max_tokens);
        self.cursor.step += 1;
        self.cursor.skipped += skipped.len() as u64;
        self.cursor.tokens += micro_batches.iter().map(|micro| micro.trie.rows() as u64).sum::<u64>();
        Ok(PreparedStep {
            after: self.cursor,
            epoch,
            progress: 0.5 * (self.spent(&before) + self.spent(&self.cursor)),
            differences: examples.iter().map(Differences::new).collect(),
            examples,
            micro_batches,
            skipped,
        })
    }
}

impl<S: ExampleSource + ?Sized> Iterator for StepPlanner<'_, S> {
    type Item = Result<PreparedStep, TrainError>;

    /// The next step, `None` when the budget is spent.
    fn next(&mut self) -> Option<Self::Item> {
        if self.source.is_empty() {
            return (self.cursor.step == 0).then(|| {
                self.cursor.step = u64::MAX;
                Err(TrainError::NoExamples { records: 0 })
            });
        }
        (self.spent(&self.cursor) < 1.0).then(|| self.prepare())
    }
}

/// Runs `items` on another thread, a few items ahead of the receiver. The thread ends when the receiver is
/// dropped.
pub(crate) fn ahead<'scope, 'env, I>(scope: &'scope Scope<'scope, 'env>, items: I) -> Receiver<I::Item>
where
    I: Iterator + Send + 'scope,
    I::Item: Send + 'scope,
{
    let (sender, receiver) = sync_channel(STEPS_AHEAD);
    scope.spawn(move || {
        for item in items {
            if sender.send(item).is_err() {
                break;
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TokenisedAnswer;

    struct Numbers {
        count: usize,
        too_long: Vec<usize>,
    }

    impl ExampleSource for Numbers {
        fn len(&self) -> usize {
            self.count
        }

        fn load(&self, index: usize) -> Result<TokenisedExample, ExampleError> {
            if self.too_long.contains(&index) {
                return Err(ExampleError::TooLong { id: index.to_string(), tokens: 99, limit: 9 });
            }
            Ok(TokenisedExample {
                id: index.to_string(),
                prompt: vec![index as u32; 1 + index % 3],
                chosen: TokenisedAnswer::unlabelled(vec![1, 2]),
                rejected: Vec::new(),
            })
        }
    }

    fn plan(budget: TrainBudget) -> BatchPlan {
        BatchPlan { batch_size: 4, max_tokens: 6, seed: 3, budget }
    }

    fn ids(step: &PreparedStep) -> Vec<&str> {
        step.examples.iter().map(|example| example.id.as_str()).collect()
    }

    fn collect(source: &Numbers, budget: TrainBudget, from: Cursor) -> Vec<PreparedStep> {
        StepPlanner::new(source, plan(budget), from).collect::<Result<_, _>>().expect("the source has examples")
    }

    #[test]
    fn two_epochs_see_every_record_twice_and_skip_the_long_ones() {
        let source = Numbers { count: 10, too_long: vec![3] };
        let steps = collect(&source, TrainBudget::Epochs(2), Cursor::default());
        assert_eq!(steps.len(), 6);
        for epoch in 0..2 {
            let mut seen: Vec<&str> = steps.iter().filter(|step| step.epoch == epoch).flat_map(ids).collect();
            seen.sort_unstable();
            assert_eq!(seen, ["0", "1", "2", "4", "5", "6", "7", "8", "9"]);
        }
        assert_eq!(steps[5].after.skipped, 2);
        assert!(steps.windows(2).all(|pair| pair[0].progress < pair[1].progress));
        assert!(steps[0].progress > 0.0 && steps[5].progress < 1.0);
    }

    #[test]
    fn a_token_budget_ends_with_the_step_that_crosses_it() {
        let source = Numbers { count: 10, too_long: vec![] };
        let steps = collect(&source, TrainBudget::Tokens(40), Cursor::default());
        let last = steps.last().expect("a step").after.tokens;
        assert!(last >= 40);
        assert!(steps[steps.len() - 2].after.tokens < 40);
    }

    #[test]
    fn continuing_from_a_cursor_gives_the_same_steps() {
        let source = Numbers { count: 10, too_long: vec![3] };
        let whole = collect(&source, TrainBudget::Steps(9), Cursor::default());
        assert_eq!(whole.len(), 9);
        let rest = collect(&source, TrainBudget::Steps(9), whole[3].after);
        assert_eq!(rest.len(), 5);
        for (a, b) in whole[4..].iter().zip(&rest) {
            assert_eq!(ids(a), ids(b));
            assert_eq!(a.after, b.after);
            assert_eq!(a.progress, b.progress);
        }
    }

    #[test]
    fn the_stream_of_another_thread_keeps_the_order() {
        let source = Numbers { count: 10, too_long: vec![] };
        let planner = StepPlanner::new(&source, plan(TrainBudget::Steps(20)), Cursor::default());
        let streamed = std::thread::scope(|scope| {
            ahead(scope, planner).into_iter().map(|step| step.expect("a step").after).collect::<Vec<_>>()
        });
        let direct = collect(&source, TrainBudget::Steps(20), Cursor::default());
        assert_eq!(streamed, direct.iter().map(|step| step.after).collect::<Vec<_>>());
    }

    #[test]
    fn records_that_are_all_too_long_are_an_error() {
        let source = Numbers { count: 2, too_long: vec![0, 1] };
        let first = StepPlanner::new(&source, plan(TrainBudget::Steps(1)), Cursor::default()).next();
        assert!(matches!(first, Some(Err(TrainError::NoExamples { records: 2 }))));
    }
}
