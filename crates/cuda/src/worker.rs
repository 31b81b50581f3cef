//! [`Worker`] on a device.

use std::sync::Arc;
use std::time::Instant;

use tabpo_engine::{
    GenerationMemory, Generator, GeneratorSize, Job, JobTiming, MemoryRequest, NamedTensor, OutputGradientOf, Policy,
    Recompute, TrainingSetup, Worker, WorkerError,
};
use tabpo_model::ModelConfig;

use crate::adapter::AdapterLayout;
use crate::arena::Arena;
use crate::buffers::{Buffers, Sizes};
use crate::decode::{self, CudaGenerator};
use crate::driver::{Driver, DriverError, Element};
use crate::head::Seeds;
use crate::listed::{Growing, ListError, Listed, Rotation};
use crate::memory::{MemoryPlan, Request, Rung};
use crate::ops::Kernels;
use crate::pass::{Adapter, Gradient, Over, Pass};
use crate::trained::{Copies, FullLayout, Trained, TrainedLayout};
use crate::weights::{Frozen, Layout, Weights, narrowed};

/// Widths that kernels read sixteen bytes at a time are multiples of this.
const WIDTH: usize = 8;
/// The largest head.
const MOST_HEAD: usize = 256;
/// Passes take this much of the memory that is free, in per cent; the rest is for what CUDA takes itself.
const SHARE: u64 = 95;

/// How a worker computes.
#[derive(Clone, Copy, Debug)]
pub struct WorkerOptions {
    /// The type of weights and activations.
    pub element: Element,
    /// What all blocks keep between the passes; as much as there is memory for if it isn't said.
    pub keep: Option<Rung>,
    /// The most bytes of the device's memory to use; nearly all of it if it isn't said.
    pub limit: Option<u64>,
}

impl Default for WorkerOptions {
    /// In bf16, with as much memory as there is.
    fn default() -> Self {
        Self { element: Element::Bf16, keep: None, limit: None }
    }
}

/// A [`Worker`] on a device.
pub struct CudaWorker {
    pub(crate) driver: Arc<dyn Driver>,
    options: WorkerOptions,
    /// The policy as it was before training; [`CudaWorker::into_policy`] returns it as it is now.
    policy: Policy<f32>,
    layout: Layout,
    /// The matrices of the model.
    matrices: Arena,
    /// Norms and biases, unless they are trained.
    vectors: Option<Arena>,
    /// Digest of frozen weights.
    digest: [u8; 32],
    adapter: Option<(AdapterLayout, Arena)>,
    full: Option<FullLayout>,
    trained: Option<Trained>,
    reference: Option<Reference>,
    logit_bytes: u64,
    /// Buffers of the largest job so far.
    buffers: Option<Buffers>,
    lists: Growing,
    rotation: Rotation,
}

/// The initial policy, for divergences.
enum Reference {
    /// The parameters of an adapter, whose copies take the place of the policy's for the reference's passes.
    Adapter(Arena),
    /// Matrices and vectors of a model.
    Model(Arena, Arena),
}

impl From<DriverError> for WorkerError {
    fn from(error: DriverError) -> Self {
        Self::Device { message: error.to_string(), hint: error.hint().map(str::to_owned) }
    }
}

impl From<ListError> for WorkerError {
    fn from(error: ListError) -> Self {
        match error {
            ListError::Driver(error) => error.into(),
            ListError::Token { .. } | ListError::Plan(_) => Self::Device { message: error.to_string(), hint: None },
        }
    }
}

fn refused(message: impl Into<String>, hint: &str) -> WorkerError {
    WorkerError::Device { message: message.into(), hint: Some(hint.to_owned()) }
}

