//! The memory of a run: compared with what is free before anything is written, reported before a training starts, and
//! measured after it.

mod machine;

use tabpo_engine::{GenerationMemory, MemoryPlan, MemoryRequest, Recompute};

pub(crate) use self::machine::processor;
use self::machine::{Free, free};
use crate::{error::Error, observer::Observer};

/// What the memory of a training run depends on, apart from its policy: rows of the largest micro-batch, most bytes of
/// logits to keep, whether the objective needs the KL divergence from the reference, bytes of a guide model, and bytes
/// that the process held before the models were read (see [`held`]).
pub fn request(rows: usize, logit_bytes: usize, divergence: bool, guide: usize, held: usize) -> MemoryRequest {
    let threads = rayon::current_num_threads();
    MemoryRequest { rows, target_rows: rows, logit_bytes, divergence, guide, held, threads }
}

/// The bytes that a training run should stay below: those of `limit_gb`, or else what the process holds and 60 % of the
/// free memory, which leaves the rest to other programs and to cached files. Processes that train together on this machine,
/// `sharing` in number, share that. `None` if neither is known.
pub fn limit(limit_gb: Option<f64>, held: usize, sharing: usize) -> Option<usize> {
    match limit_gb {
        Some(limit) => Some((limit * 1e9) as usize),
        None => free().map(|free| held + free.bytes / 10 * 6 / sharing),
    }
}

/// The bytes of memory that are free; `None` where the operating system doesn't say.
pub fn free_bytes() -> Option<usize> {
    free().map(|free| free.bytes)
}

/// Reports the estimate for a training run beside the smallest possible one, and warns if no setting stays within
/// `limit_gb`.
///
/// What the backward pass needs of the forward pass is either kept or computed again. As much is kept as the limit
/// allows (see [`limit`]): everything; or all but the normalised inputs, which are recomputed in one percent of the time;
/// or only the inputs of some or all blocks, each of which takes its forward pass again, up to a third of the time of a
/// step. Results are the same to the last bit.
pub fn say(stage: &str, plan: &MemoryPlan, smallest: &MemoryPlan, limit_gb: Option<f64>, observer: &dyn Observer) {
    observer.say(&format!(
        "{stage}: estimated memory at most {:.0} MB (process {:.0}, weights {:.0}, gradients and optimiser {:.0}, \
         activations {:.0}, logits {:.0}), recomputed: {}; at least {:.0} MB with all blocks recomputed (memory_gb)",
        megabytes(plan.total()),
        megabytes(plan.held + plan.working),
        megabytes(plan.weights + plan.reference),
        megabytes(plan.gradients + plan.optimiser),
        megabytes(plan.activations),
        megabytes(plan.logits),
        name(plan.recompute),
        megabytes(smallest.total()),
    ));
    if let Some(limit) = limit_gb.filter(|limit| plan.total() as f64 > limit * 1e9) {
        observer
            .warn(&format!("{stage}: no setting stays below {limit} GB; lower max_tokens or max_length to use less"));
    }
}

/// Reports the least memory that a training run takes of a card; as much as the card has is used beyond it, so that less is
/// computed again.
pub fn say_of_card(stage: &str, smallest: &MemoryPlan, observer: &dyn Observer) {
    observer.say(&format!(
        "{stage}: at least {} of the card's memory (weights {}, gradients and optimiser {}, buffers {})",
        size(smallest.total() - smallest.held),
        size(smallest.weights + smallest.reference),
        size(smallest.gradients + smallest.optimiser),
        size(smallest.activations + smallest.working),
    ));
}

/// How many sequences, at most `wanted`, can be decoded together within a limit, or else in the free memory. If that is
/// fewer, it is reported. `held` is what the process held before the model was read.
pub fn sequences(
    stage: &str,
    plan: &GenerationMemory,
    wanted: usize,
    held: usize,
    limit_gb: Option<f64>,
    observer: &dyn Observer,
) -> usize {
    let (space, bound) = match (limit_gb, free()) {
        (Some(limit), _) => ((limit * 1e9) as usize, format!("the limit of {limit} GB")),
        // The model is read already, so its weights no longer count as free.
        (None, Some(free)) => (free.bytes + held + plan.weights, format!("{} of free memory", size(free.bytes))),
        (None, None) => return wanted,
    };
    let (count, message) = within(stage, plan, wanted, held, space, &bound);
    if let Some(message) = message {
        observer.warn(&message);
    }
    count
}

/// The same for a model on a card that has `free` bytes left beside the model's weights.
pub fn sequences_on_card(
    stage: &str,
    plan: &GenerationMemory,
    wanted: usize,
    free: u64,
    observer: &dyn Observer,
) -> usize {
    let free = (free / 100 * 95) as usize;
    let bound = format!("{} of the card's free memory", size(free));
    let (count, message) = within(stage, plan, wanted, 0, free + plan.weights, &bound);
    if let Some(message) = message {
        observer.warn(&message);
    }
    count
}

