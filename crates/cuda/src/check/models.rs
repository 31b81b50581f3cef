//! Whole models on a device against the engine in double precision: log-probabilities, gradients, equal bits twice, and
//! tokens that are decoded.

use std::sync::Arc;
use std::sync::Mutex;

use half::bf16;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tabpo_engine::{
    AdamWConfig, Batch, ForwardOptions, GenerateOptions, Gradients, HostWorker, Job, Lora, Matrix, Model,
    OutputGradient, Policy, Real, Recompute, Request, Sampling, Segment, Target, TargetValues, TrainingSetup, Worker,
    WorkerError, Workspace, backward, forward, generate,
};
use tabpo_model::{Architecture, LoraConfig, ModelConfig};

use super::{Outcome, named};
use crate::driver::{Driver, Element};
use crate::worker::{CudaWorker, WorkerOptions};

/// The sizes of the models that are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelSize {
    /// Two blocks with heads of 64, for any device.
    Tiny,
    /// One block of an 8B model's widths, for cards.
    Wide,
}

/// What is trained.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Adapter,
    AdapterOnNf4,
    Full,
}

impl Way {
    const fn name(self) -> &'static str {
        match self {
            Self::Adapter => "adapter",
            Self::AdapterOnNf4 => "adapter on NF4",
            Self::Full => "all parameters",
        }
    }

    /// The model that is trained, or the base of the adapter.
    fn model<R: Real>(self, config: &ModelConfig, seed: u64) -> Model<R> {
        let mut model = model(config, seed);
        if self == Self::AdapterOnNf4 {
            model.quantise(true).expect("the weights are finite");
        }
        model
    }
}

/// The largest error of log-probabilities, and of all gradients together.
const fn limits(element: Element) -> (f64, f64) {
    match element {
        Element::F32 => (1e-5, 1e-4),
        Element::Bf16 => (1e-2, 2e-2),
    }
}

fn tiny() -> ModelConfig {
    ModelConfig {
        architecture: Architecture::Llama,
        intermediate: 72,
        kv_heads: 1,
        head_dim: 64,
        query_key_value_bias: false,
        tied_head: false,
        ..ModelConfig::small(43, 64, 2, 2)
    }
}

/// The models of a size, with their names.
fn configs(size: ModelSize) -> Vec<(&'static str, ModelConfig)> {
    if size == ModelSize::Wide {
        let config = ModelConfig {
            intermediate: 14336,
            kv_heads: 8,
            head_dim: 128,
            query_key_value_bias: false,
            ..ModelConfig::small(1000, 4096, 1, 32)
        };
        return vec![("a block of 8B", ModelConfig { architecture: Architecture::Llama, ..config })];
    }
    let window = vec![Some(20), None];
    let (mistral, qwen2, qwen3) = (Architecture::Mistral, Architecture::Qwen2, Architecture::Qwen3);
    vec![
        ("llama", tiny()),
        ("mistral", ModelConfig { architecture: mistral, sliding_window: window, kv_heads: 2, ..tiny() }),
        ("qwen2", ModelConfig { architecture: qwen2, query_key_value_bias: true, tied_head: true, ..tiny() }),
        ("qwen3", ModelConfig { architecture: qwen3, query_key_norm: true, tied_head: true, ..tiny() }),
    ]
}

/// A number of bf16 between -`spread` and `spread`, so that a model is the same in every type.
fn number(random: &mut ChaCha8Rng, spread: f64) -> f64 {
    bf16::from_f64(spread * (2.0 * random.random::<f64>() - 1.0)).to_f64()
}

fn model<R: Real>(config: &ModelConfig, seed: u64) -> Model<R> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    // The same size of every product's result, whatever the width.
    let spread = 1.6 / (config.hidden as f64).sqrt();
    let built = Model::from_tensors(config.clone(), |name, [rows, columns]| {
        let (offset, spread) = if name.contains("norm") { (1.0, 0.25) } else { (0.0, spread) };
        let values = (0..rows * columns).map(|_| R::from_f64(offset + number(&mut random, spread))).collect();
        Ok::<_, std::convert::Infallible>(Matrix::owned(rows, columns, values))
    });
    match built {
        Ok(model) => model,
        Err(never) => match never {},
    }
}

fn adapter<R: Real>(config: &ModelConfig, seed: u64) -> Lora<R> {
    let mut lora = Lora::initialise(config, LoraConfig::new(8, 16.0), seed);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    for value in lora.parameters_mut().into_iter().flatten() {
        *value = R::from_f64(number(&mut random, 1.0 / (config.hidden as f64).sqrt()));
    }
    lora
}

/// A prompt with a long answer, and another answer that branches off.
fn pair(vocabulary: usize, seed: u64) -> (Batch, Vec<Target>) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let tokens: Vec<u32> = (0..110).map(|_| random.random_range(0..vocabulary as u32)).collect();
    let segments =
        vec![Segment { rows: 0..80, context: Vec::new() }, Segment { rows: 80..110, context: vec![0..50; 1] }];
    let positions = (0..80).chain(50..80).collect();
    let targets = (40..79).chain(80..109).map(|row| Target { row, token: tokens[row as usize + 1] });
    let targets = targets.chain([Target { row: 49, token: tokens[80] }]).collect();
    (Batch { tokens, positions, segments }, targets)
}