/// Whether the kernels can compute a model.
pub(crate) fn supported(config: &ModelConfig) -> Result<(), WorkerError> {
    let hint = "train this model on the CPU (device = \"cpu\")";
    let widths = [
        ("hidden size", config.hidden),
        ("feed-forward width", config.intermediate),
        ("width of all query heads", config.query_width()),
        ("width of all key heads", config.key_width()),
    ];
    if let Some((name, width)) = widths.into_iter().find(|(_, width)| !width.is_multiple_of(WIDTH)) {
        return Err(refused(
            format!("a card computes widths that are multiples of {WIDTH}, but the {name} is {width}"),
            hint,
        ));
    }
    if config.head_dim > MOST_HEAD {
        let message =
            format!("a card computes heads of up to {MOST_HEAD} numbers, but the model's have {}", config.head_dim);
        return Err(refused(message, hint));
    }
    if config.output_bias || config.mlp_bias {
        return Err(refused(
            "the model has biases at its output or feed-forward projections, which a card doesn't compute",
            hint,
        ));
    }
    Ok(())
}

/// Bytes in words.
pub(crate) fn gigabytes(bytes: u64) -> String {
    if bytes >= 1_000_000_000 {
        format!("{:.1} GB", bytes as f64 / 1e9)
    } else {
        format!("{:.0} MB", bytes as f64 / 1e6)
    }
}

impl CudaWorker {
    /// Puts a policy on a device.
    ///
    /// # Errors
    /// If the kernels can't compute the model, the device's memory is too small for the weights, or the device fails.
    pub fn new(driver: Arc<dyn Driver>, policy: Policy<f32>, options: WorkerOptions) -> Result<Self, WorkerError> {
        let config = &policy.model().config;
        supported(config)?;
        let element = options.element;
        let adapter = policy.lora().map(|lora| AdapterLayout::new(config, &lora.config));
        let layout = Layout::new(config, adapter.as_ref().map_or([0; 4], |adapter| adapter.rooms));
        let (matrices, vectors, digest, trained, full) = if let Policy::Full(_) = &policy {
            let matrices = Arena::new(&driver, layout.matrices * element.bytes() as u64)?;
            let (trained, full) = TrainedLayout::full(config, &layout);
            (matrices, None, [0; 32], Some(trained), Some(full))
        } else {
            let Frozen { matrices, vectors, digest } = Frozen::upload(&driver, element, &layout, policy.model())?;
            let trained = adapter.as_ref().map(|adapter| TrainedLayout::adapter(adapter, &layout));
            (matrices, Some(vectors), digest, trained, None)
        };
        let adapter = match adapter {
            None => None,
            Some(adapter) => {
                let copies = Arena::zeros(&driver, adapter.copies * element.bytes() as u64)?;
                Some((adapter, copies))
            }
        };
        let trained = match trained {
            None => None,
            Some(layout) => Some(Trained::new(&driver, layout, policy.shapes(), &policy.parameters())?),
        };
        let worker = Self {
            driver,
            options,
            policy,
            layout,
            matrices,
            vectors,
            digest,
            adapter,
            full,
            trained,
            reference: None,
            logit_bytes: 512 << 20,
            buffers: None,
            lists: Growing::default(),
            rotation: Rotation::default(),
        };
        if let Some(trained) = &worker.trained {
            trained.write_copies(worker.kernels(), trained.values.start(), worker.copies())?;
        }
        Ok(worker)
    }

    /// The policy as it was when it was put on the device.
    pub fn policy(&self) -> &Policy<f32> {
        &self.policy
    }

    /// Returns the policy with its parameters as they are now.
    pub fn into_policy(mut self) -> Result<Policy<f32>, WorkerError> {
        if let Some(trained) = &self.trained {
            let parameters = trained.parameters(self.driver.as_ref())?;
            for (to, from) in self.policy.parameters_mut().into_iter().zip(parameters) {
                to.copy_from_slice(&from);
            }
        }
        Ok(self.policy)
    }