/// The number of sequences that fit into `space`, at least one, and what there is to say about it.
fn within(
    stage: &str,
    plan: &GenerationMemory,
    wanted: usize,
    held: usize,
    space: usize,
    bound: &str,
) -> (usize, Option<String>) {
    let fits = space.saturating_sub(held + plan.total(0)) / plan.sequence.max(1);
    if fits >= wanted {
        return (wanted, None);
    }
    let each = format!("a sequence takes up to {}", size(plan.sequence));
    let message = if fits == 0 {
        let least = size(held + plan.total(1));
        format!(
            "{stage}: {bound} may be exceeded: one sequence with the model takes up to {least}; lower max_new_tokens to use less"
        )
    } else {
        format!("{stage}: {fits} instead of {wanted} sequences are decoded together, because of {bound} ({each})")
    };
    (fits.max(1), Some(message))
}

/// Compares the plan of a training run with the free memory. It is an error if weights, gradients and the optimiser's
/// state alone are more than that, and a warning if its largest step would be.
pub fn compare_with_free(stage: &str, plan: &MemoryPlan, observer: &dyn Observer) -> Result<(), Error> {
    let Some(free) = free() else { return Ok(()) };
    if let Some(warning) = verdict(stage, plan, &free)? {
        observer.warn(&warning);
    }
    Ok(())
}

/// The error or the warning, if any, about a plan with this much free memory.
fn verdict(stage: &str, plan: &MemoryPlan, free: &Free) -> Result<Option<String>, Error> {
    // What the process already holds does not count as free.
    let least = plan.least() - plan.held;
    let most = plan.total() - plan.held;
    if least > free.bytes {
        return Err(Error::input(format!(
            "{stage}: weights, gradients and optimiser take {}, but {} of memory are free ({})",
            size(least),
            size(free.bytes),
            free.bound,
        ))
        .with_hint("take a smaller model, or train an [adapter] of low rank instead of all parameters"));
    }
    let tight = most > free.bytes;
    Ok(tight.then(|| {
        format!(
            "{stage}: a step of max_tokens may take {}, but {} of memory are free ({}); set memory_gb or \
             lower max_tokens to use less",
            size(most),
            size(free.bytes),
            free.bound,
        )
    }))
}

/// What the backward pass computes again.
pub fn name(recompute: Recompute) -> String {
    match recompute {
        Recompute::Nothing => "nothing".to_owned(),
        Recompute::Cheap => "normalised inputs".to_owned(),
        Recompute::Blocks(count) => format!("the first {count} blocks"),
    }
}

/// Bytes as megabytes.
pub fn megabytes(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}

/// Bytes with a unit: gigabytes, or megabytes if it is less than one.
pub fn size(bytes: usize) -> String {
    if bytes >= 1_000_000_000 { format!("{:.1} GB", bytes as f64 / 1e9) } else { format!("{:.0} MB", megabytes(bytes)) }
}

/// The peak resident memory of this process; `None` where the operating system does not report it.
pub fn peak_resident_bytes() -> Option<u64> {
    status("VmHWM:").map(|bytes| bytes as u64)
}

/// The memory in use by this process, after freed memory has been released; 0 where the operating system does not
/// report it.
pub fn held(observer: &dyn Observer) -> usize {
    observer.release_memory();
    status("VmRSS:").unwrap_or(0)
}

fn status(key: &str) -> Option<usize> {
    machine::kilobytes(&std::fs::read_to_string("/proc/self/status").ok()?, key)
}

#[cfg(test)]
mod tests {
    use tabpo_engine::PolicyShape;
    use tabpo_model::{LoraConfig, ModelConfig};

    use super::*;

    fn judged(hidden: usize, adapter: Option<usize>, rows: usize, bytes: usize) -> Result<Option<String>, Error> {
        let config = ModelConfig::small(1024, hidden, 8, 4);
        let adapter = adapter.map(|rank| LoraConfig::new(rank, 16.0));
        let policy = PolicyShape::planned(&config, None, adapter.as_ref());
        let request = request(rows, 64 << 20, false, 0, 60 << 20);
        verdict("sft", &policy.plan(&request, None), &Free { bytes, bound: "the system" })
    }

    #[test]
    fn what_can_never_fit_is_refused() {
        let error = judged(4096, None, 64, 1 << 30).expect_err("gigabytes of weights");
        assert!(error.messages[0].starts_with("sft: weights, gradients and optimiser take "), "{error:?}");
        assert!(error.messages[0].contains("1.1 GB of memory are free (the system)"), "{error:?}");
        assert!(judged(4096, Some(8), 64, 9 << 30).is_ok(), "the same model under an adapter");
    }

    #[test]
    fn as_many_sequences_are_decoded_together_as_fit() {
        let plan = GenerationMemory { weights: 300 << 20, fixed: 100 << 20, sequence: 50 << 20 };
        let count = |space: usize| within("predict", &plan, 8, 20 << 20, space << 20, "the limit");
        assert_eq!(count(820), (8, None));
        let (fits, message) = count(819);
        assert_eq!(fits, 7);
        assert!(message.expect("fewer than wanted").starts_with("predict: 7 instead of 8 sequences"));
        let (fits, message) = count(400);
        assert_eq!(fits, 1);
        assert!(message.expect("not even one").contains("the limit may be exceeded"));
    }

    #[test]
    fn a_large_step_is_warned_about() {
        let warning = judged(256, None, 100_000, 1 << 30).expect("weights fit").expect("a step does not");
        assert!(warning.contains("max_tokens"), "{warning}");
        assert_eq!(judged(256, None, 1000, 1 << 30).expect("it fits"), None);
    }
}
