//! The memory estimate against what the engine allocates.

mod support;

use support::examples;
use tabpo_engine::{
    Compute, ForwardOptions, Gradients, Lora, MemoryPlan, MemoryRequest, Model, OutputGradient, PolicyShape, Recompute,
    Workspace, backward, forward,
};
use tabpo_model::{LoraConfig, ModelConfig};
use tabpo_objective::Needs;
use tabpo_train::{BatchPlan, Cursor, StepPlanner, TokenTrie, TrainBudget, largest_micro_batch};

const SETTINGS: [Recompute; 4] = [Recompute::Nothing, Recompute::Cheap, Recompute::Blocks(2), Recompute::Blocks(4)];

fn model(grouped: bool) -> Model<f32> {
    let mut config = ModelConfig::small(64, 96, 4, 6);
    if grouped {
        config.kv_heads = 2;
        config.query_key_norm = true;
    }
    Model::initialise(config, 1)
}

/// Examples on one prompt: the backward pass splits a single tree into parts, which take the most memory.
fn trie() -> TokenTrie {
    let mut trie = TokenTrie::new();
    for mut example in examples(40, 2, 1) {
        example.prompt.splice(0..0, (0..20).map(|index| 1 + index % 7));
        trie.insert(&example);
    }
    trie
}

fn distinct_rows(trie: &TokenTrie) -> usize {
    let rows: std::collections::BTreeSet<u32> = trie.targets().iter().map(|target| target.row).collect();
    rows.len()
}

#[test]
fn the_estimate_is_what_the_engine_allocates() {
    let trie = trie();
    let cases = [(false, None, Compute::F32), (true, Some(0.0), Compute::F32), (true, Some(0.1), Compute::F32)];
    for (grouped, dropout, compute) in cases.into_iter().chain([(true, Some(0.0), Compute::Bf16)]) {
        let mut model = model(grouped);
        assert_eq!(model.freeze(compute), compute);
        let adapter = dropout.map(|dropout| {
            let config = LoraConfig { dropout, ..LoraConfig::new(8, 16.0) };
            Lora::initialise(&model.config, config, 2)
        });
        let mut gradients = match &adapter {
            Some(adapter) => Gradients::lora(&model, adapter),
            None => Gradients::full(&model),
        };
        for recompute in SETTINGS {
            let options = ForwardOptions { recompute, dropout_seed: Some(3), ..ForwardOptions::default() };
            let request = MemoryRequest {
                rows: trie.rows(),
                target_rows: distinct_rows(&trie),
                logit_bytes: options.logit_bytes,
                divergence: false,
                guide: 0,
                held: 0,
                threads: 1,
            };
            let shape = PolicyShape::of(&model, adapter.as_ref());
            let plan = MemoryPlan::new(&shape, &request, recompute);
            let mut workspace = Workspace::new();
            let found = forward(&model, adapter.as_ref(), trie.batch(), trie.targets(), &options, &mut workspace);
            let gradient = vec![1.0; found.len()];
            let output = OutputGradient { log_probabilities: &gradient, divergences: None };
            backward(&model, adapter.as_ref(), trie.batch(), &output, &mut workspace, &mut gradients);
            let (estimate, actual) = ((plan.activations + plan.logits) as f64, workspace.bytes() as f64);
            // The remaining bytes are temporary buffers of single operations.
            assert!(
                (0.85..=1.0).contains(&(estimate / actual)),
                "{recompute:?} {dropout:?} {compute:?}: {estimate} of {actual}"
            );
        }
    }
}

#[test]
fn the_setting_that_keeps_most_within_the_budget_is_chosen() {
    let model = model(false);
    let adapter = Lora::initialise(&model.config, LoraConfig::new(8, 16.0), 2);
    let request = MemoryRequest {
        rows: 2000,
        target_rows: 500,
        logit_bytes: 1 << 20,
        divergence: true,
        guide: 0,
        held: 0,
        threads: 2,
    };
    let shape = PolicyShape::of(&model, Some(&adapter));
    let totals = SETTINGS.map(|recompute| MemoryPlan::new(&shape, &request, recompute).total());
    assert!(totals.is_sorted_by(|larger, smaller| larger > smaller));
    for (recompute, total) in SETTINGS.into_iter().zip(totals) {
        assert_eq!(shape.plan(&request, Some(total)).recompute, recompute);
    }
    assert_eq!(shape.plan(&request, Some(1)).recompute, Recompute::Blocks(4));
}

