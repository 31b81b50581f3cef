//! How much memory a run will take, before it takes it.

use tabpo_engine::{Lora, LoraGroup, Model, ModelConfig, Real, Recompute, TensorRef};

/// Estimated bytes of a run, by use. Temporary buffers of single operations, which do not grow with
/// the batch, are not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Weights of the model and of the adapter.
    pub weights: usize,
    /// A second model that objectives over distributions compare with, and the buffers of its pass.
    pub reference: usize,
    /// Gradient of what is trained.
    pub gradients: usize,
    /// Moments of `AdamW`.
    pub optimiser: usize,
    /// What the forward pass keeps for the backward pass, and the buffers that the blocks share.
    pub activations: usize,
    /// Logits.
    pub logits: usize,
    /// The setting that the activations are for.
    pub recompute: Recompute,
}

/// What a run looks like, as far as its memory depends on it.
#[derive(Clone, Copy, Debug)]
pub struct MemoryRequest<'a, R> {
    /// The model.
    pub model: &'a Model<R>,
    /// The adapter, if one is trained; otherwise all parameters are.
    pub adapter: Option<&'a Lora<R>>,
    /// Rows of the largest micro-batch; [`crate::BatchPlan::max_tokens`] bounds them.
    pub rows: usize,
    /// Distinct rows of it at which log-probs are wanted, at most `rows`.
    pub target_rows: usize,
    /// Bytes of logits that may be kept ([`crate::TrainSettings::logit_bytes`]).
    pub logit_bytes: usize,
    /// Whether the objective compares distributions with those of the start.
    pub divergence: bool,
}

impl MemoryPlan {
    /// The estimate for one setting.
    pub fn new<R: Real>(request: &MemoryRequest<'_, R>, recompute: Recompute) -> Self {
        let MemoryRequest { model, adapter, rows, target_rows, logit_bytes, divergence } = *request;
        let element = size_of::<R>();
        let weights: usize = model.tensors().iter().map(|(_, tensor)| tensor_bytes(tensor)).sum();
        let adapter_elements = adapter.map(|adapter| adapter.parameters().iter().map(|part| part.len()).sum::<usize>());
        let trained = adapter_elements.unwrap_or_else(|| model.config.parameters());
        let width = Width::new(&model.config, adapter);
        let packed = model.embedding.is_packed();
        let head = target_rows * model.config.hidden;
        let inference = element * (rows * width.inference() + 2 * head);
        // Target rows repeat where answers part; distinct ones are what the logits are made for.
        let all_logits = target_rows * model.config.vocabulary * element * if divergence { 2 } else { 1 };
        let logits = all_logits.min(logit_bytes);
        // Packed weights multiply rounded copies, two bytes an element, of what lies in the buffers.
        let rounded = if packed { rows.next_multiple_of(32) * 2 * width.rounded() } else { 0 };
        let rounded_logits = if packed { logits * 2 / element / if divergence { 2 } else { 1 } } else { 0 };
        Self {
            weights: weights + adapter_elements.unwrap_or(0) * element,
            reference: match (divergence, adapter) {
                (false, _) => 0,
                (true, Some(_)) => inference,
                (true, None) => inference + weights,
            },
            gradients: trained * element,
            // Two moments in 32 bits.
            optimiser: trained * 8,
            activations: element * (rows * (width.kept(recompute) + width.shared(recompute)) + 3 * head) + rounded,
            logits: logits + rounded_logits,
            recompute,
        }
    }

    /// The setting that keeps the most within `bytes`; recomputing whole blocks if none fits.
    pub fn within<R: Real>(request: &MemoryRequest<'_, R>, bytes: usize) -> Self {
        [Recompute::Nothing, Recompute::Cheap]
            .map(|recompute| Self::new(request, recompute))
            .into_iter()
            .find(|plan| plan.total() <= bytes)
            .unwrap_or_else(|| Self::new(request, Recompute::Blocks))
    }

    /// All of it.
    pub fn total(&self) -> usize {
        self.weights + self.reference + self.gradients + self.optimiser + self.activations + self.logits
    }
}

fn tensor_bytes<R: Real>(tensor: &TensorRef<'_, R>) -> usize {
    match tensor {
        TensorRef::Vector(values) => size_of_val(*values),
        TensorRef::Matrix(matrix) => matrix.as_bytes().len(),
    }
}

/// Elements a row of the engine's buffers.
struct Width<'a> {
    config: &'a ModelConfig,
    /// Ranks of each group of one block's adapters.
    ranks: Vec<usize>,
    dropout: bool,
}

impl<'a> Width<'a> {
    fn new<R: Real>(config: &'a ModelConfig, adapter: Option<&Lora<R>>) -> Self {
        let first = adapter.and_then(|adapter| adapter.layers.first());
        let ranks = first.map_or_else(Vec::new, |groups| groups.iter().map(LoraGroup::ranks).collect());
        Self { config, ranks, dropout: adapter.is_some_and(|adapter| adapter.config.dropout > 0.0) }
    }

    /// One block: queries, keys, values, attention and its normalisers; the stream between the halves;
    /// gate and up; low-rank inputs.
    fn block(&self) -> usize {
        let ModelConfig { hidden, intermediate, heads, kv_heads, query_key_norm, .. } = *self.config;
        let (query, key) = (self.config.query_width(), self.config.key_width());
        let raw = if query_key_norm { query + key + heads + kv_heads } else { 0 };
        2 * query + 2 * key + heads + raw + hidden + 2 * intermediate + 2 + self.ranks.iter().sum::<usize>()
    }

    /// What the forward pass keeps: the stream before every block and after the last, and the blocks.
    fn kept(&self, recompute: Recompute) -> usize {
        let ModelConfig { hidden, layers, .. } = *self.config;
        let blocks = match recompute {
            Recompute::Nothing => layers * (self.block() + 2 * hidden),
            Recompute::Cheap => layers * self.block(),
            Recompute::Blocks => self.block(),
        };
        (layers + 1) * hidden + blocks
    }

    /// The buffers that blocks share in both passes.
    fn shared(&self, recompute: Recompute) -> usize {
        let ModelConfig { hidden, intermediate, heads, kv_heads, .. } = *self.config;
        let (query, key) = (self.config.query_width(), self.config.key_width());
        let normed = if recompute == Recompute::Nothing { 0 } else { hidden };
        let per_head = if heads == kv_heads { 0 } else { 2 * query };
        let low = self.ranks.iter().copied().max().unwrap_or(0);
        normed + 2 * hidden + intermediate + self.dropped() + 2 * query + 2 * key + per_head + low
    }

    /// Rounded copies: of the widest input or output, of the second output of the feed-forward part or of
    /// attention, and of the values.
    fn rounded(&self) -> usize {
        let ModelConfig { hidden, intermediate, .. } = *self.config;
        let (query, key) = (self.config.query_width(), self.config.key_width());
        let dropped = if self.dropout { hidden.max(intermediate).max(query) } else { 0 };
        hidden.max(intermediate).max(query) + intermediate.max(key) + key + dropped
    }

    /// A pass without a backward pass: two streams and one block.
    fn inference(&self) -> usize {
        3 * self.config.hidden + self.block() + self.config.intermediate
    }

    fn dropped(&self) -> usize {
        if self.dropout { self.config.hidden.max(self.config.intermediate) } else { 0 }
    }
}
