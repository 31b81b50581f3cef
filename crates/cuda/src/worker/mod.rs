//! [`Worker`] on a device: a policy with its weights, gradient, optimiser and buffers there.

mod interface;
mod limits;

use std::sync::Arc;

use tabpo_engine::{Job, MemoryRequest, NamedTensor, Policy, Worker, WorkerError};

use crate::adapter::AdapterLayout;
use crate::arena::Arena;
use crate::buffers::{Buffers, Sizes};
use crate::driver::{Driver, DriverError, Element};
use crate::listed::{Growing, Listed, Rotation};
use crate::memory::{MemoryPlan, Request, Rung};
use crate::ops::Kernels;
use crate::pass::{Adapter, Over, Pass};
use crate::trained::{Copies, FullLayout, Trained, TrainedLayout};
use crate::weights::{Frozen, Layout, Weights};
use limits::{gigabytes, refused, supported};

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

    /// What the plan says of the memory that was taken for the largest job of training so far, in bytes: all of it but the
    /// workspace of products, which belongs to the device.
    pub fn planned_bytes(&self) -> Option<u64> {
        let buffers = self.buffers.as_ref()?;
        let request = Request {
            config: self.config(),
            element: self.options.element,
            adapter: self.policy.lora().map(|adapter| &adapter.config),
            rows: buffers.rows,
            target_rows: buffers.target_rows,
            logit_bytes: self.logit_bytes,
            divergence: self.reference.is_some(),
        };
        let plan = MemoryPlan::of(&request, buffers.rungs.clone()?);
        Some(plan.total() - plan.workspace)
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
