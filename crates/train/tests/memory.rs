//! The memory estimate against what the engine allocates.

mod support;

use support::examples;
use tabpo_engine::{
    Compute, ForwardOptions, Gradients, Lora, LoraConfig, Model, ModelConfig, Recompute, Seed, Workspace, backward,
    forward,
};
use tabpo_train::{MemoryPlan, MemoryRequest, TokenTrie};

const SETTINGS: [Recompute; 3] = [Recompute::Nothing, Recompute::Cheap, Recompute::Blocks];

fn model(grouped: bool) -> Model<f32> {
    let mut config = ModelConfig::small(64, 96, 4, 6);
    if grouped {
        config.kv_heads = 2;
        config.query_key_norm = true;
    }
    Model::initialise(config, 1)
}

fn trie() -> TokenTrie {
    let mut trie = TokenTrie::new();
    for example in examples(40, 2, 1) {
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
        if model.freeze(compute) != compute {
            println!("skipped: this machine has no instructions for products in bf16");
            continue;
        }
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
                model: &model,
                adapter: adapter.as_ref(),
                rows: trie.rows(),
                target_rows: distinct_rows(&trie),
                logit_bytes: options.logit_bytes,
                divergence: false,
            };
            let plan = MemoryPlan::new(&request, recompute);
            let mut workspace = Workspace::new();
            let found = forward(&model, adapter.as_ref(), trie.batch(), trie.targets(), &options, &mut workspace);
            let seed = vec![1.0; found.len()];
            let seed = Seed { log_probabilities: &seed, divergences: None };
            backward(&model, adapter.as_ref(), trie.batch(), &seed, &mut workspace, &mut gradients);
            let (estimate, actual) = ((plan.activations + plan.logits) as f64, workspace.bytes() as f64);
            // The rest are the operations' own buffers.
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
        model: &model,
        adapter: Some(&adapter),
        rows: 2000,
        target_rows: 500,
        logit_bytes: 1 << 20,
        divergence: true,
    };
    let totals = SETTINGS.map(|recompute| MemoryPlan::new(&request, recompute).total());
    assert!(totals[0] > totals[1] && totals[1] > totals[2]);
    for (recompute, total) in SETTINGS.into_iter().zip(totals) {
        assert_eq!(MemoryPlan::within(&request, total).recompute, recompute);
    }
    assert_eq!(MemoryPlan::within(&request, 1).recompute, Recompute::Blocks);
}
