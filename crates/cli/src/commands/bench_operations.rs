//! The matrix products that preference training takes.

use tabpo_model::{ModelConfig, Projection};
use tabpo_train::{BatchPlan, Cursor, StepPlanner, TextSource, TrainBudget};

use crate::error::{CliError, ResultExt};

/// What is computed in one epoch.
#[derive(Default)]
pub(super) struct Work {
    rows: u64,
    /// Distinct rows at which logits are computed.
    head_rows: u64,
    /// Pairs of a row and a row that it attends to.
    scores: u64,
}

impl Work {
    /// Counts what training on a source computes in an epoch.
    pub(super) fn of_epoch(source: &TextSource<'_>, plan: BatchPlan) -> Result<Self, CliError> {
        let plan = BatchPlan { budget: TrainBudget::Epochs(1), ..plan };
        let mut work = Self::default();
        for step in StepPlanner::new(source, plan, Cursor::default()) {
            for micro in step.or_input()?.micro_batches {
                let mut rows: Vec<u32> = micro.trie.targets().iter().map(|target| target.row).collect();
                rows.sort_unstable();
                rows.dedup();
                work.rows += micro.trie.rows() as u64;
                work.head_rows += rows.len() as u64;
                work.scores +=
                    micro.trie.batch().positions.iter().map(|&position| u64::from(position) + 1).sum::<u64>();
            }
        }
        Ok(work)
    }
}

/// Floating-point operations of the matrix products, two for a multiply-add; element-wise work is not counted.
pub(super) struct Operations {
    /// Multiply-adds a row in the frozen projections.
    frozen: f64,
    /// The part of them whose input gradient nobody needs: below the first block nothing is trained.
    first: f64,
    /// Multiply-adds a row in the adapters.
    adapters: f64,
    /// Multiply-adds a target row in the head.
    head: f64,
    /// Multiply-adds a score of all heads and blocks in one product of attention.
    attention: f64,
}

impl Operations {
    /// Those of a model with adapters of one rank on all seven projections.
    pub(super) fn new(config: &ModelConfig, rank: usize) -> Self {
        let size = |projection: Projection| projection.shape(config).map(|size| size as f64);
        let products = |projection| size(projection)[0] * size(projection)[1];
        let widths = |projection| (size(projection)[0] + size(projection)[1]) * rank as f64;
        let layers = config.layers as f64;
        Self {
            frozen: layers * Projection::ALL.map(products).iter().sum::<f64>(),
            first: [Projection::Query, Projection::Key, Projection::Value].map(products).iter().sum(),
            adapters: layers * Projection::ALL.map(widths).iter().sum::<f64>(),
            head: (config.vocabulary * config.hidden) as f64,
            attention: layers * config.query_width() as f64,
        }
    }

    /// Forward and backward passes: two products of attention and five.
    pub(super) fn training(&self, work: &Work) -> f64 {
        2.0 * (work.rows as f64 * (2.0 * self.frozen - self.first + 3.0 * self.adapters)
            + 2.0 * work.head_rows as f64 * self.head
            + 7.0 * work.scores as f64 * self.attention)
    }

    /// Forward passes.
    pub(super) fn inference(&self, work: &Work) -> f64 {
        2.0 * (work.rows as f64 * self.frozen
            + work.head_rows as f64 * self.head
            + 2.0 * work.scores as f64 * self.attention)
    }
}
