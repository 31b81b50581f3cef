//! The worker of rank 0, which works through all ranks.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use tabpo_engine::{
    ChangeGradient, GenerationMemory, Generator, GeneratorSize, Job, JobTiming, MemoryPlan, MemoryRequest, NamedTensor,
    OutputGradientOf, TargetValues, TrainingSetup, Worker, WorkerError,
};
use tabpo_model::ModelConfig;

use crate::exchange::{Exchange, seconds};
use crate::links::{LinkError, Links};
use crate::member::{add, panicked};
use crate::message::{Answer, Order, Task, receive, send, unexpected};
use crate::share::{Part, share};

/// A [`Worker`] that computes with a worker of this rank and, through [`serve`](crate::serve), with those of all others,
/// which have to hold the same policy.
///
/// Reference passes and the passes of training are shared out. Everything else, such as answers, is computed by the worker
/// of this rank. After an error, the training of all ranks is over.
pub struct Ranks<'a> {
    own: &'a mut dyn Worker,
    links: &'a Links,
    /// Whether the gradient is the sum over all ranks already.
    summed: bool,
    failed: bool,
}

impl<'a> Ranks<'a> {
    /// Takes the lead. This has to be rank 0.
    pub fn new(own: &'a mut dyn Worker, links: &'a Links) -> Self {
        assert_eq!(links.rank(), 0, "rank 0 leads");
        Self { own, links, summed: false, failed: false }
    }

    fn others(&self) -> std::ops::Range<usize> {
        1..self.links.size()
    }

    /// Sends an order to all other ranks.
    fn tell(&self, order: &Order) -> Result<(), LinkError> {
        self.others().try_for_each(|rank| send(self.links, rank, order))
    }

    /// Passes a result on; an error ends the work of all ranks.
    fn told<T>(&mut self, result: Result<T, WorkerError>) -> Result<T, WorkerError> {
        if let Err(error) = &result {
            self.failed = true;
            self.links.fail(&LinkError::of_worker(0, error.clone()));
        }
        result
    }

    /// Begins training on all ranks, whose policies have to be the same.
    fn begin_all(&mut self, setup: &TrainingSetup) -> Result<(), WorkerError> {
        self.tell(&Order::Begin(*setup))?;
        self.own.begin(setup)?;
        let identity = self.own.identity();
        for rank in self.others() {
            match receive(self.links, rank)? {
                Answer::Begun(found) if found == identity => {}
                Answer::Begun(_) => {
                    return Err(LinkError::new(
                        rank,
                        "has other weights than rank 0, or computes with them differently",
                    )
                    .with_hint("all ranks have to see the same model files and compute on the same kind of device")
                    .into());
                }
                other => return Err(unexpected(rank, &other).into()),
            }
        }
        Ok(())
    }

    /// The tasks of every other rank, as an order.
    fn send_tasks(&self, parts: &[Part], order: impl Fn(Vec<Task>) -> Order) -> Result<(), LinkError> {
        self.others().try_for_each(|rank| {
            let tasks = parts.iter().filter(|part| part.rank == rank).map(|part| part.task.clone()).collect();
            send(self.links, rank, &order(tasks))
        })
    }

