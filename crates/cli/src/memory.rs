//! What a run takes of the machine's memory: said before it trains, and read after.

use tabpo_engine::{Lora, Model, Recompute};
use tabpo_train::{MemoryPlan, MemoryRequest};

use crate::output::Context;

/// The plan of a training run, within `limit_gb` where that is given. Says the estimate, and warns where no
/// setting fits.
pub fn plan(
    stage: &str,
    (model, adapter): (&Model<f32>, Option<&Lora<f32>>),
    (rows, logit_bytes, divergence): (usize, usize, bool),
    limit_gb: Option<f64>,
    context: &Context,
) -> MemoryPlan {
    let request = MemoryRequest { model, adapter, rows, target_rows: rows, logit_bytes, divergence };
    let plan = match limit_gb {
        Some(limit) => MemoryPlan::within(&request, (limit * 1e9) as usize),
        None => MemoryPlan::new(&request, Recompute::default()),
    };
    context.say(format!(
        "{stage}: estimated memory {:.0} MB (weights {:.0}, gradients and optimiser {:.0}, activations {:.0}, \
         logits {:.0}), computed again: {}",
        megabytes(plan.total()),
        megabytes(plan.weights + plan.reference),
        megabytes(plan.gradients + plan.optimiser),
        megabytes(plan.activations),
        megabytes(plan.logits),
        name(plan.recompute),
    ));
    if let Some(limit) = limit_gb.filter(|limit| plan.total() as f64 > limit * 1e9) {
        context.warn(format!("{stage}: no setting stays below {limit} GB; fewer max_tokens take less"));
    }
    plan
}

/// The name of a setting.
pub fn name(recompute: Recompute) -> &'static str {
    match recompute {
        Recompute::Nothing => "nothing",
        Recompute::Cheap => "cheap",
        Recompute::Blocks => "blocks",
    }
}

/// Bytes in millions.
pub fn megabytes(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}

/// The most memory this process has had resident, where the system tells.
pub fn peak_resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}
