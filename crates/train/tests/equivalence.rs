//! Tries, packing and accumulation do not change the numbers.

mod support;

use support::{adapter, adapting, distance, examples, full, model, run, settings};
use tabpo_engine::{
    AdamWConfig, Batch, ForwardOptions, Gradients, HostWorker, Model, OutputGradient, Real, Segment, Target, Workspace,
    backward, forward,
};
use tabpo_train::{
    ReferenceCache, RejectedAnswer, TokenTrie, TokenisedAnswer, TokenisedExample, TrainBudget, TrainSettings, gather,
    log_probs, scatter_add,
};

/// Log-probs of the answers with every answer as a separate sequence. Adds the gradient of `Σ weight · log-prob`
/// with weights `weight(answer, position)`.
fn separately<R: Real>(
    model: &Model<R>,
    example: &TokenisedExample,
    weight: impl Fn(usize, usize) -> f64,
    gradients: &mut Gradients<R>,
) -> Vec<Vec<f64>> {
    let mut results = Vec::new();
    for (number, answer) in example.answers().enumerate() {
        let tokens = [&example.prompt[..], &answer.tokens[..answer.tokens.len() - 1]].concat();
        let rows = tokens.len();
        let batch = Batch {
            positions: (0..rows as u32).collect(),
            tokens,
            segments: vec![Segment { rows: 0..rows, context: Vec::new() }],
        };
        let first = example.prompt.len() as u32 - 1;
        let targets: Vec<Target> = (first..).zip(&answer.tokens).map(|(row, &token)| Target { row, token }).collect();
        let mut workspace = Workspace::new();
        let found = forward(model, None, &batch, &targets, &ForwardOptions::default(), &mut workspace);
        let gradient: Vec<f64> = (0..answer.tokens.len()).map(|position| weight(number, position)).collect();
        let output = OutputGradient { log_probabilities: &gradient, divergences: None };
        backward(model, None, &batch, &output, &mut workspace, gradients);
        results.push(found);
    }
    results
}

fn check_trie_against_sequences<R: Real>(loss_tolerance: f64, gradient_tolerance: f64) {
    let model = model::<R>(1);
    let examples = examples(5, 4, 2);
    let weight = |answer: usize, position: usize| (1.0 + answer as f64) * (0.3 - 0.1 * position as f64);

    let mut separate = Gradients::full(&model);
    let mut trie = TokenTrie::new();
    let placed: Vec<_> = examples.iter().map(|example| trie.insert(example)).collect();
    assert!(trie.rows() * 2 < trie.separate_rows(), "the examples share prefixes");
    let mut workspace = Workspace::new();
    let options = ForwardOptions::default();
    let found = forward(&model, None, trie.batch(), trie.targets(), &options, &mut workspace);
    let mut output_gradient = vec![0.0; found.len()];
    for (example, targets) in examples.iter().zip(&placed) {
        let expected = separately(&model, example, weight, &mut separate);
        let lists = std::iter::once(&targets.chosen).chain(&targets.rejected);
        for (number, (list, expected)) in lists.zip(&expected).enumerate() {
            for (a, b) in gather(&found, list).iter().zip(expected) {
                assert!((a - b).abs() <= loss_tolerance * b.abs().max(1.0), "{a} and {b}");
            }
            let gradient: Vec<f64> = (0..list.len()).map(|position| weight(number, position)).collect();
            scatter_add(&mut output_gradient, list, &gradient);
        }
    }
    let mut packed = Gradients::full(&model);
    let output = OutputGradient { log_probabilities: &output_gradient, divergences: None };
    backward(&model, None, trie.batch(), &output, &mut workspace, &mut packed);
    let norm = separate.norm();
    for (a, b) in packed.parts_mut().into_iter().zip(separate.parts_mut()) {
        for (a, b) in a.iter().zip(b) {
            assert!((a.to_f64() - b.to_f64()).abs() <= gradient_tolerance * norm, "{a:?} and {b:?}");
        }
    }
}

#[test]
fn a_trie_gives_the_log_probs_and_gradients_of_separate_sequences() {
    check_trie_against_sequences::<f64>(1e-12, 1e-12);
    check_trie_against_sequences::<f32>(1e-5, 1e-5);
}

/// Settings under which an `AdamW` step is a smooth function of the gradient: with an epsilon much smaller than the
/// gradient's elements, their rounding could decide the sign of a step.
fn smooth(objective: &str) -> TrainSettings {
    let mut settings = settings(objective, TrainBudget::Steps(3));
    settings.optimiser = AdamWConfig { epsilon: 1e-2, ..AdamWConfig::default() };
    settings
}

