//! Estimates the memory of a run.

use tabpo_model::{INPUT_GROUPS, LoraConfig, ModelConfig};

use crate::lora::{Lora, LoraGroup};
use crate::model::{Model, TensorRef};
use crate::ops::attention;
use crate::options::Recompute;
use crate::real::Real;

/// Estimated bytes of a run, by use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Other memory of the process ([`MemoryRequest::held`]).
    pub held: usize,
    /// Weights of the model and of the adapter.
    pub weights: usize,
    /// Reference and guide models, and the buffers of their passes.
    pub reference: usize,
    /// Gradient of the trained parameters.
    pub gradients: usize,
    /// Moments of `AdamW`.
    pub optimiser: usize,
    /// What the forward pass keeps for the backward pass, and buffers that blocks share.
    pub activations: usize,
    /// Logits.
    pub logits: usize,
    /// Temporary buffers of single operations on every thread, and steps prepared ahead.
    pub working: usize,
    /// The setting for which the activations were estimated.
    pub recompute: Recompute,
}

/// The sizes of a policy that memory depends on, known before its weights are loaded.
#[derive(Clone, Debug)]
pub struct PolicyShape {
    config: ModelConfig,
    /// Bytes of an element of the computing type.
    element: usize,
    /// Bytes of the model's weights.
    weights: usize,
    /// Whether the weights are packed for products in bf16.
    packed: bool,
    adapter: Option<AdapterShape>,
}

/// The sizes of a trained adapter.
#[derive(Clone, Debug)]
struct AdapterShape {
    /// Total number of elements.
    elements: usize,
    /// Total rank of each group of adapters in the first block.
    ranks: Vec<usize>,
    dropout: bool,
}

impl PolicyShape {
    /// The shape of a model that is trained as a whole or with an adapter.
    pub fn of<R: Real>(model: &Model<R>, adapter: Option<&Lora<R>>) -> Self {
        let shape = |adapter: &Lora<R>| AdapterShape {
            elements: adapter.parameters().iter().map(|part| part.len()).sum(),
            ranks: adapter.layers.first().map_or_else(Vec::new, |groups| groups.iter().map(LoraGroup::ranks).collect()),
            dropout: adapter.config.dropout > 0.0,
        };
        Self {
            config: model.config.clone(),
            element: size_of::<R>(),
            weights: model.bytes(),
            packed: model.embedding.is_packed(),
            adapter: adapter.map(shape),
        }
    }

    /// The shape of a model that is not loaded yet, in single precision. `weights` is the size of its weights in
    /// bytes if they are stored in another type.
    pub fn planned(config: &ModelConfig, weights: Option<usize>, adapter: Option<&LoraConfig>) -> Self {
        let shape = |adapter: &LoraConfig| {
            let of_block = |layer: usize| {
                INPUT_GROUPS.map(|group| {
                    let members = group.iter().filter(|projection| adapter.targets.contains(projection));
                    members
                        .map(|&projection| {
                            let rank = adapter.rank_and_scale(projection, layer).0;
                            (rank, rank * projection.shape(config).iter().sum::<usize>())
                        })
                        .fold((0, 0), |(ranks, elements), (rank, more)| (ranks + rank, elements + more))
                })
            };
            AdapterShape {
                elements: (0..config.layers).flat_map(of_block).map(|(_, elements)| elements).sum(),
                ranks: of_block(0).map(|(ranks, _)| ranks).to_vec(),
                dropout: adapter.dropout > 0.0,
            }
        };
        let element = size_of::<f32>();
        let own = config.parameters() * element;
        // Trained weights are widened.
        let weights = if adapter.is_some() { weights.unwrap_or(own) } else { own };
        Self { config: config.clone(), element, weights, packed: false, adapter: adapter.map(shape) }
    }

