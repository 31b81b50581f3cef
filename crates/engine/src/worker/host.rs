//! The worker for this machine's CPUs.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Instant;

use bytemuck::Pod;
use safetensors::Dtype;
use tabpo_model::ModelConfig;

use super::generator::{GenerationMemory, HostGenerator};
use super::{
    ChangeGradient, Generator, GeneratorSize, Job, JobTiming, MemoryPlan, MemoryRequest, NamedTensor, OutputGradientOf,
    Policy, PolicyShape, TargetValues, TrainingSetup, Worker, WorkerError, digest,
};
use crate::backward::backward;
use crate::forward::{forward, forward_with_reference, target_hidden};
use crate::gradients::Gradients;
use crate::head::{OutputGradient, ReferenceHidden};
use crate::lora::Lora;
use crate::model::Model;
use crate::optimiser::{AdamW, Moments};
use crate::options::ForwardOptions;
use crate::real::Real;
use crate::workspace::Workspace;

/// See [`Worker::tolerance`].
const TOLERANCE: f64 = 1e-2;

/// A [`Worker`] on the CPU. `f32` trains; `f64` checks gradients through the same code.
pub struct HostWorker<R> {
    policy: Policy<R>,
    options: ForwardOptions,
    workspace: Workspace<R>,
    training: Option<Training<R>>,
}

/// The state of training.
struct Training<R> {
    gradients: Gradients<R>,
    optimiser: AdamW,
    /// The initial policy with its own buffers, for divergences.
    reference: Option<(Policy<R>, Workspace<R>)>,
}

impl<R: Real> HostWorker<R> {
    /// A worker for a policy.
    pub fn new(policy: Policy<R>) -> Self {
        Self { policy, options: ForwardOptions::default(), workspace: Workspace::new(), training: None }
    }

    /// A worker for generation, scoring and guide models, which need no training.
    pub fn frozen(model: Model<R>, adapter: Option<Lora<R>>) -> Self {
        Self::new(match adapter {
            Some(adapter) => Policy::adapter(model.into(), adapter),
            None => Policy::Frozen(model.into()),
        })
    }

    /// The policy.
    pub fn policy(&self) -> &Policy<R> {
        &self.policy
    }

    /// Returns the policy.
    pub fn into_policy(self) -> Policy<R> {
        self.policy
    }

    fn training(&mut self) -> &mut Training<R> {
        self.training.as_mut().expect("`begin` was called before training")
    }
}

impl<R: Real> Worker for HostWorker<R> {
    fn config(&self) -> &ModelConfig {
        &self.policy.model().config
    }

    fn identity(&self) -> [u8; 32] {
        digest::of_policy(&self.policy)
    }

    fn tolerance(&self) -> f64 {
        TOLERANCE
    }

    fn uses_dropout(&self) -> bool {
        self.policy.lora().is_some_and(|adapter| adapter.config.dropout > 0.0)
    }

    fn memory(&self, request: &MemoryRequest, limit: Option<usize>) -> MemoryPlan {
        PolicyShape::of(self.policy.model(), self.policy.lora()).plan(request, limit)
    }

    fn begin(&mut self, setup: &TrainingSetup) -> Result<(), WorkerError> {
        let TrainingSetup { optimiser, recompute, logit_bytes, divergences } = *setup;
        self.options = ForwardOptions { recompute, logit_bytes, ..ForwardOptions::default() };
        let (gradients, optimiser) = match &self.policy {
            Policy::Full(model) => (Gradients::full(model), AdamW::for_model(model, optimiser)),
            Policy::Adapter { base, adapter } => {
                (Gradients::lora(base, adapter), AdamW::for_lora(base, adapter, optimiser))
            }
            Policy::Frozen(_) => return Err(WorkerError::Frozen),
        };
        let reference = divergences.then(|| (self.policy.clone(), Workspace::new()));
        self.training = Some(Training { gradients, optimiser, reference });
        Ok(())
    }

    fn log_probs(&mut self, job: &Job<'_>) -> Result<Vec<f64>, WorkerError> {
        let options = ForwardOptions { gradient: false, dropout_seed: None, ..self.options };
        let (model, adapter) = (self.policy.model(), self.policy.effective_lora());
        Ok(forward(model, adapter, job.batch, job.targets, &options, &mut self.workspace))
    }

