//! Compares the backward pass with central differences in double precision, for every parameter.

mod small;

use std::collections::BTreeMap;

use small::{Random, forest, random_lora, random_model, tiny, variants};
use tabpo_engine::{
    Batch, ForwardOptions, Gradients, Lora, Model, OutputGradient, Recompute, ReferenceHidden, Target, Workspace,
    backward, forward, forward_with_reference, target_hidden,
};
use tabpo_model::{LoraConfig, Projection};

/// A loss that is linear in log-probabilities and divergences, with random coefficients.
struct Loss {
    batch: Batch,
    targets: Vec<Target>,
    log_probability_weights: Vec<f64>,
    divergence_weights: Option<Vec<f64>>,
    reference: Model<f64>,
    reference_hidden: Vec<f64>,
    options: ForwardOptions,
}

impl Loss {
    fn new(model: &Model<f64>, divergence: bool, options: ForwardOptions) -> Self {
        let (batch, targets) = forest(model.config.vocabulary, 3);
        let mut random = Random::new(5);
        let reference = random_model(model.config.clone(), 77);
        let mut workspace = Workspace::new();
        forward(&reference, None, &batch, &targets, &ForwardOptions::inference(), &mut workspace);
        Self {
            log_probability_weights: random.values(targets.len()),
            divergence_weights: divergence.then(|| random.values(targets.len())),
            reference_hidden: target_hidden(&workspace).to_vec(),
            batch,
            targets,
            reference,
            options,
        }
    }

    fn reference(&self) -> ReferenceHidden<'_, f64> {
        ReferenceHidden { hidden: &self.reference_hidden, model: &self.reference }
    }

    fn value(&self, model: &Model<f64>, lora: Option<&Lora<f64>>, workspace: &mut Workspace<f64>) -> f64 {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
        match &self.divergence_weights {
            None => {
                let values = forward(model, lora, &self.batch, &self.targets, &self.options, workspace);
                dot(&values, &self.log_probability_weights)
            }
            Some(weights) => {
                let (values, divergences) = forward_with_reference(
                    model,
                    lora,
                    &self.batch,
                    &self.targets,
                    self.reference(),
                    &self.options,
                    workspace,
                );
                assert!(divergences.iter().all(|&divergence| divergence > 0.0));
                dot(&values, &self.log_probability_weights) + dot(&divergences, weights)
            }
        }
    }

    fn gradient(&self, model: &Model<f64>, lora: Option<&Lora<f64>>, gradients: &mut Gradients<f64>) {
        let mut workspace = Workspace::new();
        self.value(model, lora, &mut workspace);
        let output = OutputGradient {
            log_probabilities: &self.log_probability_weights,
            divergences: self.divergence_weights.as_deref().map(|weights| (weights, self.reference())),
        };
        backward(model, lora, &self.batch, &output, &mut workspace, gradients);
    }
}

/// The derivative of `value` at `point` by the central difference of fourth order.
fn derivative(point: f64, mut value: impl FnMut(f64) -> f64) -> f64 {
    const STEP: f64 = 1e-4;
    let mut difference = |step: f64| value(point + step) - value(point - step);
    (8.0 * difference(STEP) - difference(2.0 * STEP)) / (12.0 * STEP)
}

/// Runs on one thread: the models are too small for several, and every loss is computed thousands of times.
fn on_one_thread(work: impl FnOnce() + Send) {
    rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread pool").install(work);
}

fn assert_derivative(analytic: f64, numeric: f64, what: &str) {
    let scale = analytic.abs().max(numeric.abs()).max(1e-2);
    assert!((analytic - numeric).abs() <= 2e-7 * scale, "{what}: analytic {analytic}, numeric {numeric}");
}