    /// The gradient of every parameter, by name (`gradient.` and the parameter's name).
    pub fn gradient(&self) -> Result<Vec<NamedTensor<'static>>, WorkerError> {
        Ok(self.training()?.named_gradient(self.driver.as_ref())?)
    }

    /// What the blocks keep between the passes in the buffers of the largest job so far.
    pub fn rungs(&self) -> Option<&[Rung]> {
        self.buffers.as_ref()?.rungs.as_deref()
    }

    pub(crate) fn kernels(&self) -> Kernels<'_> {
        Kernels { driver: self.driver.as_ref(), element: self.options.element }
    }

    fn copies(&self) -> Copies {
        let low_rank = self.adapter.as_ref().map(|(_, copies)| copies.start());
        Copies { matrices: self.matrices.start(), low_rank }
    }

    fn training(&self) -> Result<&Trained, WorkerError> {
        self.trained.as_ref().ok_or(WorkerError::Frozen)
    }

    pub(crate) fn weights(&self) -> Weights<'_> {
        let vectors = match (&self.vectors, &self.trained) {
            (Some(vectors), _) => vectors.start(),
            (None, Some(trained)) => trained.values.start(),
            (None, None) => unreachable!("vectors are frozen or trained"),
        };
        let (layout, element) = (&self.layout, self.options.element);
        Weights { layout, element, matrices: self.matrices.start(), vectors }
    }

    /// The adapter as passes read it.
    pub(crate) fn adapter(&self) -> Option<Adapter<'_>> {
        self.adapter.as_ref().map(|(layout, copies)| {
            let dropout = self.policy.lora().map_or(0.0, |adapter| adapter.config.dropout);
            Adapter { layout, copies: copies.start(), dropout }
        })
    }

    /// The weights of the reference's head and, unless it is an adapter of the same model, of all else.
    fn reference_weights(&self) -> Option<Weights<'_>> {
        match self.reference.as_ref()? {
            Reference::Adapter(_) => Some(self.weights()),
            Reference::Model(matrices, vectors) => {
                Some(Weights { matrices: matrices.start(), vectors: vectors.start(), ..self.weights() })
            }
        }
    }

    pub(crate) fn sizes(&self, rows: usize, target_rows: usize) -> Sizes<'_> {
        Sizes {
            config: self.config(),
            element: self.options.element,
            rooms: self.adapter.as_ref().map_or([0; 4], |(adapter, _)| adapter.rooms),
            dropout: self.uses_dropout(),
            full: self.full.is_some(),
            divergences: self.reference.is_some(),
            rows,
            target_rows,
            logit_bytes: self.logit_bytes,
        }
    }

    /// What the kernels may still use, with the buffers given back.
    fn free(&self) -> Result<u64, DriverError> {
        let memory = self.driver.memory()?;
        let buffers = self.buffers.as_ref().map_or(0, Buffers::bytes);
        let free = memory.free + buffers;
        let used = memory.total.saturating_sub(free);
        let within = |limit: u64| limit.saturating_sub(used);
        Ok(self.options.limit.map_or(free / 100 * SHARE, within).min(free))
    }

    /// Makes the buffers large enough for a job, on the highest rungs that there is memory for.
    fn fit(&mut self, rows: usize, target_rows: usize, gradient: bool) -> Result<(), WorkerError> {
        let (mut rows, mut target_rows) = (rows.max(1).next_multiple_of(64), target_rows.max(1).next_multiple_of(64));
        let training = gradient || self.trained.as_ref().is_some_and(|trained| trained.gradient().is_some());
        if let Some(buffers) = &self.buffers {
            let enough = buffers.rows >= rows && buffers.target_rows >= target_rows;
            if enough && (buffers.rungs.is_some() || !training) {
                return Ok(());
            }
            (rows, target_rows) = (rows.max(buffers.rows), target_rows.max(buffers.target_rows));
        }
        let free = self.free()?;
        // Given back first, so that the old and the new buffers never exist together.
        self.buffers = None;
        let sizes = self.sizes(rows, target_rows);
        let layers = self.config().layers;
        let takes = |rungs: Option<&[Rung]>| sizes.plan(rungs).0.bytes();
        let rungs = match (training, self.options.keep) {
            (false, _) => None,
            (true, Some(rung)) => Some(vec![rung; layers]),
            (true, None) => Some(Rung::within(layers, free, |rungs| takes(Some(rungs)))),
        };
        let bytes = takes(rungs.as_deref());
        if bytes > free {
            let message = format!(
                "the card has {} left for a pass over {rows} rows, which takes at least {}",
                gigabytes(free),
                gigabytes(bytes)
            );
            return Err(refused(message, "lower max_tokens or max_length, or choose a card with more memory"));
        }
        self.buffers = Some(Buffers::new(&self.driver, &sizes, rungs)?);
        Ok(())
    }

    /// Puts a job on the device and calls `work` with its pass.
    fn with_pass<T>(
        &mut self,
        job: &Job<'_>,
        gradient: bool,
        work: impl FnOnce(&Self, &Pass<'_>) -> Result<T, WorkerError>,
    ) -> Result<T, WorkerError> {
        let mut lists = std::mem::take(&mut self.lists);
        let mut rotation = std::mem::take(&mut self.rotation);
        let full = gradient && self.full.is_some();
        let result = Listed::new(&self.driver, &mut lists, self.config(), job.batch, job.targets, full)
            .map_err(WorkerError::from)
            .and_then(|listed| {
                let positions = job.batch.positions.iter().max().map_or(1, |&position| position as usize + 1);
                let table = rotation.cover(&self.driver, self.config(), positions, false)?;
                self.fit(listed.plan.rows.len(), listed.targets.places.len(), gradient)?;
                let buffers = self.buffers.as_ref().expect("the buffers were just made");
                let pass = Pass {
                    kernels: self.kernels(),
                    config: self.config(),
                    sizes: self.sizes(buffers.rows, buffers.target_rows),
                    weights: self.weights(),
                    adapter: self.adapter(),
                    buffers,
                    over: Over::Job(&listed),
                    rotation: table,
                    dropout_seed: job.dropout_seed.filter(|_| gradient),
                };
                work(self, &pass)
            });
        (self.lists, self.rotation) = (lists, rotation);
        result
    }

    /// The reference's pass over the job of a pass of the policy, whose hidden states are kept.
    fn reference_pass(&self, pass: &Pass<'_>) -> Result<(), DriverError> {
        match &self.reference {
            None => Ok(()),
            Some(Reference::Adapter(values)) => {
                let trained = self.trained.as_ref().expect("an adapter is trained");
                trained.write_copies(self.kernels(), values.start(), self.copies())?;
                let pass = Pass { dropout_seed: None, ..*pass };
                pass.forward()?;
                pass.keep_as_reference()?;
                trained.write_copies(self.kernels(), trained.values.start(), self.copies())
            }
            Some(Reference::Model(..)) => {
                let weights = self.reference_weights().expect("there is a reference");
                let pass = Pass { weights, ..*pass };
                pass.forward()?;
                pass.keep_as_reference()
            }
        }
    }

    /// Keeps the policy as it is now as the reference of divergences.
    fn keep_reference(&self) -> Result<Reference, DriverError> {
        let copy = |from: &Arena| {
            let to = Arena::new(&self.driver, from.bytes())?;
            self.driver.copy(to.start(), from.start(), from.bytes() as usize)?;
            Ok::<_, DriverError>(to)
        };
        let trained = self.trained.as_ref().expect("divergences are used in training");
        if self.full.is_none() {
            return Ok(Reference::Adapter(copy(&trained.values)?));
        }
        // The vectors come first among the trained parameters.
        let vectors = Arena::new(&self.driver, self.layout.vector_numbers * 4)?;
        self.driver.copy(vectors.start(), trained.values.start(), (self.layout.vector_numbers * 4) as usize)?;
        Ok(Reference::Model(copy(&self.matrices)?, vectors))
    }

    fn request(&self, request: &MemoryRequest) -> Request<'_> {
        Request {
            config: self.config(),
            element: self.options.element,
            adapter: self.policy.lora().map(|adapter| &adapter.config),
            rows: request.rows,
            target_rows: request.target_rows,
            logit_bytes: request.logit_bytes as u64,
            divergence: request.divergence,
        }
    }
}