/// The engine's log-probabilities and gradients.
fn of_the_engine(model: &Model<f64>, lora: Option<&Lora<f64>>, job: &Job<'_>, seeds: &[f64]) -> [Vec<f64>; 2] {
    let mut workspace = Workspace::new();
    let mut gradients = match lora {
        Some(lora) => Gradients::lora(model, lora),
        None => Gradients::full(model),
    };
    let options = ForwardOptions::default();
    let log_probs = forward(model, lora, job.batch, job.targets, &options, &mut workspace);
    let output = OutputGradient { log_probabilities: seeds, divergences: None };
    backward(model, lora, job.batch, &output, &mut workspace, &mut gradients);
    let gradient = gradients.parts_mut().into_iter().flat_map(|part| part.to_vec()).collect();
    [log_probs, gradient]
}

/// The device's log-probabilities and gradients.
fn of_the_device(worker: &mut CudaWorker, job: &Job<'_>, seeds: &[f64]) -> Result<[Vec<f64>; 2], WorkerError> {
    let found = Mutex::new(Vec::new());
    let gradient = |_: usize, values: &TargetValues| {
        found.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone_from(&values.log_probs);
        TargetValues { log_probs: seeds.to_vec(), divergences: Vec::new() }
    };
    worker.clear_gradient()?;
    worker.accumulate(&[*job], &gradient, &mut |_| {})?;
    let tensors = worker.gradient()?;
    let numbers = tensors.iter().flat_map(|tensor| tensor.bytes.as_chunks().0);
    let gradient = numbers.map(|&bytes| f64::from(f32::from_le_bytes(bytes))).collect();
    Ok([found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner), gradient])
}

/// Runs the checks of whole models on input that follows from `seed`, and tells each outcome as soon as it is there.
///
/// # Errors
/// That of the first operation which the device refuses or doesn't survive.
pub fn run_models(
    driver: &Arc<dyn Driver>,
    seed: u64,
    size: ModelSize,
    tell: &mut dyn FnMut(&Outcome),
) -> Result<Vec<Outcome>, WorkerError> {
    let mut outcomes = Vec::new();
    let mut add = |outcome: Outcome| {
        tell(&outcome);
        outcomes.push(outcome);
    };
    for (name, config) in configs(size) {
        let (batch, targets) = pair(config.vocabulary, seed);
        let job = Job { batch: &batch, targets: &targets, dropout_seed: None };
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let seeds: Vec<f64> = targets.iter().map(|_| random.random_range(-1.0..1.0)).collect();
        // All gradients of a wide block in double precision would take gigabytes.
        let ways: &[Way] = match (size, name) {
            (ModelSize::Wide, _) => &[Way::Adapter],
            (ModelSize::Tiny, "llama") => &[Way::Adapter, Way::Full, Way::AdapterOnNf4],
            (ModelSize::Tiny, _) => &[Way::Adapter, Way::Full],
        };
        for &way in ways {
            let full = way == Way::Full;
            let (host, lora) = (way.model::<f64>(&config, seed), adapter::<f64>(&config, seed));
            let [wanted, wanted_gradient] = of_the_engine(&host, (!full).then_some(&lora), &job, &seeds);
            drop(host);
            for element in [Element::F32, Element::Bf16] {
                let base = way.model::<f32>(&config, seed);
                let policy =
                    if full { Policy::full(base) } else { Policy::adapter(base.into(), adapter(&config, seed)) };
                let options = WorkerOptions { element, ..WorkerOptions::default() };
                let mut worker = CudaWorker::new(Arc::clone(driver), policy, options)?;
                worker.begin(&TrainingSetup {
                    optimiser: AdamWConfig::default(),
                    recompute: Recompute::default(),
                    logit_bytes: 64 << 20,
                    divergences: false,
                })?;
                let [found, gradient] = of_the_device(&mut worker, &job, &seeds)?;
                let again = of_the_device(&mut worker, &job, &seeds)?;
                let title = |of: &str| named(&format!("models: {name}, {}, {of}", way.name()), element);
                let (of_values, of_gradient) = limits(element);
                add(Outcome::of(title("log-probabilities"), &found, &wanted, of_values));
                add(Outcome::of(title("gradients"), &gradient, &wanted_gradient, of_gradient));
                let (first, second) = ([found, gradient].concat(), again.concat());
                add(Outcome::of(title("the same bits again"), &second, &first, 0.0));
                if way == Way::Adapter && element == Element::F32 && size == ModelSize::Tiny {
                    add(greedy(&mut worker, &config, seed, title("greedy tokens of the CPU"))?);
                }
            }
        }
    }
    Ok(outcomes)
}

/// Greedy tokens after two prompts against the CPU's.
fn greedy(worker: &mut CudaWorker, config: &ModelConfig, seed: u64, name: String) -> Result<Outcome, WorkerError> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut request = |length: usize| {
        let prompt = (0..length).map(|_| random.random_range(0..config.vocabulary as u32)).collect();
        Request { prompt, constraint: None }
    };
    let requests = [request(70), request(9)];
    let options =
        GenerateOptions { max_new_tokens: 8, sampling: Sampling::GREEDY, stop: Vec::new(), batch: 2, log_probs: false };
    let policy = Policy::adapter(model::<f32>(config, seed).into(), adapter(config, seed));
    let tokens = |worker: &mut dyn Worker| {
        let completions = generate(worker, None, &requests, &options, |_| {}, || false);
        let completions = completions.map_err(|error| match error {
            tabpo_engine::GenerateError::Worker(error) => error,
            other => WorkerError::Device { message: other.to_string(), hint: None },
        })?;
        Ok::<Vec<f64>, WorkerError>(
            completions.iter().flat_map(|one| one.tokens.iter().map(|&t| f64::from(t))).collect(),
        )
    };
    let wanted = tokens(&mut HostWorker::new(policy))?;
    Ok(Outcome::of(name, &tokens(worker)?, &wanted, 0.0))
}
