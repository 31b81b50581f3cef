//! [`Worker`] for a device's worker.

use std::sync::Arc;
use std::time::Instant;

use tabpo_engine::{
    ChangeGradient, GenerationMemory, Generator, GeneratorSize, Job, JobTiming, MemoryRequest, NamedTensor,
    OutputGradientOf, TrainingSetup, Worker, WorkerError,
};
use tabpo_model::ModelConfig;

use super::CudaWorker;
use crate::decode::{self, CudaGenerator};
use crate::driver::Element;
use crate::head::Seeds;
use crate::memory::MemoryPlan;
use crate::ops::Kernels;
use crate::pass::Gradient;
use crate::quantised::Quantised;
use crate::weights::narrowed;

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

    fn change_gradient(&mut self, change: &mut ChangeGradient<'_>) -> Result<(), WorkerError> {
        let driver = Arc::clone(&self.driver);
        let mut flat = self.training()?.flat_gradient(driver.as_ref())?;
        change(&mut flat)?;
        Ok(self.training()?.set_gradient(driver.as_ref(), &flat)?)
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
        let quantised = self.quantised.as_ref().map_or(0, Quantised::bytes);
        let weights = self.matrices.bytes() + quantised + self.layout.vector_numbers * 4;
        decode::memory(&self.sizes(0, 0), weights, size)
    }

    fn generator(&mut self, size: GeneratorSize) -> Result<Box<dyn Generator + '_>, WorkerError> {
        // The buffers of training would leave no memory for the cache.
        self.buffers = None;
        Ok(Box::new(CudaGenerator::new(self, size)?))
    }
}