    fn accumulate(
        &mut self,
        jobs: &[Job<'_>],
        output_gradient: &OutputGradientOf<'_>,
        progress: &mut dyn FnMut(usize),
    ) -> Result<JobTiming, WorkerError> {
        let Self { policy, options, workspace, training } = self;
        let Training { gradients, reference, .. } = training.as_mut().expect("`begin` was called before training");
        let (model, adapter) = (policy.model(), policy.lora());
        let mut timing = JobTiming::default();
        for (number, job) in jobs.iter().enumerate() {
            let &Job { batch, targets, dropout_seed } = job;
            let options = ForwardOptions { gradient: true, dropout_seed, ..*options };
            let started = Instant::now();
            let reference = reference.as_mut().map(|(policy, workspace)| {
                let fixed = ForwardOptions { gradient: false, dropout_seed: None, ..options };
                forward(policy.model(), policy.effective_lora(), batch, targets, &fixed, workspace);
                ReferenceHidden { hidden: target_hidden(workspace), model: policy.model() }
            });
            if reference.is_some() {
                timing.reference += started.elapsed().as_secs_f64();
            }

            let started = Instant::now();
            let values = match reference {
                None => {
                    let log_probs = forward(model, adapter, batch, targets, &options, workspace);
                    TargetValues { log_probs, divergences: Vec::new() }
                }
                Some(reference) => {
                    let (log_probs, divergences) =
                        forward_with_reference(model, adapter, batch, targets, reference, &options, workspace);
                    TargetValues { log_probs, divergences }
                }
            };
            timing.forward += started.elapsed().as_secs_f64();

            let started = Instant::now();
            let gradient = output_gradient(number, &values);
            timing.output_gradient += started.elapsed().as_secs_f64();

            let started = Instant::now();
            let output = OutputGradient {
                log_probabilities: &gradient.log_probs,
                divergences: reference.map(|reference| (&gradient.divergences[..], reference)),
            };
            backward(model, adapter, batch, &output, workspace, gradients);
            timing.backward += started.elapsed().as_secs_f64();
            progress(number + 1);
        }
        Ok(timing)
    }

    fn clear_gradient(&mut self) -> Result<(), WorkerError> {
        self.training().gradients.clear();
        Ok(())
    }

    fn change_gradient(&mut self, change: &mut ChangeGradient<'_>) -> Result<(), WorkerError> {
        let mut parts = self.training().gradients.parts_mut();
        let mut flat: Vec<f32> = parts.iter().flat_map(|part| part.iter()).map(|value| value.to_f64() as f32).collect();
        change(&mut flat)?;
        for (value, changed) in parts.iter_mut().flat_map(|part| part.iter_mut()).zip(flat) {
            *value = R::from_f64(f64::from(changed));
        }
        Ok(())
    }

    fn gradient_norm(&mut self) -> Result<f64, WorkerError> {
        Ok(self.training().gradients.norm())
    }

    fn step(&mut self, learning_rate: f64, factor: f64) -> Result<(), WorkerError> {
        let Training { gradients, optimiser, .. } = self.training.as_mut().expect("`begin` was called before training");
        if factor != 1.0 {
            gradients.scale(factor);
        }
        match &mut self.policy {
            Policy::Full(model) => optimiser.step_model(model, gradients, learning_rate),
            Policy::Adapter { adapter, .. } => optimiser.step_lora(adapter, gradients, learning_rate),
            Policy::Frozen(_) => return Err(WorkerError::Frozen),
        }
        Ok(())
    }

    fn export(&self) -> Result<Vec<NamedTensor<'_>>, WorkerError> {
        let training = self.training.as_ref().expect("`begin` was called before training");
        let parameters = self.policy.shapes().into_iter().zip(self.policy.parameters());
        let mut tensors: Vec<_> =
            parameters.map(|((name, shape), values)| tensor("parameter", &name, shape, values)).collect();
        for Moments { name, shape, first, second } in training.optimiser.moments() {
            tensors.push(tensor("first", name, shape.clone(), first));
            tensors.push(tensor("second", name, shape.clone(), second));
        }
        Ok(tensors)
    }

    fn import(&mut self, steps: u64, tensors: &[NamedTensor<'_>]) -> Result<(), WorkerError> {
        let by_name: HashMap<&str, &NamedTensor<'_>> =
            tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        let shapes = self.policy.shapes();
        let parameters: Vec<Vec<R>> = shapes
            .iter()
            .map(|(name, shape)| elements(&by_name, "parameter", name, shape))
            .collect::<Result<_, _>>()?;
        let moments = shapes.into_iter().map(|(name, shape)| {
            Ok(Moments {
                first: elements(&by_name, "first", &name, &shape)?,
                second: elements(&by_name, "second", &name, &shape)?,
                name,
                shape,
            })
        });
        let moments = moments.collect::<Result<_, WorkerError>>()?;
        self.training().optimiser.restore(steps, moments);
        for (parameter, values) in self.policy.parameters_mut().into_iter().zip(parameters) {
            parameter.copy_from_slice(&values);
        }
        Ok(())
    }

    fn generation_memory(&self, size: GeneratorSize) -> GenerationMemory {
        super::generator::memory(self.policy.model(), self.policy.lora(), size)
    }

    fn generator(&mut self, size: GeneratorSize) -> Result<Box<dyn Generator + '_>, WorkerError> {
        Ok(Box::new(HostGenerator::new(self.policy.model(), self.policy.lora(), size)))
    }
}

/// The stored type of a float of 32 or 64 bits.
fn dtype<T>() -> Dtype {
    if size_of::<T>() == 8 { Dtype::F64 } else { Dtype::F32 }
}

fn tensor<'a, T: Pod>(kind: &str, name: &str, shape: Vec<usize>, values: &'a [T]) -> NamedTensor<'a> {
    let bytes = Cow::Borrowed(bytemuck::cast_slice(values));
    NamedTensor { name: format!("{kind}.{name}"), shape, dtype: dtype::<T>(), bytes }
}

/// The elements of a tensor, which must have this shape.
fn elements<T: Pod>(
    tensors: &HashMap<&str, &NamedTensor<'_>>,
    kind: &str,
    name: &str,
    shape: &[usize],
) -> Result<Vec<T>, WorkerError> {
    let name = format!("{kind}.{name}");
    let tensor = tensors.get(name.as_str()).ok_or_else(|| WorkerError::State(format!("tensor {name} is missing")))?;
    if tensor.shape != shape || tensor.dtype != dtype::<T>() {
        let found = format!("{:?} {:?}", tensor.dtype, tensor.shape);
        return Err(WorkerError::State(format!("tensor {name} is {found}, not {:?} {shape:?}", dtype::<T>())));
    }
    // Copied as bytes, because those of a file need not be aligned.
    let mut values = vec![T::zeroed(); shape.iter().product()];
    bytemuck::cast_slice_mut(&mut values).copy_from_slice(&tensor.bytes);
    Ok(values)
}
