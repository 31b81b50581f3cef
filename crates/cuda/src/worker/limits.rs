//! What a device can't compute or hold, in words.

use tabpo_engine::{Recompute, WorkerError};
use tabpo_model::ModelConfig;

use crate::driver::DriverError;
use crate::listed::ListError;
use crate::memory::{MemoryPlan, Rung};

/// Widths that kernels read sixteen bytes at a time are multiples of this.
const WIDTH: usize = 8;
/// The largest head.
const MOST_HEAD: usize = 256;

impl From<DriverError> for WorkerError {
    fn from(error: DriverError) -> Self {
        Self::Device { message: error.to_string(), hint: error.hint().map(str::to_owned) }
    }
}

impl From<ListError> for WorkerError {
    fn from(error: ListError) -> Self {
        match error {
            ListError::Driver(error) => error.into(),
            ListError::Token { .. } | ListError::Plan(_) => Self::Device { message: error.to_string(), hint: None },
        }
    }
}

/// An error of the worker's own, with what the user can do about it.
pub(super) fn refused(message: impl Into<String>, hint: &str) -> WorkerError {
    WorkerError::Device { message: message.into(), hint: Some(hint.to_owned()) }
}

/// Whether the kernels can compute a model.
pub(super) fn supported(config: &ModelConfig) -> Result<(), WorkerError> {
    let hint = "train this model on the CPU (device = \"cpu\")";
    let widths = [
        ("hidden size", config.hidden),
        ("feed-forward width", config.intermediate),
        ("width of all query heads", config.query_width()),
        ("width of all key heads", config.key_width()),
    ];
    if let Some((name, width)) = widths.into_iter().find(|(_, width)| !width.is_multiple_of(WIDTH)) {
        return Err(refused(
            format!("a card computes widths that are multiples of {WIDTH}, but the {name} is {width}"),
            hint,
        ));
    }
    if config.head_dim > MOST_HEAD {
        let message =
            format!("a card computes heads of up to {MOST_HEAD} numbers, but the model's have {}", config.head_dim);
        return Err(refused(message, hint));
    }
    if config.output_bias || config.mlp_bias {
        return Err(refused(
            "the model has biases at its output or feed-forward projections, which a card doesn't compute",
            hint,
        ));
    }
    Ok(())
}

/// Bytes in words.
pub(super) fn gigabytes(bytes: u64) -> String {
    if bytes >= 1_000_000_000 {
        format!("{:.1} GB", bytes as f64 / 1e9)
    } else {
        format!("{:.0} MB", bytes as f64 / 1e6)
    }
}

impl MemoryPlan {
    /// The plan in the words of a worker.
    pub(super) fn for_the_engine(&self, held: usize) -> tabpo_engine::MemoryPlan {
        let lower = self.rungs.iter().filter(|&&rung| rung > Rung::Cheap).count();
        let recompute = match self.rungs.iter().max() {
            None | Some(Rung::Everything) => Recompute::Nothing,
            Some(Rung::Cheap) => Recompute::Cheap,
            Some(Rung::WithoutGateUp | Rung::Input) => Recompute::Blocks(lower),
        };
        tabpo_engine::MemoryPlan {
            held,
            weights: self.weights as usize,
            reference: self.reference as usize,
            // Of four memories, one has the parameters themselves.
            gradients: (self.trained / 4) as usize,
            optimiser: (self.trained - self.trained / 4) as usize,
            activations: self.buffers as usize,
            logits: 0,
            working: (self.lists + self.workspace) as usize,
            recompute,
        }
    }
}
