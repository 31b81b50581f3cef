//! What every rank but the first does.

use std::any::Any;
use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use tabpo_engine::{JobTiming, NamedTensor, TargetValues, Worker, WorkerError};

use crate::links::{LinkError, Links};
use crate::message::{Answer, Order, Task, receive, send};

/// Computes what rank 0 asks for, until it ends the training. A failure, or a panic, is told to all other ranks.
///
/// # Errors
/// If this rank or another one failed.
pub fn serve(worker: &mut dyn Worker, links: &Links) -> Result<(), LinkError> {
    let error = match catch_unwind(AssertUnwindSafe(|| follow(worker, links))) {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error,
        Err(panic) => LinkError::new(links.rank(), panicked(&*panic)),
    };
    links.fail(&error);
    Err(error)
}

/// What a panic said.
pub(crate) fn panicked(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("the program panicked: {}", text.unwrap_or("without a message"))
}

fn follow(worker: &mut dyn Worker, links: &Links) -> Result<(), LinkError> {
    let own = |error: WorkerError| LinkError::of_worker(links.rank(), error);
    loop {
        match receive(links, 0)? {
            Order::Begin(setup) => {
                worker.begin(&setup).map_err(own)?;
                send(links, 0, &Answer::Begun(worker.identity()))?;
            }
            Order::LogProbs(tasks) => {
                for task in tasks {
                    let log_probs = worker.log_probs(&task.job()).map_err(own)?;
                    send(links, 0, &Answer::Values(TargetValues { log_probs, divergences: Vec::new() }))?;
                }
            }
            Order::Accumulate(tasks) => {
                let timing = accumulate(worker, links, &tasks)?;
                send(links, 0, &Answer::Accumulated(timing))?;
            }
            Order::Clear => worker.clear_gradient().map_err(own)?,
            Order::Sum => {
                worker.change_gradient(&mut |gradient| Ok(links.all_reduce(gradient)?)).map_err(own)?;
            }
            Order::Step { rate, factor } => worker.step(rate, factor).map_err(own)?,
            Order::Import { steps, tensors } => {
                let tensors = tensors.into_iter().map(|(name, shape, dtype)| {
                    Ok(NamedTensor { name, shape, dtype, bytes: Cow::Owned(links.receive(0)?) })
                });
                let tensors = tensors.collect::<Result<Vec<_>, LinkError>>()?;
                worker.import(steps, &tensors).map_err(own)?;
            }
            Order::End => return Ok(()),
        }
    }
}

/// Computes the passes one by one, each with the gradient that rank 0 sends for its values.
fn accumulate(worker: &mut dyn Worker, links: &Links, tasks: &[Task]) -> Result<JobTiming, LinkError> {
    let mut timing = JobTiming::default();
    let failed: Mutex<Option<LinkError>> = Mutex::new(None);
    let of_values = |_: usize, values: &TargetValues| {
        let gradient = send(links, 0, &Answer::Values(values.clone())).and_then(|()| receive(links, 0));
        gradient.unwrap_or_else(|error| {
            // The pass can't be left here; its result is not used.
            *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            values.zeros_like()
        })
    };
    for task in tasks {
        let computed = worker.accumulate(&[task.job()], &of_values, &mut |_| {});
        if let Some(error) = failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(error);
        }
        let of_task = computed.map_err(|error| LinkError::of_worker(links.rank(), error))?;
        add(&mut timing, &of_task);
        send(links, 0, &Answer::Computed)?;
    }
    Ok(timing)
}

/// Adds the seconds of one more pass.
pub(crate) fn add(timing: &mut JobTiming, more: &JobTiming) {
    timing.reference += more.reference;
    timing.forward += more.forward;
    timing.output_gradient += more.output_gradient;
    timing.backward += more.backward;
}