impl Worker for CudaWorker {
    fn config(&self) -> &ModelConfig {
        &self.policy.model().config
    }

    fn identity(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("tabpo policy on a card 1");
        hasher.update(&self.digest);
        hasher.update(format!("{:?} {:?}", self.options.element, self.config()).as_bytes());
        let Some(trained) = &self.trained else { return *hasher.finalize().as_bytes() };
        let Ok(parameters) = trained.parameters(self.driver.as_ref()) else {
            // Of a device that was lost nothing is known but that everything else will fail, too.
            return *hasher.update(b"lost").finalize().as_bytes();
        };
        let shapes = self.policy.shapes();
        // An adapter whose B matrices are zero changes nothing: it has the identity of its base.
        let changes = |((name, _), values): (&(String, _), &Vec<f32>)| {
            !name.ends_with("lora_A.weight") && values.iter().any(|&value| value != 0.0)
        };
        if shapes.iter().zip(&parameters).any(changes) {
            let adapter = self.policy.lora().map(|adapter| &adapter.config);
            hasher.update(format!("{adapter:?}").as_bytes());
            for ((name, shape), values) in shapes.iter().zip(&parameters) {
                hasher.update(format!("{name} {shape:?}\n").as_bytes());
                let mut bytes = vec![0; values.len() * 4];
                narrowed(Element::F32, values, &mut bytes);
                hasher.update(&bytes);
            }
        }
        *hasher.finalize().as_bytes()
    }

