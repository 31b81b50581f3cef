//! An open device, and the workers on it.

#[cfg(feature = "cuda")]
use std::sync::Arc;

use tabpo_engine::{HostWorker, Policy, Worker};

use super::Profile;
use crate::error::Error;
#[cfg(feature = "cuda")]
use crate::error::ResultExt;

/// A device that is ready to compute.
#[derive(Clone)]
pub enum Computer {
    /// The CPU.
    Cpu,
    /// A card, with the type in which it computes.
    #[cfg(feature = "cuda")]
    Card(Arc<dyn tabpo_cuda::driver::Driver>, tabpo_cuda::driver::Element),
}

impl Computer {
    /// Whether it is a card.
    pub fn is_card(&self) -> bool {
        !matches!(self, Self::Cpu)
    }

    /// How products are computed on a card, in words, if it is one.
    pub fn compute(&self) -> Option<&'static str> {
        match self {
            Self::Cpu => None,
            #[cfg(feature = "cuda")]
            Self::Card(_, element) => Some(element.suffix()),
        }
    }

    /// The card's name, or `the CPU`.
    pub fn name(&self) -> String {
        match self {
            Self::Cpu => "the CPU".to_owned(),
            #[cfg(feature = "cuda")]
            Self::Card(driver, _) => driver.name(),
        }
    }

    /// Bytes of the card's memory that are free, if it is a card.
    pub fn free(&self) -> Result<Option<u64>, Error> {
        match self {
            Self::Cpu => Ok(None),
            #[cfg(feature = "cuda")]
            Self::Card(driver, _) => Ok(Some(driver.memory().or_failed()?.free)),
        }
    }

    /// Bytes of the card's memory that are in use, by this process and others, if it is a card.
    pub fn used(&self) -> Result<Option<u64>, Error> {
        match self {
            Self::Cpu => Ok(None),
            #[cfg(feature = "cuda")]
            Self::Card(driver, _) => {
                let memory = driver.memory().or_failed()?;
                Ok(Some(memory.total - memory.free))
            }
        }
    }

    /// How fast a card computes large matrix products, in GFLOP/s, if it is one.
    pub fn product_gflops(&self) -> Result<Option<f64>, Error> {
        match self {
            Self::Cpu => Ok(None),
            #[cfg(feature = "cuda")]
            Self::Card(driver, element) => tabpo_cuda::check::product_gflops(driver, *element).map(Some).or_failed(),
        }
    }

    /// The same device with the time of every kernel, which costs time itself; `None` for the CPU.
    pub fn profiled(&self) -> Option<(Self, Profile)> {
        match self {
            Self::Cpu => None,
            #[cfg(feature = "cuda")]
            Self::Card(driver, element) => {
                let profile = Arc::new(tabpo_cuda::driver::Profile::new(Arc::clone(driver)));
                let driver: Arc<dyn tabpo_cuda::driver::Driver> = Arc::<tabpo_cuda::driver::Profile>::clone(&profile);
                Some((Self::Card(driver, *element), Profile(profile)))
            }
        }
    }

    /// Puts a policy on the device.
    pub fn worker(&self, policy: Policy<f32>) -> Result<DeviceWorker, Error> {
        match self {
            Self::Cpu => Ok(DeviceWorker::Host(Box::new(HostWorker::new(policy)))),
            #[cfg(feature = "cuda")]
            Self::Card(driver, element) => {
                let options = tabpo_cuda::WorkerOptions { element: *element, ..tabpo_cuda::WorkerOptions::default() };
                let worker = tabpo_cuda::CudaWorker::new(Arc::clone(driver), policy, options).or_failed()?;
                Ok(DeviceWorker::Card(Box::new(worker)))
            }
        }
    }
}

/// A worker on the device of a run.
pub enum DeviceWorker {
    /// On the CPU.
    Host(Box<HostWorker<f32>>),
    /// On a card.
    #[cfg(feature = "cuda")]
    Card(Box<tabpo_cuda::CudaWorker>),
}

impl DeviceWorker {
    /// The worker, wherever it computes.
    pub fn worker(&mut self) -> &mut dyn Worker {
        match self {
            Self::Host(worker) => worker.as_mut(),
            #[cfg(feature = "cuda")]
            Self::Card(worker) => worker.as_mut(),
        }
    }

    /// Bytes that the plan of a card's memory has for the largest job of training so far, if it is a card's.
    pub fn planned_bytes(&self) -> Option<u64> {
        match self {
            Self::Host(_) => None,
            #[cfg(feature = "cuda")]
            Self::Card(worker) => worker.planned_bytes(),
        }
    }

    /// Bytes of the model's weights in the memory of this machine beside those of a card.
    pub(crate) fn host_bytes(&self) -> usize {
        match self {
            Self::Host(worker) => worker.policy().model().bytes(),
            #[cfg(feature = "cuda")]
            Self::Card(_) => 0,
        }
    }

    /// The policy as it is now.
    pub fn into_policy(self) -> Result<Policy<f32>, Error> {
        match self {
            Self::Host(worker) => Ok(worker.into_policy()),
            #[cfg(feature = "cuda")]
            Self::Card(worker) => worker.into_policy().or_failed(),
        }
    }
}
