//! Log-probabilities, divergences and every gradient by name against the engine in double precision.

use tabpo_cuda::driver::Element;
use tabpo_engine::{
    ForwardOptions, Gradients, Job, Lora, Model, OutputGradient, Policy, ReferenceHidden, TargetValues, Worker,
    Workspace, backward, forward, forward_with_reference, target_hidden,
};

use crate::small::{Random, accumulate, adapter, families, forest, largest, model, owned, relative, setup, worker};

/// The errors that are put down to rounding: of values in the root mean square (five times as much for any one), relative
/// to that of the log-probabilities, and of a parameter's gradient, relative to its size. The first is that of single
/// kernels; gradients went through twice as many operations.
fn limits(element: Element) -> (f64, f64) {
    let limit = tabpo_emulate::trial::tolerance(element);
    (limit, 3.0 * limit)
}

/// Compares values in nats.
fn assert_near(name: &str, limit: f64, found: &[f64], wanted: &[f64]) {
    let mean = (found.iter().zip(wanted).map(|(a, b)| (a - b) * (a - b)).sum::<f64>() / wanted.len() as f64).sqrt();
    let most = largest(found, wanted);
    assert!(mean <= limit && most <= 5.0 * limit, "{name} differ by {mean:.1e} in the mean and {most:.1e} at most");
}

/// The engine's values and gradients of one job.
fn wanted(
    model: &Model<f64>,
    lora: Option<&Lora<f64>>,
    job: &Job<'_>,
    seeds: &TargetValues,
    reference: Option<&(Model<f64>, Option<Lora<f64>>)>,
) -> (TargetValues, Vec<(String, Vec<f64>)>) {
    let options = ForwardOptions { dropout_seed: job.dropout_seed, ..ForwardOptions::default() };
    let mut workspace = Workspace::new();
    let mut gradients = match lora {
        Some(lora) => Gradients::lora(model, lora),
        None => Gradients::full(model),
    };
    let mut of_reference = Workspace::new();
    let kept = reference.map(|(other, adapter)| {
        let inference = ForwardOptions::inference();
        forward(other, adapter.as_ref(), job.batch, job.targets, &inference, &mut of_reference);
        ReferenceHidden { hidden: target_hidden(&of_reference), model: other }
    });
    let (log_probs, divergences) = match kept {
        None => (forward(model, lora, job.batch, job.targets, &options, &mut workspace), Vec::new()),
        Some(kept) => forward_with_reference(model, lora, job.batch, job.targets, kept, &options, &mut workspace),
    };
    let output = OutputGradient {
        log_probabilities: &seeds.log_probs,
        divergences: kept.map(|kept| (&seeds.divergences[..], kept)),
    };
    backward(model, lora, job.batch, &output, &mut workspace, &mut gradients);
    let shapes = match lora {
        Some(lora) => lora.shapes(&model.config),
        None => model.config.tensors(),
    };
    let parts = gradients.parts_mut().into_iter().map(|part| part.to_vec());
    let named = shapes.into_iter().map(|(name, _)| name).zip(parts).collect();
    (TargetValues { log_probs, divergences }, named)
}

struct Case {
    name: String,
    element: Element,
    full: bool,
    dropout: bool,
    divergences: bool,
    logit_bytes: usize,
}