#[test]
fn a_model_that_is_not_there_yet_has_the_same_plan() {
    for (grouped, rank) in [(false, None), (false, Some(8)), (true, Some(3))] {
        let model = model(grouped);
        let config = rank.map(|rank| LoraConfig { dropout: 0.1, ..LoraConfig::new(rank, 16.0) });
        let adapter = config.clone().map(|config| Lora::initialise(&model.config, config, 2));
        let there = PolicyShape::of(&model, adapter.as_ref());
        let planned = PolicyShape::planned(&model.config, None, config.as_ref());
        let [there, planned] = [&there, &planned].map(|policy| {
            let request = MemoryRequest {
                rows: 500,
                target_rows: 100,
                logit_bytes: 1 << 20,
                divergence: rank.is_none(),
                guide: 0,
                held: 0,
                threads: 1,
            };
            MemoryPlan::new(policy, &request, Recompute::Cheap)
        });
        assert_eq!(there, planned, "{grouped} {rank:?}");
    }
}

#[test]
fn what_the_process_holds_is_within_the_limit_too() {
    let model = model(false);
    let policy = PolicyShape::of(&model, None);
    let request = MemoryRequest {
        rows: 2000,
        target_rows: 500,
        logit_bytes: 1 << 20,
        divergence: false,
        guide: 0,
        held: 0,
        threads: 1,
    };
    let alone = MemoryPlan::new(&policy, &request, Recompute::Nothing);
    let beside = MemoryRequest { held: 1 << 20, guide: 1 << 19, ..request };
    assert_eq!(MemoryPlan::new(&policy, &beside, Recompute::Nothing).total(), alone.total() + (1 << 20) + (1 << 19));
    assert_eq!(policy.plan(&request, Some(alone.total())).recompute, Recompute::Nothing);
    assert_eq!(policy.plan(&beside, Some(alone.total())).recompute, Recompute::Cheap);
}

#[test]
fn the_largest_micro_batch_is_a_full_one_or_the_longest_example() {
    let examples = examples(12, 2, 1);
    let alone: Vec<usize> = examples
        .iter()
        .map(|example| {
            let mut trie = TokenTrie::new();
            trie.insert(example);
            trie.rows()
        })
        .collect();
    let (longest, all) = (alone.iter().copied().max().expect("an example"), alone.iter().sum::<usize>());
    let most = |batch_size, max_tokens| {
        let plan = BatchPlan { batch_size, max_tokens, seed: 1, budget: TrainBudget::Steps(1) };
        largest_micro_batch(&examples, &plan, Needs::PAIR, 64)
    };
    assert_eq!(most(12, 1), longest, "an example is never cut");
    assert_eq!(most(1, 1 << 20), longest);
    assert_eq!(most(12, 1 << 20), all, "a step may be smaller than max_tokens");
    assert_eq!(most(12, longest + 1), longest + 1);
}

#[test]
fn a_prompt_that_all_examples_share_is_planned_once() {
    let prefix: Vec<u32> = (0..40).map(|index| 1 + index % 7).collect();
    let mut examples = examples(12, 2, 3);
    for example in &mut examples {
        example.prompt.splice(0..0, prefix.iter().copied());
    }
    for (batch_size, max_tokens) in [(1, 1000), (4, 150), (4, 1000), (12, 400)] {
        let plan = BatchPlan { batch_size, max_tokens, seed: 1, budget: TrainBudget::Epochs(3) };
        let planned = largest_micro_batch(&examples, &plan, Needs::PAIR, support::VOCABULARY);
        let steps = StepPlanner::new(&examples, plan, Cursor::default());
        let micro_batches = steps.flat_map(|step| step.expect("examples in memory").micro_batches);
        let largest = micro_batches.map(|micro| micro.trie.rows()).max().expect("a step");
        assert!(largest <= planned, "{largest} rows of {planned}");
        // Without sharing: a full micro-batch, or whole steps of at least this length.
        let separate = max_tokens.min(batch_size * (prefix.len() + 3));
        assert!(batch_size == 1 || planned < separate, "{planned} rows, {separate} without sharing");
    }
}
