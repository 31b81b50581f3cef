//! Log-probs of whole examples under a fixed model.

use tabpo_engine::Worker;

use crate::packing::{MicroBatch, pack};
use crate::trie::{ExampleTargets, gather};
use crate::{ReferenceCache, ReferenceIdentity, TokenisedExample, TrainError};

/// Log-probs of the answers of one example, one per token.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExampleLogProbs {
    /// The chosen answer.
    pub chosen: Vec<f64>,
    /// The rejected answers.
    pub rejected: Vec<Vec<f64>>,
}

impl ExampleLogProbs {
    /// The log-probs of one example, from those of its micro-batch.
    pub(crate) fn gather(log_probs: &[f64], targets: &ExampleTargets) -> Self {
        Self {
            chosen: gather(log_probs, &targets.chosen),
            rejected: targets.rejected.iter().map(|targets| gather(log_probs, targets)).collect(),
        }
    }
}

/// Log-probs of the targets of micro-batches of `examples`, from the cache or else from `compute`, which is given those
/// that are missing, if any, and whose results are added to the cache.
pub(crate) fn cached(
    cache: &mut ReferenceCache,
    identity: &ReferenceIdentity,
    micro_batches: &[MicroBatch],
    examples: &[TokenisedExample],
    compute: impl FnOnce(&[&MicroBatch]) -> Result<Vec<Vec<f64>>, TrainError>,
) -> Result<Vec<Vec<f64>>, TrainError> {
    let key = |micro: &MicroBatch| identity.key(micro.members.iter().map(|(index, _)| &examples[*index]));
    let of_cache = |micro: &MicroBatch| {
        let found = cache.get(&key(micro))?;
        (found.len() == micro.trie.targets().len()).then(|| found.to_vec())
    };
    let mut values: Vec<Option<Vec<f64>>> = micro_batches.iter().map(of_cache).collect();
    let missing: Vec<usize> = (0..values.len()).filter(|&index| values[index].is_none()).collect();
    if !missing.is_empty() {
        let computed = compute(&missing.iter().map(|&index| &micro_batches[index]).collect::<Vec<_>>())?;
        for (index, computed) in missing.into_iter().zip(computed) {
            cache.insert(key(&micro_batches[index]), &computed)?;
            values[index] = Some(computed);
        }
    }
    Ok(values.into_iter().map(|values| values.expect("those that were missing have been computed")).collect())
}

/// Log-probs of the answers of `examples` under the worker's policy, in their order, in passes of at most
/// `max_tokens` rows. `tokenizer` is the digest of the tokenizer
/// ([`Tokenizer::digest`](tabpo_model::Tokenizer::digest)). Also returns the number of examples that were not in
/// the cache.
pub fn log_probs(
    worker: &mut dyn Worker,
    tokenizer: &[u8; 32],
    examples: &[TokenisedExample],
    max_tokens: usize,
    cache: &mut ReferenceCache,
) -> Result<(Vec<ExampleLogProbs>, usize), TrainError> {
    let identity = ReferenceIdentity::new(&worker.identity(), tokenizer);
    let (mut results, mut computed) = (vec![ExampleLogProbs::default(); examples.len()], 0);
    for micro in pack(examples, max_tokens) {
        let found = cached(cache, &identity, std::slice::from_ref(&micro), examples, |_| {
            computed += micro.members.len();
            Ok(vec![worker.log_probs(&micro.job(None))?])
        })?;
        for (index, targets) in &micro.members {
            results[*index] = ExampleLogProbs::gather(&found[0], targets);
        }
    }
    Ok((results, computed))
}