fn compare(config: &tabpo_model::ModelConfig, case: &Case) {
    let Case { name, element, full, dropout, divergences, logit_bytes } = case;
    let (batch, targets) = forest(config.vocabulary, 11);
    let job = Job { batch: &batch, targets: &targets, dropout_seed: dropout.then_some(99) };
    let mut random = Random::new(12);
    let log_probs = random.values(targets.len());
    let of_divergences = if *divergences { random.values(targets.len()) } else { Vec::new() };
    let seeds = TargetValues { log_probs, divergences: of_divergences };
    let probability = if *dropout { 0.25 } else { 0.0 };

    let host = model::<f64>(config, 3);
    let lora = (!full).then(|| adapter::<f64>(config, probability));
    let policy = if *full {
        Policy::full(model::<f32>(config, 3))
    } else {
        Policy::adapter(model::<f32>(config, 3).into(), adapter(config, probability))
    };
    let mut device = worker(policy, *element, None);
    device.begin(&tabpo_engine::TrainingSetup { logit_bytes: *logit_bytes, ..setup(*divergences) }).expect("it fits");
    // The policy moves away from the reference of divergences.
    let reference = divergences.then(|| (host.clone(), lora.clone()));
    let (mut host, mut lora) = (host, lora);
    if *divergences {
        moved(&mut device, &mut host, lora.as_mut());
    }
    let found = accumulate(&mut device, &job, &seeds);
    let (values, gradient) = wanted(&host, lora.as_ref(), &job, &seeds, reference.as_ref());
    let (limit, of_gradient) = limits(*element);
    let size = values.log_probs.iter().map(|value| value * value).sum::<f64>() / values.log_probs.len() as f64;
    let of_values = limit * size.sqrt();
    assert_near(&format!("{name}: log-probabilities"), of_values, &found.values.log_probs, &values.log_probs);
    if *divergences {
        let what = format!("{name}: divergences");
        assert_near(&what, of_values, &found.values.divergences, &values.divergences);
        assert!(values.divergences.iter().any(|&divergence| divergence > 0.05), "{name}: the policy moved");
    }
    assert_eq!(found.gradient.len(), gradient.len(), "{name}");
    for ((parameter, found), (other, wanted)) in found.gradient.iter().zip(&gradient) {
        assert_eq!(parameter, other, "{name}");
        let error = relative(found, wanted);
        assert!(error <= of_gradient, "{name}: the gradient of {parameter} differs by {error:.1e} of its size");
    }
}

/// Changes the parameters of a worker, and of the engine's policy in the same way.
fn moved(device: &mut tabpo_cuda::CudaWorker, model: &mut Model<f64>, lora: Option<&mut Lora<f64>>) {
    let mut random = Random::new(21);
    let mut tensors = owned(device.export().expect("training has begun"));
    let parts = match lora {
        Some(lora) => lora.parameters_mut(),
        None => model.parameters_mut(),
    };
    for (tensor, values) in tensors.iter_mut().zip(parts) {
        assert!(tensor.name.starts_with("parameter."));
        let mut bytes = Vec::new();
        for value in values.iter_mut() {
            *value = half::bf16::from_f64(*value * (1.0 + 0.3 * random.signed())).to_f64();
            bytes.extend((*value as f32).to_le_bytes());
        }
        tensor.bytes = bytes.into();
    }
    device.import(0, &tensors).expect("the tensors are those that were exported");
}

fn both_types(chosen: &[usize], case: impl Fn(Element) -> Case) {
    let all = families();
    for &family in chosen {
        for element in [Element::F32, Element::Bf16] {
            let case = case(element);
            let name = format!("{} of {} in {element:?}", case.name, all[family].0);
            compare(&all[family].1, &Case { name, ..case });
        }
    }
}

fn adapting(element: Element) -> Case {
    let name = "the adapter".to_owned();
    Case { name, element, full: false, dropout: false, divergences: false, logit_bytes: 64 << 20 }
}

#[test]
fn adapters_of_every_family_have_the_gradients_of_the_cpu() {
    both_types(&[0, 1, 2, 3], adapting);
}

#[test]
fn all_parameters_of_every_family_have_the_gradients_of_the_cpu() {
    both_types(&[0, 1, 2, 3], |element| Case { name: "all parameters".to_owned(), full: true, ..adapting(element) });
}

/// The mask is the CPU's although rows are computed in another order.
#[test]
fn dropout_has_the_gradients_of_the_cpu() {
    both_types(&[0], |element| Case { name: "dropout".to_owned(), dropout: true, ..adapting(element) });
}

/// Also with logits in several chunks.
#[test]
fn divergences_and_chunks_of_logits_have_the_gradients_of_the_cpu() {
    for full in [false, true] {
        both_types(&[3], |element| Case {
            name: "divergences".to_owned(),
            full,
            divergences: true,
            logit_bytes: 16_000,
            ..adapting(element)
        });
    }
}
