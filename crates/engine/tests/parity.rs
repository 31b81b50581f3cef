//! Logits, gradients and continuations equal those of transformers and peft.

mod common;

use common::{FAMILIES, all_logits, assert_close, batch, expected, fixture, tensors};
use tabpo_engine::{
    ForwardOptions, GenerateOptions, Gradients, HostWorker, Lora, Model, OutputGradient, Request, Sampling, Target,
    Workspace, backward, forward, generate, logits,
};

/// Largest absolute difference of a logit; logits of the fixtures have a standard deviation of about 1.
const LOGITS: f32 = 1e-4;

#[derive(serde::Deserialize)]
struct Continuation {
    prompt: Vec<u32>,
    greedy: Vec<u32>,
}

#[test]
fn logits_of_every_family() {
    for family in FAMILIES {
        let folder = fixture(family);
        let model = Model::<f32>::open(&folder).expect(family);
        let reference = tensors(&folder.join("expected.safetensors"));
        for (i, found) in all_logits(&model, None, &expected(&folder).input_ids).iter().enumerate() {
            assert_close(found, &reference[&format!("logits.{i}")], LOGITS, &format!("{family}, sequence {i}"));
        }
    }
}

/// Rotary scalings and attention windows: the weights of a family with another configuration.
#[test]
fn logits_of_every_variant() {
    let variants = std::fs::read_dir(fixture("variants")).expect("variants");
    let mut count = 0;
    for variant in variants.map(|entry| entry.expect("an entry").path()) {
        let base: serde_json::Value =
            serde_json::from_slice(&std::fs::read(variant.join("base.json")).expect("base")).expect("base");
        let base = fixture(base["weights"].as_str().expect("a name"));
        let folder = tempfile::tempdir().expect("temporary folder");
        for file in std::fs::read_dir(&base).expect("a family").map(|entry| entry.expect("an entry")) {
            if file.file_name().to_string_lossy().starts_with("model") {
                std::fs::copy(file.path(), folder.path().join(file.file_name())).expect("copying");
            }
        }
        std::fs::copy(variant.join("config.json"), folder.path().join("config.json")).expect("copying");
        let model = Model::<f32>::open(folder.path()).expect("opening");
        let reference = tensors(&variant.join("expected.safetensors"));
        // One at a time, because dynamic scaling depends on the longest sequence of a batch.
        for (i, ids) in expected(&base).input_ids.into_iter().enumerate() {
            let found = all_logits(&model, None, &[ids]).remove(0);
            assert_close(
                &found,
                &reference[&format!("logits.{i}")],
                LOGITS,
                &format!("{}, sequence {i}", variant.display()),
            );
        }
        count += 1;
    }
    assert_eq!(count, 8);
}

/// With dynamic rotary scaling beyond the designed length, the results for a sequence depend on that sequence only.
#[test]
fn dynamic_scaling_follows_each_sequence() {
    let variant = fixture("variants").join("llama-dynamic");
    let folder = tempfile::tempdir().expect("temporary folder");
    std::fs::copy(fixture("llama").join("model.safetensors"), folder.path().join("model.safetensors"))
        .expect("copying");
    std::fs::copy(variant.join("config.json"), folder.path().join("config.json")).expect("copying");
    let model = Model::<f32>::open(folder.path()).expect("opening");
    let reference = tensors(&variant.join("expected.safetensors"));
    let sequences = expected(&fixture("llama")).input_ids;
    assert!(sequences[0].len() > model.config.max_positions && sequences[2].len() < model.config.max_positions);
    // Shorter sequences after the longest, with the same buffers.
    let mut workspace = Workspace::new();
    for (i, ids) in sequences.iter().enumerate() {
        let batch = batch(std::slice::from_ref(ids));
        let rows: Vec<u32> = (0..ids.len() as u32).collect();
        let found = logits(&model, None, &batch, &rows, &mut workspace);
        assert_close(&found, &reference[&format!("logits.{i}")], LOGITS, &format!("sequence {i}"));
    }
    let record: Continuation =
        serde_json::from_slice(&std::fs::read(variant.join("base.json")).expect("base")).expect("base");
    let request = |prompt: &[u32]| Request { prompt: prompt.to_vec(), constraint: None };
    // Alone, and beside a longer and a shorter prompt.
    let longer: Vec<u32> = record.prompt.iter().chain(&sequences[0]).copied().collect();
    for others in [vec![], vec![request(&longer), request(&sequences[2])]] {
        let requests: Vec<Request> = std::iter::once(request(&record.prompt)).chain(others).collect();
        let options = GenerateOptions {
            max_new_tokens: record.greedy.len(),
            sampling: Sampling::GREEDY,
            stop: Vec::new(),
            batch: 3,
            log_probs: false,
        };
        let found = generate(&mut HostWorker::frozen(model.clone(), None), None, &requests, &options, |_| {}, || false)
            .expect("generation");
        assert_eq!(found[0].tokens, record.greedy);
    }
}