    fn tolerance(&self) -> f64 {
        match self.options.element {
            Element::F32 => 1e-2,
            // Numbers of 8 bits: rows that are packed in another way are rounded in another way.
            Element::Bf16 => 0.25,
        }
    }

    fn uses_dropout(&self) -> bool {
        self.policy.lora().is_some_and(|adapter| adapter.config.dropout > 0.0)
    }

    fn memory(&self, request: &MemoryRequest, limit: Option<usize>) -> tabpo_engine::MemoryPlan {
        let of_card = self.request(request);
        let limit = limit.map_or(u64::MAX, |limit| limit as u64);
        MemoryPlan::within(&of_card, limit).for_the_engine(request.held)
    }

    fn begin(&mut self, setup: &TrainingSetup) -> Result<(), WorkerError> {
        let TrainingSetup { optimiser, recompute: _, logit_bytes, divergences } = *setup;
        let (copies, element) = (self.copies(), self.options.element);
        let driver = Arc::clone(&self.driver);
        self.buffers = None;
        self.reference = None;
        self.logit_bytes = logit_bytes as u64;
        self.trained.as_mut().ok_or(WorkerError::Frozen)?.begin(&driver, optimiser, copies, element)?;
        if divergences {
            self.reference = Some(self.keep_reference()?);
        }
        Ok(())
    }

    fn log_probs(&mut self, job: &Job<'_>) -> Result<Vec<f64>, WorkerError> {
        self.with_pass(job, false, |_, pass| {
            pass.forward()?;
            Ok(pass.forward_head(None)?.log_probs)
        })
    }

