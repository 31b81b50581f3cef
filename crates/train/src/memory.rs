//! How much memory a run will take, before it takes it.

use tabpo_engine::{INPUT_GROUPS, Lora, Model, ModelConfig, Real, Recompute, TensorRef};

/// Estimated bytes of a run, by use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Weights of the model and of the adapter.
    pub weights: usize,
    /// Weights of a second model that objectives over distributions compare with, and a pass's buffers
    /// for it.
    pub reference: usize,
    /// Gradient of what is trained.
    pub gradients: usize,
    /// Moments of `AdamW`.
    pub optimiser: usize,
    /// What the forward pass keeps for the backward pass, and the buffers of both.
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
    /// Rows of the largest micro-batch.
    pub rows: usize,
    /// Distinct rows of it at which log-probs are wanted.
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
        let model_bytes: usize = model.tensors().iter().map(|(_, tensor)| tensor_bytes(tensor)).sum();
        let adapter_elements = adapter.map(|adapter| adapter.parameters().iter().map(|part| part.len()).sum::<usize>());
        let trained = adapter_elements.unwrap_or_else(|| model.config.parameters());
        let ranks = adapter.map_or(0, ranks);
        let inference =
            rows * element * pass_elements(&model.config, ranks) + target_rows * model.config.hidden * element;
        let logits = (target_rows * model.config.vocabulary * element).min(logit_bytes);
        Self {
            weights: model_bytes + adapter_elements.unwrap_or(0) * element,
            reference: match (divergence, adapter) {
                (false, _) => 0,
                (true, Some(_)) => inference,
                (true, None) => inference + model_bytes,
            },
            gradients: trained * element,
            // Two moments in 32 bits.
            optimiser: trained * 8,
            activations: rows * element * kept_elements(&model.config, ranks, recompute) + 2 * inference,
            logits: if divergence { 2 * logits } else { logits },
            recompute,
        }
    }

    /// The setting that keeps the most within `bytes`; recomputing whole blocks if none fits.
    pub fn within<R: Real>(request: &MemoryRequest<'_, R>, bytes: usize) -> Self {
        let blocks = Self::new(request, Recompute::Blocks);
        [Recompute::Nothing, Recompute::Cheap]
            .map(|recompute| Self::new(request, recompute))
            .into_iter()
            .find(|plan| plan.total() <= bytes)
            .unwrap_or(blocks)
    }

    /// All of it.
    pub fn total(&self) -> usize {
        self.weights + self.reference + self.gradients + self.optimiser + self.activations + self.logits
    }
}

fn tensor_bytes<R: Real>(tensor: &TensorRef<'_, R>) -> usize {
    match tensor {
        TensorRef::Vector(values) => size_of_val(*values),
        TensorRef::Matrix(matrix) => match matrix.as_stored() {
            Some((_, bytes)) => bytes.len(),
            None => matrix.rows() * matrix.columns() * size_of::<R>(),
        },
    }
}

/// Ranks of one block's adapters together.
fn ranks<R: Real>(adapter: &Lora<R>) -> usize {
    debug_assert!(adapter.layers.iter().all(|groups| groups.len() == INPUT_GROUPS.len()));
    adapter.layers.first().map_or(0, |groups| groups.iter().map(tabpo_engine::LoraGroup::ranks).sum())
}

/// Elements a row that one block's forward pass makes.
fn block_elements(config: &ModelConfig, ranks: usize) -> usize {
    let attention = 2 * config.query_width() + 2 * config.key_width() + config.heads;
    // The stream after attention, gate and up; low-rank products; norms of the two inputs.
    config.hidden + attention + 2 * config.intermediate + ranks + 2
}

/// Elements a row that the forward pass keeps for the backward pass.
fn kept_elements(config: &ModelConfig, ranks: usize, recompute: Recompute) -> usize {
    let inputs = (config.layers + 1) * config.hidden;
    let block = block_elements(config, ranks);
    inputs
        + match recompute {
            Recompute::Nothing => config.layers * (block + 2 * config.hidden),
            Recompute::Cheap => config.layers * block,
            Recompute::Blocks => block,
        }
}

/// Elements a row of the buffers that one pass shares among its blocks.
fn pass_elements(config: &ModelConfig, ranks: usize) -> usize {
    2 * config.hidden + config.intermediate + config.query_width() + 2 * config.key_width() + ranks
}