    /// The memory of a run. With a `limit` in bytes, as much as fits is kept between the passes.
    pub fn plan(&self, request: &MemoryRequest, limit: Option<usize>) -> MemoryPlan {
        match limit {
            Some(limit) => MemoryPlan::within(self, request, limit),
            None => MemoryPlan::new(self, request, Recompute::default()),
        }
    }
}

/// The properties of a run that its memory depends on.
#[derive(Clone, Copy, Debug)]
pub struct MemoryRequest {
    /// Rows of the largest micro-batch.
    pub rows: usize,
    /// Its distinct rows with targets, at most `rows`.
    pub target_rows: usize,
    /// Most bytes of logits that are kept ([`TrainingSetup::logit_bytes`](crate::TrainingSetup::logit_bytes)).
    pub logit_bytes: usize,
    /// Whether the objective uses divergences from the initial policy.
    pub divergence: bool,
    /// Bytes of a guide model in memory.
    pub guide: usize,
    /// Bytes of the process before the run's own models are loaded: code, tokenizer, documents, and memory that
    /// the allocator retains from earlier runs.
    pub held: usize,
    /// Number of computing threads.
    pub threads: usize,
}

/// Bytes that any run takes: prepared steps, the log, loaded code. Like the other constants, measured and rounded
/// up.
const WORKING: usize = 28 << 20;
/// Bytes of temporary buffers of single operations, such as panels of matrix products, on each thread; at most the
/// size of the weights.
const WORKING_PER_THREAD: usize = 24 << 20;
/// Temporary buffers that grow with activations and logits take this fraction (one in so many) of them.
const TEMPORARY: usize = 16;

impl MemoryPlan {
    /// The estimate for one setting.
    pub fn new(policy: &PolicyShape, request: &MemoryRequest, recompute: Recompute) -> Self {
        let MemoryRequest { rows, target_rows, logit_bytes, divergence, guide, held, threads } = *request;
        let PolicyShape { config, element, weights, packed, adapter } = policy;
        let (element, weights) = (*element, *weights);
        let adapter_elements = adapter.as_ref().map(|adapter| adapter.elements);
        let trained = adapter_elements.unwrap_or_else(|| config.parameters());
        let width = Width { config, adapter: adapter.as_ref() };
        let head = target_rows * config.hidden;
        let inference = element * (rows * width.inference() + 2 * head);
        // Answers that diverge share target rows; logits are computed for distinct rows.
        let all_logits = target_rows * config.vocabulary * element * if divergence { 2 } else { 1 };
        let logits = all_logits.min(logit_bytes);
        // Products with packed weights need rounded copies of the buffers, two bytes per element.
        let rounded = if *packed { rows.next_multiple_of(32) * 2 * width.rounded() } else { 0 };
        let rounded_logits = if *packed { logits * 2 / element / if divergence { 2 } else { 1 } } else { 0 };
        let reference = match (divergence, adapter) {
            (false, _) => 0,
            (true, Some(_)) => inference,
            (true, None) => inference + weights,
        };
        let activations = element * (rows * (width.kept(recompute) + width.shared(recompute)) + 3 * head) + rounded;
        let logits = logits + rounded_logits;
        Self {
            held,
            weights: weights + adapter_elements.unwrap_or(0) * element,
            reference: reference + guide,
            gradients: trained * element,
            // Two moments in 32 bits.
            optimiser: trained * 8,
            activations,
            logits,
            working: WORKING + threads * WORKING_PER_THREAD.min(weights) + (activations + logits) / TEMPORARY,
            recompute,
        }
    }

    /// The setting that keeps the most within `bytes`; recomputes all blocks if none fits.
    fn within(policy: &PolicyShape, request: &MemoryRequest, bytes: usize) -> Self {
        let layers = policy.config.layers;
        // Repeating a single block saves nothing: it needs a set of buffers, too.
        [Recompute::Nothing, Recompute::Cheap]
            .into_iter()
            .chain((2..layers).map(Recompute::Blocks))
            .map(|recompute| Self::new(policy, request, recompute))
            .find(|plan| plan.total() <= bytes)
            .unwrap_or_else(|| Self::new(policy, request, Recompute::Blocks(layers)))
    }