    fn accumulate(
        &mut self,
        jobs: &[Job<'_>],
        output_gradient: &OutputGradientOf<'_>,
        progress: &mut dyn FnMut(usize),
    ) -> Result<JobTiming, WorkerError> {
        let mut timing = JobTiming::default();
        for (number, job) in jobs.iter().enumerate() {
            let of_job = self.with_pass(job, true, |worker, pass| {
                let memory = worker.training()?.gradient().expect("`begin` was called before training");
                let gradient =
                    worker.full.as_ref().map_or(Gradient::Adapter(memory), |full| Gradient::Full(memory, full));
                let mut timing = JobTiming::default();
                let started = Instant::now();
                let reference = worker.reference_weights();
                if reference.is_some() {
                    worker.reference_pass(pass)?;
                    worker.driver.wait()?;
                    timing.reference = started.elapsed().as_secs_f64();
                }
                let started = Instant::now();
                pass.forward()?;
                let values = pass.forward_head(reference)?;
                timing.forward = started.elapsed().as_secs_f64();
                let started = Instant::now();
                let of_values = output_gradient(number, &values);
                timing.output_gradient = started.elapsed().as_secs_f64();
                let started = Instant::now();
                let seeds = Seeds::new(pass, &of_values);
                pass.backward_head(reference, &seeds, gradient)?;
                pass.backward(gradient)?;
                worker.driver.wait()?;
                timing.backward = started.elapsed().as_secs_f64();
                Ok(timing)
            })?;
            timing.reference += of_job.reference;
            timing.forward += of_job.forward;
            timing.output_gradient += of_job.output_gradient;
            timing.backward += of_job.backward;
            progress(number + 1);
        }
        Ok(timing)
    }

    fn clear_gradient(&mut self) -> Result<(), WorkerError> {
        Ok(self.training()?.clear_gradient(self.driver.as_ref())?)
    }

    fn gradient_norm(&mut self) -> Result<f64, WorkerError> {
        Ok(self.training()?.gradient_norm(self.kernels())?)
    }

    fn step(&mut self, learning_rate: f64, factor: f64) -> Result<(), WorkerError> {
        let kernels = Kernels { driver: self.driver.as_ref(), element: self.options.element };
        let trained = self.trained.as_mut().ok_or(WorkerError::Frozen)?;
        Ok(trained.step(kernels, learning_rate, factor)?)
    }

    fn export(&self) -> Result<Vec<NamedTensor<'_>>, WorkerError> {
        Ok(self.training()?.export(self.driver.as_ref())?)
    }

    fn import(&mut self, steps: u64, tensors: &[NamedTensor<'_>]) -> Result<(), WorkerError> {
        let copies = self.copies();
        let kernels = Kernels { driver: self.driver.as_ref(), element: self.options.element };
        let trained = self.trained.as_mut().ok_or(WorkerError::Frozen)?;
        trained.import(self.driver.as_ref(), steps, tensors)?;
        Ok(trained.write_copies(kernels, trained.values.start(), copies)?)
    }

    fn generation_memory(&self, size: GeneratorSize) -> GenerationMemory {
        let weights = self.matrices.bytes() + self.layout.vector_numbers * 4;
        decode::memory(&self.sizes(0, 0), weights, size)
    }

    fn generator(&mut self, size: GeneratorSize) -> Result<Box<dyn Generator + '_>, WorkerError> {
        // The buffers of training would leave no memory for the cache.
        self.buffers = None;
        Ok(Box::new(CudaGenerator::new(self, size)?))
    }
}

impl MemoryPlan {
    /// The plan in the words of a worker.
    fn for_the_engine(&self, held: usize) -> tabpo_engine::MemoryPlan {
        let lower = self.rungs.iter().filter(|&&rung| rung > Rung::Cheap).count();
        let recompute = match self.rungs.iter().max() {
            None | Some(Rung::Everything) => Recompute::Nothing,
            Some(Rung::Cheap) => Recompute::Cheap,
            Some(Rung::WithoutGateUp | Rung::Input) => Recompute::Blocks(lower),
        };
        tabpo_engine::MemoryPlan {
            held,
            weights: self.weights as usize,
            reference: self.reference as usize,
            // Of four memories, one has the parameters themselves.
            gradients: (self.trained / 4) as usize,
            optimiser: (self.trained - self.trained / 4) as usize,
            activations: self.buffers as usize,
            logits: 0,
            working: (self.lists + self.workspace) as usize,
            recompute,
        }
    }
}