    fn log_probs_shared(&mut self, jobs: &[Job<'_>]) -> Result<Vec<Vec<f64>>, WorkerError> {
        let parts = share(jobs, self.links.size());
        self.send_tasks(&parts, Order::LogProbs)?;
        let mut values: Vec<Vec<f64>> = jobs.iter().map(|job| vec![0.0; job.targets.len()]).collect();
        // The parts of this rank first, while the others compute theirs.
        let (own, others): (Vec<&Part>, Vec<&Part>) = parts.iter().partition(|part| part.rank == 0);
        for part in own.into_iter().chain(others) {
            let of_part = if part.rank == 0 {
                self.own.log_probs(&part.task.job())?
            } else {
                match receive(self.links, part.rank)? {
                    Answer::Values(values) if values.log_probs.len() == part.targets.len() => values.log_probs,
                    other => return Err(unexpected(part.rank, &other).into()),
                }
            };
            for (&place, value) in part.targets.iter().zip(of_part) {
                values[part.job][place] = value;
            }
        }
        Ok(values)
    }

    fn accumulate_shared(
        &mut self,
        jobs: &[Job<'_>],
        output_gradient: &OutputGradientOf<'_>,
        progress: &mut dyn FnMut(usize),
    ) -> Result<JobTiming, WorkerError> {
        if self.summed {
            // What has been summed is kept once, not by every rank.
            self.tell(&Order::Clear)?;
            self.summed = false;
        }
        let parts = share(jobs, self.links.size());
        self.send_tasks(&parts, Order::Accumulate)?;
        let exchange = Exchange::new(self.links, &parts, jobs.iter().map(|job| job.targets.len()), output_gradient);
        std::thread::scope(|scope| {
            for rank in self.others() {
                let exchange = &exchange;
                scope.spawn(move || exchange.attend(rank));
            }
            let result = catch_unwind(AssertUnwindSafe(|| self.compute_own(&exchange, &parts, progress)));
            // After a failure, the others would wait for gradients, and the threads here for them.
            match &result {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => self.links.fail(&LinkError::of_worker(0, error.clone())),
                Err(panic) => self.links.fail(&LinkError::new(0, panicked(&**panic))),
            }
            result.unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Computes the parts of this rank and waits for the others.
    fn compute_own(
        &mut self,
        exchange: &Exchange<'_>,
        parts: &[Part],
        progress: &mut dyn FnMut(usize),
    ) -> Result<JobTiming, WorkerError> {
        let (mut timing, mut told) = (JobTiming::default(), 0);
        for number in exchange.numbers(0) {
            let of_values = |_: usize, values: &TargetValues| {
                if let Err(error) = exchange.deliver(number, values) {
                    exchange.fail(error);
                }
                exchange.gradient(number).unwrap_or_else(|| values.zeros_like())
            };
            let of_part = self.own.accumulate(&[parts[number].task.job()], &of_values, &mut |_| {})?;
            add(&mut timing, &of_part);
            exchange.computed(number);
            let done = exchange.done()?;
            if done > told {
                told = done;
                progress(done);
            }
        }
        let longest = exchange.wait(&mut |done| {
            if done > told {
                told = done;
                progress(done);
            }
        })?;
        Ok(if seconds(&longest) > seconds(&timing) { longest } else { timing })
    }

    /// Adds the gradients of all ranks up, once.
    fn sum(&mut self) -> Result<(), WorkerError> {
        if !self.summed {
            self.tell(&Order::Sum)?;
            let links = self.links;
            self.own.change_gradient(&mut |gradient| Ok(links.all_reduce(gradient)?))?;
            self.summed = true;
        }
        Ok(())
    }
}

impl Worker for Ranks<'_> {
    fn config(&self) -> &ModelConfig {
        self.own.config()
    }

    fn identity(&self) -> [u8; 32] {
        self.own.identity()
    }

    fn tolerance(&self) -> f64 {
        self.own.tolerance()
    }

    fn uses_dropout(&self) -> bool {
        self.own.uses_dropout()
    }

    fn memory(&self, request: &MemoryRequest, limit: Option<usize>) -> MemoryPlan {
        self.own.memory(request, limit)
    }

    fn begin(&mut self, setup: &TrainingSetup) -> Result<(), WorkerError> {
        self.summed = false;
        let result = self.begin_all(setup);
        self.told(result)
    }

    fn log_probs(&mut self, job: &Job<'_>) -> Result<Vec<f64>, WorkerError> {
        let mut values = self.log_probs_of_all(&[*job])?;
        Ok(values.pop().expect("the values of one job"))
    }

    fn log_probs_of_all(&mut self, jobs: &[Job<'_>]) -> Result<Vec<Vec<f64>>, WorkerError> {
        let result = self.log_probs_shared(jobs);
        self.told(result)
    }

    fn accumulate(
        &mut self,
        jobs: &[Job<'_>],
        output_gradient: &OutputGradientOf<'_>,
        progress: &mut dyn FnMut(usize),
    ) -> Result<JobTiming, WorkerError> {
        let result = self.accumulate_shared(jobs, output_gradient, progress);
        self.told(result)
    }

    fn clear_gradient(&mut self) -> Result<(), WorkerError> {
        self.summed = false;
        let result = self.tell(&Order::Clear).map_err(WorkerError::from).and_then(|()| self.own.clear_gradient());
        self.told(result)
    }

    fn change_gradient(&mut self, change: &mut ChangeGradient<'_>) -> Result<(), WorkerError> {
        let result = self.sum().and_then(|()| {
            // What the others hold is replaced by nothing, so that the sum is what `change` leaves.
            self.tell(&Order::Clear)?;
            self.summed = false;
            self.own.change_gradient(change)
        });
        self.told(result)
    }

    fn gradient_norm(&mut self) -> Result<f64, WorkerError> {
        let result = self.sum().and_then(|()| self.own.gradient_norm());
        self.told(result)
    }

    fn step(&mut self, rate: f64, factor: f64) -> Result<(), WorkerError> {
        let result = self.sum().and_then(|()| {
            self.tell(&Order::Step { rate, factor })?;
            self.own.step(rate, factor)
        });
        self.told(result)
    }

    fn export(&self) -> Result<Vec<NamedTensor<'_>>, WorkerError> {
        self.own.export()
    }

    fn import(&mut self, steps: u64, tensors: &[NamedTensor<'_>]) -> Result<(), WorkerError> {
        // Changes nothing if a tensor does not match, so the others are told only afterwards.
        self.own.import(steps, tensors)?;
        let headers = tensors.iter().map(|tensor| (tensor.name.clone(), tensor.shape.clone(), tensor.dtype)).collect();
        let order = Order::Import { steps, tensors: headers };
        let sent = self.others().try_for_each(|rank| {
            send(self.links, rank, &order)?;
            tensors.iter().try_for_each(|tensor| self.links.send(rank, tensor.bytes.to_vec()))
        });
        self.told(sent.map_err(WorkerError::from))
    }

    fn generation_memory(&self, size: GeneratorSize) -> GenerationMemory {
        self.own.generation_memory(size)
    }

    fn generator(&mut self, size: GeneratorSize) -> Result<Box<dyn Generator + '_>, WorkerError> {
        self.own.generator(size)
    }
}

impl Drop for Ranks<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.links.fail(&LinkError::new(0, "the program panicked"));
        } else if !self.failed {
            // A rank that is gone need not be told.
            let _ = self.tell(&Order::End);
        }
    }
}
