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

    /// Those that a cache holds for an example, if it holds all.
    pub fn cached(cache: &ReferenceCache, identity: &ReferenceIdentity, example: &TokenisedExample) -> Option<Self> {
        let find = |answer: &[u32]| {
            let found = cache.get(&identity.key(&example.prompt, answer))?;
            // A record of another length would be of another answer with the same digest.
            (found.len() == answer.len()).then(|| found.to_vec())
        };
        Some(Self {
            chosen: find(&example.chosen.tokens)?,
            rejected: example.rejected.iter().map(|r| find(&r.answer.tokens)).collect::<Option<_>>()?,
        })
    }

    /// Adds them to a cache.
    pub fn store(
        &self,
        cache: &mut ReferenceCache,
        identity: &ReferenceIdentity,
        example: &TokenisedExample,
    ) -> Result<(), TrainError> {
        let answers = std::iter::once(&example.chosen).chain(example.rejected.iter().map(|r| &r.answer));
        let values = std::iter::once(&self.chosen).chain(&self.rejected);
        for (answer, log_probs) in answers.zip(values) {
            let key = identity.key(&example.prompt, &answer.tokens);
            if cache.get(&key).is_none() {
                cache.insert(key, log_probs)?;
            }
        }
        Ok(())
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