    /// What is needed for any step and any recomputation: the process, weights, gradients and moments.
    pub fn least(&self) -> usize {
        self.held + self.weights + self.gradients + self.optimiser
    }

    /// The total.
    pub fn total(&self) -> usize {
        self.least() + self.reference + self.activations + self.logits + self.working
    }
}

impl<R: Real> Model<R> {
    /// Bytes of the weights in memory.
    pub fn bytes(&self) -> usize {
        self.tensors().iter().map(|(_, tensor)| tensor_bytes(tensor)).sum()
    }
}

fn tensor_bytes<R: Real>(tensor: &TensorRef<'_, R>) -> usize {
    match tensor {
        TensorRef::Vector(values) => size_of_val(*values),
        TensorRef::Matrix(matrix) => matrix.parts().into_iter().map(<[u8]>::len).sum(),
    }
}

/// Elements per row of the engine's buffers.
struct Width<'a> {
    config: &'a ModelConfig,
    adapter: Option<&'a AdapterShape>,
}

impl Width<'_> {
    /// Total rank of each group of one block's adapters.
    fn ranks(&self) -> &[usize] {
        self.adapter.map_or(&[], |adapter| &adapter.ranks)
    }

    fn dropout(&self) -> bool {
        self.adapter.is_some_and(|adapter| adapter.dropout)
    }

    /// One block: queries, keys, values, attention and its normalisers; the stream between the halves;
    /// gate and up; low-rank inputs.
    fn block(&self) -> usize {
        let ModelConfig { hidden, intermediate, heads, kv_heads, query_key_norm, .. } = *self.config;
        let (query, key) = (self.config.query_width(), self.config.key_width());
        let raw = if query_key_norm { query + key + heads + kv_heads } else { 0 };
        2 * query + 2 * key + heads + raw + hidden + 2 * intermediate + 2 + self.ranks().iter().sum::<usize>()
    }

    /// What the forward pass keeps: the stream before every block and after the last, and the blocks' buffers.
    fn kept(&self, recompute: Recompute) -> usize {
        let ModelConfig { hidden, layers, .. } = *self.config;
        let normed = if recompute == Recompute::Nothing { 2 * hidden } else { 0 };
        let blocks = recompute.sets(layers) * (self.block() + normed);
        (layers + 1) * hidden + blocks
    }

    /// The buffers that blocks share in both passes.
    fn shared(&self, recompute: Recompute) -> usize {
        let ModelConfig { hidden, intermediate, kv_heads, .. } = *self.config;
        let (query, key) = (self.config.query_width(), self.config.key_width());
        let normed = if recompute == Recompute::Nothing { 0 } else { hidden };
        // A batch of one tree has the most parts.
        let parts = match attention::parts(1, kv_heads) {
            1 => 0,
            parts => 2 * parts * key,
        };
        let low = self.ranks().iter().copied().max().unwrap_or(0);
        normed + 2 * hidden + intermediate + self.dropped() + 2 * query + 2 * key + parts + low
    }

    /// Rounded copies of the widest input or output, of the second output of the feed-forward part or of
    /// attention, and of the values.
    fn rounded(&self) -> usize {
        let ModelConfig { hidden, intermediate, .. } = *self.config;
        let (query, key) = (self.config.query_width(), self.config.key_width());
        let dropped = if self.dropout() { hidden.max(intermediate).max(query) } else { 0 };
        hidden.max(intermediate).max(query) + intermediate.max(key) + key + dropped
    }

    /// A pass without a backward pass: two streams and one block.
    fn inference(&self) -> usize {
        3 * self.config.hidden + self.block() + self.config.intermediate
    }

    fn dropped(&self) -> usize {
        if self.dropout() { self.config.hidden.max(self.config.intermediate) } else { 0 }
    }
}