fn check_full(name: &str, mut model: Model<f64>, lora: Option<&Lora<f64>>, loss: &Loss) {
    let mut gradients = Gradients::full(&model);
    loss.gradient(&model, lora, &mut gradients);
    let names: Vec<String> = model.config.tensors().into_iter().map(|(name, _)| name).collect();
    let mut workspace = Workspace::new();
    for (part, gradient) in gradients.parts_mut().into_iter().enumerate() {
        for (index, &analytic) in gradient.iter().enumerate() {
            let original = model.parameters_mut()[part][index];
            let mut at = |value: f64| {
                model.parameters_mut()[part][index] = value;
                loss.value(&model, lora, &mut workspace)
            };
            let numeric = derivative(original, &mut at);
            at(original);
            assert_derivative(analytic, numeric, &format!("{name}: {} [{index}]", names[part]));
        }
    }
}

fn check_lora(name: &str, model: &Model<f64>, mut lora: Lora<f64>, loss: &Loss) {
    let mut gradients = Gradients::lora(model, &lora);
    loss.gradient(model, Some(&lora), &mut gradients);
    let names: Vec<String> = lora.shapes(&model.config).into_iter().map(|(name, _)| name).collect();
    let mut workspace = Workspace::new();
    for (part, gradient) in gradients.parts_mut().into_iter().enumerate() {
        for (index, &analytic) in gradient.iter().enumerate() {
            let original = lora.parameters_mut()[part][index];
            let mut at = |value: f64| {
                lora.parameters_mut()[part][index] = value;
                loss.value(model, Some(&lora), &mut workspace)
            };
            let numeric = derivative(original, &mut at);
            at(original);
            assert_derivative(analytic, numeric, &format!("{name}: {} [{index}]", names[part]));
        }
    }
}

#[test]
fn every_parameter_of_every_family() {
    on_one_thread(|| {
        for (name, config) in variants() {
            let model = random_model(config, 1);
            let loss = Loss::new(&model, false, ForwardOptions::default());
            check_full(name, model, None, &loss);
        }
    });
}

#[test]
fn divergence_from_a_reference_in_chunks_of_rows() {
    on_one_thread(|| {
        let model = random_model(tiny(), 2);
        let loss = Loss::new(&model, true, ForwardOptions { logit_bytes: 0, ..ForwardOptions::default() });
        check_full("divergence", model, None, &loss);
    });
}

#[test]
fn the_frozen_model_under_an_adapter() {
    on_one_thread(|| {
        let model = random_model(tiny(), 2);
        let lora = random_lora(&model.config, LoraConfig::new(2, 3.0), 4);
        let loss =
            Loss::new(&model, false, ForwardOptions { recompute: Recompute::ALL_BLOCKS, ..ForwardOptions::default() });
        check_full("base under an adapter", model, Some(&lora), &loss);
    });
}

#[test]
fn every_parameter_of_every_kind_of_adapter() {
    on_one_thread(|| {
        let all = LoraConfig::new(2, 3.0);
        let some = LoraConfig { targets: vec![Projection::Value, Projection::Up], rslora: true, ..all.clone() };
        let patterned = LoraConfig {
            rank_pattern: BTreeMap::from([("k_proj".to_owned(), 3), ("layers.1.mlp.down_proj".to_owned(), 1)]),
            alpha_pattern: BTreeMap::from([("q_proj".to_owned(), 7.0)]),
            ..all.clone()
        };
        let dropped = LoraConfig { dropout: 0.3, ..all.clone() };
        for (name, config) in variants() {
            let model = random_model(config, 6);
            let kinds = [
                ("all", &all, Recompute::Nothing),
                ("some", &some, Recompute::Cheap),
                ("patterned", &patterned, Recompute::Cheap),
                ("dropout", &dropped, Recompute::ALL_BLOCKS),
            ];
            // Adapters share their code among all families: test all kinds in one family, and one kind in all.
            let kinds = if name == "llama with biases" { &kinds[..] } else { &kinds[..1] };
            for &(kind, settings, recompute) in kinds {
                let options = ForwardOptions { recompute, dropout_seed: Some(9), ..ForwardOptions::default() };
                let loss = Loss::new(&model, kind == "some", options);
                let lora = random_lora(&model.config, settings.clone(), 8);
                check_lora(&format!("{name}, {kind}"), &model, lora, &loss);
            }
        }
    });
}