#[test]
fn logits_with_adapters_made_by_peft() {
    for family in FAMILIES {
        let folder = fixture(family);
        let model = Model::<f32>::open(&folder).expect(family);
        let reference = tensors(&folder.join("expected.safetensors"));
        for adapter in ["adapter", "adapter-patterns", "adapter-all-linear", "adapter-layers"] {
            if !folder.join(adapter).exists() {
                continue;
            }
            let lora = Lora::open(&folder.join(adapter), &model.config).expect(adapter);
            for (i, found) in all_logits(&model, Some(&lora), &expected(&folder).input_ids).iter().enumerate() {
                let name = format!("{adapter}.logits.{i}");
                assert_close(found, &reference[&name], LOGITS, &format!("{family}, {name}"));
            }
        }
    }
}

/// The gradient of the mean log-probability of the last tokens with respect to every LoRA matrix.
#[test]
fn gradients_of_every_lora_matrix() {
    for family in FAMILIES {
        let folder = fixture(family);
        let model = Model::<f32>::open(&folder).expect(family);
        let lora = Lora::open(&folder.join("adapter"), &model.config).expect("adapter");
        let reference = tensors(&folder.join("expected.safetensors"));
        let expected = expected(&folder);
        let ids = &expected.input_ids[0];
        let batch = batch(std::slice::from_ref(ids));
        let targets: Vec<Target> = (expected.gradient_of_tokens_from..ids.len())
            .map(|position| Target { row: position as u32 - 1, token: ids[position] })
            .collect();
        let mut workspace = Workspace::new();
        let log_probs = forward(&model, Some(&lora), &batch, &targets, &ForwardOptions::default(), &mut workspace);
        let mean = log_probs.iter().sum::<f64>() / log_probs.len() as f64;
        assert!((mean - expected.mean_log_prob).abs() < 1e-4, "{family}: {mean} and {}", expected.mean_log_prob);
        let mut gradients = Gradients::lora(&model, &lora);
        let output_weights = vec![1.0 / targets.len() as f64; targets.len()];
        let output = OutputGradient { log_probabilities: &output_weights, divergences: None };
        backward(&model, Some(&lora), &batch, &output, &mut workspace, &mut gradients);
        let names = lora.shapes(&model.config);
        for ((name, _), found) in names.iter().zip(gradients.parts_mut()) {
            let reference = &reference[&format!("gradient.base_model.model.{name}")];
            let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
            let difference = norm(&mut found.iter().zip(reference).map(|(a, b)| f64::from(a - b)));
            let size = norm(&mut reference.iter().map(|&v| f64::from(v)));
            assert!(size > 0.0 && difference <= 1e-3 * size, "{family}, {name}: {difference} of {size}");
        }
    }
}

#[test]
fn greedy_continuations() {
    for family in FAMILIES {
        let folder = fixture(family);
        let model = Model::<f32>::open(&folder).expect(family);
        let lora = Lora::open(&folder.join("adapter"), &model.config).expect("adapter");
        let expected = expected(&folder);
        let requests: Vec<Request> =
            expected.prompts.iter().map(|prompt| Request { prompt: prompt.clone(), constraint: None }).collect();
        for (lora, reference) in [(None, &expected.greedy), (Some(&lora), &expected.adapter_greedy)] {
            // Three requests with a batch of two: one of them has to wait.
            for size in [1, 2, 3] {
                let options = GenerateOptions {
                    max_new_tokens: 16,
                    sampling: Sampling::GREEDY,
                    stop: Vec::new(),
                    batch: size,
                    log_probs: false,
                };
                let found = generate(
                    &mut HostWorker::frozen(model.clone(), lora.cloned()),
                    None,
                    &requests,
                    &options,
                    |_| {},
                    || false,
                )
                .expect("generation");
                for (i, completion) in found.iter().enumerate() {
                    assert_eq!(completion.tokens, reference[i], "{family}, prompt {i}, batch {size}");
                }
            }
        }
    }
}
