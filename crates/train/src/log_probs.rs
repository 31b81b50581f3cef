//! Log-probs of whole examples under a model that does not change.

use tabpo_engine::{ForwardOptions, Lora, Model, Real, Workspace, forward};

use crate::packing::MicroBatch;
use crate::trie::{ExampleTargets, gather};
use crate::{ReferenceCache, ReferenceIdentity, TokenisedExample, TrainError, pack};

/// Log-probs of the answers of one example, one a token.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExampleLogProbs {
    /// The chosen answer.
    pub chosen: Vec<f64>,
    /// The rejected answers.
    pub rejected: Vec<Vec<f64>>,
}

impl ExampleLogProbs {
    /// Reads those of one example from the log-probs of its micro-batch.
    pub(crate) fn gather(log_probs: &[f64], targets: &ExampleTargets) -> Self {
        Self {
            chosen: gather(log_probs, &targets.chosen),
            rejected: targets.rejected.iter().map(|targets| gather(log_probs, targets)).collect(),
        }
    }
}

/// Log-probs of the targets of a micro-batch, dropout off, in the order of its trie's targets.
pub(crate) fn target_log_probs<R: Real>(
    model: &Model<R>,
    adapter: Option<&Lora<R>>,
    micro: &MicroBatch,
    options: &ForwardOptions,
    workspace: &mut Workspace<R>,
) -> Vec<f64> {
    let options = ForwardOptions { gradient: false, dropout_seed: None, ..*options };
    forward(model, adapter, micro.trie.batch(), micro.trie.targets(), &options, workspace)
}

/// Log-probs of the targets of a micro-batch of `examples` that a cache holds, or else those that `compute`
/// finds, which the cache has from then on.
pub(crate) fn cached(
    cache: &mut ReferenceCache,
    identity: &ReferenceIdentity,
    (micro, examples): (&MicroBatch, &[TokenisedExample]),
    compute: impl FnOnce() -> Vec<f64>,
) -> Result<Vec<f64>, TrainError> {
    let key = identity.key(micro.members.iter().map(|(index, _)| &examples[*index]));
    if let Some(found) = cache.get(&key)
        && found.len() == micro.trie.targets().len()
    {
        return Ok(found.to_vec());
    }
    let computed = compute();
    cache.insert(key, &computed)?;
    Ok(computed)
}

/// Log-probs of the answers of `examples`, in their order, in passes of at most `max_tokens` rows.
pub fn log_probs<R: Real>(
    model: &Model<R>,
    adapter: Option<&Lora<R>>,
    examples: &[TokenisedExample],
    max_tokens: usize,
) -> Vec<ExampleLogProbs> {
    let mut workspace = Workspace::new();
    let options = ForwardOptions::default();
    let mut results = vec![ExampleLogProbs::default(); examples.len()];
    for micro in pack(examples, max_tokens) {
        let found = target_log_probs(model, adapter, &micro, &options, &mut workspace);
        for (index, targets) in &micro.members {
            results[*index] = ExampleLogProbs::gather(&found, targets);
        }
    }
    results
}

/// As [`log_probs`], with a cache in which the model with its adapter has this identity. Also returns how
/// many examples were computed.
pub fn cached_log_probs<R: Real>(
    (model, adapter, identity): (&Model<R>, Option<&Lora<R>>, &ReferenceIdentity),
    examples: &[TokenisedExample],
    max_tokens: usize,
    cache: &mut ReferenceCache,
) -> Result<(Vec<ExampleLogProbs>, usize), TrainError> {
    let mut workspace = Workspace::new();
    let options = ForwardOptions::default();
    let (mut results, mut computed) = (vec![ExampleLogProbs::default(); examples.len()], 0);
    for micro in pack(examples, max_tokens) {
        let found = cached(cache, identity, (&micro, examples), || {
            computed += micro.members.len();
            target_log_probs(model, adapter, &micro, &options, &mut workspace)
        })?;
        for (index, targets) in &micro.members {
            results[*index] = ExampleLogProbs::gather(&found, targets);
        }
    }
    Ok((results, computed))
}
