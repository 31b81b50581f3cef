//! The order in which prompts are completed, and what they share.

use std::cmp::Ordering;
use std::collections::HashMap;

use tabpo_model::ModelConfig;

use crate::generate::GenerateOptions;
use crate::prompts::{PromptTree, SharedPart};
use crate::worker::GeneratorSize;

/// The prompts of a job in the order in which they are completed.
pub(crate) struct Schedule {
    /// The prompts, those with the same beginning after each other, otherwise in the order of the tree.
    pub(crate) order: Vec<usize>,
    /// For every entry of `order`, what the prompt shares.
    pub(crate) shared: Vec<Vec<SharedPart>>,
    /// For every shared part, the number of prompts in `order` that use it.
    pub(crate) uses: HashMap<u32, usize>,
    pub(crate) size: GeneratorSize,
}

impl Schedule {
    /// What is shared depends on all prompts of the tree and not only on the `pending` ones, so that a job that is gone
    /// on with computes every answer as it would have in one go.
    pub(crate) fn new(
        prompts: &PromptTree,
        pending: &[usize],
        config: &ModelConfig,
        options: &GenerateOptions,
    ) -> Self {
        let mut first_use: HashMap<u32, usize> = HashMap::new();
        let mut entries: Vec<(usize, Vec<SharedPart>)> = pending
            .iter()
            .map(|&prompt| {
                // Rotations that depend on a prompt's length make its keys differ from those of other prompts.
                let alone = config.rope_depends_on(prompts.length(prompt));
                let shared = if alone { Vec::new() } else { prompts.shared(prompt) };
                for part in &shared {
                    let first = first_use.entry(part.id).or_insert(prompt);
                    *first = prompt.min(*first);
                }
                (prompt, shared)
            })
            .collect();
        let place = |(prompt, shared): &(usize, Vec<SharedPart>), level: usize| {
            shared.get(level).map_or(*prompt, |part| first_use[&part.id])
        };
        entries.sort_by(|a, b| {
            let levels = a.1.len().max(b.1.len());
            (0..=levels)
                .map(|level| place(a, level).cmp(&place(b, level)))
                .find(|order| order.is_ne())
                .unwrap_or(Ordering::Equal)
        });
        let mut uses: HashMap<u32, usize> = HashMap::new();
        for part in entries.iter().flat_map(|(_, shared)| shared) {
            *uses.entry(part.id).or_default() += 1;
        }
        let own =
            entries.iter().map(|(prompt, shared)| prompts.length(*prompt) - shared.last().map_or(0, |part| part.end));
        let sequences = options.batch.max(1).min(entries.len());
        let size = GeneratorSize {
            sequences,
            capacity: own.max().unwrap_or(0) + options.max_new_tokens,
            shared: most_shared(&entries, sequences),
        };
        let (order, shared) = entries.into_iter().unzip();
        Self { order, shared, uses, size }
    }
}

/// The most tokens of shared parts that are in use at a time, if prompts are finished about as they are begun.
fn most_shared(entries: &[(usize, Vec<SharedPart>)], sequences: usize) -> usize {
    let mut ranges: HashMap<u32, (usize, usize, usize)> = HashMap::new();
    for (place, (_, shared)) in entries.iter().enumerate() {
        let mut start = 0;
        for part in shared {
            ranges.entry(part.id).or_insert((place, place, part.end - start)).1 = place;
            start = part.end;
        }
    }
    let mut changes = vec![(0_usize, 0_usize); entries.len() + 1];
    for (first, last, tokens) in ranges.into_values() {
        changes[first.saturating_sub(sequences)].0 += tokens;
        changes[last + 1].1 += tokens;
    }
    let mut now = 0;
    changes.into_iter().fold(0, |most, (begun, ended)| {
        now = now + begun - ended;
        most.max(now)
    })
}
