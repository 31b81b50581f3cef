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

/// Log-probs of the targets of a micro-batch of `examples`, from the cache or else from `compute`, whose result
/// is added to the cache.
pub(crate) fn cached(
    cache: &mut ReferenceCache,
    identity: &ReferenceIdentity,
    micro: &MicroBatch,
    examples: &[TokenisedExample],
    compute: impl FnOnce() -> Result<Vec<f64>, TrainError>,
) -> Result<Vec<f64>, TrainError> {
    let key = identity.key(micro.members.iter().map(|(index, _)| &examples[*index]));
    if let Some(found) = cache.get(&key)
        && found.len() == micro.trie.targets().len()
    {
        return Ok(found.to_vec());
    }
    let computed = compute()?;
    cache.insert(key, &computed)?;
    Ok(computed)
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
        let found = cached(cache, &identity, &micro, examples, || {
            computed += micro.members.len();
            Ok(worker.log_probs(&micro.job(None))?)
        })?;
        for (index, targets) in &micro.members {
            results[*index] = ExampleLogProbs::gather(&found, targets);
        }
    }
    Ok((results, computed))
}