/// Runs the same training twice and returns the distance between the results.
fn difference(examples: [&[TokenisedExample]; 2], settings: [&TrainSettings; 2], with_adapter: bool) -> f64 {
    let model = model::<f64>(3);
    let [(first, records), (second, others)] = [0, 1].map(|number| {
        let worker = if with_adapter { adapting(&model, adapter(&model, 0.0)) } else { full(&model) };
        run(worker, examples[number], settings[number])
    });
    for (a, b) in records.iter().zip(&others) {
        assert!((a.loss - b.loss).abs() < 1e-9, "losses {} and {}", a.loss, b.loss);
        assert!((a.gradient_norm / b.gradient_norm - 1.0).abs() < 1e-9, "{} and {}", a.gradient_norm, b.gradient_norm);
    }
    assert!(with_adapter || distance(&first, full(&model).policy()) > 1e-5, "training moves the model");
    distance(&first, &second)
}

#[test]
fn accumulated_micro_batches_equal_one_large_batch() {
    let examples = examples(12, 3, 4);
    for (objective, with_adapter) in [("tab-po", true), ("dpo", false), ("sft", false), ("tdpo1", true), ("rpo", true)]
    {
        let whole = smooth(objective);
        let mut parts = whole.clone();
        parts.plan.max_tokens = 30;
        let distance = difference([&examples, &examples], [&whole, &parts], with_adapter);
        assert!(distance < 1e-9, "{objective}: {distance}");
    }
}

#[test]
fn packed_fine_tuning_equals_one_sequence_at_a_time() {
    let examples = examples(12, 0, 5);
    let packed = smooth("continued-sft");
    let mut alone = packed.clone();
    alone.plan.max_tokens = 1;
    let distance = difference([&examples, &examples], [&packed, &alone], false);
    assert!(distance < 1e-9, "{distance}");
}

#[test]
fn one_trie_of_k_negatives_equals_k_pairs() {
    let tries = examples(4, 3, 6);
    let pair = |example: &TokenisedExample, rejected: &RejectedAnswer| TokenisedExample {
        rejected: vec![rejected.clone()],
        ..example.clone()
    };
    let pairs: Vec<_> = tries.iter().flat_map(|e| e.rejected.iter().map(|r| pair(e, r))).collect();
    for objective in ["tab-po", "dpo", "ipo", "tab-po-released"] {
        let whole = smooth(objective);
        let mut apart = whole.clone();
        apart.plan.batch_size = pairs.len();
        apart.plan.max_tokens = 1;
        let distance = difference([&tries, &pairs], [&whole, &apart], false);
        assert!(distance < 1e-9, "{objective}: {distance}");
    }
}

#[test]
fn log_probs_do_not_depend_on_the_packing() {
    let model = model::<f64>(7);
    let examples = examples(6, 2, 8);
    let adapter = adapter(&model, 0.0);
    let mut worker = HostWorker::frozen(model, Some(adapter));
    let mut found = |examples: &[TokenisedExample], max_tokens| {
        let mut cache = ReferenceCache::in_memory();
        log_probs(&mut worker, &[0; 32], examples, max_tokens, &mut cache).expect("log-probs").0
    };
    let together = found(&examples, 10_000);
    for (example, together) in examples.iter().zip(together) {
        let alone = found(std::slice::from_ref(example), 1);
        for (a, b) in alone[0].chosen.iter().zip(&together.chosen) {
            assert!((a - b).abs() < 1e-12);
        }
    }
}

#[test]
fn a_right_token_after_a_mistake_is_predicted_where_the_answer_was_left() {
    let model = model::<f64>(31);
    let (mut checked, options) = (0, ForwardOptions::default());
    for example in examples(8, 3, 32) {
        let mut trie = TokenTrie::new();
        let targets = trie.insert(&example);
        let found = forward(&model, None, trie.batch(), trie.targets(), &options, &mut Workspace::new());
        for (rejected, targets) in example.rejected.iter().zip(&targets.choices) {
            assert_eq!(rejected.answer.choices.len(), targets.len());
            for (choice, targets) in rejected.answer.choices.iter().zip(targets) {
                for (token, target) in choice.tokens.iter().zip(targets) {
                    // The answer up to the choice, and the right token, as a sequence of its own.
                    let mut alone = example.clone();
                    alone.rejected.clear();
                    alone.chosen = TokenisedAnswer::unlabelled(
                        rejected.answer.tokens[..choice.position].iter().chain([token]).copied().collect(),
                    );
                    let expected = separately(&model, &alone, |_, _| 0.0, &mut Gradients::full(&model));
                    let expected = expected[0].last().expect("an answer has a token");
                    assert!((found[*target as usize] - expected).abs() < 1e-9, "{choice:?}");
                    checked += 1;
                }
            }
        }
        // Choices add no rows.
        let mut bare = example.clone();
        bare.rejected.iter_mut().for_each(|rejected| rejected.answer.choices.clear());
        let mut without = TokenTrie::new();
        without.insert(&bare);
        assert_eq!(trie.rows(), without.rows());
    }
    assert!(checked > 50, "{checked}");
}
