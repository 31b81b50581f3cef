//! The order of the examples, and their layout in micro-batches.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use tabpo_engine::Job;

use crate::TokenisedExample;
use crate::trie::{ExampleTargets, TokenTrie, example_rows, shared_prefix};

/// The order of `count` records in one epoch: a permutation that depends only on the seed and the epoch,
/// so that a resumed run needs no state of a random generator.
pub(crate) fn epoch_order(seed: u64, epoch: u64, count: usize) -> Vec<u32> {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(epoch);
    let mut order: Vec<u32> = (0..count as u32).collect();
    order.shuffle(&mut generator);
    order
}

/// Examples that are computed in one pass.
#[derive(Clone, Debug)]
pub struct MicroBatch {
    /// The trie of their tokens.
    pub trie: TokenTrie,
    /// For every example its position in the step and the targets of its log-probs.
    pub members: Vec<(usize, ExampleTargets)>,
}

impl MicroBatch {
    /// The pass over the micro-batch. Without a seed there is no dropout.
    pub fn job(&self, dropout_seed: Option<u64>) -> Job<'_> {
        Job { batch: self.trie.batch(), targets: self.trie.targets(), dropout_seed }
    }
}

/// Lays out the examples of a step in micro-batches of at most `max_tokens` rows; a longer example has a
/// micro-batch of its own.
///
/// First-fit decreasing: long examples open the bins and short ones fill them, so that all passes have about
/// the same size. What all prompts have in common is one stretch of rows in every bin.
pub(crate) fn pack(examples: &[TokenisedExample], max_tokens: usize) -> Vec<MicroBatch> {
    let shared = shared_prefix(examples.iter().map(|example| example.prompt.as_slice()));
    let own: Vec<usize> = examples.iter().map(|example| example_rows(example) - shared).collect();
    first_fit_decreasing(&own, max_tokens.saturating_sub(shared))
        .into_iter()
        .map(|members| {
            let mut trie = TokenTrie::new();
            let members = members.into_iter().map(|index| (index, trie.insert(&examples[index]))).collect();
            MicroBatch { trie, members }
        })
        .collect()
}

/// Bins of indices into `sizes`, each in ascending order.
fn first_fit_decreasing(sizes: &[usize], capacity: usize) -> Vec<Vec<usize>> {
    let mut by_size: Vec<usize> = (0..sizes.len()).collect();
    by_size.sort_by_key(|&index| std::cmp::Reverse(sizes[index]));
    let mut bins: Vec<(usize, Vec<usize>)> = Vec::new();
    for index in by_size {
        let size = sizes[index];
        match bins.iter_mut().find(|(used, _)| used + size <= capacity) {
            Some((used, members)) => {
                *used += size;
                members.push(index);
            }
            None => bins.push((size, vec![index])),
        }
    }
    bins.into_iter()
        .map(|(_, mut members)| {
            members.sort_unstable();
            members
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::TokenisedAnswer;

    /// Six prompts that differ in their last token, with an answer of three tokens.
    #[test]
    fn a_common_prompt_takes_space_once() {
        let example = |number: u32| TokenisedExample {
            id: number.to_string(),
            prompt: (0..40).chain([100 + number]).collect(),
            chosen: TokenisedAnswer::unlabelled(vec![1, 2, 3]),
            rejected: Vec::new(),
        };
        let examples: Vec<TokenisedExample> = (0..6).map(example).collect();
        let rows = |max_tokens| pack(&examples, max_tokens).iter().map(|micro| micro.trie.rows()).collect::<Vec<_>>();
        let own = example_rows(&examples[0]) - 40;
        assert_eq!(rows(40 + 6 * own), [40 + 6 * own]);
        assert_eq!(rows(40 + 6 * own - 1), [40 + 5 * own, 40 + own]);
        assert_eq!(rows(40 + 3 * own), [40 + 3 * own; 2]);
        // No two fit together.
        assert_eq!(rows(30), [40 + own; 6]);
    }

    #[test]
    fn an_epoch_is_a_permutation_that_its_number_changes() {
        let first = epoch_order(7, 0, 100);
        assert_eq!(first, epoch_order(7, 0, 100));
        assert_ne!(first, epoch_order(7, 1, 100));
        assert_ne!(first, epoch_order(8, 0, 100));
        let mut sorted = first;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<u32>>());
    }

    proptest! {
            #[test]
            fn bins_hold_everything_once_and_keep_to_the_budget(
                sizes in prop::collection::vec(1usize..60, 0..40),
                capacity in 10usize..100,
            ) {
                let bins = first_fit_decreasing(&sizes, capacity);
                let mut all: Vec<usize> = bins.concat();
                all.sort_unstable();
                prop_assert_eq!(all, (0..sizes.len()).collect::<Vec<_>>());
                let mut half_empty = 0;
                for bin in &bins {
                    let used: usize = bin.iter().map(|&index| sizes[index]).sum();
                    prop_assert!(used <= capacity || bin.len() == 1);
                    half_empty += usize::from(used * 2 <= capacity);
                }
    // Two bins that are at most half full would have been merged.
                prop_assert!(half_empty <= 1);
            }
        }
}
