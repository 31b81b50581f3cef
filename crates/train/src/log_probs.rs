//! Log-probs of whole examples under a model that does not change.

use tabpo_engine::{ForwardOptions, Lora, Model, Real, Workspace, forward};

use crate::packing::MicroBatch;
use crate::trie::{ExampleTargets, gather};
use crate::{ReferenceCache, ReferenceIdentity, TokenisedAnswer, TokenisedExample, TrainError, pack};

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

    /// Those that a cache holds for an example.
    pub fn cached(cache: &ReferenceCache, identity: &ReferenceIdentity, example: &TokenisedExample) -> Option<Self> {
        let mut rest = cache.get(&identity.key(example))?;
        let mut next = |answer: &TokenisedAnswer| {
            let (own, others) = rest.split_at_checked(answer.tokens.len())?;
            rest = others;
            Some(own.to_vec())
        };
        let chosen = next(&example.chosen)?;
        let rejected = example.rejected.iter().map(|rejected| next(&rejected.answer)).collect::<Option<_>>()?;
        Some(Self { chosen, rejected })
    }

    /// Adds them to a cache that does not have them.
    pub fn store(
        &self,
        cache: &mut ReferenceCache,
        identity: &ReferenceIdentity,
        example: &TokenisedExample,
    ) -> Result<(), TrainError> {
        let key = identity.key(example);
        if cache.get(&key).is_some() {
            return Ok(());
        }
        let values: Vec<f64> = self.chosen.iter().chain(self.rejected.iter().flatten()).copied().collect();
        cache.insert(key, &values)
    }
}

/// Log-probs of the answers of a micro-batch, dropout off: for every member its position in the step
/// and its log-probs.
pub(crate) fn micro_batch_log_probs<R: Real>(
    model: &Model<R>,
    adapter: Option<&Lora<R>>,
    micro: &MicroBatch,
    options: &ForwardOptions,
    workspace: &mut Workspace<R>,
) -> Vec<(usize, ExampleLogProbs)> {
    let options = ForwardOptions { gradient: false, dropout_seed: None, ..*options };
    let log_probs = forward(model, adapter, micro.trie.batch(), micro.trie.targets(), &options, workspace);
    micro.members.iter().map(|(index, targets)| (*index, ExampleLogProbs::gather(&log_probs, targets))).collect()
}

/// Log-probs of the answers of `examples`, in their order, in passes of at most `max_tokens` rows.
pub fn log_probs<R: Real>(
    model: &Model<R>,
    adapter: Option<&Lora<R>>,
    examples: &[TokenisedExample],
    max_tokens: usize,
) -> Vec<ExampleLogProbs> {
    let mut workspace = Workspace::new();
    let mut results = vec![ExampleLogProbs::default(); examples.len()];
    for micro in pack(examples, max_tokens) {
        let options = ForwardOptions::default();
        for (index, found) in micro_batch_log_probs(model, adapter, &micro, &options, &mut workspace) {
            results[index] = found;
        }
    }
    results
}
